//! Receipts that are settled late, twice, or with another session. That one cannot be given away twice is a
//! matter of types.

use std::sync::Arc;

use xmpp_sm::{Action, Detached, Disconnected, EndReason, Nonza, NotOpen, Receipt, ReceiptError};

use crate::support::at_work::{NOW, Stream, action, config, enabled_client, enabled_server};
use crate::support::raw::enabled;
use crate::support::state_of;

fn deliver(stream: &mut Stream) -> Receipt {
    let Action::Deliver(receipt) = action(stream, "<message/>") else { panic!() };
    receipt
}

fn detach(stream: Stream) -> Detached<String> {
    match stream.disconnect(*NOW) {
        Disconnected::Resumable(session) => session,
        Disconnected::Ended(ended) => panic!("{ended:?}"),
    }
}

#[test]
fn with_another_session_it_comes_back() {
    for other in [enabled_server, enabled_client] {
        let (mut one, mut other) = (enabled_server(), other());
        let receipt = deliver(&mut one);
        let _open = deliver(&mut other);
        let before = state_of(&other);
        let Err(ReceiptError::Foreign(receipt)) = other.record_handled(receipt) else { panic!() };
        assert_eq!(state_of(&other), before);
        let mut waiting = detach(other);
        let before = state_of(&waiting);
        let Err(ReceiptError::Foreign(receipt)) = waiting.record_handled(receipt) else { panic!() };
        assert_eq!(state_of(&waiting), before);
        // Where it belongs it is still good.
        one.record_handled(receipt).unwrap();
        assert_eq!((one.h(), one.open_receipts()), (2.into(), 0));
    }
}

#[test]
fn with_a_later_session_of_the_same_stream_it_comes_back() {
    let mut stream = Stream::client(config());
    stream.bound();
    let _ = stream.enable().unwrap();
    let enabled = "<enabled id='sm-1' resume='true'/>";
    let _ = action(&mut stream, enabled);
    let receipt = deliver(&mut stream);
    let mut session = detach(stream);
    session.settle_without_receipt(1.into()).unwrap();
    let (mut stream, _) = Stream::resume(config(), session).unwrap();
    let _ = action(&mut stream, "<failed/>");
    stream.bound();
    let _ = stream.enable().unwrap();
    let _ = action(&mut stream, enabled);
    let _open = deliver(&mut stream);
    let before = state_of(&stream);
    assert!(matches!(stream.record_handled(receipt), Err(ReceiptError::Foreign(_))));
    assert_eq!(state_of(&stream), before);
}

#[test]
fn late_after_the_stream_is_lost() {
    let mut stream = enabled_server();
    let [first, second] = [deliver(&mut stream), deliver(&mut stream)];
    let _ = action(&mut stream, "<r/>");
    let mut session = detach(stream);
    assert_eq!(session.open_receipts(), 2);
    session.record_handled(second).unwrap();
    assert_eq!((session.h(), session.open_receipts()), (1.into(), 1));
    session.record_handled(first).unwrap();
    assert_eq!((session.h(), session.open_receipts()), (3.into(), 0));
    // The `<r/>` of the lost stream is answered by `<resumed/>`, and not once more.
    let mut stream = Stream::server(config());
    stream.authenticated();
    let Action::Resume(request) = action(&mut stream, "<resume previd='sm-1' h='1'/>") else { panic!() };
    let resumed = stream.accept_resume(request, session, *NOW).unwrap().write;
    assert_eq!(resumed.to_string(), "<resumed xmlns='urn:xmpp:sm:3' previd='sm-1' h='3'/>");
    let receipt = deliver(&mut stream);
    assert_eq!(stream.record_handled(receipt), Ok(None));
}

#[test]
fn late_after_the_session_has_ended() {
    let mut stream = enabled_server();
    let receipt = deliver(&mut stream);
    let ended = stream.end(EndReason::Stopped);
    assert_eq!((ended.h, ended.open_receipts), (1.into(), 1), "the host is told of what it never settled");
    let mut other = enabled_server();
    let before = state_of(&other);
    assert!(matches!(other.record_handled(receipt), Err(ReceiptError::Foreign(_))));
    assert_eq!(state_of(&other), before);
}

#[test]
fn late_after_it_was_given_up() {
    let mut stream = enabled_server();
    let [first, second, third] = [(); 3].map(|()| deliver(&mut stream));
    // Ahead of `h`, and behind it.
    stream.settle_without_receipt(3.into()).unwrap();
    let before = state_of(&stream);
    let Err(ReceiptError::SettledBefore(second)) = stream.record_handled(second) else { panic!() };
    assert_eq!(state_of(&stream), before);
    stream.record_handled(first).unwrap();
    assert_eq!(stream.h(), 3.into());
    let before = state_of(&stream);
    assert!(matches!(stream.record_handled(second), Err(ReceiptError::SettledBefore(_))));
    assert_eq!(state_of(&stream), before);
    stream.record_handled(third).unwrap();
    assert_eq!(stream.h(), 4.into());
}

#[test]
fn late_after_all_were_given_up() {
    let mut stream = enabled_server();
    let [first, second] = [deliver(&mut stream), deliver(&mut stream)];
    let _ = action(&mut stream, "<r/>");
    assert_eq!(stream.settle_all(), Some(Nonza::Ack(3.into())), "the answer that was owed");
    assert_eq!((stream.settle_all(), stream.open_receipts()), (None, 0));
    let third = deliver(&mut stream);
    let mut session = detach(stream);
    session.settle_all();
    assert_eq!((session.h(), session.open_receipts()), (4.into(), 0));
    let before = state_of(&session);
    for receipt in [first, second, third] {
        assert!(matches!(session.record_handled(receipt), Err(ReceiptError::SettledBefore(_))));
    }
    assert_eq!(state_of(&session), before);
    // Nothing keeps it from being resumed.
    let (_, resume) = Stream::resume(config(), session).unwrap();
    assert_eq!(resume.to_string(), "<resume xmlns='urn:xmpp:sm:3' previd='sm-1' h='4'/>");
}

#[test]
fn given_up_twice_or_never_open() {
    let mut stream = enabled_server();
    let [_first, second] = [deliver(&mut stream), deliver(&mut stream)];
    stream.record_handled(second).unwrap();
    let before = state_of(&stream);
    for number in [0, 1, 3, 4, 1000, u32::MAX] {
        assert_eq!(stream.settle_without_receipt(number.into()), Err(NotOpen(number.into())));
    }
    assert_eq!(state_of(&stream), before);
    stream.settle_without_receipt(2.into()).unwrap();
    assert_eq!(stream.settle_without_receipt(2.into()), Err(NotOpen(2.into())));
    assert_eq!(stream.h(), 3.into());
    let mut session = detach(stream);
    let before = state_of(&session);
    assert_eq!(session.settle_without_receipt(3.into()), Err(NotOpen(3.into())));
    assert_eq!(state_of(&session), before);
}

#[test]
fn of_a_stanza_that_was_not_counted_it_settles_nothing() {
    let mut stream = Stream::server(config());
    stream.bound();
    let receipt = deliver(&mut stream);
    assert_eq!(receipt.number(), None);
    let Action::Enable(request) = action(&mut stream, "<enable/>") else { panic!() };
    let _ = stream.accept_enable(request, None).unwrap();
    let _open = deliver(&mut stream);
    let before = state_of(&stream);
    assert_eq!(stream.record_handled(receipt), Ok(None));
    assert_eq!(state_of(&stream), before);
}

#[test]
fn a_copy_of_the_options_gives_its_sessions_other_receipts() {
    let options = xmpp_sm::Config::default();
    let [mut one, mut other] = [options.clone(), options].map(|options| enabled(&Arc::new(options), *NOW));
    let (receipt, _open) = (deliver(&mut one), deliver(&mut other));
    assert!(matches!(other.record_handled(receipt), Err(ReceiptError::Foreign(_))));
}
