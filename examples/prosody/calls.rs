//! What Lua calls.

use std::num::{NonZeroU32, NonZeroUsize};

use xmpp_sm::snapshot::{Limits, Snapshot};
use xmpp_sm::{AckFreq, Arrival, Counter, Early, EndReason, Inbound, NS, OnFull, SmId, StaleH, StaleRecord};

use super::*;

#[mlua::lua_module]
fn sm_native(lua: &Lua) -> LuaResult<LuaTable> {
    lua.create_table_from([("new", lua.create_function(|_, (options, former)| new(&options, former))?)])
}

/// A host with these options: numbers, and seconds of which 0 are none, by Prosody's names. The sessions of the
/// `former` one are its own.
fn new(options: &LuaTable, former: Option<LuaUserDataRef<Host>>) -> LuaResult<Host> {
    let some = |name: &str| options.get(name).map(NonZeroU32::new).with_context(|_| format!("the option {name}"));
    let time = |name: &str| some(name).map(|some| some.map(|some| Duration::from_secs(some.get().into())));
    let (unacked_max, stale_h) = (some("max_unacked_stanzas")?, time("stale_h_time")?);
    let config = Config::default()
        .stale_h(StaleH { enabled: stale_h.is_some(), geriatric: stale_h.unwrap_or_default(), ..StaleH::default() })
        .buffer_max(some("max_queue_size")?.unwrap_or(NonZeroU32::MIN))
        .buffer_max_bytes(some("max_queue_bytes")?.unwrap_or(NonZeroU32::MIN).try_into().into_lua_err()?)
        .backlog_max_bytes(some("max_waiting_bytes")?.unwrap_or(NonZeroU32::MIN).try_into().into_lua_err()?)
        .backlog_max(some("max_waiting")?.unwrap_or(NonZeroU32::MIN))
        .on_full(OnFull::EndAfter(time("full_grace")?.unwrap_or_default()))
        .resume_timeout(time("hibernation_time")?)
        .resume_timeout_max(time("hibernation_time_max")?)
        .ack_freq(unacked_max.map_or(AckFreq::SelfClocked, |max| AckFreq::Every(max.saturating_add(1))))
        .ack_timeout(time("ack_timeout")?);
    // Lua knows which sessions wait, and how many may.
    let store = || Arc::new(MemoryStore::new(&config).per_owner(NonZeroUsize::MAX));
    let store = former.map_or_else(store, |former| former.store.clone());
    Ok(Host { config: Arc::new(config), store })
}

fn inbound(name: &str, ns: &str, attributes: &LuaTable) -> LuaResult<Inbound> {
    let attributes: Option<LuaResult<Vec<(String, String)>>> = (ns == NS).then(|| attributes.pairs().collect());
    let attributes = attributes.transpose()?.unwrap_or_default();
    Ok(Inbound::from_parts(name, ns, "jabber:client", attributes.iter().map(|it| (&*it.0, &*it.1)), None, 0))
}

impl LuaUserData for Host {
    fn add_methods<M: LuaUserDataMethods<Self>>(methods: &mut M) {
        // A stream whose client has authenticated as this bare JID.
        methods.add_method("stream", |_, host, owner: String| {
            Ok(Stream::new(host.clone(), State::Unbound(Unbound::new(host.config.clone(), owner)), None))
        });
        methods.add_method("before_authentication", |_, _, (name, attributes): (String, LuaTable)| {
            Ok(Unbound::before_authentication(&inbound(&name, NS, &attributes)?).map(|failed| failed.to_string()))
        });
        // Once a minute: what is remembered of sessions that are gone grows old.
        methods.add_method("sweep", |_, host, ()| Ok(host.store.sweep(Instant::now()).dropped));
        // That, each as seconds since then, bare JID, SM-ID and `h`; and to remember one.
        methods.add_method("stale", |_, host, ()| {
            let row =
                |it: StaleRecord| format!("{} {} {} {}", it.age.as_secs(), it.owner, it.smid.as_str(), it.h.get());
            Ok(host.store.stale_records(Instant::now()).into_iter().map(row).collect::<Vec<_>>())
        });
        methods.add_method("remember", |_, host, (age, owner, smid, h): (u64, String, String, u32)| {
            let (smid, h, age) = (SmId::new(&smid).into_lua_err()?, Counter::new(h), Duration::from_secs(age));
            host.store.restore_stale(&StaleRecord { owner: owner.into(), smid, h, age }, Instant::now());
            Ok(())
        });
        // A session that was written down: its stream, and what Prosody knew of it. It waits for `timeout`.
        methods.add_method("restore", |lua, host, bytes: LuaString| {
            let (now, wall_clock) = (Instant::now(), SystemTime::now());
            let read = Snapshot::from_bytes(&bytes.as_bytes(), &Limits::default(), now, wall_clock);
            let Snapshot { session, host: known } = read.into_lua_err()?;
            let session = Session::<Bytes, ()>::from_parts(host.config.clone(), session, now).into_lua_err()?;
            let smid = session.smid().cloned().ok_or_else(|| LuaError::runtime("it has no SM-ID"))?;
            let registered = host.store.register(&smid, session.owner(), (), now).into_lua_err()?;
            let state = State::Session(Box::new(session));
            Ok((Stream::new(host.clone(), state, Some(registered.registration)), lua.create_string(known)?))
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
        let (mut steps, now) = (Steps { lua, todo: Vec::new(), taker: None, refused: None }, Instant::now());
        let answer = does(stream, arguments, &mut steps, now)?;
        let wait = stream.todo(&mut steps, now)?;
        Ok((steps.todo, wait, answer))
    });
}

/// Its name, its namespace, its attributes, and whether the stream has a resource.
type Element = (String, String, LuaTable, bool);

impl LuaUserData for Stream {
    fn add_methods<M: LuaUserDataMethods<Self>>(methods: &mut M) {
        // Whether `<sm/>` belongs into the stream features.
        methods.add_method("has_feature", |_, it, ()| Ok(matches!(&it.state, State::Unbound(it) if it.has_feature())));
        // The stanzas that the client may not have.
        methods.add_method("pending", |lua, stream, ()| {
            let State::Session(session) = &stream.state else { return Ok(Vec::new()) };
            session.pending().map(|stanza| lua.create_string(stanza)).collect::<LuaResult<Vec<_>>>()
        });
        // The session as bytes, with what Prosody knows of it. It lives there from now on, and is not found here.
        methods.add_method_mut("park", |lua, stream, known: LuaString| {
            let (now, host) = (Instant::now(), known.as_bytes().to_vec());
            stream.session()?;
            let State::Session(session) = mem::replace(&mut stream.state, State::Over) else { return Ok(None) };
            let session = (*session).into_parts().map_err(|not| {
                stream.state = State::Session(Box::new(not.session));
                LuaError::external(not.why)
            })?;
            stream.registration.take().map(|it| stream.host.store.remove(&it)).transpose().into_lua_err()?;
            lua.create_string(Snapshot { session, host }.to_bytes(now, SystemTime::now())).map(Some)
        });
        // An element has arrived, a stanza or one of stream management. `is_bound`: whether the stream has a resource. The
        // answer to a stanza is whether Prosody is to handle it: from here on it is Prosody's, whatever becomes of the
        // connection. To `<resume/>` it is the SM-ID of the session, which is to be given to `resume`.
        method(methods, "handle", |stream, (name, ns, with, is_bound): Element, steps, now| {
            let inbound = inbound(&name, &ns, &with)?;
            stream.state = match mem::replace(&mut stream.state, State::Over) {
                State::Unbound(unbound) if is_bound => State::Session(Box::new(unbound.bind(()))),
                state => state,
            };
            match &mut stream.state {
                State::Over => return Err(LuaError::runtime(NO_SESSION)),
                State::Unbound(unbound) => match unbound.handle(inbound, now).into_lua_err()? {
                    Early::Stanza => return Ok((true, None)),
                    Early::Resume(request) => return Ok((false, stream.ask(request, steps, now)?)),
                    Early::Write(nonza) => steps.write(nonza.to_string())?,
                    Early::Close(last) => stream.say(last, steps).and_then(|()| steps.act("close", ()))?,
                    _ => {}
                },
                State::Session(session) => {
                    let (is_ack, before) = (matches!(inbound, Inbound::Nonza(Nonza::Ack(_))), session.unacked());
                    match session.handle(inbound, now).into_lua_err()? {
                        Arrival::Stanza(receipt) => return Ok((session.settle(receipt, now).is_ok(), None)),
                        Arrival::Enable(request) => {
                            let registered = session.accept_enable_in(request, &*stream.host.store, (), now);
                            stream.registration = registered.into_lua_err()?.map(|it| it.registration);
                            steps.act("enabled", session.smid().map(|smid| smid.as_str().to_owned()))?;
                        }
                        _ if is_ack => steps.act("acked", before.saturating_sub(session.unacked()))?,
                        _ => {}
                    }
                }
            }
            Ok((false, None))
        });
        // The stream, which is `taker` to Lua, has asked for the session of the `former` one. The answer is what to do there.
        method(methods, "resume", |stream, (mut former, taker): (LuaUserDataRefMut<Stream>, LuaTable), steps, now| {
            let session = former.session()?;
            let asks = stream.asks.take().ok_or_else(|| LuaError::runtime("the stream asks for no session"))?;
            session.take(asks, now);
            let mut its = Steps { lua: steps.lua, todo: Vec::new(), taker: Some(taker), refused: None };
            let wait = former.todo(&mut its, now)?;
            its.refused.take().map_or(Ok(()), |refused| stream.log_in(refused, steps))?;
            Ok((its.todo, wait))
        });
        // The answer is the stanza with its stamp, if it waits for the client to come back.
        method(methods, "send", |stream, text: LuaString, steps, now| {
            let text = Bytes::copy_from_slice(&text.as_bytes());
            let session = stream.session()?;
            session.send(text.clone(), now).into_lua_err()?;
            let waits = session.is_detached();
            waits.then(|| steps.lua.create_string(stamped(&text, session.owner(), now, now))).transpose()
        });
        // What else happens. The answer is for how many seconds an `<r/>` was unanswered, and whether the session waits
        // to be resumed.
        method(methods, "on", |stream, what: String, _, now| {
            // Prosody ends the stream, in words of its own.
            stream.is_closed |= what.starts_with("closed");
            let session = stream.session()?;
            let asked = session.ack_requested_at().map(|at| now.saturating_duration_since(at).as_secs_f64());
            match &*what {
                "csi-client-active" | "csi-client-inactive" => session.set_active(what == "csi-client-active", now),
                "timeout" => session.timeout(now),
                "silence" => session.request_ack(now),
                "csi-flushing" if session.unacked() > 0 => session.request_ack(now),
                "lost" => session.lost(now),
                "closed by the client" if session.connection().is_some() => session.peer_closed(now),
                "closed in error" => session.close(EndReason::Stopped, None, now),
                "closed" | "closed by the client" => session.close(EndReason::Closed, None, now),
                "expired" if session.set_expires_at(Some(now)) => session.timeout(now),
                // Another module ends it, in a week at the latest.
                "kept" => drop(session.set_expires_at(now.checked_add(Duration::from_secs(7 * 86_400)))),
                "c2s-ondrain" => stream.buffered = 0,
                "expired" | "csi-flushing" | "looked at" => {}
                _ => return Err(LuaError::runtime(format!("there is no event {what}"))),
            }
            Ok((asked, stream.session()?.is_detached()))
        });
    }
}
