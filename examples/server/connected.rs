//! A session with a stream: one loop that never waits for one thing alone.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use minidom::Element;
use tokio::time::sleep_until;
use xmpp_parsers::ns;
use xmpp_parsers::stream_error::DefinedCondition;
use xmpp_sm::{Action, Answer, Disconnected, EnableRequest, Ending, Inbound, Nonza, SmId, StreamMgmt};

use super::detached;
use super::router::{Delivery, Mail};
use super::session::Session;
use super::stream::{Connection, stream_error};
use super::takeover::TakeOver;
use super::xml::{Incoming, ReadError, to_bytes};

/// Stanzas of a client that may be on their way at once; more are not read until some have come to rest.
const MAX_OPEN: usize = 1000;
/// Bytes that may wait for a client where stream management does not bound them.
const MAX_PENDING: usize = 64 * 1024 * 1024;

pub struct Connected {
    pub session: Session,
    pub sm: StreamMgmt<Bytes>,
    pub connection: Connection,
}

/// Why a session is not connected any more.
enum Leave {
    /// The connection is gone.
    Lost,
    /// The client is back on another one.
    Taken(TakeOver),
    /// The session is over. There may be last words, and a stanza that did not fit.
    Over { ending: Ending, error: Bytes, more: Option<Element> },
}

type Flow = ControlFlow<Leave>;

impl Connected {
    /// Owns the session until it is over or has moved on.
    pub async fn run(mut self) {
        let leave = self.serve().await;
        let Self { mut session, mut sm, mut connection } = self;
        let taker = match leave {
            Leave::Lost => {
                // The session may wait for long. The socket does not: a client that is still there learns from its
                // end that it has to come back.
                drop(connection);
                None
            }
            Leave::Taken(taker) => {
                connection.outbox.push(&to_bytes(&stream_error(DefinedCondition::Conflict, "resumed elsewhere")));
                tokio::spawn(async move { connection.close().await });
                Some(taker)
            }
            Leave::Over { ending, error, more } => {
                settle(&mut session, &mut sm).await;
                if let Some(ack) = sm.finish().filter(|_| ending == Ending::Closed) {
                    session.server.send(session.jid.as_str(), &mut connection, &ack);
                }
                connection.outbox.push(&error);
                session.end(sm.end(ending), more);
                return connection.close().await;
            }
        };
        if !sm.is_resumable() {
            settle(&mut session, &mut sm).await;
        }
        match sm.disconnect(Instant::now()) {
            Disconnected::Resumable(detached) => detached::run(session, detached, taker).await,
            Disconnected::Ended(ended) => session.end(ended, None),
        }
    }

    async fn serve(&mut self) -> Leave {
        let mut stopping = self.session.server.stopping.clone();
        loop {
            let timeout = [self.sm.poll_timeout(), self.connection.outbox.deadline()].into_iter().flatten().min();
            let due = async { sleep_until(timeout.unwrap_or_else(Instant::now).into()).await };
            let flow = tokio::select! {
                read = self.connection.reader.next(), if self.session.open() < MAX_OPEN => self.read(read),
                mail = self.session.next_mail() => self.mail(mail),
                written = self.connection.outbox.drive(), if !self.connection.outbox.is_empty() => match written {
                    Ok(()) => Continue(()),
                    Err(_) => Break(Leave::Lost),
                },
                () = due, if timeout.is_some() => self.timeout(),
                () = stopping.wait() => {
                    over(Ending::Stopped, DefinedCondition::SystemShutdown, "goodbye")
                }
            };
            if let Break(leave) = flow {
                return leave;
            }
        }
    }

    fn read(&mut self, read: Result<Incoming, ReadError>) -> Flow {
        match read {
            Ok(Incoming::Element(element)) => self.element(element),
            Ok(Incoming::Footer) => Break(Leave::Over { ending: Ending::Closed, error: Bytes::new(), more: None }),
            Ok(Incoming::Header) => over(Ending::PeerFault, DefinedCondition::BadFormat, "a second header"),
            Err(ReadError::Gone(_)) => Break(Leave::Lost),
            Err(ReadError::NotWellFormed(why)) => over(Ending::PeerFault, DefinedCondition::NotWellFormed, &why),
            Err(ReadError::TooBig) => over(Ending::PeerFault, DefinedCondition::PolicyViolation, "too big"),
        }
    }

    fn element(&mut self, element: Element) -> Flow {
        let inbound = Inbound::from_element(&element, ns::JABBER_CLIENT);
        if let Inbound::Nonza(nonza) = &inbound {
            self.session.server.trace(self.session.jid.as_str(), true, nonza);
        }
        match self.sm.handle(inbound, Instant::now()) {
            Ok(Action::Deliver(receipt)) => self.session.route(element, receipt),
            Ok(Action::Send(nonza)) => self.send(&nonza),
            Ok(Action::Enable(request)) => self.enable(request),
            Ok(Action::Other) if element.is("error", ns::STREAM) => {
                return Break(Leave::Over { ending: Ending::PeerFault, error: Bytes::new(), more: None });
            }
            Ok(Action::Other) => {
                let what = element.name();
                return over(Ending::PeerFault, DefinedCondition::UnsupportedStanzaType, what);
            }
            Ok(_) => {} // acknowledgements, and what only clients are told
            Err(error) => return self.answer(error.answer(), None),
        }
        Continue(())
    }

    fn enable(&mut self, request: EnableRequest) {
        let smid = request.is_resumable().then(|| SmId::random().ok()).flatten();
        let smid = smid.filter(|smid| self.session.register(smid));
        if let Ok(enabled) = self.sm.accept_enable(request, smid) {
            self.connection.outbox.seal();
            self.send(&enabled);
            self.connection.outbox.seal();
        }
    }

    fn mail(&mut self, mail: Mail) -> Flow {
        match mail {
            Mail::Deliver(delivery) => self.deliver(delivery),
            Mail::Handled(receipt) => {
                let receipt = self.session.rested(receipt);
                if let Ok(Some(ack)) = self.sm.record_handled(receipt) {
                    self.send(&ack);
                }
                Continue(())
            }
            Mail::TakeOver(taker) => match self.sm.check_resume(taker.h()) {
                Ok(()) => Break(Leave::Taken(taker)),
                Err(refusal) => {
                    taker.refuse(refusal);
                    Continue(())
                }
            },
            Mail::Replaced => over(Ending::Replaced, DefinedCondition::Conflict, "the resource was bound again"),
        }
    }

    fn deliver(&mut self, delivery: Delivery) -> Flow {
        let stanza = to_bytes(delivery.stanza());
        let sent = match self.sm.record_sent(stanza.clone(), Instant::now()) {
            Ok(sent) => sent,
            Err(not) => return self.answer(not.answer(), Some(delivery.rest())),
        };
        delivery.rest();
        self.connection.outbox.push(&stanza);
        if let Some(request) = sent.request {
            self.send(&request);
        }
        // What was evicted was written. Without stream management it would have been forgotten then, and a session
        // that is not to be resumed is as good as without.
        drop(sent.evicted);
        if !self.sm.is_resumable() && self.connection.outbox.pending() > MAX_PENDING {
            return over(Ending::BufferFull, DefinedCondition::ResourceConstraint, "too much is not read");
        }
        Continue(())
    }

    fn timeout(&mut self) -> Flow {
        let now = Instant::now();
        if self.connection.outbox.deadline().is_some_and(|deadline| deadline <= now) {
            return Break(Leave::Lost);
        }
        match self.sm.handle_timeout(now) {
            Ok(Some(nonza)) => self.send(&nonza),
            Ok(None) => {}
            Err(error) => return self.answer(error.answer(), None),
        }
        Continue(())
    }

    fn answer(&mut self, answer: Answer, more: Option<Element>) -> Flow {
        match answer {
            Answer::Nothing | Answer::Later => Continue(()),
            Answer::Reply(nonza) => {
                self.send(&nonza);
                Continue(())
            }
            Answer::End(end) => {
                let mut error = BytesMut::new();
                end.write_to(&mut error);
                Break(Leave::Over { ending: end.ending, error: error.freeze(), more })
            }
            Answer::Detach => Break(Leave::Lost),
        }
    }

    fn send(&mut self, nonza: &Nonza) {
        self.session.server.send(self.session.jid.as_str(), &mut self.connection, nonza);
    }
}

/// Before a session is over: how many stanzas were handled is final then.
async fn settle(session: &mut Session, sm: &mut StreamMgmt<Bytes>) {
    for receipt in session.settle().await {
        let _ = sm.record_handled(receipt);
    }
    while let Some(open) = sm.oldest_open() {
        let _ = sm.give_up(open.number);
    }
}

fn over(ending: Ending, condition: DefinedCondition, text: &str) -> Flow {
    let error = to_bytes(&stream_error(condition, text));
    Break(Leave::Over { ending, error, more: None })
}
