//! Stream management is announced, asked for, granted and refused.

use std::time::Duration;

use xmpp_sm::{EndReason, FEATURE};

use super::{JULIET, SESSION_IQ};
use crate::support::{Net, Side, quiet, secs, wire};

/// The client asks for acknowledgements and not for resumption.
fn without_resumption() -> Net {
    Net::with(quiet(), quiet().resume_timeout(None))
}

#[test]
fn server_announces_sm() {
    assert_eq!(wire::lines(FEATURE), ["<sm/>"]);
    let mut net = Net::new(quiet());
    let juliet = net.open(JULIET);
    assert!(!net.server(juliet).has_feature(), "no request could succeed yet");
    net.authenticate(juliet);
    assert!(net.server(juliet).has_feature());
    net.bind(juliet);
    assert!(net.server(juliet).has_feature());
    assert!(!net.client(juliet).has_feature(), "a client announces nothing");
    net.enable(juliet);
    net.run();
    assert!(!net.server(juliet).has_feature(), "no request could succeed any more");
}

#[test]
fn server_enables_sm_before_session() {
    let mut net = without_resumption();
    let juliet = net.connect(JULIET);
    net.enable(juliet);
    net.client_sends(juliet, SESSION_IQ);
    net.server_sends(juliet, "<iq id='session' type='result'/>");
    net.expect(
        "C: <enable/>
         C: <iq id='session' type='set'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>
         S: <iq id='session' type='result'/>
         S: <enabled/>",
    );
    assert!(net.server(juliet).is_enabled() && net.client(juliet).is_enabled());
    assert_eq!(net.server(juliet).h(), 1.into(), "what follows <enable/> is counted");
    assert_eq!(net.client(juliet).h(), 0.into(), "what precedes <enabled/> is not");
}

#[test]
fn server_enables_sm_after_session() {
    let mut net = without_resumption();
    let juliet = net.connect(JULIET);
    net.client_sends(juliet, SESSION_IQ);
    net.run();
    net.server_sends(juliet, "<iq id='session' type='result'/>");
    net.skip();
    net.enable(juliet);
    net.expect(
        "C: <enable/>
         S: <enabled/>",
    );
    assert!(net.server(juliet).is_enabled() && net.client(juliet).is_enabled());
    assert_eq!([net.server(juliet).h(), net.client(juliet).h()], [0.into(), 0.into()]);
}

#[test]
fn server_returns_failed_after_start() {
    let mut net = Net::new(quiet());
    let juliet = net.open(JULIET);
    net.client_writes(juliet, "<enable/>");
    net.expect(
        "C: <enable/>
         S: <failed><unexpected-request/></failed>",
    );
    // It is recoverable: the client goes on with the negotiation.
    net.authenticate(juliet);
    net.bind(juliet);
    net.enable(juliet);
    net.expect(
        "C: <enable resume='true' max='600'/>
         S: <enabled id='sm-1' resume='true' max='600'/>",
    );
}

#[test]
fn server_returns_failed_after_auth() {
    let mut net = Net::new(quiet());
    let juliet = net.open(JULIET);
    net.authenticate(juliet);
    net.client_writes(juliet, "<enable/>");
    net.expect(
        "C: <enable/>
         S: <failed><unexpected-request/></failed>",
    );
    net.bind(juliet);
    net.enable(juliet);
    net.expect(
        "C: <enable resume='true' max='600'/>
         S: <enabled id='sm-1' resume='true' max='600'/>",
    );
}

#[test]
fn server_enables_resumption() {
    let mut net = Net::new(quiet());
    let juliet = net.connect(JULIET);
    net.enable(juliet);
    net.expect(
        "C: <enable resume='true' max='600'/>
         S: <enabled id='sm-1' resume='true' max='600'/>",
    );
    for side in Side::BOTH {
        let stream = net.stream(juliet, side);
        assert!(stream.is_resumable());
        assert_eq!(stream.smid().map(|smid| smid.as_str()), Some("sm-1"));
    }
    let smid = net.server(juliet).smid().cloned().unwrap();
    assert_eq!(net.registered(&smid, JULIET), Some(juliet));
}

#[test]
fn server_enables_resumption_for_no_longer_than_either_wants() {
    for (wanted, granted) in
        [("max='1'", 1), ("max='599'", 599), ("max='601'", 600), ("max='99999999999'", 600), ("", 600)]
    {
        let mut net = Net::new(quiet());
        let juliet = net.connect(JULIET);
        net.client_writes(juliet, &format!("<enable resume='true' {wanted}/>"));
        net.expect(&format!(
            "C: {}
             S: <enabled id='sm-1' resume='true' max='{granted}'/>",
            wire::lines(&wire::with_ns(&format!("<enable resume='true' {wanted}/>"))).concat(),
        ));
        net.cut(juliet);
        net.advance(secs(granted) - Duration::from_millis(1));
        net.ended(&[]);
        net.advance(Duration::from_millis(1));
        net.ended(&[(juliet, EndReason::Expired)]);
    }
}

#[test]
fn client_enables_sm_twice_fails_with_correct_error_stanza() {
    let mut net = Net::new(quiet());
    let juliet = net.login_silent(JULIET);
    net.server_sends(juliet, "<message id='m1'/>");
    net.client_writes(juliet, "<enable/>");
    net.client_writes(juliet, "<message id='never-read'/>");
    net.expect(
        "S: <message id='m1'/>
         C: <enable/>
         C: <message id='never-read'/>
         S: <failed><unexpected-request/></failed>
         S: </stream:stream>
         C: </stream:stream>",
    );
    net.ended(&[(juliet, EndReason::PeerFault)]);
    net.handed_back(&["PeerFault, 1, at 0 s: <message id='m1'/>"]);
    assert!(net.store.is_empty());
}
