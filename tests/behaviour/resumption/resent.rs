//! Stanzas that are sent again on the next stream: once each.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Action, Config, EndReason, Nonza, StreamMgmt};

use crate::support::raw::{client, detach, feed};
use crate::support::{JULIET, Net, Side, quiet};

fn three(net: &mut Net, conn: usize) {
    for n in 1..=3 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
}

#[test]
fn p13_ten_resumptions_in_a_row_send_the_same_three_stanzas_once_each_time() {
    let mut net = Net::new(quiet());
    let mut conn = net.login(JULIET);
    three(&mut net, conn);
    net.cut(conn);
    net.skip();
    for number in 2..=11 {
        conn = net.resume(conn);
        net.deliver_from(conn, Side::Client, 1);
        net.written(&format!(
            "C{number}: <resume h='0' previd='sm-1'/>
             S{number}: <resumed h='0' previd='sm-1'/>
             S{number}: <message id='m1'/><message id='m2'/><message id='m3'/>"
        ));
        let numbers: Vec<_> = net.server(conn).unacked().map(|queued| queued.number.get()).collect();
        assert_eq!((numbers, net.server(conn).sent().get()), (vec![1, 2, 3], 3));
        // Sometimes the client sees that it was resumed, and sometimes not even that.
        net.deliver_from(conn, Side::Server, number % 2);
        net.cut(conn);
        net.written(&format!("-- cut, lost {} of the server", 4 - number % 2));
    }
    // Another one, and they arrive.
    conn = net.resume(conn);
    net.run();
    net.acks(conn, Side::Client);
    net.skip();
    assert_eq!(net.got(conn, Side::Client), ["m1", "m2", "m3"]);
    assert_eq!(net.server(conn).unacked().count(), 0);
    net.cut(conn);
    net.skip();
    net.resume(conn);
    net.expect(
        "C13: <resume h='3' previd='sm-1'/>
         S13: <resumed h='0' previd='sm-1'/>",
    );
}

#[test]
fn p13_a_client_that_resumes_ten_times_sends_its_three_stanzas_once_each_time() {
    let mut net = Net::new(quiet());
    let mut conn = net.login(JULIET);
    for n in 1..=3 {
        net.client_sends(conn, &format!("<message id='m{n}'/>"));
    }
    net.cut(conn);
    net.skip();
    for number in 2..=11 {
        conn = net.resume(conn);
        net.deliver_from(conn, Side::Client, 1);
        net.deliver_from(conn, Side::Server, 1);
        net.written(&format!(
            "C{number}: <resume h='0' previd='sm-1'/>
             S{number}: <resumed h='0' previd='sm-1'/>
             C{number}: <message id='m1'/><message id='m2'/><message id='m3'/>"
        ));
        net.cut(conn);
        net.skip();
    }
    conn = net.resume(conn);
    net.run();
    assert_eq!((net.got(conn, Side::Server), net.client(conn).sent().get()), (vec!["m1", "m2", "m3"], 3));
}

#[test]
fn p13_what_is_queued_behind_a_resumption_comes_after_what_is_sent_again() {
    let mut net = Net::new(quiet());
    let mut conn = net.login(JULIET);
    three(&mut net, conn);
    net.cut(conn);
    net.server_sends(conn, "<message id='m4'/>");
    conn = net.resume(conn);
    net.deliver_from(conn, Side::Client, 1);
    net.server_sends(conn, "<message id='m5'/>");
    net.cut(conn);
    conn = net.resume(conn);
    net.run();
    assert_eq!(net.got(conn, Side::Client), ["m1", "m2", "m3", "m4", "m5"]);
    assert_eq!(net.client(conn).h().get(), 5);
}

/// A client that has handled one stanza and sent three, of which one was acknowledged.
fn interrupted_client(now: Instant) -> StreamMgmt<&'static str> {
    let mut client = client::<&str>(&Arc::new(quiet()));
    let _ = client.enable().unwrap();
    let _ = feed(&mut client, "<enabled id='x' resume='true'/>", now).unwrap();
    for stanza in ["<presence id='1'/>", "<message id='2'/>", "<message id='3'/>"] {
        assert!(client.record_sent(stanza, now).is_ok());
    }
    let Ok(Action::Deliver(receipt)) = feed(&mut client, "<message/>", now) else { panic!() };
    client.record_handled(receipt).unwrap();
    assert!(matches!(feed(&mut client, "<a h='1'/>", now), Ok(Action::Acknowledged(_))));
    client
}

#[test]
fn a_client_that_comes_back_sends_the_rest_again() {
    let now = Instant::now();
    let session = detach(interrupted_client(now), now);
    let (mut client, resume) = StreamMgmt::<&'static str>::resume(Arc::new(Config::default()), session).unwrap();
    assert_eq!(resume.to_string(), "<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>");
    let Ok(Action::Resumed(after)) = feed(&mut client, "<resumed previd='x' h='2'/>", now) else { panic!() };
    let again: Vec<_> = client.unacked().map(|queued| (*queued.stanza, queued.number.get())).collect();
    assert_eq!(again, [("<message id='3'/>", 3)]);
    assert_eq!(after, Some(Nonza::AckRequest));
    assert_eq!((client.h().get(), client.sent().get(), client.acked().get()), (1, 3, 2));
}

#[test]
fn a_client_that_is_refused_gets_back_what_the_server_did_not_handle() {
    let now = Instant::now();
    let failed = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
    for (h, back) in [(" h='2'", &["<message id='3'/>"][..]), ("", &["<message id='2'/>", "<message id='3'/>"])] {
        let (mut client, _) =
            StreamMgmt::<&'static str>::resume(Arc::new(quiet()), detach(interrupted_client(now), now)).unwrap();
        let Ok(Action::Failed(_, ended)) = feed(&mut client, &format!("<failed{h}>{failed}"), now) else { panic!() };
        assert_eq!(ended.reason, EndReason::ResumeRefused);
        assert_eq!(ended.unacked.map(|returned| returned.stanza).collect::<Vec<_>>(), back);
        client.bound();
        let _ = client.enable().unwrap();
        assert_eq!(client.record_sent(back[0], now).unwrap().number, Some(1.into()), "a new session counts from one");
    }
}
