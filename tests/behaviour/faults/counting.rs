//! Counting, asking, and telling what was counted.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{AckFreq, Action, Config, Counter, EndReason, Error, Inbound, Kind, WrongH};

use crate::support::raw::{ack, answer, element, enabled};
use crate::support::{Net, Side, quiet, secs};

const JULIET: &str = "juliet@capulet.lit";

#[test]
fn p03_send_count_is_what_was_sent() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    for _ in 0..8 {
        net.server_sends(conn, "<message/>");
    }
    net.client_writes(conn, "<a h='3'/>");
    net.skip();
    net.client_writes(conn, "<a h='10'/>");
    net.expect(
        "C: <a h='10'/>
         S: <stream:error><undefined-condition/>
              <text xml:lang='en'>You acknowledged 10 stanzas, but I only sent you 8 so far.</text>
              <handled-count-too-high h='10' send-count='8'/>
            </stream:error></stream:stream>",
    );
    net.ended(&[(conn, EndReason::PeerFault)]);
    assert_eq!(net.take_handed_back().len(), 5);
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

#[test]
fn p09_without_a_buffer_acknowledgements_are_checked_against_what_was_sent() {
    let mut net = Net::new(quiet().buffer(false));
    let conn = net.login(JULIET);
    for n in 1..=5 {
        net.server_sends(conn, "<message/>");
        if n % 2 == 1 {
            net.run();
            net.acks(conn, Side::Client);
        }
    }
    net.run();
    assert_eq!((net.errors.as_slice(), net.server(conn).acked().get()), ([].as_slice(), 5));
    assert!(net.server(conn).is_enabled());
    net.client_writes(conn, "<a h='6'/>");
    net.run();
    let why = WrongH::TooHigh { h: 6.into(), sent: 5.into() };
    assert_eq!(net.errors, [(Side::Server, Error::WrongH { element: Kind::Ack, why })]);
    net.handed_back(&[]);
}

/// How many `<r/>` a hundred stanzas cost, if the peer answers each after so many more of them.
fn requests_for_a_hundred(freq: AckFreq, answers_after: u32) -> u32 {
    let now = Instant::now();
    let config = Arc::new(Config::default().ack_freq(freq));
    let mut stream = enabled::<&str>(&config, now);
    let (mut requests, mut asked_at) = (0, Vec::new());
    for n in 1..=100 {
        if stream.record_sent("<message/>", now).unwrap().write.is_some() {
            requests += 1;
            asked_at.push(n);
        }
        if asked_at.first().is_some_and(|at| n >= at + answers_after) {
            asked_at.remove(0);
            ack(&mut stream, n, now).unwrap();
        }
    }
    requests
}

#[test]
fn p20_one_request_at_a_time_is_on_its_way() {
    let clocked = AckFreq::SelfClocked;
    // The slower the link, the fewer the requests.
    assert_eq!(requests_for_a_hundred(clocked, 0), 100);
    assert_eq!(requests_for_a_hundred(clocked, 4), 20);
    assert_eq!(requests_for_a_hundred(clocked, 24), 4);
    assert_eq!(requests_for_a_hundred(clocked, 1000), 1);
    let every = AckFreq::Every(super::stanzas(1));
    assert_eq!(requests_for_a_hundred(every, 24), 100);
}

#[test]
fn p20_what_the_last_answer_left_out_is_asked_for_when_the_link_is_idle() {
    let mut net = Net::new(Config::default().ack_freq(AckFreq::SelfClocked));
    let conn = net.login(JULIET);
    net.server_sends(conn, "<message id='m1'/>");
    net.deliver_from(conn, Side::Server, 2);
    net.server_sends(conn, "<message id='m2'/>");
    net.expect(
        "S: <message id='m1'/><r/>
         C: <a h='1'/>
         S: <message id='m2'/>",
    );
    net.advance(secs(29));
    net.written("");
    net.advance(secs(1));
    net.expect(
        "S: <r/>
         C: <a h='2'/>",
    );
    // All is answered: an idle link costs nothing.
    net.advance(secs(3600));
    net.expect("");
}

/// A host that forgets to count is warned by the compiler: each `expect` here fails to compile if the
/// warning does not come.
#[test]
#[deny(unfulfilled_lint_expectations)]
fn p27_counting_cannot_be_forgotten_without_a_warning() {
    let now = Instant::now();
    let mut stream = enabled::<&str>(&Arc::new(quiet()), now);

    // To forget what `handle` says.
    #[expect(unused_must_use)]
    {
        stream.handle(Inbound::Stanza { bytes: 1 }, now).unwrap();
    }
    // To take the stanza and to forget its receipt.
    #[expect(unused_variables)]
    if let Ok(Action::Deliver(receipt)) = stream.handle(Inbound::Stanza { bytes: 1 }, now) {}
    #[expect(unused_must_use)]
    {
        crate::support::raw::deliver(&mut stream, now);
    }
    // To send a stanza and to forget the `<r/>`, the resending and what left the buffer.
    #[expect(unused_must_use)]
    {
        stream.record_sent("<message/>", now).unwrap();
    }
    #[expect(unused_must_use)]
    {
        stream.disconnect(now);
    }

    // And one that did forget can see that it has.
    let mut stream = enabled::<&str>(&Arc::new(quiet()), now);
    drop(crate::support::raw::deliver(&mut stream, now));
    let second = crate::support::raw::deliver(&mut stream, now + secs(1));
    stream.record_handled(second).unwrap();
    assert_eq!(answer(&mut stream, now), Counter::ZERO);
    let oldest = stream.oldest_open().unwrap();
    assert_eq!((oldest.number.get(), oldest.since, stream.open_receipts()), (1, now, 1));
    stream.settle_without_receipt(oldest.number).unwrap();
    assert_eq!(answer(&mut stream, now), Counter::new(2));
}

#[test]
fn p29_a_client_counts_from_the_sending_of_enable() {
    let mut net = Net::new(quiet());
    let conn = net.connect(JULIET);
    // Not counted: it was sent before.
    net.client_sends(conn, "<presence/>");
    net.enable(conn);
    net.client_sends(conn, "<message id='c1'/>");
    net.client_sends(conn, "<message id='c2'/>");
    assert_eq!((net.client(conn).sent().get(), net.client(conn).unacked().count()), (2, 2));
    // Not counted: the server wrote it before <enabled/>.
    net.server_writes(conn, "<message id='s0'/>");
    net.run();
    assert_eq!((net.server(conn).h().get(), net.client(conn).h().get()), (2, 0));
    net.server_sends(conn, "<message id='s1'/>");
    net.run();
    net.requests(conn, Side::Client);
    net.requests(conn, Side::Server);
    net.run();
    assert_eq!((net.client(conn).acked().get(), net.client(conn).unacked().count()), (2, 0));
    assert_eq!((net.server(conn).acked().get(), net.errors.len()), (1, 0));
}

#[test]
fn p29_no_counter_starts_anew_with_a_resumption() {
    let mut net = Net::new(quiet());
    let mut conn = net.login(JULIET);
    for round in 1..=3 {
        net.client_sends(conn, "<message/>");
        net.server_sends(conn, "<message/>");
        net.run();
        net.cut(conn);
        net.skip();
        conn = net.resume(conn);
        net.expect(&format!(
            "C{conn}: <resume h='{round}' previd='sm-1'/>
             S{conn}: <resumed h='{round}' previd='sm-1'/>"
        ));
    }
    assert_eq!((net.client(conn).sent().get(), net.client(conn).h().get()), (3, 3));
}

#[test]
fn p29_what_was_sent_before_enabled_is_not_lost_with_the_connection() {
    let now = Instant::now();
    let mut client = crate::support::raw::enabling::<&str>(&Arc::new(quiet()));
    let _ = client.record_sent("m1", now).unwrap();
    let _ = client.handle(element("enabled id='sm' resume='true'"), now).unwrap();
    let session = crate::support::raw::detach(client, now);
    assert_eq!(session.unacked().map(|queued| *queued.stanza).collect::<Vec<_>>(), ["m1"]);
}
