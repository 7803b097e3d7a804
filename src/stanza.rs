//! What the crate keeps of a stanza.

use bytes::{Bytes, BytesMut};

/// What is kept of a stanza until it is acknowledged: its bytes, or whatever else the host can send again.
///
/// It must tell how many bytes it holds, quickly and always the same. Bytes and strings do, as does
/// [`Measured`]; a type of the host's own may carry what it wants to find again when a stanza comes back:
///
/// ```
/// use bytes::Bytes;
/// use xmpp_sm::Stanza;
///
/// struct Outgoing {
///     wire: Bytes,
///     rerouted: u8, // how often: a stanza that nobody gets must not go round without end, see `disposition`
/// }
///
/// impl Stanza for Outgoing {
///     fn bytes(&self) -> usize {
///         self.wire.len() + size_of::<Self>()
///     }
/// }
/// ```
pub trait Stanza {
    /// How much it counts against [`buffer_max_bytes`](crate::Config::buffer_max_bytes).
    fn bytes(&self) -> usize;

    /// Whether `older`, which waits in a [`Session`](crate::Session) and was never written, is of no use beside this
    /// one: an earlier presence of the same contact for the same recipient. Default: never.
    ///
    /// A stanza that is replaced is dropped. Say `true` only where the peer would be told the same without it.
    fn replaces(&self, older: &Self) -> bool {
        let _ = older;
        false
    }
}

macro_rules! stanza_by_len {
    ($($of:ty),*) => {$(
        impl Stanza for $of {
            fn bytes(&self) -> usize {
                self.len()
            }
        }
    )*};
}

stanza_by_len!(Bytes, BytesMut, Vec<u8>, String, Box<[u8]>, Box<str>, &[u8], &str);

impl<T: Stanza + ?Sized> Stanza for std::sync::Arc<T> {
    fn bytes(&self) -> usize {
        (**self).bytes()
    }

    fn replaces(&self, older: &Self) -> bool {
        (**self).replaces(older)
    }
}

impl Stanza for str {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Stanza for [u8] {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// Any value as a [`Stanza`], with the size that it had when it was measured: a `minidom::Element`, a
/// message with the host's own notes on it. With the feature `xso`, `Measured::of` measures a typed stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured<T> {
    /// The value itself.
    pub value: T,
    /// How many bytes it counts for.
    pub bytes: usize,
}

impl<T> Stanza for Measured<T> {
    fn bytes(&self) -> usize {
        self.bytes
    }
}
