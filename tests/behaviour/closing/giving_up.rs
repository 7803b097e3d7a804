//! A session is given up, and nothing of it stays behind.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Action, Config, Counter, Detached, EndReason, Failed, Inbound, Nonza, Refusal, StreamMgmt, Undelivered};

use crate::support::raw::{
    Seen, ack, ask_to_resume, authenticated, deliver, element, interrupted, midway, session_at, smid,
};
use crate::support::secs;

#[test]
fn p28_a_session_that_is_given_up_is_given_up_whole() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let session = interrupted(&config, now);
    let (mut client, _) = StreamMgmt::resume(config.clone(), session).unwrap();
    let failed = Inbound::Nonza(Nonza::Failed(Failed { h: Some(4.into()), condition: None }));
    let Ok(Action::Failed(_, ended)) = client.handle(failed, now + secs(20)) else { panic!("it is refused") };
    // All of it comes back, but what the server says that it had.
    assert_eq!((ended.reason, ended.smid, ended.h.get()), (EndReason::ResumeRefused, Some(smid()), 3));
    assert_eq!(ended.unacked.map(|back| (back.number.get(), back.stanza)).collect::<Vec<_>>(), [(5, "m5".to_owned())]);

    // What is left is a stream that never had one: nothing of it is counted, waited for, or due.
    let mut fresh = StreamMgmt::<String>::client(config.clone());
    fresh.authenticated();
    for stream in [&mut client, &mut fresh] {
        assert!(!stream.is_enabled());
        assert_eq!(Seen::from(&*stream), nothing());
        stream.bound();
        let _ = stream.enable().unwrap();
        assert_eq!(stream.record_sent("n1".into(), now).unwrap().number, Some(Counter::new(1)));
        let Ok(Action::Enabled(_)) = stream.handle(element("enabled id='next' resume='true'"), now) else { panic!() };
        assert_eq!(deliver(stream, now).number(), Some(Counter::new(1)));
        // The numbers of the old session mean nothing any more.
        ack(stream, 4, now).unwrap_err();
        assert_eq!(ack(stream, 1, now).unwrap().count, 1);
        assert_eq!((stream.poll_timeout(), stream.unacked_bytes()), (None, 0));
    }
}

/// What is unacknowledged can be looked at as often as one likes, and what has come back was taken out.
#[test]
fn p28_what_is_unacknowledged_comes_back_once() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let stream = midway(&config, now);
    let mut unacked = stream.unacked();
    let again = unacked.clone();
    let line = |number: Counter, stanza: &str| format!("{number} {stanza}");
    let seen: Vec<_> = again.map(|queued| line(queued.number, queued.stanza)).collect();
    assert_eq!(seen, ["3 m3", "4 m4", "5 m5"]);
    assert_eq!((unacked.len(), unacked.by_ref().count(), unacked.len()), (3, 3, 0));
    let mut undelivered = stream.end(EndReason::Stopped).unacked;
    assert_eq!(undelivered.len(), 3);
    let back: Vec<_> = undelivered.by_ref().map(|returned| line(returned.number, &returned.stanza)).collect();
    assert_eq!(back, seen);
    assert_eq!(undelivered.next(), None);
    assert_eq!(Undelivered::<String>::default().next(), None);
}

fn nothing() -> Seen {
    Seen {
        smid: None,
        h: Counter::ZERO,
        sent: Counter::ZERO,
        acked: Counter::ZERO,
        unacked: Vec::new(),
        open_receipts: 0,
        oldest_open: None,
        due: None,
        is_resumable: false,
    }
}

#[test]
fn p28_a_host_can_only_give_up_a_session_whole() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    // Either way takes the value itself: there is no half of it to forget.
    let ended = midway(&config, now).end(EndReason::Stopped);
    assert_eq!((ended.reason, ended.unacked.count()), (EndReason::Stopped, 3));
    let ended = interrupted(&config, now).end(EndReason::Replaced);
    assert_eq!((ended.reason, ended.unacked.count()), (EndReason::Replaced, 3));
    let session: Detached<String> = session_at(&config, 0, 0, now + secs(1));
    let Ok(ended) = session.expire(now + secs(1)) else { panic!("it is time") };
    assert_eq!(ended.reason, EndReason::Expired);
    // And a host may do so without a look at what the loss of the stream left.
    let not_resumable = Config::default().resume_timeout(None);
    for (config, reason) in [(Config::default(), EndReason::Stopped), (not_resumable, EndReason::NotResumable)] {
        let ended = midway(&Arc::new(config), now).disconnect(now).end(EndReason::Stopped);
        assert_eq!((ended.reason, ended.unacked.count()), (reason, 3));
    }
    // A stream that is given back its former session by mistake has none to give.
    let mut stream = authenticated::<String>(&config);
    let request = ask_to_resume(&mut stream, 0, now);
    let _ = stream.refuse_resume(request, Refusal::NotFound).unwrap();
    assert_eq!(Seen::from(&stream), nothing());
}
