//! What a module of Prosody needs of `xmpp_sm`, for Lua: each stream of a client, from authentication to its end, is one
//! value. Each call returns what to do next, in order, and after how many seconds to call `timeout`.
//!
//! Nothing here calls Lua, so no call comes from inside of another; and all that is wrong is an error of Lua's.

mod calls;
mod options;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mlua::prelude::*;
use xmpp_sm::{
    Config, Early, EnableRequest, EndReason, Event, Inbound, Lookup, MemoryStore, Nonza, Parting, Refusal, Refused,
    Registered, Registration, Session, SessionEnded, SessionStore, SmId, Taker, Unbound, Write, delay,
};

/// What may wait in Prosody's own buffer. The rest waits in the session, where it is bounded.
const ROOM: usize = 64 << 10;

/// The streams of one virtual host.
struct Host {
    config: Arc<Config>,
    store: MemoryStore<u64>,
    /// An `<r/>` that is unanswered for so long is told.
    ack_delay: Option<Duration>,
    streams: RefCell<HashMap<u64, Weak<RefCell<Stream>>>>,
    next_id: Cell<u64>,
}

/// One client's stream, and the session that it becomes. The connection is Prosody's, which knows which one it is.
struct Stream {
    host: Rc<Host>,
    id: u64,
    state: State,
    registration: Option<Registration>,
    /// Prosody ends the stream, in words of its own.
    is_closed: bool,
    /// How much was written since Prosody's buffer was empty.
    buffered: usize,
    /// Since when an `<r/>` is unanswered.
    asked: Option<Instant>,
    /// Whether Lua was told that it is so for long.
    is_delayed: bool,
    /// What Lua waits for.
    alarm: Option<Instant>,
    refused: Option<Refused<()>>,
}

enum State {
    Unbound(Unbound),
    Session(Box<Session<Bytes, ()>>),
    Over,
}

struct LuaHost(Rc<Host>);
#[derive(Clone)]
struct LuaStream(Rc<RefCell<Stream>>);

/// What Lua does, in order: a string is written, `true` stands for the stanza in hand, and a table is the name of a
/// function of the module with what it needs.
struct Steps<'a> {
    lua: &'a Lua,
    list: Vec<LuaValue>,
    /// The stanza that Lua has in hand.
    sent: Option<Bytes>,
}

/// `nil`, one string or `true`, or a list of steps; and the seconds to the next timeout, if there is none before.
type Todo = (LuaValue, Option<f64>);

impl<'a> Steps<'a> {
    fn new(lua: &'a Lua) -> Self {
        Self { lua, list: Vec::new(), sent: None }
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) -> LuaResult<()> {
        self.list.push(LuaValue::String(self.lua.create_string(bytes)?));
        Ok(())
    }

    fn act(&mut self, name: &str, with: impl IntoLua) -> LuaResult<()> {
        let step = self.lua.create_sequence_from([name.into_lua(self.lua)?, with.into_lua(self.lua)?])?;
        self.list.push(LuaValue::Table(step));
        Ok(())
    }

    fn into_lua(mut self) -> LuaResult<LuaValue> {
        match &self.list[..] {
            [] => Ok(LuaNil),
            [LuaValue::String(_) | LuaValue::Boolean(_)] => Ok(self.list.remove(0)),
            _ => self.list.into_lua(self.lua),
        }
    }
}

impl Host {
    fn stream(self: &Rc<Self>, state: State) -> LuaStream {
        let (host, id) = (self.clone(), self.next_id.replace(self.next_id.get() + 1));
        let (registration, asked, alarm, refused) = (None, None, None, None);
        let (is_closed, is_delayed, buffered) = (false, false, 0);
        let stream = Stream { host, id, state, registration, is_closed, buffered, asked, is_delayed, alarm, refused };
        let stream = Rc::new(RefCell::new(stream));
        self.streams.borrow_mut().insert(id, Rc::downgrade(&stream));
        LuaStream(stream)
    }

    fn find(&self, taker: &Taker<()>, now: Instant) -> Result<LuaStream, Refusal> {
        let found = self.store.lookup(taker.previd(), taker.owner(), now);
        let record = found.unwrap_or(Lookup::NotFound).session()?;
        let stream = self.streams.borrow().get(&record.handle).and_then(Weak::upgrade);
        stream.map(LuaStream).ok_or(Refusal::NotFound)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.host.streams.borrow_mut().remove(&self.id);
    }
}

impl Stream {
    fn session(&mut self) -> LuaResult<&mut Session<Bytes, ()>> {
        match &mut self.state {
            State::Session(session) => Ok(session),
            State::Unbound(_) => Err(LuaError::runtime("there is no session yet")),
            State::Over => Err(LuaError::runtime("the session is over")),
        }
    }

    /// What the session says, until it has nothing more to say.
    fn todo(&mut self, mut steps: Steps, now: Instant) -> LuaResult<Todo> {
        let mut before = usize::MAX;
        while std::mem::replace(&mut before, steps.list.len()) != steps.list.len() {
            while let State::Session(session) = &mut self.state
                && let Some(event) = session.poll()
            {
                self.on_event(event, &mut steps, now)?;
            }
            self.write(&mut steps, now)?;
        }
        Ok((steps.into_lua()?, self.wait(now)))
    }

    fn on_event(&mut self, event: Event<Bytes, ()>, steps: &mut Steps, now: Instant) -> LuaResult<()> {
        match event {
            Event::Left { parting, .. } => {
                (self.asked, self.buffered) = (None, 0);
                let words = match parting {
                    Parting::Drop => None,
                    Parting::Close => Some(String::new()),
                    Parting::Say(last) => {
                        let error = last.error.filter(|_| !self.is_closed).map(|error| error.to_string());
                        Some(last.write.map(|nonza| nonza.to_string()).into_iter().chain(error).collect())
                    }
                };
                match words {
                    words if !self.is_closed => steps.act("left", words)?,
                    Some(words) if !words.is_empty() => steps.write(words)?,
                    _ => {}
                }
            }
            Event::Resumed => steps.act("resumed", LuaNil)?,
            Event::Detached { .. } => steps.act("detached", LuaNil)?,
            Event::Refused(refused) => self.refused = Some(refused),
            Event::Ended(ended) => self.on_ended(*ended, steps, now)?,
            _ => {}
        }
        Ok(())
    }

    fn on_ended(&mut self, ended: SessionEnded<Bytes>, steps: &mut Steps, now: Instant) -> LuaResult<()> {
        let State::Session(session) = std::mem::replace(&mut self.state, State::Over) else { return Ok(()) };
        if let Some(registration) = self.registration.take() {
            // A store in memory does not fail.
            let _ = match ended.reason {
                EndReason::Closed => self.host.store.remove(&registration),
                _ => self.host.store.retire(&registration, ended.h, now),
            };
        }
        let by_the_wall = SystemTime::now();
        let stanzas = ended.stanzas.map(|left| {
            let queued = delay::wall_clock(left.queued, now, by_the_wall);
            steps.lua.create_string(delay::stamp_bytes(&left.stanza, session.owner(), queued).unwrap_or(left.stanza))
        });
        steps.act("ended", stanzas.collect::<LuaResult<Vec<_>>>()?)
    }

    fn write(&mut self, steps: &mut Steps, now: Instant) -> LuaResult<()> {
        let State::Session(session) = &mut self.state else { return Ok(()) };
        let owner = session.owner().clone();
        while self.buffered < ROOM
            && let Some(((), item)) = session.next_write(now)
        {
            match item {
                Write::Stanza { stanza, late } => {
                    self.buffered += stanza.len();
                    let queued = late.map(|late| delay::wall_clock(late, now, SystemTime::now()));
                    match queued.and_then(|queued| delay::stamp_bytes(stanza, &owner, queued)) {
                        Some(stamped) => steps.write(stamped)?,
                        None if steps.sent.as_ref().is_some_and(|sent| sent.as_ptr() == stanza.as_ptr()) => {
                            steps.list.push(LuaValue::Boolean(true));
                        }
                        None => steps.write(stanza)?,
                    }
                }
                Write::Nonza(nonza) => {
                    if nonza == Nonza::AckRequest && self.asked.is_none() {
                        (self.asked, self.is_delayed) = (Some(now), false);
                    }
                    steps.write(nonza.to_string())?;
                }
                Write::Flush => steps.act("flush", LuaNil)?,
                Write::StreamError(error) if !self.is_closed => steps.write(error.to_string())?,
                Write::Close if !self.is_closed => steps.act("close", LuaNil)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Seconds to the next timeout, if Lua does not wait for an earlier one.
    fn wait(&mut self, now: Instant) -> Option<f64> {
        let State::Session(session) = &self.state else { return None };
        let due = session.deadline().into_iter().chain(self.delayed_at()).min()?;
        if self.alarm.is_some_and(|alarm| alarm <= due) {
            return None;
        }
        self.alarm = Some(due);
        Some(due.saturating_duration_since(now).as_secs_f64())
    }

    /// When Lua is told that an `<r/>` is unanswered for long.
    fn delayed_at(&self) -> Option<Instant> {
        self.asked.filter(|_| !self.is_delayed)?.checked_add(self.host.ack_delay?)
    }

    fn continue_login(&mut self, refused: Refused<()>, steps: &mut Steps) -> LuaResult<()> {
        self.state = State::Unbound(refused.stream);
        refused.failed.map_or(Ok(()), |failed| steps.write(failed.to_string()))
    }

    /// An element of stream management before there is a session. Returns the session that takes the connection, or does
    /// not: what to do there.
    fn early(&mut self, inbound: Inbound, steps: &mut Steps, now: Instant) -> LuaResult<Option<(u64, Todo)>> {
        let State::Unbound(mut stream) = std::mem::replace(&mut self.state, State::Over) else { return Ok(None) };
        match stream.handle(inbound, now) {
            Ok(Early::Resume(request)) => {
                let taker = stream.take(request, ()).map_err(|no| LuaError::runtime(no.to_string()))?;
                let former = match self.host.find(&taker, now) {
                    Ok(former) => former,
                    Err(refusal) => return self.continue_login(taker.refuse(refusal), steps).map(|()| None),
                };
                let mut former = former.0.borrow_mut();
                former.session()?.take(taker, now);
                let todo = former.todo(Steps::new(steps.lua), now)?;
                if let Some(refused) = former.refused.take() {
                    self.continue_login(refused, steps)?;
                }
                return Ok(Some((former.id, todo)));
            }
            Ok(Early::Write(nonza)) => steps.write(nonza.to_string())?,
            Ok(Early::Close(last)) => {
                steps.write(last.error.map(|error| error.to_string()).unwrap_or_default())?;
                steps.act("close", LuaNil)?;
            }
            _ => {}
        }
        self.state = State::Unbound(stream);
        Ok(None)
    }

    fn enable(&mut self, request: EnableRequest, steps: &mut Steps, now: Instant) -> LuaResult<()> {
        let (host, id) = (self.host.clone(), self.id);
        let session = self.session()?;
        session.report_detached(true);
        let smid = SmId::random().ok().filter(|_| request.is_resumable());
        let registered = smid.and_then(|smid| host.store.register(&smid, session.owner(), id, now).ok());
        let smid = registered.as_ref().map(|registered| registered.registration.smid().clone());
        session.accept_enable(request, smid.clone(), now).map_err(LuaError::external)?;
        let smid = smid.map(|smid| smid.as_str().to_owned());
        steps.act("enabled", smid)?;
        if let Some(Registered { registration, displaced }) = registered {
            self.registration = Some(registration);
            return displaced.map_or(Ok(()), |displaced| steps.act("displaced", displaced.handle));
        }
        Ok(())
    }
}
