//! What must be true of all that is written: another parser reads it, and it says the same.

use bytes::BytesMut;
use minidom::Element;
use minidom::tree_builder::TreeBuilder;
use rxml::{Parse, RawEvent, RawParser};
use xmpp_sm::{LastWords, Nonza, StreamError};

use crate::{CLIENT, STREAM};

fn header() -> String {
    format!("<stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAM}'>")
}

/// The elements of this text, as they would arrive on a stream; nothing if it is not well-formed.
pub fn read(text: &str) -> Option<Vec<Element>> {
    let stream = header() + text + "</stream:stream>";
    Some(stream.parse::<Element>().ok()?.children().cloned().collect())
}

/// The element that these bytes of a stream begin with, and how many of them it takes; nothing if they begin with
/// something else, or it is not well-formed or not complete.
pub fn read_first(bytes: &[u8]) -> Option<(Element, usize)> {
    let (mut parser, mut tree) = (RawParser::new(), TreeBuilder::new());
    let header = header();
    let mut left = header.as_bytes();
    while let Ok(Some(event)) = parser.parse(&mut left, false) {
        tree.process_event(event).ok()?;
    }
    left = bytes;
    while let Ok(Some(event)) = parser.parse(&mut left, false) {
        let begins_with_text = tree.depth() == 1 && matches!(event, RawEvent::Text(..));
        let ends = matches!(event, RawEvent::ElementFoot(_));
        tree.process_event(event).ok()?;
        match tree.depth() {
            _ if begins_with_text => return None,
            1 if ends => return Some((tree.unshift_child()?, bytes.len() - left.len())),
            _ => {}
        }
    }
    None
}

/// The one element of this text.
fn read_one(text: &str) -> Element {
    let elements = read(text).unwrap_or_else(|| panic!("not well-formed: {text:?}"));
    let [element] = <[Element; 1]>::try_from(elements).unwrap_or_else(|all| panic!("{} elements: {text:?}", all.len()));
    element
}

fn text(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::from("before");
    write(&mut out);
    let text = std::str::from_utf8(&out).expect("UTF-8");
    text.strip_prefix("before").expect("it is appended").to_owned()
}

/// Parse after write is the identity, and the three ways to write say the same.
pub fn check(nonza: &Nonza) {
    let text = text(|out| nonza.write_to(out));
    assert_eq!(text, nonza.to_string());
    let element = read_one(&text);
    assert_eq!(element, nonza.to_element(), "{text}");
    assert_eq!(Nonza::from_element(&element).as_ref(), Some(&Ok(nonza.clone())), "{text}");
}

pub fn check_stream_error(error: &StreamError) {
    let text = text(|out| error.write_to(out));
    assert_eq!(text, error.to_string());
    // The element does not say in which language its text is.
    assert_eq!(read_one(&text.replace(" xml:lang='en'", "")), error.to_element(), "{text}");
    assert!(text.len() < 500, "{text}");
}

pub fn check_last(last: &LastWords) {
    last.write.iter().for_each(check);
    last.error.iter().for_each(check_stream_error);
    let nonza = last.write.as_ref().map(Nonza::to_string).unwrap_or_default();
    let error = last.error.as_ref().map(StreamError::to_string).unwrap_or_default();
    assert_eq!(text(|out| last.write_to(out)), nonza + &error);
}
