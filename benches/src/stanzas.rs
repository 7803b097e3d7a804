//! Stanzas in and out, against a bare ring.

use std::collections::VecDeque;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use minidom::Element;
use xmpp_sm::{
    AckFreq, Action, Arrival, Config, Counter, Detached, Disconnected, Enable, Inbound, Nonza, Parts, Receipt, Resume,
    Resumed, Session, SmId, StreamMgmt, Unbound, Write,
};

use crate::pair::{Row, pair, pair_timed, timed};

const MANY: NonZeroU32 = NonZeroU32::MAX;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for every in [1, 5, 50] {
        rows.push(send_and_ack(every));
    }
    rows.push(send_poll_and_ack());
    rows.extend([1, 5, 50].map(session_send_write_and_ack));
    rows.push(receive_and_handle());
    rows.extend([1, 8].map(receive_and_handle_in_any_order));
    rows.extend([true, false].map(answer));
    for kept in [10, 1_000, 100_000] {
        rows.push(ack_with_kept(kept));
    }
    for unacked in [10, 100, 1_000, 100_000] {
        rows.push(resume(unacked));
    }
    rows.push(off());
    rows.push(off_and_serialized());
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
                send(&mut stream, black_box(&message), now);
            }
            h = h.advance(every);
            ack(&mut stream, h, now);
        }
    })
}

/// With the next timeout asked for after each call, as a host's loop does.
fn send_poll_and_ack() -> Row {
    let (message, now) = (message(), Instant::now());
    let mut ring = VecDeque::new();
    let floor = {
        let message = message.clone();
        move |often: u64| {
            for _ in 0..often {
                ring.push_back(black_box(&message).clone());
                drop(ring.drain(..black_box(1)));
            }
        }
    };
    let (mut stream, mut h) = (enabled(config(1)), Counter::ZERO);
    pair("send, poll_timeout, ack, poll_timeout", None, floor, move |often| {
        for _ in 0..often {
            send(&mut stream, black_box(&message), now);
            black_box(stream.poll_timeout());
            h = h.next();
            ack(&mut stream, h, now);
            black_box(stream.poll_timeout());
        }
    })
}

/// A [`Session`] has two rings: of what waits to be written, and of what is unacknowledged.
fn session_send_write_and_ack(every: u32) -> Row {
    let (message, now) = (message(), Instant::now());
    let (mut waiting, mut unacked) = (VecDeque::new(), VecDeque::new());
    let floor = {
        let message = message.clone();
        move |often: u64| {
            for _ in 0..often.div_ceil(every.into()) {
                for _ in 0..every {
                    waiting.push_back(black_box(&message).clone());
                    while let Some(stanza) = waiting.pop_front() {
                        unacked.push_back(stanza);
                        black_box(unacked.back());
                    }
                }
                drop(unacked.drain(..black_box(every) as usize));
            }
        }
    };
    let (mut session, mut h) = (session(config(every)), Counter::ZERO);
    pair(
        &format!("Session: send, write out and ack, acks every {every}, against two rings"),
        1.3,
        floor,
        move |often| {
            for _ in 0..often.div_ceil(every.into()) {
                for _ in 0..every {
                    if session.send(black_box(&message).clone(), now).is_err() {
                        unexpected();
                    }
                    while let Some(((), write)) = session.next_write(now) {
                        match write {
                            // As a host does: what there is to write is looked at, and nothing else.
                            Write::Stanza { stanza, .. } => drop(black_box(stanza)),
                            Write::Nonza(nonza) => drop(black_box(&nonza)),
                            _ => unexpected(),
                        }
                    }
                }
                h = h.advance(every);
                match session.handle(Inbound::Nonza(Nonza::Ack(black_box(h))), now) {
                    Ok(Arrival::Handled) => {}
                    _ => unexpected(),
                }
            }
        },
    )
}

fn session(config: Arc<Config>) -> Session<Bytes, ()> {
    let (now, mut session) = (Instant::now(), Unbound::new(config, "juliet@example.com").bind(()));
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { unreachable!() };
    session.accept_enable(request, Some(SmId::from_random([7; 16])), now).unwrap();
    while session.next_write(now).is_some() {}
    session
}

#[inline(always)]
fn send(stream: &mut StreamMgmt<Bytes>, message: &Bytes, now: Instant) {
    match stream.record_sent(message.clone(), now) {
        // As a host does: what there is to write is looked at, and nothing else.
        Ok(sent) => {
            if let Some(nonza) = sent.write {
                black_box(&nonza);
            }
        }
        _ => unexpected(),
    }
}

#[inline(always)]
fn ack(stream: &mut StreamMgmt<Bytes>, h: Counter, now: Instant) {
    match stream.handle(Inbound::Nonza(Nonza::Ack(black_box(h))), now) {
        Ok(Action::Acknowledged(_)) => {}
        _ => unexpected(),
    }
}

/// Against a ring that each stanza goes into and leaves again.
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
    pair("receive and handle, one open, against a ring", 1.15, floor, move |often| {
        for _ in 0..often {
            let receipt = receive(&mut stream, now);
            settle(&mut stream, black_box(receipt));
        }
    })
}

/// Against a ring that can do the same: what is in it is settled by its number, whatever the order.
fn receive_and_handle_in_any_order(open: usize) -> Row {
    let now = Instant::now();
    let mut ring = Ring::default();
    let (mut numbers, mut second) = (VecDeque::new(), false);
    let floor = move |often: u64| {
        for _ in 0..often {
            numbers.push_back(ring.receive(black_box(now)));
            if numbers.len() >= open {
                ring.settle(black_box(any(&mut numbers, &mut second)));
            }
        }
    };
    let mut stream = enabled(config(1));
    let (mut receipts, mut second) = (VecDeque::new(), false);
    let name = format!("receive and handle, {open} open, in any order, against a ring that can");
    pair(&name, 1.15, floor, move |often| {
        for _ in 0..often {
            receipts.push_back(receive(&mut stream, now));
            if receipts.len() >= open {
                settle(&mut stream, black_box(any(&mut receipts, &mut second)));
            }
        }
    })
}

/// The least that a server would write for itself: no other session's receipts, no bound, no `<r/>` that waits.
#[derive(Default)]
struct Ring {
    open: VecDeque<Option<Instant>>,
    h: u32,
}

impl Ring {
    #[inline(always)]
    fn receive(&mut self, now: Instant) -> u32 {
        self.open.push_back(Some(now));
        self.h.wrapping_add(self.open.len() as u32)
    }

    #[inline(always)]
    fn settle(&mut self, number: u32) {
        if let Some(open) = self.open.get_mut(number.wrapping_sub(self.h.wrapping_add(1)) as usize) {
            *open = None;
        }
        while self.open.front() == Some(&None) {
            self.open.pop_front();
            self.h = self.h.wrapping_add(1);
        }
    }
}

/// By turns the one after the oldest and the oldest.
#[inline(always)]
fn any<T>(of: &mut VecDeque<T>, second: &mut bool) -> T {
    *second = !*second;
    if *second && of.len() > 1 {
        of.swap(0, 1);
    }
    of.pop_front().unwrap()
}

#[inline(always)]
fn receive(stream: &mut StreamMgmt<Bytes>, now: Instant) -> Receipt {
    match stream.handle(black_box(Inbound::Stanza { bytes: 1 }), now) {
        Ok(Action::Deliver(receipt)) => receipt,
        _ => unexpected(),
    }
}

#[inline(always)]
fn settle(stream: &mut StreamMgmt<Bytes>, receipt: Receipt) {
    match stream.record_handled(receipt) {
        Ok(None) => {}
        _ => unexpected(),
    }
}

#[cold]
fn unexpected() -> ! {
    panic!("it is not what was asked for")
}

/// The longest `h`. The floor has its text ready, or makes it (`is_made`) by the crate that makes numbers quickest.
fn answer(is_made: bool) -> Row {
    let now = Instant::now();
    let (mut out, mut floor_out) = (BytesMut::with_capacity(4096), BytesMut::with_capacity(4096));
    let h = Counter::new(u32::MAX);
    let mut stream = resumed_at(h);
    let (text, mut number) = (Nonza::Ack(h).to_string(), itoa::Buffer::new());
    let floor = move |often: u64| {
        for _ in 0..often {
            floor_out.clear();
            if is_made {
                floor_out.extend_from_slice(b"<a xmlns='urn:xmpp:sm:3' h='");
                floor_out.extend_from_slice(number.format(black_box(h).get()).as_bytes());
                floor_out.extend_from_slice(b"'/>");
            } else {
                floor_out.extend_from_slice(black_box(text.as_bytes()));
            }
            black_box(&floor_out);
        }
    };
    let (name, aim) = if is_made { ("making it with `itoa`", Some(2.0)) } else { ("copying its bytes", None) };
    pair(&format!("answer to `<r/>`, written out, against {name}"), aim, floor, move |often| {
        for _ in 0..often {
            // It is looked at where it is, as with `Session`.
            let Ok(Action::Write(ref answer)) = stream.handle(black_box(Inbound::Nonza(Nonza::AckRequest)), now) else {
                unreachable!()
            };
            out.clear();
            answer.write_to(&mut out);
            black_box(&out);
        }
    })
}

/// A stream on which so many stanzas of the peer were handled.
fn resumed_at(h: Counter) -> StreamMgmt<Bytes> {
    let smid = SmId::from_random([7; 16]);
    let parts =
        Parts { smid: smid.clone(), deadline: None, resume_timeout: None, h, acked: Counter::ZERO, unacked: vec![] };
    let session = Detached::from_parts(config(1), parts).ok().unwrap();
    let (mut stream, now) = (StreamMgmt::server(config(1)), Instant::now());
    stream.authenticated();
    let resume = Inbound::Nonza(Nonza::Resume(Resume { previd: smid, h: Counter::ZERO }));
    let Ok(Action::Resume(request)) = stream.handle(resume, now) else { unreachable!() };
    drop(stream.accept_resume(request, session, now).ok().unwrap());
    stream
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
                send(&mut stream, black_box(&message), now);
            }
            h = h.advance(5);
            ack(&mut stream, h, now);
        }
    }
}

fn ack_with_kept(kept: u32) -> Row {
    pair(&format!("send and ack with {kept} kept, against 10 kept"), 1.2, keeping(10), keeping(kept))
}

/// The ring that keeps as many.
fn ring_keeping(kept: u32) -> impl FnMut(u64) {
    let message = message();
    let mut ring: VecDeque<Bytes> = (0..kept).map(|_| message.clone()).collect();
    move |often| {
        for _ in 0..often.div_ceil(5) {
            for _ in 0..5 {
                ring.push_back(black_box(&message).clone());
            }
            drop(ring.drain(..black_box(5)));
        }
    }
}

/// For the picture: a ring that keeps as many stands beside each.
pub fn curve() -> Vec<(u32, Row)> {
    let kept = [1, 10, 100, 1_000, 10_000, 100_000];
    kept.map(|kept| (kept, pair("send and ack", None, ring_keeping(kept), keeping(kept)))).into()
}

/// A resumption, from `<resume/>` to the bytes for the socket, against copying those bytes.
fn resume(unacked: u32) -> Row {
    let name = format!("resume with {unacked} unacked, against copying its bytes");
    let (message, now) = (message(), Instant::now());
    let config = config(5);
    let bytes = (message.len() + 1) * unacked as usize;
    let (mut out, floor_out) = (BytesMut::with_capacity(bytes + 512), BytesMut::with_capacity(bytes + 512));
    let messages: Vec<Bytes> = (0..unacked).map(|_| Bytes::copy_from_slice(&message)).collect();
    let smid = SmId::from_random([7; 16]);
    let (h, acked) = (Counter::ZERO, Counter::ZERO);
    // Streams that wait for `<resume/>`, and their sessions: neither their beginning nor their end is measured.
    let many = (1000 / u64::from(unacked)).clamp(1, 32);
    let detached = || {
        let unacked = messages.iter().map(|message| (message.clone(), now)).collect();
        let parts = Parts { smid: smid.clone(), deadline: None, resume_timeout: None, h, acked, unacked };
        Detached::from_parts(config.clone(), parts).ok().unwrap()
    };
    let mut sessions: Vec<Detached<Bytes>> = (0..many).map(|_| detached()).collect();
    let floor = {
        let resumed = Nonza::Resumed(Resumed { previd: smid.clone(), h }).to_string();
        let request = Nonza::AckRequest.to_string();
        let (messages, mut out) = (messages.clone(), floor_out);
        move |often: u64| {
            timed(|| {
                for _ in 0..often {
                    out.clear();
                    out.extend_from_slice(black_box(resumed.as_bytes()));
                    for message in &messages {
                        out.extend_from_slice(black_box(message));
                    }
                    out.extend_from_slice(black_box(request.as_bytes()));
                    black_box(&out);
                }
            })
        }
    };
    pair_timed(&name, 1.5, floor, move |often| {
        let (mut took, mut left) = (Duration::ZERO, often);
        while left > 0 {
            let waiting: Vec<_> = sessions.drain(..left.min(many) as usize).collect();
            let mut streams: Vec<_> = waiting.iter().map(|_| StreamMgmt::server(config.clone())).collect();
            streams.iter_mut().for_each(StreamMgmt::authenticated);
            left -= waiting.len() as u64;
            took += timed(|| {
                for (stream, session) in streams.iter_mut().zip(waiting) {
                    let resume = Inbound::Nonza(Nonza::Resume(Resume { previd: smid.clone(), h }));
                    let Ok(Action::Resume(request)) = stream.handle(resume, now) else { unreachable!() };
                    let resumption = stream.accept_resume(request, session, now).ok().unwrap();
                    out.clear();
                    resumption.write.write_to(&mut out);
                    for queued in stream.unacked() {
                        out.extend_from_slice(queued.stanza);
                    }
                    if let Some(after) = resumption.after {
                        after.write_to(&mut out);
                    }
                    black_box(&out);
                }
            });
            sessions.extend(streams.into_iter().map(|stream| match stream.disconnect(now) {
                Disconnected::Resumable(session) => session,
                Disconnected::Ended(_) => unreachable!(),
            }));
        }
        took
    })
}

/// The bytes of a stanza are copied, the least that anybody does about one.
fn off() -> Row {
    let message = message();
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
    let (now, mut stream) = (Instant::now(), switched_off());
    let mut out = BytesMut::with_capacity(4096);
    pair("stanza copied with SM off, against no crate", 1.02, floor, move |often| {
        for _ in 0..often {
            out.clear();
            let stream = black_box(&mut stream);
            if stream.is_recording() {
                send(stream, &message, now);
            }
            out.extend_from_slice(black_box(&message));
            black_box(&out);
        }
    })
}

/// A stanza is written from an `Element`, as servers do.
fn off_and_serialized() -> Row {
    let xml = "<message xmlns='jabber:client' to='juliet@example.com' id='1'><body>ciao</body></message>";
    let element: Element = xml.parse().unwrap();
    let floor = {
        let (element, mut out) = (element.clone(), Vec::with_capacity(4096));
        move |often: u64| {
            for _ in 0..often {
                out.clear();
                black_box(&element).write_to(&mut out).unwrap();
                black_box(&out);
            }
        }
    };
    let (now, mut stream) = (Instant::now(), switched_off());
    let mut out = Vec::with_capacity(4096);
    pair("stanza serialized with SM off, against no crate", 1.02, floor, move |often| {
        for _ in 0..often {
            out.clear();
            black_box(&element).write_to(&mut out).unwrap();
            let stream = black_box(&mut stream);
            if stream.is_recording() {
                send(stream, &Bytes::copy_from_slice(&out), now);
            }
            black_box(&out);
        }
    })
}

fn switched_off() -> StreamMgmt<Bytes> {
    let mut stream = StreamMgmt::server(config(1));
    stream.bound();
    stream
}

fn detached() -> Row {
    let (message, now) = (message(), Instant::now());
    let fresh = || {
        let parts = Parts {
            smid: SmId::from_random([7; 16]),
            deadline: None,
            resume_timeout: None,
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
        drop(black_box(session.end(xmpp_sm::EndReason::Stopped)));
    })
}
