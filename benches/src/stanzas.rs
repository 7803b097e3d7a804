//! Stanzas in and out, against a bare ring.

use std::collections::VecDeque;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use xmpp_sm::{
    AckFreq, Action, Config, Counter, Detached, Disconnected, Enable, Inbound, Nonza, Parts, Resume, SmId, StreamMgmt,
};

use crate::pair::{Row, pair};

const MANY: NonZeroU32 = NonZeroU32::MAX;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for every in [1, 5, 50] {
        rows.push(send_and_ack(every));
    }
    rows.push(receive_and_handle());
    rows.push(answer());
    for kept in [10, 1_000, 100_000] {
        rows.push(ack_with_kept(kept));
    }
    for unacked in [10, 1_000, 100_000] {
        rows.push(resume(unacked));
    }
    rows.push(off());
    rows.push(detached());
    rows
}

fn message() -> Bytes {
    Bytes::from(format!("<message to='juliet@example.com' id='1'><body>{}</body></message>", "x".repeat(150)))
}

fn config(every: u32) -> Arc<Config> {
    let config = Config::default().ack_freq(AckFreq::Every(NonZeroU32::new(every).unwrap()));
    Arc::new(config.buffer_max(MANY).buffer_max_bytes(std::num::NonZeroUsize::MAX))
}

pub fn enabled(config: Arc<Config>) -> StreamMgmt<Bytes> {
    let mut stream = StreamMgmt::server(config);
    stream.bound();
    let enable = Inbound::Nonza(Nonza::Enable(Enable { resume: true, max: None }));
    let Ok(Action::Enable(request)) = stream.handle(enable, Instant::now()) else { unreachable!() };
    let _ = stream.accept_enable(request, Some(SmId::from_random([7; 16]))).unwrap();
    stream
}

fn send_and_ack(every: u32) -> Row {
    let (message, now) = (message(), Instant::now());
    let mut ring = VecDeque::new();
    let mut stream = enabled(config(every));
    let mut h = Counter::ZERO;
    let floor = {
        let message = message.clone();
        move |often: u64| {
            for _ in 0..often.div_ceil(every.into()) {
                for _ in 0..every {
                    ring.push_back(black_box(&message).clone());
                }
                drop(ring.drain(..black_box(every) as usize));
            }
        }
    };
    pair(&format!("send and ack, acks every {every}"), 1.15, floor, move |often| {
        for _ in 0..often.div_ceil(every.into()) {
            for _ in 0..every {
                black_box(stream.record_sent(black_box(&message).clone(), now).is_ok());
            }
            h = h.advance(every);
            black_box(stream.handle(Inbound::Nonza(Nonza::Ack(h)), now).is_ok());
        }
    })
}

fn receive_and_handle() -> Row {
    let now = Instant::now();
    let mut ring = VecDeque::new();
    let mut stream = enabled(config(1));
    let floor = move |often: u64| {
        for _ in 0..often {
            ring.push_back(black_box(now));
            black_box(ring.pop_front());
        }
    };
    pair("receive and record_handled", 1.15, floor, move |often| {
        for _ in 0..often {
            let Ok(Action::Deliver(receipt)) = stream.handle(black_box(Inbound::Stanza), now) else { unreachable!() };
            black_box(stream.record_handled(receipt).is_ok());
        }
    })
}

fn answer() -> Row {
    let now = Instant::now();
    let (mut out, mut floor_out) = (BytesMut::with_capacity(4096), BytesMut::with_capacity(4096));
    let mut stream = enabled(config(1));
    let floor = move |often: u64| {
        for _ in 0..often {
            floor_out.clear();
            floor_out.extend_from_slice(black_box(b"<a xmlns='urn:xmpp:sm:3' h='0'/>"));
        }
    };
    pair("answer to `<r/>`, against copying its bytes", None, floor, move |often| {
        for _ in 0..often {
            let Ok(Action::Send(answer)) = stream.handle(black_box(Inbound::Nonza(Nonza::Request)), now) else {
                unreachable!()
            };
            out.clear();
            answer.write_to(&mut out);
            black_box(&out);
        }
    })
}

fn keeping(kept: u32) -> impl FnMut(u64) {
    let (message, now) = (message(), Instant::now());
    let mut stream = enabled(config(5));
    for _ in 0..kept {
        assert!(stream.record_sent(message.clone(), now).is_ok());
    }
    let mut h = Counter::ZERO;
    move |often| {
        for _ in 0..often.div_ceil(5) {
            for _ in 0..5 {
                black_box(stream.record_sent(black_box(&message).clone(), now).is_ok());
            }
            h = h.advance(5);
            black_box(stream.handle(Inbound::Nonza(Nonza::Ack(h)), now).is_ok());
        }
    }
}

fn ack_with_kept(kept: u32) -> Row {
    pair(&format!("send and ack with {kept} kept, against 10 kept"), 1.2, keeping(10), keeping(kept))
}

/// The whole of a resumption, up to the bytes for the socket, against copying those bytes.
fn resume(unacked: u32) -> Row {
    let name = format!("resume with {unacked} unacked, against copying their bytes");
    let (message, now) = (message(), Instant::now());
    let config = config(5);
    let bytes = (message.len() + 1) * unacked as usize;
    let (mut out, mut floor_out) = (BytesMut::with_capacity(bytes + 512), BytesMut::with_capacity(bytes + 512));
    let messages: Vec<Bytes> = (0..unacked).map(|_| Bytes::copy_from_slice(&message)).collect();
    let unacked = messages.iter().map(|message| (message.clone(), now)).collect();
    let smid = SmId::from_random([7; 16]);
    let (h, acked) = (Counter::ZERO, Counter::ZERO);
    let parts = Parts { smid: smid.clone(), deadline: None, window: None, h, acked, unacked };
    let mut session = Detached::from_parts(config.clone(), parts).ok();
    let floor = move |often: u64| {
        for _ in 0..often {
            floor_out.clear();
            for message in &messages {
                floor_out.extend_from_slice(black_box(message));
            }
            black_box(&floor_out);
        }
    };
    pair(&name, 1.5, floor, move |often| {
        for _ in 0..often {
            let mut stream = StreamMgmt::server(config.clone());
            stream.authenticated();
            let resume = Inbound::Nonza(Nonza::Resume(Resume { previd: smid.clone(), h }));
            let Ok(Action::Resume(request)) = stream.handle(resume, now) else { unreachable!() };
            let resumption = stream.accept_resume(request, session.take().unwrap(), now).ok().unwrap();
            out.clear();
            resumption.resumed.write_to(&mut out);
            for queued in resumption.resend.unacked {
                out.extend_from_slice(queued.stanza);
            }
            if let Some(request) = resumption.resend.request {
                request.write_to(&mut out);
            }
            black_box(&out);
            let Disconnected::Resumable(detached) = stream.disconnect(now) else { unreachable!() };
            session = Some(detached);
        }
    })
}

fn off() -> Row {
    let (message, now) = (message(), Instant::now());
    let mut out = BytesMut::with_capacity(4096);
    let mut stream = StreamMgmt::<Bytes>::server(config(1));
    stream.bound();
    let floor = {
        let (message, mut out) = (message.clone(), BytesMut::with_capacity(4096));
        move |often: u64| {
            for _ in 0..often {
                out.clear();
                out.extend_from_slice(black_box(&message));
                black_box(&out);
            }
        }
    };
    pair("stanza written with SM off, against no crate", 1.02, floor, move |often| {
        for _ in 0..often {
            out.clear();
            if stream.is_enabled() {
                black_box(stream.record_sent(message.clone(), now).is_ok());
            }
            out.extend_from_slice(black_box(&message));
            black_box(&out);
        }
    })
}

fn detached() -> Row {
    let (message, now) = (message(), Instant::now());
    let fresh = || {
        let parts = Parts {
            smid: SmId::from_random([7; 16]),
            deadline: None,
            window: None,
            h: Counter::ZERO,
            acked: Counter::ZERO,
            unacked: vec![],
        };
        Detached::from_parts(config(1), parts).ok().unwrap()
    };
    let floor = {
        let message = message.clone();
        move |often: u64| {
            let mut ring = VecDeque::new();
            for _ in 0..often {
                ring.push_back(black_box(&message).clone());
            }
            black_box(ring);
        }
    };
    pair("record_sent while detached, growth included", None, floor, move |often| {
        let mut session = fresh();
        for _ in 0..often {
            black_box(session.record_sent(black_box(&message).clone(), now).is_ok());
        }
        drop(black_box(session.end(xmpp_sm::Ending::Stopped)));
    })
}
