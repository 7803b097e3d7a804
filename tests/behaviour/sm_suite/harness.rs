//! The harness itself: a transcript that is wrong must be seen to be wrong.

use crate::support::{Net, Side, quiet, wire};

#[test]
fn a_lost_message_comes_again() {
    let mut net = Net::new(quiet());
    let juliet = net.connect("juliet@capulet.lit");
    net.enable(juliet);
    net.expect(
        "C: <enable resume='true' max='600'/>
         S: <enabled id='sm-1' resume='true' max='600'/>",
    );
    net.server_sends(juliet, "<message id='m1'/>");
    net.cut(juliet);
    let again = net.resume(juliet);
    net.expect(
        "S: <message id='m1'/>
         -- cut, lost 1 of the server
         C2: <resume previd='sm-1' h='0'/>
         S2: <resumed previd='sm-1' h='0'/>
         S2: <message id='m1'/>",
    );
    assert_eq!(net.got(again, Side::Client), ["m1"]);
}

#[test]
#[should_panic(expected = "the transcript is")]
fn a_transcript_of_something_else_fails() {
    let mut net = Net::new(quiet());
    let juliet = net.login("juliet@capulet.lit");
    net.client_sends(juliet, "<message id='m1'/>");
    net.requests(juliet, Side::Client);
    net.expect(
        "C: <message id='m1'/>
         C: <r/>
         S: <a h='0'/>",
    );
}

#[test]
fn namespaces_are_left_out_only_where_they_are_as_expected() {
    let line = |wire: &str| wire::lines(wire).concat();
    let expected = |text: &str| wire::transcript(&format!("C: {text}")).concat().split_off(3);
    assert_eq!(line("<r xmlns='urn:xmpp:sm:3'/>"), expected("<r/>"));
    assert_ne!(line("<r/>"), expected("<r/>"));
    assert_ne!(line("<r xmlns='urn:xmpp:sm:2'/>"), expected("<r/>"));
    assert_eq!(line("<message/>"), expected("<message/>"));
    assert_ne!(line("<message xmlns='jabber:server'/>"), expected("<message/>"));
    let failed = |ns: &str| line(&format!("<failed xmlns='urn:xmpp:sm:3'><bad-request xmlns='{ns}'/></failed>"));
    assert_eq!(failed("urn:ietf:params:xml:ns:xmpp-stanzas"), expected("<failed><bad-request/></failed>"));
    assert_ne!(failed("urn:xmpp:sm:3"), expected("<failed><bad-request/></failed>"));
    assert_eq!(
        line("<iq><query xmlns='jabber:iq:roster'><item/></query></iq>"),
        expected("<iq><query xmlns='jabber:iq:roster'><item/></query></iq>"),
    );
    assert_eq!(wire::with_ns("<a h='1'/>"), "<a xmlns='urn:xmpp:sm:3' h='1'/>");
    assert_eq!(wire::with_ns("<a xmlns='urn:x' h='1'/>"), "<a xmlns='urn:x' h='1'/>");
    assert_eq!(wire::with_ns("<message/>"), "<message/>");
}
