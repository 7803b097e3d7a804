//! What is counted: stanzas and nothing else, from `<enable/>` on, and never forgotten.

use std::sync::Arc;
use std::time::Instant;

use minidom::Element;
use xmpp_sm::{Action, Config, Counter, Inbound, NS, Nonza};

use crate::support::raw::{answer, bound, client, deliver, detach, element, enabled, enabling, feed};
use crate::support::{JULIET, Net, Side, quiet, secs};

#[test]
fn p11_stanzas_are_told_by_name_and_namespace_and_nothing_else() {
    let stanza = |xml: &str| {
        let element: Element = xml.parse().unwrap();
        let found = Inbound::from_element(&element, "jabber:client");
        let attrs = element.attrs().iter().map(|((_, name), value)| (name.as_str(), value.as_str()));
        let by_parts =
            Inbound::from_parts(element.name(), &element.ns(), "jabber:client", attrs, None, element.name().len());
        let is_stanza = matches!(found, Inbound::Stanza { .. });
        assert_eq!(is_stanza, matches!(by_parts, Inbound::Stanza { .. }), "{xml}");
        is_stanza
    };
    for name in ["message", "presence", "iq"] {
        for kind in ["probe", "error", "get", "subscribe", "unavailable", "headline", "no type of any stanza", ""] {
            assert!(stanza(&format!("<{name} xmlns='jabber:client' type='{kind}'/>")), "{name}, {kind}");
        }
        assert!(stanza(&format!("<x:{name} xmlns:x='jabber:client'/>")));
        for ns in [NS, "jabber:server", "jabber:component:accept", "urn:x", ""] {
            assert!(!stanza(&format!("<{name} xmlns='{ns}'/>")), "{name}, {ns}");
        }
    }
    for name in ["Message", "MESSAGE", "msg", "probe", "iqs", "r", "a", "open", "active", "error", "features"] {
        assert!(!stanza(&format!("<{name} xmlns='jabber:client'/>")), "{name}");
    }
}

#[test]
fn p11_probes_are_counted_and_what_is_no_stanza_is_not() {
    let mut net = Net::new(quiet());
    let conn = net.login("juliet@capulet.lit");
    for stanza in ["<presence type='probe'/>", "<message type='probe'/>", "<iq type='probe'/>"] {
        net.client_sends(conn, stanza);
    }
    for other in [
        "<active xmlns='urn:xmpp:csi:0'/>",
        "<message xmlns='urn:x'/>",
        "<r xmlns='urn:xmpp:sm:2'/>",
        "<what xmlns='urn:xmpp:sm:3'/>",
        "<x/>",
    ] {
        net.client_writes(conn, other);
    }
    net.requests(conn, Side::Client);
    net.skip();
    assert_eq!(net.client(conn).acked(), Counter::new(3));
    assert_eq!(net.server(conn).h(), Counter::new(3));
    assert_eq!(net.client(conn).unacked().count(), 0);
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
        deliver(&mut stream, now);
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
    drop(deliver(&mut stream, now));
    let second = deliver(&mut stream, now + secs(1));
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
    let mut client = enabling::<&str>(&Arc::new(quiet()));
    let _ = client.record_sent("m1", now).unwrap();
    let _ = client.handle(element("enabled id='sm' resume='true'"), now).unwrap();
    let session = detach(client, now);
    assert_eq!(session.unacked().map(|queued| *queued.stanza).collect::<Vec<_>>(), ["m1"]);
}

#[test]
fn a_client_counts_from_enable_and_asks_after_enabled() {
    let now = Instant::now();
    let mut client = client::<&str>(&Arc::new(Config::default()));
    assert_eq!(client.record_sent("<presence/>", now).unwrap().number, None);
    let _ = client.enable().unwrap();
    let sent = client.record_sent("<message/>", now).unwrap();
    assert_eq!((sent.number, sent.write), (Some(Counter::new(1)), None));
    let before = deliver(&mut client, now);
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
fn what_arrives_while_stream_management_is_off_is_delivered_and_not_counted() {
    let now = Instant::now();
    let mut stream = bound::<String>(&Arc::new(quiet()));
    let Ok(Action::Deliver(receipt)) = stream.handle(Inbound::Stanza { bytes: 1 }, now) else {
        panic!("it is a stanza")
    };
    let mut stream = {
        assert_eq!((receipt.number(), stream.record_handled(receipt)), (None, Ok(None)));
        let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!() };
        let _ = stream.accept_enable(request, None).unwrap();
        stream
    };
    assert_eq!(deliver(&mut stream, now).number(), Some(Counter::new(1)));
}
