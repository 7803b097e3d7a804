//! Stanzas as bytes.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

/// A stanza that can be written down. Bytes and strings can; a type of the host's own writes what it wants to find
/// again.
///
/// See the [example](crate::snapshot#example) of the module.
pub trait Portable: Sized {
    /// Returns the stanza as bytes.
    fn to_bytes(&self) -> Cow<'_, [u8]>;

    /// Returns the stanza that these bytes are. `None`: they are none.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! portable {
    ($($of:ty: $read:expr;)*) => {$(
        impl Portable for $of {
            fn to_bytes(&self) -> Cow<'_, [u8]> {
                Cow::Borrowed(self.as_ref())
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                $read(bytes)
            }
        }
    )*};
}

portable! {
    Bytes: |bytes| Some(Bytes::copy_from_slice(bytes));
    Vec<u8>: |bytes: &[u8]| Some(bytes.into());
    Box<[u8]>: |bytes: &[u8]| Some(bytes.into());
    String: |bytes| std::str::from_utf8(bytes).ok().map(Into::into);
}

impl<T: Portable> Portable for Arc<T> {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        (**self).to_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        T::from_bytes(bytes).map(Self::new)
    }
}
