//! Any bytes as what comes next on a stream: what is recognized without an XML parser is what the parser reads there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xmpp_sm::Nonza;
use xmpp_sm_fuzz::written;

fuzz_target!(|bytes: &[u8]| {
    let first = written::read_first(bytes);
    let read = first.as_ref().and_then(|(element, _)| Nonza::from_element(element)?.ok());
    match Nonza::from_bytes(bytes) {
        Some((nonza, length)) => {
            assert_eq!(first, Some((nonza.to_element(), length)));
            assert_eq!(read, Some(nonza));
            // Not before its last byte is there, and whatever follows.
            assert!((0..length).all(|end| Nonza::from_bytes(&bytes[..end]).is_none()));
            assert_eq!(Nonza::from_bytes(&bytes[..length]), Nonza::from_bytes(bytes));
        }
        // What may not be left out is the spelling of our own.
        None => {
            let ours = |nonza: &Nonza| bytes.starts_with(nonza.to_string().as_bytes());
            assert!(!read.iter().filter(|nonza| matches!(nonza, Nonza::Ack(_) | Nonza::AckRequest)).any(ours));
        }
    }
});
