//! Texts for inputs: names that mean something, and values of any length.

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use xmpp_sm::{NS, SmId};

use crate::{CLIENT, STREAM, schema};

/// A name, one that means something or any other.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a>(pub &'a str);

impl<'a> Arbitrary<'a> for Name<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let known: Vec<&str> =
            schema::names().chain(["message", "presence", "iq", "sm", "text", "error", "conflict"]).collect();
        Ok(Self(match known.get(usize::from(u8::arbitrary(u)?)) {
            Some(name) => name,
            None => u.arbitrary()?,
        }))
    }
}

/// A namespace, most often the one that matters.
#[derive(Clone, Copy, Debug)]
pub struct Namespace<'a>(pub &'a str);

impl<'a> Arbitrary<'a> for Namespace<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self(match u8::arbitrary(u)? {
            0..224 => NS,
            224..240 => CLIENT,
            240..244 => STREAM,
            _ => u.arbitrary()?,
        }))
    }
}

/// A value, or one that is repeated until it is about as long as is allowed, which an input by itself hardly ever is.
#[derive(Clone, Debug)]
pub struct Value(pub String);

impl<'a> Arbitrary<'a> for Value {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let (around, piece): (Option<u8>, &str) = (u.arbitrary()?, u.arbitrary()?);
        let Some(around) = around else { return Ok(Self(piece.to_owned())) };
        let most = SmId::MAX_BYTES - 4 + usize::from(around % 8);
        let mut value = piece.repeat(most / piece.len().max(1) + 1);
        value.truncate(value.floor_char_boundary(most));
        Ok(Self(value))
    }
}
