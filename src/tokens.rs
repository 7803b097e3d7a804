//! Delivery tokens: a host is told of each stanza that it sends how far it has come, as by `tokio_xmpp::stanzastream`.
//!
//! The token is the host's: a channel, a callback, the number of a row. It travels in what the session keeps of the
//! [`Stanza`](crate::Stanza), and comes back with it. [`return_acknowledged`](crate::Session::return_acknowledged) is off by
//! default: without it an acknowledged stanza is dropped, and its token with it.
//!
//! | stage | what it means | where the host sees it |
//! | --- | --- | --- |
//! | queued | the stanza waits in the session: for a connection, or for room | [`send`](crate::Session::send) has taken it |
//! | sent | it is written. It may be so more than once: after a resumption, or in the session that follows a refused one | [`Write::Stanza`](crate::Write::Stanza) |
//! | acknowledged | the peer [has taken responsibility](https://xmpp.org/extensions/xep-0198.html#acking) for it, by an `<a/>`, or by the `h` of `<resumed/>` or `<failed/>` | [`Event::Acknowledged`](crate::Event::Acknowledged) |
//! | lost | the session is over, and the stanza was not acknowledged | [`Event::Ended`](crate::Event::Ended), in its [`stanzas`](crate::SessionEnded::stanzas); or `send` returns it |
//!
//! - **Acknowledged is not read.** The peer of a client is its server: the stanza has reached that, and no more. That the
//!   recipient has it is told by the recipient's client, if at all
//!   ([XEP-0184](https://xmpp.org/extensions/xep-0184.html)). It has nothing to do with a [`Receipt`](crate::Receipt), which is
//!   for a stanza that the host *gets*.
//! - **Lost is not "did not arrive".** The peer may have a stanza that was sent: the acknowledgement did not come in time. It
//!   does not have one that was never sent, which the token knows. [`Leftover::fate`](crate::Leftover::fate) tells the same of
//!   the session's last stream alone: what a client wrote in a session that was refused, and not again since, is `Unsent`.
//! - **A lost connection is not the end.** A client's session lives over all its connections, and no token is lost before the
//!   host [closes](crate::Session::close) it. A server's session ends when its client has not come back in time.
//! - **Sent may be all.** Without stream management, or with [`buffer`](crate::Config::buffer) off, a stanza is dropped once it
//!   is written; a stanza that was [evicted](crate::OnFull::EvictOldest) is dropped when it is acknowledged; one that another
//!   [replaces](crate::Stanza::replaces), at once. No event comes. A token that is a channel closes: this host
//!   knows then that there is nothing more to know.
//!
//! A client whose session keeps a sender, and whose user has the receiver:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use tokio::sync::watch;
//! use xmpp_sm::{Config, Event, Session, Stanza, Write};
//! # use xmpp_sm::{EndReason, Enabled, Nonza, Offer, SmId};
//!
//! #[derive(Clone, Copy, Debug, PartialEq)]
//! enum Stage {
//!     Queued,
//!     Sent,
//!     Acknowledged,
//!     Lost,
//! }
//!
//! type Token = watch::Receiver<Stage>;
//!
//! /// What the session keeps.
//! struct Tracked {
//!     wire: String,
//!     stage: watch::Sender<Stage>,
//! }
//!
//! impl Stanza for Tracked {
//!     fn bytes(&self) -> usize {
//!         self.wire.len()
//!     }
//! }
//!
//! struct Client {
//!     session: Session<Tracked, Vec<String>>,
//! }
//!
//! impl Client {
//!     fn new() -> Self {
//!         let mut session = Session::client(Arc::new(Config::default()), "romeo@example.net");
//!         session.return_acknowledged(true);
//!         Self { session }
//!     }
//!
//!     fn send(&mut self, stanza: &str, now: Instant) -> Token {
//!         let (stage, token) = watch::channel(Stage::Queued);
//!         if let Err(not) = self.session.send(Tracked { wire: stanza.to_owned(), stage }, now) {
//!             not.stanza.stage.send_replace(Stage::Lost); // it is too large, or too many wait, or the session is over
//!         }
//!         token
//!     }
//!
//!     /// In the client's loop: what is to be written.
//!     fn write(&mut self, now: Instant) {
//!         while let Some((connection, item)) = self.session.next_write(now) {
//!             match item {
//!                 Write::Stanza { stanza, .. } => {
//!                     connection.push(stanza.wire.clone());
//!                     stanza.stage.send_replace(Stage::Sent);
//!                 }
//!                 Write::Nonza(nonza) => connection.push(nonza.to_string()),
//!                 _ => {}
//!             }
//!         }
//!     }
//!
//!     /// In the client's loop: what has happened.
//!     fn poll(&mut self, now: Instant) {
//!         while let Some(event) = self.session.poll() {
//!             match event {
//!                 Event::Acknowledged(back) => drop(back.stanza.stage.send_replace(Stage::Acknowledged)),
//!                 Event::Ended(ended) => {
//!                     for left in ended.stanzas {
//!                         left.stanza.stage.send_replace(Stage::Lost);
//!                     }
//!                 }
//! #               Event::Bind(bind) => drop(self.session.bound(bind, now)),
//!                 _ => {} // as in the client's loop
//!             }
//!         }
//!     }
//! }
//!
//! # let now = Instant::now();
//! let mut client = Client::new();
//! let token = client.send("<message id='1'/>", now);
//! assert_eq!(*token.borrow(), Stage::Queued);
//!
//! // ... the client connects, and stream management is on ...
//! # client.session.connect("romeo@example.net", Offer { stream_management: true, binds: true }, Vec::new(), now)?;
//! # client.poll(now);
//! # client.write(now);
//! # let enabled = Enabled { id: Some(SmId::new("x")?), resume: true, max: None, location: None };
//! # let _ = client.session.handle(Nonza::Enabled(enabled).into(), now)?;
//! # client.poll(now);
//! client.write(now);
//! assert_eq!(*token.borrow(), Stage::Sent);
//!
//! // ... `<a h='1'/>` arrives ...
//! # let _ = client.session.handle(Nonza::Ack(1.into()).into(), now)?;
//! client.poll(now);
//! assert_eq!(*token.borrow(), Stage::Acknowledged);
//!
//! let mut token = client.send("<message id='2'/>", now);
//! client.write(now);
//! // ... the user closes the session, and the connection is lost before it is acknowledged ...
//! # client.session.close(EndReason::Closed, None, now);
//! # client.session.lost(now);
//! client.poll(now);
//! assert_eq!(*token.borrow_and_update(), Stage::Lost);
//! assert!(token.has_changed().is_err(), "there is nothing more to know");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`examples/typed`](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/typed) is such a client
//! on tokio, with stanzas that are [types](crate#features). A server does the same where it has to delete the row of an acknowledged stanza, or to tell its sender.
