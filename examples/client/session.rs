//! The session: what the crate is told, and what it tells.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep_until, timeout};
use xmpp_parsers::ns;
use xmpp_parsers::presence::Presence;
use xmpp_sm::{Action, Config, Counter, Detached, Disconnected, End, Ended, Inbound, Nonza, Resend, StreamMgmt};

use crate::Options;
use crate::elements::{answer, hear, message, take, write};
use crate::lines::{Line, print};
use crate::login;
use crate::stream::{Connection, LINGER};
use crate::xml::{self, Incoming};

pub struct Client {
    options: Options,
    config: Arc<Config>,
    lines: UnboundedReceiver<Line>,
    /// The session, while it has no stream.
    detached: Option<Detached<Bytes>>,
    /// What a session that is over did not bring to the server: the next one sends it.
    again: Vec<Bytes>,
    /// How much the server had acknowledged when it last left an `<r/>` unanswered.
    silent_at: Option<Counter>,
    reading: bool,
}

/// Why a connection is over.
pub enum Over {
    Quit,
    Lost(String),
}

/// Why a stream is over.
pub enum Stop {
    Quit,
    /// The connection is lost; the session may go on.
    Lost(String),
    /// The server leaves an `<r/>` unanswered.
    Silent,
    /// The server cannot be talked to: these are the last words, and the session ends.
    End(End),
}

impl<E: std::error::Error> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Lost(error.to_string())
    }
}

impl Client {
    pub fn new(options: Options, lines: UnboundedReceiver<Line>) -> Self {
        let config = Config::default()
            .resume_timeout(Some(Duration::from_secs(options.max)))
            .ack_timeout(Some(Duration::from_secs(options.ack_timeout)));
        let (config, again) = (Arc::new(config), Vec::new());
        Self { options, config, lines, detached: None, again, silent_at: None, reading: true }
    }

    /// One connection, from its start to its end.
    pub async fn connection(&mut self) -> Over {
        let mut connection = match login::log_in(&self.options).await {
            Ok(connection) => connection,
            Err(why) => return Over::Lost(why.to_string()),
        };
        // From here on the session is in `sm`, and leaves it whole: by `disconnect` or `end`.
        let (mut sm, resume) = match self.detached.take() {
            Some(session) => match StreamMgmt::resume(self.config.clone(), session) {
                Ok((sm, resume)) => (sm, Some(resume)),
                // Here a stanza is handled as soon as it is delivered: no receipt is open, and this does not happen.
                Err(open) => {
                    self.detached = Some(open.session);
                    return Over::Lost("stanzas are still being handled".to_owned());
                }
            },
            None => (StreamMgmt::client(self.config.clone()), None),
        };
        match self.stream(&mut connection, &mut sm, resume).await {
            Stop::Quit => {
                self.close(connection, sm).await;
                Over::Quit
            }
            Stop::Lost(why) => {
                self.keep(sm.disconnect(Instant::now()));
                Over::Lost(why)
            }
            Stop::Silent => {
                // The first time the connection may be dead. The second time, with nothing acknowledged since, it may
                // as well be the server's session: to resume it again could go on for ever.
                if self.silent_at.replace(sm.acked()) == Some(sm.acked()) {
                    self.close(connection, sm).await;
                } else {
                    self.keep(sm.disconnect(Instant::now()));
                }
                Over::Lost("the server does not answer".to_owned())
            }
            Stop::End(end) => {
                let mut words = BytesMut::new();
                end.write_to(&mut words);
                connection.outbox.push(&words);
                connection.close().await;
                self.send_again(sm.end(end.ending));
                Over::Lost(format!("{:?}", end.ending))
            }
        }
    }

    /// The stream is closed in good order, and the session ends with it.
    async fn close(&mut self, mut connection: Connection, mut sm: StreamMgmt<Bytes>) {
        write(&mut connection, sm.finish());
        connection.outbox.push(b"</stream:stream>");
        let farewell = async {
            connection.outbox.drain().await?;
            while let Ok(element) = connection.next_element().await {
                // What the server has acknowledged by its own end is not sent again. A stanza comes too late: our last
                // acknowledgement leaves it out.
                if let ack @ Inbound::Nonza(Nonza::Ack(_)) = Inbound::from_element(&element, ns::JABBER_CLIENT) {
                    let _ = sm.handle(ack, Instant::now());
                }
            }
            Ok::<(), io::Error>(())
        };
        let _ = timeout(LINGER, farewell).await;
        self.keep(sm.disconnect(Instant::now()));
    }

    fn keep(&mut self, disconnected: Disconnected<Bytes>) {
        match disconnected {
            Disconnected::Resumable(session) => self.detached = Some(session),
            Disconnected::Ended(ended) => self.send_again(ended),
        }
    }

    /// What the server has not acknowledged was not handled, as far as anybody can know: it comes first.
    fn send_again(&mut self, ended: Ended<Bytes>) {
        self.again.splice(0..0, ended.unacked.map(|returned| returned.stanza));
    }

    async fn stream(&mut self, connection: &mut Connection, sm: &mut StreamMgmt<Bytes>, resume: Option<Nonza>) -> Stop {
        let negotiated = match resume {
            Some(resume) => self.resume(connection, sm, resume).await,
            None => self.begin(connection, sm).await,
        };
        match negotiated {
            Ok(()) => self.talk(connection, sm).await.err().unwrap_or(Stop::Quit),
            Err(stop) => stop,
        }
    }

    /// A new session: on a new stream, or where the old one was refused.
    async fn begin(&mut self, connection: &mut Connection, sm: &mut StreamMgmt<Bytes>) -> Result<(), Stop> {
        sm.authenticated();
        let jid = login::bind(connection, &self.options.jid).await?;
        sm.bound();
        let enable = sm.enable()?;
        write(connection, Some(enable));
        connection.outbox.drain().await?;
        loop {
            let element = connection.next_element().await?;
            match sm.handle(Inbound::from_element(&element, ns::JABBER_CLIENT), Instant::now()) {
                Ok(Action::Enabled(_)) => break,
                Ok(Action::Failed(_, ended)) => {
                    // The stream works on without stream management.
                    self.send_again(ended);
                    break;
                }
                // A stanza that comes before the answer is a stanza, and not counted.
                Ok(_) => take(&element),
                Err(error) => answer(connection, error.answer())?,
            }
        }
        print("online", &jid);
        self.silent_at = None;
        self.say(connection, sm, xml::to_bytes(&Presence::available().into()))?;
        let mut again = std::mem::take(&mut self.again).into_iter();
        while let Some(stanza) = again.next() {
            if let Err(stop) = self.say(connection, sm, stanza) {
                self.again.extend(again);
                return Err(stop);
            }
        }
        Ok(())
    }

    async fn resume(
        &mut self,
        connection: &mut Connection,
        sm: &mut StreamMgmt<Bytes>,
        resume: Nonza,
    ) -> Result<(), Stop> {
        write(connection, Some(resume));
        connection.outbox.drain().await?;
        loop {
            let element = connection.next_element().await?;
            match sm.handle(Inbound::from_element(&element, ns::JABBER_CLIENT), Instant::now()) {
                Ok(Action::Resumed(Resend { unacked, request })) => {
                    // These are counted already: they do not go through `record_sent` again.
                    unacked.for_each(|sent| connection.outbox.push(sent.stanza));
                    write(connection, request.then_some(Nonza::Request));
                    print("resumed", &"");
                    return Ok(());
                }
                Ok(Action::Failed(failed, ended)) => {
                    // What the h of <failed/> covers has arrived, and is not among what comes back.
                    print("failed", &failed.h.map_or("-".to_owned(), |h| h.get().to_string()));
                    self.send_again(ended);
                    return self.begin(connection, sm).await;
                }
                Ok(_) => {}
                Err(error) => answer(connection, error.answer())?,
            }
        }
    }

    /// The life of the stream.
    async fn talk(&mut self, connection: &mut Connection, sm: &mut StreamMgmt<Bytes>) -> Result<(), Stop> {
        let mut kept = None;
        loop {
            if sm.can_receive()
                && let Some(element) = kept.take()
            {
                kept = hear(connection, sm, element)?;
            }
            let timeout = sm.poll_timeout();
            let due = async { sleep_until(timeout.unwrap_or_else(Instant::now).into()).await };
            tokio::select! {
                incoming = connection.reader.next(), if self.reading && kept.is_none() && sm.can_receive() => match incoming? {
                    Incoming::Element(element) => kept = hear(connection, sm, element)?,
                    Incoming::Nonza(nonza) => kept = hear(connection, sm, nonza.to_element())?,
                    Incoming::Header | Incoming::Footer => {
                        return Err(Stop::Lost("the server closes the stream".to_owned()));
                    }
                },
                written = connection.outbox.drive(), if !connection.outbox.is_empty() => written?,
                // While there is no stream they wait.
                line = self.lines.recv() => match line {
                    Some(Line::Send { id, text }) => {
                        let message = message(&self.options.partner, id, text);
                        self.say(connection, sm, xml::to_bytes(&message))?;
                    }
                    Some(Line::Stop) => {
                        self.reading = false;
                        print("stopped", &"");
                    }
                    Some(Line::Go) => self.reading = true,
                    Some(Line::Quit) | None => return Ok(()),
                },
                () = due, if timeout.is_some() => match sm.handle_timeout(Instant::now()) {
                    Ok(request) => write(connection, request),
                    Err(error) => answer(connection, error.answer())?,
                },
            }
        }
    }

    /// Every stanza is recorded before it is written.
    fn say(&mut self, connection: &mut Connection, sm: &mut StreamMgmt<Bytes>, stanza: Bytes) -> Result<(), Stop> {
        match sm.record_sent(stanza.clone(), Instant::now()) {
            Ok(sent) => {
                connection.outbox.push(&stanza);
                write(connection, sent.request.then_some(Nonza::Request));
                Ok(())
            }
            Err(no) => {
                let stop = answer(connection, no.answer());
                self.again.push(no.stanza);
                stop
            }
        }
    }
}
