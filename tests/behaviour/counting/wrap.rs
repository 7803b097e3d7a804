//! Counters that go over 2^32.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Action, Config, Counter, Error, Inbound, Kind, Nonza, Resumed, StreamMgmt, WrongH};

use crate::support::raw::{ack, ask_to_resume, authenticated, detach, resumed_at, session_at, smid};
use crate::support::{JULIET, Net, Side, quiet, secs};

/// Where a counter of 32 bits, one that skips 2^32 - 1, and one of 31 bits would stumble.
fn starts() -> impl Iterator<Item = u32> {
    [0, 1 << 31, u32::MAX].into_iter().flat_map(|end: u32| (0..8).map(move |back| end.wrapping_sub(back)))
}

const STANZAS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn stream_with_six(start: u32, now: Instant) -> StreamMgmt<String> {
    let mut stream = resumed_at(&Arc::new(quiet()), 0, start, now);
    for (n, stanza) in (1..).zip(STANZAS) {
        let sent = stream.record_sent(stanza.to_owned(), now).unwrap();
        assert_eq!(sent.number, Some(Counter::new(start.wrapping_add(n))));
    }
    stream
}

fn left(stream: &StreamMgmt<String>) -> Vec<(u32, &str)> {
    stream.unacked().map(|queued| (queued.number.get(), queued.stanza.as_str())).collect()
}

fn expected_left(start: u32, acked: u32) -> Vec<(u32, &'static str)> {
    (1..).map(|n| start.wrapping_add(n)).zip(STANZAS).skip(acked as usize).collect()
}

#[test]
fn p01_h_walks_over_the_wrap_without_a_gap() {
    let mut net = Net::new(quiet());
    let (old, client) = net.started_at("juliet@capulet.lit", u32::MAX - 2, 0);
    let conn = net.resume_with("juliet@capulet.lit", client);
    net.skip();
    for _ in 0..4 {
        net.client_sends(conn, "<message/>");
        net.requests(conn, Side::Client);
    }
    net.expect(
        "C2: <message/><r/><message/><r/><message/><r/><message/><r/>
         S2: <a h='4294967294'/><a h='4294967295'/><a h='0'/><a h='1'/>",
    );
    // The client believed each of them, and a resumption says the same.
    assert_eq!(net.client(conn).unacked().count(), 0);
    net.cut(conn);
    net.resume(conn);
    net.expect(
        "-- cut
         C3: <resume previd='sm-1' h='0'/>
         S3: <resumed previd='sm-1' h='1'/>",
    );
    assert_eq!(net.whereabouts(old, Side::Server), 3);
}

#[test]
fn p01_a_resumption_says_every_h_around_the_wrap() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    for start in starts() {
        let mut stream = authenticated::<String>(&config);
        let request = ask_to_resume(&mut stream, 0, now);
        let resumption = stream.accept_resume(request, session_at(&config, start, 0, now + secs(60)), now);
        let expected = Nonza::Resumed(Resumed { previd: smid(), h: start.into() });
        assert_eq!(resumption.unwrap().write, expected);
    }
}

#[test]
fn p02_every_ack_around_the_wrap_frees_what_it_acknowledges() {
    let now = Instant::now();
    for start in starts() {
        for first in 0..=6 {
            for second in first..=6 {
                let mut stream = stream_with_six(start, now);
                for (h, newly) in [(first, first), (second, second - first), (second, 0)] {
                    let h = start.wrapping_add(h);
                    let acked = ack(&mut stream, h, now).unwrap();
                    assert_eq!((acked.h.get(), acked.count), (h, newly), "{start}, {first}, {second}");
                }
                assert_eq!(left(&stream), expected_left(start, second));
            }
        }
    }
}

#[test]
fn p02_every_h_beside_the_window_is_told_from_those_in_it() {
    let now = Instant::now();
    for start in starts() {
        let mut stream = stream_with_six(start, now);
        ack(&mut stream, start.wrapping_add(2), now).unwrap();
        let (acked, sent) = (Counter::new(start.wrapping_add(2)), Counter::new(start.wrapping_add(6)));
        for wrong in [1, 2, 1000, 1 << 30] {
            let h = sent.advance(wrong);
            let why = WrongH::TooHigh { h, sent };
            assert_eq!(ack(&mut stream, h.get(), now), Err(Error::WrongH { element: Kind::Ack, why }));
            let h = Counter::new(acked.get().wrapping_sub(wrong));
            let why = WrongH::Backwards { h, acked };
            assert_eq!(ack(&mut stream, h.get(), now), Err(Error::WrongH { element: Kind::Ack, why }));
        }
        assert_eq!((left(&stream), stream.acked()), (expected_left(start, 2), acked));
    }
}

#[test]
fn p02_every_resume_around_the_wrap_sends_the_rest_again() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    for start in starts() {
        for had in 0..=6 {
            let session = detach(stream_with_six(start, now), now);
            let mut stream = authenticated::<String>(&config);
            let request = ask_to_resume(&mut stream, start.wrapping_add(had), now);
            let _ = stream.accept_resume(request, session, now).unwrap();
            assert_eq!(left(&stream), expected_left(start, had));
            assert_eq!(stream.acked().get(), start.wrapping_add(had));
        }
    }
}

#[test]
fn p02_a_client_reads_every_resumed_around_the_wrap() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    for start in starts() {
        for had in 0..=6 {
            let session = detach(stream_with_six(start, now), now);
            let (mut client, _) = StreamMgmt::resume(config.clone(), session).unwrap();
            let h = Counter::new(start.wrapping_add(had));
            let resumed = Inbound::Nonza(Nonza::Resumed(Resumed { previd: smid(), h }));
            let Ok(Action::Resumed(_)) = client.handle(resumed, now) else { panic!("{start}, {had}") };
            assert_eq!(left(&client), expected_left(start, had));
        }
    }
}

#[test]
fn p03_send_count_is_what_was_sent_over_the_wrap() {
    let mut net = Net::new(quiet());
    let (_, client) = net.started_at(JULIET, 0, u32::MAX - 1);
    let conn = net.resume_with(JULIET, client);
    for _ in 0..3 {
        net.server_sends(1, "<message/>");
    }
    net.skip();
    net.client_writes(conn, "<a h='2'/>");
    net.expect(
        "C2: <a h='2'/>
         S2: <stream:error><undefined-condition/>
              <text xml:lang='en'>You acknowledged 2 stanzas, but I only sent you 1 so far.</text>
              <handled-count-too-high h='2' send-count='1'/>
            </stream:error></stream:stream>",
    );
}
