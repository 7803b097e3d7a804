//! What a module of Prosody needs of `xmpp_sm`, for Lua: each stream of a client, from authentication to its end, is one
//! value. Each call returns what to do next, in order, and after how many seconds to call `timeout`.
//!
//! Nothing here calls Lua, so no call comes from inside of another; and all that is wrong is an error of Lua's.

mod calls;

use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mlua::prelude::*;
use xmpp_sm::{
    Config, EnableRequest, Event, LoginStep, MemoryStore, Nonza, Parting, Refused, Registered, Registration,
    ResumeRequest, Session, SessionEnded, SessionStore, Taker, Unbound, Write, delay,
};

/// What may wait in Prosody's own buffer. The rest waits in the session, where it is bounded.
const ROOM: usize = 64 << 10;

/// A virtual host.
#[derive(Clone)]
struct Host {
    config: Arc<Config>,
    /// Its sessions that can be resumed. Lua finds each by its SM-ID.
    store: Rc<MemoryStore<()>>,
}

/// One client's stream, and the session that it becomes. The connection is Prosody's, which knows which one it is.
struct Stream {
    host: Host,
    state: State,
    registration: Option<Registration>,
    /// Prosody ends the stream, in words of its own.
    is_closed: bool,
    /// How much was written since Prosody's buffer was empty.
    buffered: usize,
    /// What this stream asks for, if it does.
    asks: Option<Taker<()>>,
    /// The stream that has asked for this session in vain.
    refused: Option<Refused<()>>,
}

enum State {
    Unbound(Unbound),
    Session(Box<Session<Bytes, ()>>),
    Over,
}

/// What Lua does, in order: a string is an element to write, and a table is the name of a function of the module with
/// what it needs.
struct Steps<'a>(&'a Lua, Vec<LuaValue>);

/// The steps, and the seconds to the next timeout.
type Todo = (Vec<LuaValue>, Option<f64>);

impl Steps<'_> {
    fn write(&mut self, element: impl AsRef<[u8]>) -> LuaResult<()> {
        self.1.push(LuaValue::String(self.0.create_string(element)?));
        Ok(())
    }

    fn act(&mut self, name: &str, with: impl IntoLuaMulti) -> LuaResult<()> {
        self.1.push(LuaValue::Table(self.0.create_sequence_from((name, with).into_lua_multi(self.0)?)?));
        Ok(())
    }
}

impl Stream {
    fn new(host: Host, state: State) -> Self {
        Self { host, state, registration: None, is_closed: false, buffered: 0, asks: None, refused: None }
    }

    fn session(&mut self) -> LuaResult<&mut Session<Bytes, ()>> {
        let why = match &mut self.state {
            State::Session(session) => return Ok(session),
            State::Unbound(_) => "there is no session yet",
            State::Over => "the session is over",
        };
        Err(LuaError::runtime(why))
    }

    /// What the session says, until it has nothing more to say.
    fn todo(&mut self, mut steps: Steps, now: Instant) -> LuaResult<Todo> {
        let mut idle = 0;
        // To write may end the session.
        while idle < 2 {
            while let State::Session(session) = &mut self.state
                && let Some(event) = session.poll()
            {
                self.on_event(event, &mut steps, now)?;
            }
            idle = if self.buffered < ROOM && self.write(&mut steps, now)? { 0 } else { idle + 1 };
        }
        let due = self.session().ok().and_then(|session| session.deadline());
        Ok((steps.1, due.map(|due| due.saturating_duration_since(now).as_secs_f64())))
    }

    fn on_event(&mut self, event: Event<Bytes, ()>, steps: &mut Steps, now: Instant) -> LuaResult<()> {
        match event {
            Event::Left { parting, .. } => {
                self.buffered = 0;
                let how = (parting != Parting::Drop, self.session()?.is_detached());
                self.say(parting, steps)?;
                if !self.is_closed {
                    steps.act("left", how)?;
                }
            }
            Event::Resumed => steps.act("resumed", ())?,
            Event::Refused(refused) => self.refused = Some(refused),
            Event::Ended(ended) => self.on_ended(*ended, steps, now)?,
            _ => {}
        }
        Ok(())
    }

    fn say(&self, parting: Parting, steps: &mut Steps) -> LuaResult<()> {
        let Parting::Say(last) = parting else { return Ok(()) };
        last.write.map_or(Ok(()), |nonza| steps.write(nonza.to_string()))?;
        last.error.filter(|_| !self.is_closed).map_or(Ok(()), |error| steps.write(error.to_string()))
    }

    fn on_ended(&mut self, ended: SessionEnded<Bytes>, steps: &mut Steps, now: Instant) -> LuaResult<()> {
        let State::Session(session) = mem::replace(&mut self.state, State::Over) else { return Ok(()) };
        if let Some(registration) = self.registration.take() {
            let _ = ended.leave(&*self.host.store, &registration, now); // a store in memory does not fail
        }
        let stanzas = ended.stanzas.map(|left| stamped(&left.stanza, session.owner(), left.queued, now));
        let stanzas = stanzas.map(|stanza| steps.0.create_string(stanza)).collect::<LuaResult<Vec<_>>>()?;
        steps.act("ended", (stanzas, ended.reason.name()))
    }

    /// Writes the next thing, if there is one.
    fn write(&mut self, steps: &mut Steps, now: Instant) -> LuaResult<bool> {
        let State::Session(session) = &mut self.state else { return Ok(false) };
        let owner = session.owner().clone();
        let Some(((), item)) = session.next_write(now) else { return Ok(false) };
        match item {
            Write::Stanza { stanza, late } => {
                self.buffered += stanza.len();
                steps.write(late.map_or(stanza.clone(), |queued| stamped(stanza, &owner, queued, now)))?;
            }
            Write::Nonza(Nonza::AckRequest) => steps.act("ask", Nonza::AckRequest.to_string())?,
            Write::Nonza(nonza) => steps.write(nonza.to_string())?,
            Write::Flush => steps.act("flush", ())?,
            Write::StreamError(error) if !self.is_closed => steps.write(error.to_string())?,
            Write::Close if !self.is_closed => steps.act("close", ())?,
            _ => {}
        }
        Ok(true)
    }

    /// The client asks for its former session. Returns the SM-ID, where there is such a session.
    fn ask(&mut self, request: ResumeRequest, steps: &mut Steps, now: Instant) -> LuaResult<Option<String>> {
        let State::Unbound(stream) = mem::replace(&mut self.state, State::Over) else { return Ok(None) };
        let taker = stream.take(request, ()).map_err(|no| LuaError::runtime(no.to_string()))?;
        match taker.find_in(&*self.host.store, now) {
            Ok((taker, record)) => {
                self.asks = Some(taker);
                Ok(Some(record.registration.smid().as_str().to_owned()))
            }
            Err(refused) => self.log_in(refused, steps).map(|()| None),
        }
    }

    /// It does not get its former session, and may bind.
    fn log_in(&mut self, refused: Refused<()>, steps: &mut Steps) -> LuaResult<()> {
        let LoginStep::Failed { failed, stream } = refused.step else { return Ok(()) }; // there is no SASL2 here
        self.state = State::Unbound(stream);
        if matches!(&failed, Nonza::Failed(failed) if failed.h.is_some()) {
            steps.act("expired", ())?;
        }
        steps.write(failed.to_string())
    }

    fn enable(&mut self, request: EnableRequest, steps: &mut Steps, now: Instant) -> LuaResult<()> {
        let store = self.host.store.clone();
        let registered = self.session()?.accept_enable_in(request, &*store, (), now).into_lua_err()?;
        steps.act("enabled", self.session()?.smid().map(|smid| smid.as_str().to_owned()))?;
        let Some(Registered { registration, displaced }) = registered else { return Ok(()) };
        self.registration = Some(registration);
        displaced.map_or(Ok(()), |displaced| steps.act("displaced", displaced.registration.smid().as_str()))
    }
}

/// A stanza with the time at which it was given to the session.
fn stamped(stanza: &Bytes, owner: &str, queued: Instant, now: Instant) -> Bytes {
    let queued = delay::wall_clock(queued, now, SystemTime::now());
    delay::stamp_bytes(stanza, owner, queued).unwrap_or_else(|| stanza.clone())
}
