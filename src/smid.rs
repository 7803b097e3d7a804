//! The SM-ID: the secret name of a session.

use std::fmt;
use std::hash::{Hash, Hasher};

use rand::TryRng;
use rand::rngs::SysRng;
use thiserror::Error;

/// The identifier of a stream-management session: the `id` of `<enabled/>`, the `previd` of `<resume/>`.
///
/// It is [opaque to the client](https://xmpp.org/extensions/xep-0198.html#resumption), holds 1 to
/// [`MAX_BYTES`](SmId::MAX_BYTES) bytes and is a secret: `Debug` does not show it and there is no
/// `Display`. Up to 22 bytes, which is what [`random`](SmId::random) makes, are kept without an allocation.
///
/// ```
/// use xmpp_sm::SmId;
///
/// let smid = SmId::random()?;
/// assert_eq!(smid.as_str().len(), 22);
/// assert_eq!(format!("{smid:?}"), "SmId(..)");
/// # Ok::<(), xmpp_sm::RandomError>(())
/// ```
#[derive(Clone)]
pub struct SmId(Text);

#[derive(Clone)]
enum Text {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<str>),
}

const INLINE: usize = 22;

impl SmId {
    /// The longest SM-ID that is written or accepted: the XEP's own
    /// [limit](https://xmpp.org/extensions/xep-0198.html#resumption).
    pub const MAX_BYTES: usize = 4000;

    /// A new SM-ID of 128 random bits from the operating system.
    ///
    /// # Errors
    ///
    /// [`RandomError`] if the operating system has no randomness to give.
    pub fn random() -> Result<Self, RandomError> {
        let mut bits = [0; 16];
        SysRng.try_fill_bytes(&mut bits).map_err(|_| RandomError)?;
        Ok(Self::from_random(bits))
    }

    /// A new SM-ID from 128 bits of the caller's own cryptographic generator, as 22 characters of
    /// URL-safe base64.
    pub fn from_random(bits: [u8; 16]) -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut rest = u128::from_be_bytes(bits);
        let bytes = std::array::from_fn(|_| {
            // Six bits at a time from the top; the last character carries the two that are left.
            let top = rest >> 122;
            rest <<= 6;
            usize::try_from(top).ok().and_then(|i| ALPHABET.get(i)).copied().unwrap_or(b'A')
        });
        Self(Text::Inline { len: 22, bytes })
    }

    /// An SM-ID of the host's own making, or one that was kept somewhere. A peer that knows it can ask for
    /// the session: it must not be guessable.
    ///
    /// # Errors
    ///
    /// [`InvalidText`] if it is empty, longer than [`MAX_BYTES`](Self::MAX_BYTES), or holds a character
    /// that XML cannot carry.
    pub fn new(text: &str) -> Result<Self, InvalidText> {
        check_text(text)?;
        let mut bytes = [0; INLINE];
        Ok(Self(match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(text.as_bytes());
                Text::Inline { len, bytes }
            }
            _ => Text::Heap(text.into()),
        }))
    }

    /// The text of the attribute, unescaped.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The same, without a look at what it means: what tables compare and hash.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Heap(text) => text.as_bytes(),
            Text::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
        }
    }
}

/// The text of an attribute that XML can carry and that is neither empty nor boundless.
pub(crate) fn check_text(text: &str) -> Result<(), InvalidText> {
    if text.is_empty() {
        return Err(InvalidText::Empty);
    }
    if text.len() > SmId::MAX_BYTES {
        return Err(InvalidText::TooLong);
    }
    // Seldom is there anything but ASCII.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    // https://www.w3.org/TR/xml/#charsets
    let legal = |c: char| !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    if text.chars().all(legal) { Ok(()) } else { Err(InvalidText::NotXml) }
}

/// Why a text cannot be an [`SmId`] or a [`Location`](crate::Location).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidText {
    /// There is nothing in it.
    #[error("the text is empty")]
    Empty,
    /// It is longer than [`SmId::MAX_BYTES`].
    #[error("the text is longer than {} bytes", SmId::MAX_BYTES)]
    TooLong,
    /// A character of it is not allowed in XML.
    #[error("a character is not allowed in XML")]
    NotXml,
}

/// The operating system gave no random bytes.
///
/// Returned by [`SmId::random`](crate::SmId::random).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomError;

impl PartialEq for SmId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for SmId {}

impl Hash for SmId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for SmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmId(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_from_1_to_4000_bytes_survives() {
        for len in [1, 21, 22, 23, 255, 256, 4000] {
            let text = "x".repeat(len);
            assert_eq!(SmId::new(&text).unwrap().as_str(), text);
        }
        assert_eq!(SmId::new(""), Err(InvalidText::Empty));
        assert_eq!(SmId::new(&"x".repeat(4001)), Err(InvalidText::TooLong));
        assert_eq!(SmId::new("a\0b"), Err(InvalidText::NotXml));
        assert_eq!(SmId::new("ßé日本'\"<&\t\n").unwrap().as_str(), "ßé日本'\"<&\t\n");
    }

    /// Clients choose what is looked up: hashes that leave bytes out could be made to collide.
    #[test]
    fn every_byte_of_an_id_counts_for_its_hash() {
        use std::hash::{BuildHasher, RandomState};
        let hash = RandomState::new();
        for len in [4, 22, 23, 500] {
            let all_x = SmId::new(&"x".repeat(len)).unwrap();
            for at in 0..len {
                let one_y = format!("{}y{}", "x".repeat(at), "x".repeat(len - at - 1));
                assert_ne!(hash.hash_one(SmId::new(&one_y).unwrap()), hash.hash_one(&all_x), "byte {at} of {len}");
            }
        }
    }

    #[test]
    fn random_ids_are_base64url_of_all_128_bits() {
        assert_eq!(SmId::from_random([0; 16]).as_str(), "A".repeat(22));
        // The same as any base64url encoder makes of these bytes, without padding.
        let bits = [0xfb, 0xff, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0xff];
        assert_eq!(SmId::from_random(bits).as_str(), "-_8AAQIDBAUGBwgJCgsM_w");
        assert_ne!(SmId::random().unwrap(), SmId::random().unwrap());
    }

    #[test]
    fn equality_and_hash_follow_the_text_not_its_place() {
        use std::collections::HashSet;
        use std::hash::BuildHasher;
        let smid = |text: &str| SmId::new(text).unwrap();
        let set: HashSet<SmId> = [smid("abc"), smid(&"y".repeat(30))].into();
        assert!(set.contains(&smid("abc")) && set.contains(&smid(&"y".repeat(30))));
        assert!(!set.contains(&smid("abcd")) && !set.contains(&smid("ab")));
        // Or every look into a table would go through all of it.
        let hash = |text: &str| set.hasher().hash_one(smid(text));
        assert_ne!(hash("abc"), hash("abd"));
    }

    #[test]
    fn debug_keeps_the_secret() {
        assert_eq!(format!("{:?}", SmId::new("secret").unwrap()), "SmId(..)");
    }

    #[test]
    fn stays_small() {
        assert_eq!(size_of::<SmId>(), 24);
        assert_eq!(size_of::<Option<SmId>>(), 24);
    }
}
