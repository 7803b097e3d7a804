//! Sections 4 and 7: counting, answering, closing.

use std::time::{Duration, Instant};

use xmpp_sm::{Action, Config, Counter, Disconnected, EndReason, Nonza, Reaction};

use super::{Stream, bound_client, bound_server, enable, feed, lose, quiet, read, secs};

fn enabled(config: Config) -> Stream {
    let mut stream = bound_server(config);
    enable(&mut stream, "<enable resume='true' max='60'/>", Some("x"));
    stream
}

fn receipt(stream: &mut Stream, now: Instant) -> xmpp_sm::Receipt {
    let Ok(Action::Deliver(receipt)) = feed(stream, "<message/>", now) else { panic!("a stanza is delivered") };
    receipt
}

fn ack(h: u32) -> Nonza {
    Nonza::Ack(Counter::new(h))
}

#[test]
fn an_unanswered_r_detaches_the_session() {
    let now = Instant::now();
    let mut stream = enabled(quiet());
    assert_eq!(stream.request_ack(now), Some(Nonza::AckRequest));
    assert_eq!(stream.poll_timeout(), Some(now + secs(60)));
    assert_eq!(stream.handle_timeout(now + secs(59)), Ok(None));
    let error = stream.handle_timeout(now + secs(60)).expect_err("the connection is dead");
    assert_eq!(error.reaction(), Reaction::Detach);
    assert!(matches!(stream.disconnect(now + secs(60)), Disconnected::Resumable(_)));
}

#[test]
fn an_r_is_answered_at_once_and_again_when_the_rest_is_handled() {
    let now = Instant::now();
    let mut stream = enabled(quiet());
    let [first, second] = [receipt(&mut stream, now), receipt(&mut stream, now)];
    assert!(matches!(feed(&mut stream, "<r/>", now), Ok(Action::Write(answer)) if answer == ack(0)));
    assert_eq!(stream.record_handled(second), Ok(None));
    assert_eq!(stream.record_handled(first), Ok(Some(ack(2))));
    assert!(matches!(feed(&mut stream, "<r/>", now), Ok(Action::Write(answer)) if answer == ack(2)));
}

#[test]
fn an_a_needs_no_r() {
    let now = Instant::now();
    let mut stream = enabled(quiet());
    let handled = receipt(&mut stream, now);
    assert_eq!(stream.record_handled(handled), Ok(None));
    assert_eq!(stream.send_ack(), Some(ack(1)));

    for stanza in ["<message id='1'/>", "<message id='2'/>"] {
        assert_eq!(stream.record_sent(stanza, now).unwrap().write, None);
    }
    for (h, new, left) in [(1, 1, 1), (1, 0, 1), (2, 1, 0), (2, 0, 0)] {
        let Ok(Action::Acknowledged(acked)) = feed(&mut stream, &format!("<a h='{h}'/>"), now) else { panic!() };
        assert_eq!((acked.h.get(), acked.count), (h, new));
        assert_eq!((stream.acked().get(), stream.unacked().len()), (h, left));
    }
    assert!(feed(&mut stream, "<a h='1'/>", now).is_err(), "it goes back behind the one on record");
    assert_eq!(stream.acked().get(), 2);
}

#[test]
fn a_client_counts_from_enable_and_asks_after_enabled() {
    let now = Instant::now();
    let mut client = bound_client(Config::default());
    assert_eq!(client.record_sent("<presence/>", now).unwrap().number, None);
    let _ = client.enable().unwrap();
    let sent = client.record_sent("<message/>", now).unwrap();
    assert_eq!((sent.number, sent.write), (Some(Counter::new(1)), None));
    let before = receipt(&mut client, now);
    assert_eq!(before.number(), None, "what comes before <enabled/> is not counted");
    client.record_handled(before).unwrap();
    assert!(matches!(feed(&mut client, "<enabled/>", now), Ok(Action::Enabled(_))));
    assert_eq!(client.poll_timeout(), Some(now));
    assert_eq!(client.handle_timeout(now), Ok(Some(Nonza::AckRequest)));
    assert_eq!(client.h(), Counter::ZERO);
    assert!(matches!(feed(&mut client, "<a h='1'/>", now), Ok(Action::Acknowledged(_))));
    assert!(feed(&mut client, "<a h='2'/>", now).is_err(), "the presence was not counted");
}

#[test]
fn the_last_a_goes_out_before_the_stream_is_closed() {
    let now = Instant::now();
    let mut client = bound_client(quiet());
    let _ = client.enable().unwrap();
    let _ = feed(&mut client, "<enabled id='x' resume='true'/>", now).unwrap();
    for mut stream in [enabled(quiet()), client] {
        let handled = receipt(&mut stream, now);
        stream.record_handled(handled).unwrap();
        for stanza in ["<presence/>", "<message/>"] {
            let _ = stream.record_sent(stanza, now).unwrap();
        }
        assert!(stream.is_resumable());
        let (last, mut closing) = stream.finish();
        assert_eq!(last, Some(ack(1)));
        // The peer's last one, before its own end of the stream.
        assert_eq!(closing.handle(&read("<a h='1'/>")), 1);
        let ended = closing.end(EndReason::Closed);
        assert_eq!(ended.h.get(), 1);
        assert!(ended.unacked.map(|returned| returned.stanza).eq(["<message/>"]));
    }
    assert_eq!(bound_server(quiet()).finish().0, None);
}

#[test]
fn the_deadline_is_the_time_of_the_original_enabled() {
    let now = Instant::now();
    let mut stream = enabled(quiet());
    assert!(stream.record_sent("<message/>", now).is_ok());
    let session = lose(stream, now + secs(100));
    assert_eq!(session.deadline(), Some(now + secs(160)));
    let just_before = now + secs(160) - Duration::from_nanos(1);
    let session = session.expire(just_before).expect_err("it may still be resumed");
    let ended = session.expire(now + secs(160)).expect("its time is over");
    assert_eq!(ended.reason, EndReason::Expired);
    let back: Vec<_> = ended.unacked.map(|returned| (returned.stanza, returned.queued)).collect();
    assert_eq!(back, [("<message/>", now)]);
}
