//! What is on its way from one side of a connection to the other.

use std::collections::VecDeque;

use xmpp_sm::Nonza;

use super::bytes::Text;
use super::ledger::{Checked, Msg};
use super::setting::Carry;

/// An element of a stream, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    Stanza(Msg),
    Nonza(Nonza),
    /// A stream error. Nothing follows.
    Error,
    /// `</stream:stream>`.
    Close,
}

/// One direction of a connection.
pub struct Link {
    /// What has been parsed, or needs not be.
    ready: VecDeque<Wire>,
    text: Option<Box<Text>>,
}

impl Link {
    pub fn new(carry: Carry) -> Self {
        let text = match carry {
            Carry::Elements => None,
            Carry::Bytes => Some(Box::new(Text::new())),
        };
        Self { ready: VecDeque::new(), text }
    }

    pub fn write(&mut self, wire: Wire) {
        match &mut self.text {
            Some(text) => text.write(&wire),
            None => self.ready.push_back(wire),
        }
    }

    /// The next element that is there in full, if there is one.
    pub fn next(&mut self) -> Option<Wire> {
        self.ready.pop_front()
    }

    /// So many bytes arrive.
    pub fn arrive(&mut self, bytes: usize) -> Checked {
        match &mut self.text {
            Some(text) => text.arrive(bytes, &mut self.ready),
            None => Ok(()),
        }
    }

    /// How many bytes have not arrived.
    pub fn bytes(&self) -> usize {
        self.text.as_ref().map_or(0, |text| text.bytes())
    }

    pub fn ready(&self) -> &VecDeque<Wire> {
        &self.ready
    }

    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.bytes() == 0
    }

    /// The reader is gone.
    pub fn clear(&mut self) {
        self.ready.clear();
        if let Some(text) = &mut self.text {
            **text = Text::new();
        }
    }
}
