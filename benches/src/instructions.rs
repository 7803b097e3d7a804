//! One operation, many times, for callgrind to count: `instructions.sh` runs it.

use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use xmpp_sm::{
    AckFreq, Action, Arrival, Config, Counter, Enable, Inbound, MemoryStore, Nonza, Session, SessionStore, SmId,
    StreamMgmt, Unbound, Write,
};

const OFTEN: u32 = 10_000;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("ring") => {
            let (message, mut ring) = (Bytes::from(vec![b'x'; 200]), VecDeque::with_capacity(8));
            measured(|| {
                ring.push_back(black_box(&message).clone());
                drop(ring.drain(..black_box(1)));
            });
        }
        Some("two-rings") => {
            let message = Bytes::from(vec![b'x'; 200]);
            let (mut waiting, mut unacked) = (VecDeque::with_capacity(8), VecDeque::with_capacity(8));
            measured(|| {
                waiting.push_back(black_box(&message).clone());
                while let Some(stanza) = waiting.pop_front() {
                    unacked.push_back(stanza);
                    black_box(unacked.back());
                }
                drop(unacked.drain(..black_box(1)));
            });
        }
        Some("session") => session_sends(5),
        Some("session-every-1") => session_sends(1),
        Some("send-and-ack") => {
            let (message, now, mut stream, mut h) =
                (Bytes::from(vec![b'x'; 200]), Instant::now(), enabled(), Counter::ZERO);
            measured(|| {
                black_box(stream.record_sent(black_box(&message).clone(), now).is_ok());
                h = h.next();
                black_box(stream.handle(black_box(Inbound::Nonza(Nonza::Ack(h))), now).is_ok());
            });
        }
        Some("send") => {
            let (message, now, mut stream) = (Bytes::from(vec![b'x'; 200]), Instant::now(), enabled());
            measured(|| {
                black_box(stream.record_sent(black_box(&message).clone(), now).is_ok());
            });
        }
        Some("receive-and-handle") => {
            let (now, mut stream) = (Instant::now(), enabled());
            measured(|| {
                if let Ok(Action::Deliver(receipt)) = stream.handle(black_box(Inbound::Stanza { bytes: 1 }), now) {
                    black_box(stream.record_handled(receipt).is_ok());
                }
            });
        }
        Some("answer") => {
            let (now, mut stream, mut out) = (Instant::now(), enabled(), BytesMut::with_capacity(4096));
            measured(|| {
                if let Ok(Action::Write(answer)) = stream.handle(black_box(Inbound::Nonza(Nonza::AckRequest)), now) {
                    out.clear();
                    answer.write_to(&mut out);
                }
            });
        }
        Some("parse-ack") => measured(|| {
            black_box(Nonza::parse(black_box("a"), black_box([("h", "123456")]), None).is_ok());
        }),
        // The floor of the two after it: what anybody would write first.
        Some("map-insert-and-remove") => {
            let mut map = HashMap::from([(id(0), (Arc::<str>::from(OWNER), 7_u64))]);
            let (id, owner) = (id(1), Arc::<str>::from(OWNER));
            measured(|| {
                map.insert(black_box(&id).clone(), (black_box(&owner).clone(), 7));
                black_box(map.remove(black_box(&id)));
            });
        }
        Some("map-get") => {
            let map = HashMap::from([(id(0), (Arc::<str>::from(OWNER), 7_u64))]);
            let id = id(0);
            measured(|| {
                black_box(
                    map.get(black_box(&id)).filter(|(of, _)| **of == *black_box(OWNER)).map(|(_, handle)| *handle),
                );
            });
        }
        Some("register-and-remove-first") => register_and_remove(false),
        Some("register-and-remove-second") => register_and_remove(true),
        Some("lookup") => {
            let (store, now) = (MemoryStore::new(&Config::default()), Instant::now());
            let id = id(0);
            let _ = store.register(&id, &OWNER.into(), 7_u64, now);
            measured(|| {
                black_box(store.lookup(black_box(&id), black_box(OWNER), now).is_ok());
            });
        }
        other => {
            eprintln!("no such operation: {other:?}");
            std::process::exit(2);
        }
    }
}

const OWNER: &str = "user1234567@example.com";

fn id(number: u8) -> SmId {
    SmId::from_random([number; 16])
}

/// Of an owner that has no session beside it, or one.
fn register_and_remove(has_other: bool) {
    let (store, now) = (MemoryStore::new(&Config::default()), Instant::now());
    let owner = Arc::from(OWNER);
    if has_other {
        let _ = store.register(&id(0), &owner, 7_u64, now);
    }
    let id = id(1);
    measured(|| {
        let registered = store.register(black_box(&id), black_box(&owner), 7, now).unwrap();
        store.remove(black_box(&registered.registration)).unwrap();
    });
}

/// With an `<r/>` for so many stanzas.
fn session_sends(every: u32) {
    let (message, now, mut session, mut h) =
        (Bytes::from(vec![b'x'; 200]), Instant::now(), session(every), Counter::ZERO);
    measured(|| {
        black_box(session.send(black_box(&message).clone(), now).is_ok());
        while let Some(((), write)) = session.next_write(now) {
            match write {
                Write::Stanza { stanza, .. } => drop(black_box(stanza)),
                write => drop(black_box(&write)),
            }
        }
        h = h.next();
        black_box(session.handle(black_box(Inbound::Nonza(Nonza::Ack(h))), now).is_ok());
    });
}

#[inline(never)]
fn measured(mut operation: impl FnMut()) {
    for _ in 0..OFTEN {
        operation();
    }
}

fn config(every: u32) -> Arc<Config> {
    let config = Config::default().ack_freq(AckFreq::Every(NonZeroU32::new(every).unwrap()));
    Arc::new(config.buffer_max(NonZeroU32::MAX).buffer_max_bytes(NonZeroUsize::MAX))
}

fn session(every: u32) -> Session<Bytes, ()> {
    let (now, mut session) = (Instant::now(), Unbound::new(config(every), "juliet@example.com").bind(()));
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { unreachable!() };
    session.accept_enable(request, Some(SmId::from_random([7; 16])), now).unwrap();
    while session.next_write(now).is_some() {}
    session
}

fn enabled() -> StreamMgmt<Bytes> {
    let mut stream = StreamMgmt::server(config(5));
    stream.bound();
    let enable = Inbound::Nonza(Nonza::Enable(Enable { resume: true, max: None }));
    let Ok(Action::Enable(request)) = stream.handle(enable, Instant::now()) else { unreachable!() };
    let _ = stream.accept_enable(request, Some(SmId::from_random([7; 16]))).unwrap();
    stream
}
