//! What a module of Prosody needs of `xmpp_sm`, for Lua: each stream of a client, from authentication to its end, is one
//! value. Each call returns what to do next, in order, and after how many seconds to call `timeout`.
//!
//! Nothing here calls Lua, so no call comes from inside of another; and all that is wrong is an error of Lua's.

mod calls;

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mlua::prelude::*;
use xmpp_sm::{
    Config, Event, LastWords, LoginStep, MemoryStore, Nonza, Parting, Refused, Registration, ResumeRequest, Session,
    SessionEnded, SessionStore, Taker, Unbound, Write, delay,
};

/// What may wait in Prosody's own buffer. The rest waits in the session, where it is bounded.
const ROOM: usize = 64 << 10;

const NO_SESSION: &str = "there is no session yet, or it is over";

/// A virtual host.
#[derive(Clone)]
struct Host {
    config: Arc<Config>,
    /// Its sessions that can be resumed. Lua finds each by its SM-ID.
    store: Arc<MemoryStore<()>>,
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
}

enum State {
    Unbound(Unbound),
    Session(Box<Session<Bytes, ()>>),
    Over,
}

/// What comes of a call.
struct Steps<'a> {
    lua: &'a Lua,
    /// What Lua does, in order: a string is an element to write, and a table is the name of a function of the module with
    /// what it needs.
    todo: Vec<LuaValue>,
    /// The stream that asks for the session.
    taker: Option<LuaTable>,
    /// In vain.
    refused: Option<Refused<()>>,
}

impl Steps<'_> {
    fn write(&mut self, element: impl AsRef<[u8]>) -> LuaResult<()> {
        self.todo.push(LuaValue::String(self.lua.create_string(element)?));
        Ok(())
    }

    fn act(&mut self, name: &str, with: impl IntoLuaMulti) -> LuaResult<()> {
        self.todo.push(LuaValue::Table(self.lua.create_sequence_from((name, with).into_lua_multi(self.lua)?)?));
        Ok(())
    }
}

impl Stream {
    fn new(host: Host, state: State, registration: Option<Registration>) -> Self {
        Self { host, state, registration, is_closed: false, buffered: 0, asks: None }
    }

    fn session(&mut self) -> LuaResult<&mut Session<Bytes, ()>> {
        let State::Session(session) = &mut self.state else { return Err(LuaError::runtime(NO_SESSION)) };
        Ok(session)
    }

    /// What the session says, until it has nothing more to say. Returns the seconds to the next timeout.
    fn todo(&mut self, steps: &mut Steps, now: Instant) -> LuaResult<Option<f64>> {
        let mut idle = 0;
        // To write may end the session.
        while idle < 2 {
            while let Some(event) = self.session().ok().and_then(Session::poll) {
                self.on_event(event, steps, now)?;
            }
            idle = if self.buffered < ROOM && self.write(steps, now)? { 0 } else { idle + 1 };
        }
        Ok(self.session().ok().and_then(|it| it.deadline()).map(|due| due.saturating_duration_since(now).as_secs_f64()))
    }

    fn on_event(&mut self, event: Event<Bytes, ()>, steps: &mut Steps, now: Instant) -> LuaResult<()> {
        match event {
            Event::Left { parting, .. } => {
                self.buffered = 0;
                let how = (parting != Parting::Drop, self.session()?.is_detached());
                if let Parting::Say(last) = parting {
                    self.say(last, steps)?;
                }
                if !self.is_closed {
                    steps.act("left", how)?;
                }
            }
            Event::Resumed => steps.act("resumed", steps.taker.clone())?,
            Event::Refused(refused) => steps.refused = Some(refused),
            Event::Ended(ended) => self.on_ended(*ended, steps, now)?,
            _ => {}
        }
        Ok(())
    }

    fn say(&self, last: LastWords, steps: &mut Steps) -> LuaResult<()> {
        last.write.map_or(Ok(()), |nonza| steps.write(nonza.to_string()))?;
        last.error.filter(|_| !self.is_closed).map_or(Ok(()), |error| steps.write(error.to_string()))
    }

    fn on_ended(&mut self, ended: SessionEnded<Bytes>, steps: &mut Steps, now: Instant) -> LuaResult<()> {
        let State::Session(session) = mem::replace(&mut self.state, State::Over) else { return Ok(()) };
        self.registration.take().map(|it| ended.leave(&*self.host.store, &it, now)).transpose().into_lua_err()?;
        let stanzas = ended.stanzas.map(|left| stamped(&left.stanza, session.owner(), left.queued, now));
        let stanzas = stanzas.map(|stanza| steps.lua.create_string(stanza)).collect::<LuaResult<Vec<_>>>()?;
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
                if self.buffered >= ROOM {
                    steps.act("full", ())?;
                }
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
        let taker = stream.into_taker(request, ()).map_err(|no| LuaError::runtime(no.to_string()))?;
        let (taker, record) = match taker.find_in(&*self.host.store, now) {
            Ok(found) => found,
            Err(refused) => return self.log_in(refused, steps).map(|()| None),
        };
        self.asks = Some(taker);
        Ok(Some(record.registration.smid().as_str().to_owned()))
    }

    /// It does not get its former session, and may bind.
    fn log_in(&mut self, refused: Refused<()>, steps: &mut Steps) -> LuaResult<()> {
        let LoginStep::Failed { failed, stream } = refused.step else { return Ok(()) }; // there is no SASL2 here
        self.state = State::Unbound(stream);
        let is_known = matches!(&failed, Nonza::Failed(failed) if failed.h.is_some());
        steps.act("refused", (failed.to_string(), is_known))
    }
}

/// A stanza with the time at which it was given to the session.
fn stamped(stanza: &Bytes, owner: &str, queued: Instant, now: Instant) -> Bytes {
    let queued = delay::wall_clock(queued, now, SystemTime::now());
    delay::stamp_bytes(stanza, owner, queued).unwrap_or_else(|| stanza.clone())
}
