//! Any bytes as a stanza that is sent late: it is stamped as the same element would be, or stays as it is.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::{Corpus, fuzz_target};
use xmpp_sm::delay;
use xmpp_sm_fuzz::written;

const FROM: &str = "o'neil & sons";

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let stamped = delay::stamp_bytes(bytes, FROM, SystemTime::UNIX_EPOCH);
    if !bytes.starts_with(b"<") || bytes.starts_with(b"<!") {
        return Corpus::Reject; // white space and comments, which `read_first` does not pass over
    }
    let Some((mut element, length)) = written::read_first(bytes) else {
        assert_eq!(stamped, None);
        return Corpus::Keep;
    };
    let Some(stamped) = stamped else {
        // There may be a prefix that minidom does not look up, or an attribute that it takes twice.
        return Corpus::Keep;
    };
    assert!(delay::stamp(&mut element, FROM, SystemTime::UNIX_EPOCH), "{element:?}");
    let rest = &bytes[length..];
    assert_eq!(written::read_first(&stamped), Some((element, stamped.len() - rest.len())));
    assert!(stamped.ends_with(rest));
    assert_eq!(delay::stamp_bytes(&stamped, FROM, SystemTime::UNIX_EPOCH), None);
    Corpus::Keep
});
