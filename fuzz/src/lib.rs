//! What the targets have in common: inputs that are made of the words of the protocol, the schema, said a
//! second time, and what must be true of all that is written.

pub mod schema;
pub mod words;
pub mod written;

/// The content namespace of the streams.
pub const CLIENT: &str = "jabber:client";

/// The namespace of the stream itself.
pub const STREAM: &str = "http://etherx.jabber.org/streams";
