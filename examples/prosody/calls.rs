//! What Lua calls.

use xmpp_sm::snapshot::{Limits, Snapshot};
use xmpp_sm::{Arrival, NS};

use super::*;

#[mlua::lua_module]
fn sm_native(lua: &Lua) -> LuaResult<LuaTable> {
    lua.create_table_from([("new", lua.create_function(|_, options| options::host(&options))?)])
}

fn inbound(name: &str, attributes: &LuaTable) -> LuaResult<Inbound> {
    let attributes: Vec<(String, String)> = attributes.pairs().collect::<LuaResult<_>>()?;
    let attributes = attributes.iter().map(|(name, value)| (&**name, &**value));
    Ok(Inbound::from_parts(name, NS, "jabber:client", attributes, None, 0))
}

impl LuaUserData for LuaHost {
    fn add_methods<M: LuaUserDataMethods<Self>>(methods: &mut M) {
        // A stream whose client has authenticated as this bare JID.
        methods.add_method("stream", |_, LuaHost(host), owner: String| {
            Ok(host.stream(State::Unbound(Unbound::new(host.config.clone(), owner))))
        });
        methods.add_method("before_authentication", |_, _, (name, attributes): (String, LuaTable)| {
            Ok(Unbound::before_authentication(&inbound(&name, &attributes)?).map(|failed| failed.to_string()))
        });
        // Once a minute: what is remembered of sessions that are gone grows old.
        methods.add_method("sweep", |_, LuaHost(host), ()| Ok(host.store.sweep(Instant::now()).dropped));
        // A session that was written down: its stream, what Prosody knew of it, and when `timeout` is due.
        methods.add_method("restore", |_, LuaHost(host), bytes: LuaString| {
            let now = Instant::now();
            let read = Snapshot::from_bytes(&bytes.as_bytes(), &Limits::default(), now, SystemTime::now());
            let Snapshot { session, host: known } = read.map_err(LuaError::external)?;
            let session = Session::<Bytes, ()>::from_parts(host.config.clone(), session, now);
            let mut session = session.map_err(|no| LuaError::runtime(no.to_string()))?;
            session.report_detached(true);
            let (smid, owner) = (session.smid().cloned(), session.owner().clone());
            let restored = host.stream(State::Session(Box::new(session)));
            let mut stream = restored.0.borrow_mut();
            let registered = smid.and_then(|smid| host.store.register(&smid, &owner, stream.id, now).ok());
            stream.registration = registered.map(|registered| registered.registration);
            let wait = stream.wait(now);
            Ok((restored.clone(), String::from_utf8_lossy(&known).into_owned(), wait))
        });
    }
}

/// A method that changes the stream. It returns what to do, after how many seconds to call `timeout`, and its own answer.
fn method<M: LuaUserDataMethods<LuaStream>, A: FromLuaMulti + 'static, R: IntoLuaMulti + 'static>(
    methods: &mut M,
    name: &str,
    does: impl Fn(&mut Stream, A, &mut Steps, Instant) -> LuaResult<R> + 'static,
) {
    methods.add_method(name, move |lua, LuaStream(this), arguments: A| {
        let (mut this, mut steps, now) = (this.borrow_mut(), Steps::new(lua), Instant::now());
        let answer = does(&mut this, arguments, &mut steps, now)?;
        let (todo, wait) = this.todo(steps, now)?;
        Ok((todo, wait, answer))
    });
}

impl LuaUserData for LuaStream {
    fn add_methods<M: LuaUserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("id", |_, LuaStream(this), ()| Ok(this.borrow().id));
        // Whether `<sm/>` belongs into the stream features.
        methods.add_method("has_feature", |_, LuaStream(this), ()| {
            Ok(matches!(&this.borrow().state, State::Unbound(stream) if stream.has_feature()))
        });
        // How many stanzas the client may not have, and each of them, counted from 1.
        methods.add_method("pending", |lua, LuaStream(this), number: Option<usize>| {
            let this = this.borrow();
            let State::Session(session) = &this.state else { return Ok(LuaNil) };
            let Some(number) = number else { return session.pending().count().into_lua(lua) };
            let stanza = number.checked_sub(1).and_then(|index| session.pending().nth(index));
            stanza.map(|stanza| lua.create_string(stanza)).transpose()?.into_lua(lua)
        });
        // The session as bytes, with what Prosody knows of it. It lives there from now on.
        methods.add_method("park", |lua, LuaStream(this), known: LuaString| {
            let (mut stream, now, host) = (this.borrow_mut(), Instant::now(), known.as_bytes().to_vec());
            stream.session()?;
            let State::Session(session) = std::mem::replace(&mut stream.state, State::Over) else { return Ok(None) };
            let session = (*session).into_parts().map_err(|not| {
                let why = LuaError::runtime(not.why.to_string());
                stream.state = State::Session(Box::new(not.session));
                why
            })?;
            lua.create_string(Snapshot { session, host }.to_bytes(now, SystemTime::now())).map(Some)
        });
        // An element of stream management. `is_bound`: whether the stream has a resource. The answer is the id of the former
        // session that has this connection now, or was asked for it, and what to do there.
        method(methods, "handle", |stream, (name, attributes, is_bound): (String, LuaTable, bool), steps, now| {
            let inbound = inbound(&name, &attributes)?;
            match std::mem::replace(&mut stream.state, State::Over) {
                State::Unbound(unbound) if is_bound => stream.state = State::Session(Box::new(unbound.bind(()))),
                state => stream.state = state,
            }
            if let State::Unbound(_) = &stream.state {
                return Ok(match stream.early(inbound, steps, now)? {
                    Some((id, (todo, wait))) => (Some(id), todo, wait),
                    None => (None, LuaNil, None),
                });
            }
            stream.asked = stream.asked.filter(|_| !matches!(inbound, Inbound::Nonza(Nonza::Ack(_))));
            if let Arrival::Enable(request) = stream.session()?.handle(inbound, now).map_err(LuaError::external)? {
                stream.enable(request, steps, now)?;
            }
            Ok((None, LuaNil, None))
        });
        // A stanza has arrived. The answer is whether Prosody is to handle it: from here on it is Prosody's, whatever becomes
        // of the connection.
        method(methods, "receive", |stream, name: LuaString, _, now| {
            let session = stream.session()?;
            let inbound = Inbound::from_parts(&name.to_str()?, "jabber:client", "jabber:client", [], None, 0);
            let arrival = session.handle(inbound, now).map_err(LuaError::external)?;
            let Arrival::Stanza(receipt) = arrival else { return Ok(false) };
            Ok(session.settle(receipt, now).is_ok())
        });
        method(methods, "send", |stream, text: LuaString, steps, now| {
            let bytes = Bytes::copy_from_slice(&text.as_bytes());
            steps.sent = Some(bytes.clone());
            stream.session()?.send(bytes, now).map_err(|no| LuaError::runtime(no.to_string()))
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
            let is_alive = stream.asked.is_none();
            stream.session()?.request_ack(now);
            Ok(is_alive)
        });
        method(methods, "timeout", |stream, (), steps, now| {
            stream.alarm = stream.alarm.filter(|alarm| *alarm > now);
            if stream.delayed_at().is_some_and(|at| at <= now) {
                stream.is_delayed = true;
                steps.act("delayed", LuaNil)?;
            }
            stream.session()?.timeout(now);
            Ok(())
        });
        // The connection is lost.
        method(methods, "lost", |stream, (), _, now| {
            stream.session()?.lost(now);
            Ok(())
        });
        // Prosody ends the stream: because the client has (`false`), or for this reason.
        method(methods, "close", |stream, reason: LuaValue, _, now| {
            stream.is_closed = true;
            let State::Session(session) = &mut stream.state else { return Ok(()) };
            let reason = match reason {
                LuaValue::Boolean(false) if session.connection().is_some() => {
                    session.peer_closed(now);
                    return Ok(());
                }
                LuaNil | LuaValue::Boolean(_) => EndReason::Closed,
                LuaValue::String(error) if error == "conflict" => EndReason::Replaced,
                LuaValue::String(error) if error == "system-shutdown" => EndReason::Stopped,
                _ => EndReason::PeerFault,
            };
            session.close(reason, None, now);
            Ok(())
        });
    }
}
