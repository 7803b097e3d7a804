//! Who uses the client: what they have said, and what they are told.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use jid::Jid;
use xmpp_parsers::presence::Presence;

use super::lines::Line;
use super::{Options, message, xml};

pub struct User<'a> {
    partner: &'a Jid,
    tell: &'a (dyn Fn(String) + Sync),
    /// Our address, as the server has bound it.
    pub jid: String,
    /// What is to be sent, as soon as the session has room for it.
    pub outbox: VecDeque<Bytes>,
    pub is_reading: bool,
    /// Somebody else has the resource: it is the user's to take it again.
    pub is_away: bool,
    pub is_quitting: bool,
}

impl<'a> User<'a> {
    pub fn new(options: &'a Options, tell: &'a (dyn Fn(String) + Sync)) -> Self {
        let (partner, jid, outbox) = (&options.partner, String::new(), VecDeque::new());
        Self { partner, tell, jid, outbox, is_reading: true, is_away: false, is_quitting: false }
    }

    pub fn tell(&self, what: fmt::Arguments<'_>) {
        (self.tell)(what.to_string());
    }

    /// A new session knows nothing of us.
    pub fn on_online(&mut self) {
        self.tell(format_args!("online {}", self.jid));
        self.outbox.push_front(xml::to_bytes(&Presence::available().into()));
    }

    pub fn on_line(&mut self, line: Line) {
        match line {
            Line::Send { id, text } => self.outbox.push_back(message::write(self.partner, id, text)),
            Line::Stop => {
                self.is_reading = false;
                self.tell(format_args!("stopped"));
            }
            Line::Go => (self.is_reading, self.is_away) = (true, false),
            Line::Quit => self.is_quitting = true,
        }
    }
}
