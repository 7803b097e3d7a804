//! How a session comes to be without its stream.

use std::ops::ControlFlow::{self, Break};

use bytes::Bytes;
use xmpp_parsers::stream_error::DefinedCondition;
use xmpp_sm::Ending;

use super::stream::stream_error;
use super::takeover::TakeOver;
use super::xml::to_bytes;

/// Why a session is not connected any more.
pub enum Leave {
    /// The connection is gone.
    Lost,
    /// The client is back on another one.
    Taken(TakeOver),
    /// The session is over. There may be last words.
    Over { ending: Ending, error: Bytes },
}

pub type Flow = ControlFlow<Leave>;

/// With a stream error.
pub fn over(ending: Ending, condition: DefinedCondition, text: &str) -> Flow {
    let error = to_bytes(&stream_error(condition, text));
    Break(Leave::Over { ending, error })
}
