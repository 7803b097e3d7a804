//! A session with a stream: one loop that never waits for one thing alone.

use std::ops::ControlFlow::{Break, Continue};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use minidom::Element;
use tokio::time::sleep_until;
use xmpp_parsers::ns;
use xmpp_parsers::stream_error::DefinedCondition;
use xmpp_sm::{
    Action, Answer, Condition, Counter, Disconnected, EnableRequest, Ending, Inbound, Nonza, Refusal, SmId, StreamMgmt,
};

use super::detached;
use super::leave::{Flow, Leave, over};
use super::options::MAX_OPEN;
use super::router::Mail;
use super::session::Session;
use super::stream::{Connection, stream_error};
use super::xml::{Incoming, ReadError, to_bytes};

/// Bytes of answers that may wait for a client; it is not listened to until it has taken some.
const MAX_ANSWERS: usize = 1024 * 1024;

pub struct Connected {
    pub session: Session,
    pub sm: StreamMgmt<Bytes>,
    pub connection: Connection,
    /// An element that `sm` did not take yet. No other is read before.
    kept: Option<Element>,
    /// How much had been sent when an acknowledgement was asked for, for the backlog's sake.
    pub(super) asked: Option<Counter>,
}

impl Connected {
    pub fn new(session: Session, sm: StreamMgmt<Bytes>, connection: Connection) -> Self {
        Self { session, sm, connection, kept: None, asked: None }
    }

    /// Owns the session until it is over or has moved on.
    pub async fn run(mut self) {
        let leave = self.serve().await;
        let Self { mut session, mut sm, mut connection, .. } = self;
        let taker = match leave {
            Leave::Lost => {
                // The session may wait for long. The socket does not: a client that is still there learns from its
                // end that it has to come back.
                drop(connection);
                None
            }
            Leave::Taken(taker) => {
                // The new connection brings it.
                connection.outbox.withdraw();
                connection.outbox.push(&to_bytes(&stream_error(DefinedCondition::Conflict, "resumed elsewhere")));
                tokio::spawn(async move { connection.close().await });
                Some(taker)
            }
            Leave::Over { ending, error } => {
                settle(&mut session, &mut sm).await;
                if let Some(ack) = sm.finish().filter(|_| ending == Ending::Closed) {
                    session.server.send(session.jid.as_str(), &mut connection, &ack);
                }
                connection.outbox.push(&error);
                session.end(sm.end(ending));
                return connection.close().await;
            }
        };
        if !sm.is_resumable() {
            settle(&mut session, &mut sm).await;
        }
        match sm.disconnect(Instant::now()) {
            Disconnected::Resumable(detached) => detached::run(session, detached, taker).await,
            Disconnected::Ended(ended) => session.end(ended),
        }
    }

    async fn serve(&mut self) -> Leave {
        let mut stopping = self.session.server.stopping.clone();
        loop {
            if let Break(leave) = self.catch_up() {
                return leave;
            }
            let timeout = [self.sm.poll_timeout(), self.connection.outbox.deadline()].into_iter().flatten().min();
            let due = async { sleep_until(timeout.unwrap_or_else(Instant::now).into()).await };
            let flow = tokio::select! {
                read = self.connection.reader.next(), if self.is_listening() => self.read(read),
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

    /// Does what could not be done before.
    fn catch_up(&mut self) -> Flow {
        if self.sm.can_receive()
            && let Some(element) = self.kept.take()
        {
            self.element(element)?;
        }
        self.feed()
    }

    /// Whether the next element may come. Stanzas do not stop a client's acknowledgements from being read: of them
    /// no more are pending than are in the buffer, which is twice its size at most.
    fn is_listening(&self) -> bool {
        let pending = self.session.server.buffer_max_bytes.saturating_mul(2).saturating_add(MAX_ANSWERS);
        self.kept.is_none()
            && self.sm.can_receive()
            && self.session.open() < MAX_OPEN as usize
            && self.connection.outbox.pending() < pending
    }

    fn read(&mut self, read: Result<Incoming, ReadError>) -> Flow {
        match read {
            Ok(Incoming::Element(element)) => self.element(element),
            Ok(Incoming::Nonza(nonza)) => self.nonza(nonza),
            Ok(Incoming::Footer) => Break(Leave::Over { ending: Ending::Closed, error: Bytes::new() }),
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
                return Break(Leave::Over { ending: Ending::PeerFault, error: Bytes::new() });
            }
            Ok(Action::Other) => {
                let what = element.name();
                return over(Ending::PeerFault, DefinedCondition::UnsupportedStanzaType, what);
            }
            Ok(Action::Acked(acked)) => self.session.acknowledged(acked.h, self.sm.sent()),
            // It comes before a resource is bound.
            Ok(Action::Resume(request)) => {
                let refusal = Refusal::Because(Condition::UnexpectedRequest);
                if let Ok(failed) = self.sm.refuse_resume(request, refusal) {
                    self.send(&failed);
                }
            }
            Ok(Action::Enabled(_) | Action::Resumed(_) | Action::Failed(..)) => {} // only clients are told
            Err(error) => match error.answer() {
                Answer::Later => self.kept = Some(element),
                answer => return self.answer(answer),
            },
        }
        Continue(())
    }

    /// `<r/>` or `<a/>`. No other element comes as often.
    fn nonza(&mut self, nonza: Nonza) -> Flow {
        self.session.server.trace(self.session.jid.as_str(), true, &nonza);
        match self.sm.handle(Inbound::Nonza(nonza.clone()), Instant::now()) {
            Ok(Action::Send(ack)) => self.send(&ack),
            Ok(Action::Acked(acked)) => self.session.acknowledged(acked.h, self.sm.sent()),
            Ok(_) => {}
            Err(error) => match error.answer() {
                Answer::Later => self.kept = Some(nonza.to_element()),
                answer => return self.answer(answer),
            },
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
            Mail::Late(delivery) => self.put_off(delivery),
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

    fn timeout(&mut self) -> Flow {
        let now = Instant::now();
        if self.connection.outbox.deadline().is_some_and(|deadline| deadline <= now) {
            return Break(Leave::Lost);
        }
        match self.sm.handle_timeout(now) {
            Ok(Some(nonza)) => self.send(&nonza),
            Ok(None) => {}
            Err(error) => return self.answer(error.answer()),
        }
        Continue(())
    }

    pub(super) fn answer(&mut self, answer: Answer) -> Flow {
        match answer {
            Answer::Nothing | Answer::Later => Continue(()),
            Answer::Reply(nonza) => {
                self.send(&nonza);
                Continue(())
            }
            Answer::End(end) => {
                let mut error = BytesMut::new();
                end.write_to(&mut error);
                Break(Leave::Over { ending: end.ending, error: error.freeze() })
            }
            Answer::Detach => Break(Leave::Lost),
        }
    }

    pub(super) fn send(&mut self, nonza: &Nonza) {
        self.session.server.send(self.session.jid.as_str(), &mut self.connection, nonza);
    }
}

/// Before a session is over: how many stanzas were handled is final then.
async fn settle(session: &mut Session, sm: &mut StreamMgmt<Bytes>) {
    for receipt in session.settle().await {
        let _ = sm.record_handled(receipt);
    }
    let _ = sm.give_up_all();
}
