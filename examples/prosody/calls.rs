//! What Lua calls.

use std::fmt::Display;
use std::num::{NonZeroU32, NonZeroUsize};

use xmpp_sm::snapshot::{Limits, Snapshot};
use xmpp_sm::{AckFreq, Arrival, Early, Inbound, NS, OnFull, StaleH};

use super::*;

const CLIENT: &str = "jabber:client";

#[mlua::lua_module]
fn sm_native(lua: &Lua) -> LuaResult<LuaTable> {
    lua.create_table_from([("new", lua.create_function(|_, (options, former)| new(&options, former))?)])
}

/// A host with these options: numbers, and seconds of which 0 are none, by the names of the crate's. The sessions of the
/// `former` one are its own.
fn new(options: &LuaTable, former: Option<LuaUserDataRef<Host>>) -> LuaResult<Host> {
    let wrong = |name: &str, why: &dyn Display| LuaError::runtime(format!("the option {name}: {why}"));
    let value = |name: &str| options.get::<f64>(name).map_err(|why| wrong(name, &why));
    let time = |name: &str| match Duration::try_from_secs_f64(value(name)?) {
        Ok(time) => Ok(Some(time).filter(|time| !time.is_zero())),
        Err(why) => Err(wrong(name, &why)),
    };
    let number =
        |name: &str| NonZeroU32::new(value(name)? as u32).ok_or_else(|| wrong(name, &"it has to be 1 at least"));
    let every = |unacked: NonZeroU32| AckFreq::Every(unacked.saturating_add(1));
    let config = Config::default()
        .stale_h(StaleH { enabled: true, ..StaleH::default() })
        .buffer_max(number("buffer_max")?)
        .backlog_max(number("backlog_max")?)
        .on_full(OnFull::EndAfter(time("full_grace")?.unwrap_or_default()))
        .resume_timeout(time("resume_timeout")?)
        .resume_timeout_max(time("resume_timeout_max")?)
        .ack_freq(number("unacked_max").map_or(AckFreq::SelfClocked, every))
        .ack_timeout(time("ack_timeout")?);
    let sessions_max = NonZeroUsize::new(value("sessions_max")? as usize).unwrap_or(NonZeroUsize::MAX);
    let store = || Rc::new(MemoryStore::new(&config).per_owner(sessions_max));
    let store = former.map_or_else(store, |former| former.store.clone());
    Ok(Host { config: Arc::new(config), store, ack_delay: time("ack_delay")? })
}

fn inbound(name: &str, ns: &str, attributes: &LuaTable) -> LuaResult<Inbound> {
    let attributes: Vec<(String, String)> = attributes.pairs().collect::<LuaResult<_>>()?;
    let attributes = attributes.iter().map(|(name, value)| (&**name, &**value));
    Ok(Inbound::from_parts(name, ns, CLIENT, attributes, None, 0))
}

impl LuaUserData for Host {
    fn add_methods<M: LuaUserDataMethods<Self>>(methods: &mut M) {
        // A stream whose client has authenticated as this bare JID.
        methods.add_method("stream", |_, host, owner: String| {
            Ok(Stream::new(host.clone(), State::Unbound(Unbound::new(host.config.clone(), owner))))
        });
        methods.add_method("before_authentication", |_, _, (name, attributes): (String, LuaTable)| {
            Ok(Unbound::before_authentication(&inbound(&name, NS, &attributes)?).map(|failed| failed.to_string()))
        });
        // Once a minute: what is remembered of sessions that are gone grows old.
        methods.add_method("sweep", |_, host, ()| Ok(host.store.sweep(Instant::now()).dropped));
        // A session that was written down: its stream, its SM-ID, what Prosody knew of it, and when `timeout` is due.
        methods.add_method("restore", |_, host, bytes: LuaString| {
            let now = Instant::now();
            let read = Snapshot::from_bytes(&bytes.as_bytes(), &Limits::default(), now, SystemTime::now());
            let Snapshot { session, host: known } = read.map_err(LuaError::external)?;
            let session = Session::<Bytes, ()>::from_parts(host.config.clone(), session, now);
            let session = session.map_err(|no| LuaError::runtime(no.to_string()))?;
            let smid = session.smid().ok_or_else(|| LuaError::runtime("it has no SM-ID"))?.clone();
            let registered = host.store.register(&smid, session.owner(), (), now).map_err(LuaError::external)?;
            let mut stream = Stream::new(host.clone(), State::Session(Box::new(session)));
            stream.registration = Some(registered.registration);
            let wait = stream.wait(now);
            Ok((stream, smid.as_str().to_owned(), String::from_utf8_lossy(&known).into_owned(), wait))
        });
    }
}

/// A method that changes the stream. It returns what to do, after how many seconds to call `timeout`, and its own answer.
fn method<M: LuaUserDataMethods<Stream>, A: FromLuaMulti + 'static, R: IntoLuaMulti + 'static>(
    methods: &mut M,
    name: &str,
    does: impl Fn(&mut Stream, A, &mut Steps, Instant) -> LuaResult<R> + 'static,
) {
    methods.add_method_mut(name, move |lua, stream, arguments: A| {
        let (mut steps, now) = (Steps(lua, Vec::new()), Instant::now());
        let answer = does(stream, arguments, &mut steps, now)?;
        let (todo, wait) = stream.todo(steps, now)?;
        Ok((todo, wait, answer))
    });
}

impl LuaUserData for Stream {
    fn add_methods<M: LuaUserDataMethods<Self>>(methods: &mut M) {
        // Whether `<sm/>` belongs into the stream features.
        methods.add_method("has_feature", |_, stream, ()| {
            Ok(matches!(&stream.state, State::Unbound(stream) if stream.has_feature()))
        });
        // How many stanzas the client may not have, or one of them, counted from 1.
        methods.add_method("pending", |lua, stream, number: Option<usize>| {
            let State::Session(session) = &stream.state else { return Ok(LuaNil) };
            let Some(number) = number else { return session.pending().count().into_lua(lua) };
            let stanza = number.checked_sub(1).and_then(|index| session.pending().nth(index));
            stanza.map(|stanza| lua.create_string(stanza)).transpose()?.into_lua(lua)
        });
        // The session as bytes, with what Prosody knows of it. It lives there from now on.
        methods.add_method_mut("park", |lua, stream, known: LuaString| {
            let (now, host) = (Instant::now(), known.as_bytes().to_vec());
            stream.session()?;
            let State::Session(session) = mem::replace(&mut stream.state, State::Over) else { return Ok(None) };
            let session = (*session).into_parts().map_err(|not| {
                stream.state = State::Session(Box::new(not.session));
                LuaError::runtime(not.why.to_string())
            })?;
            lua.create_string(Snapshot { session, host }.to_bytes(now, SystemTime::now())).map(Some)
        });
        // An element of stream management. `is_bound`: whether the stream has a resource. The answer is the SM-ID of the
        // session that the client asks for: `resume` is to be called with it.
        method(methods, "handle", |stream, (name, attributes, is_bound): (String, LuaTable, bool), steps, now| {
            let inbound = inbound(&name, NS, &attributes)?;
            stream.state = match mem::replace(&mut stream.state, State::Over) {
                State::Unbound(unbound) if is_bound => State::Session(Box::new(unbound.bind(()))),
                state => state,
            };
            if let State::Unbound(unbound) = &mut stream.state {
                match unbound.handle(inbound, now).map_err(LuaError::external)? {
                    Early::Resume(request) => return stream.ask(request, steps, now),
                    Early::Write(nonza) => steps.write(nonza.to_string())?,
                    Early::Close(last) => {
                        stream.say(last, steps)?;
                        steps.act("close", ())?;
                    }
                    _ => {}
                }
                return Ok(None);
            }
            let is_ack = matches!(inbound, Inbound::Nonza(Nonza::Ack(_)));
            let session = stream.session()?;
            let before = session.unacked();
            match session.handle(inbound, now).map_err(LuaError::external)? {
                Arrival::Enable(request) => stream.enable(request, steps, now)?,
                _ if is_ack => steps.act("acked", before.saturating_sub(session.unacked()))?,
                _ => {}
            }
            Ok(None)
        });
        // The stream has asked for the session of the `former` one. The answer is what to do there.
        method(methods, "resume", |stream, mut former: LuaUserDataRefMut<Stream>, steps, now| {
            let session = former.session()?;
            let taker = stream.asks.take().ok_or_else(|| LuaError::runtime("the stream asks for no session"))?;
            session.take(taker, now);
            let todo = former.todo(Steps(steps.0, Vec::new()), now)?;
            former.refused.take().map_or(Ok(()), |refused| stream.log_in(refused, steps))?;
            Ok(todo)
        });
        // A stanza has arrived. The answer is whether Prosody is to handle it: from here on it is Prosody's, whatever becomes
        // of the connection.
        method(methods, "receive", |stream, name: LuaString, _, now| {
            let session = stream.session()?;
            let inbound = Inbound::from_parts(&name.to_str()?, CLIENT, CLIENT, [], None, 0);
            let arrival = session.handle(inbound, now).map_err(LuaError::external)?;
            let Arrival::Stanza(receipt) = arrival else { return Ok(false) };
            Ok(session.settle(receipt, now).is_ok())
        });
        method(methods, "send", |stream, text: LuaString, _, now| {
            let sent = stream.session()?.send(Bytes::copy_from_slice(&text.as_bytes()), now);
            sent.map_err(|no| LuaError::runtime(no.to_string()))
        });
        method(methods, "set_active", |stream, active: bool, _, now| {
            stream.session()?.set_active(active, now);
            Ok(())
        });
        // Prosody's buffer is empty.
        method(methods, "drained", |stream, (), _, _| {
            stream.buffered = 0;
            Ok(())
        });
        // Nothing was read for long. The answer is whether the connection may live on.
        method(methods, "read_timeout", |stream, (), _, now| {
            let session = stream.session()?;
            let is_alive = session.ack_requested_at().is_none();
            session.request_ack(now);
            Ok(is_alive)
        });
        method(methods, "timeout", |stream, (), steps, now| {
            stream.alarm = stream.alarm.filter(|alarm| *alarm > now);
            if stream.delayed_at().is_some_and(|at| at <= now) {
                stream.told = stream.session()?.ack_requested_at();
                steps.act("delayed", ())?;
            }
            stream.session()?.timeout(now);
            Ok(())
        });
        // The connection is lost.
        method(methods, "lost", |stream, (), _, now| {
            stream.session()?.lost(now);
            Ok(())
        });
        // Prosody ends the stream: because the client has, in error, or of its own accord.
        method(methods, "close", |stream, (by_client, in_error): (bool, bool), _, now| {
            stream.is_closed = true;
            match &mut stream.state {
                State::Session(session) if by_client && session.connection().is_some() => session.peer_closed(now),
                State::Session(session) if in_error => session.close(EndReason::Stopped, None, now),
                State::Session(session) => session.close(EndReason::Closed, None, now),
                State::Unbound(_) | State::Over => {}
            }
            Ok(())
        });
    }
}
