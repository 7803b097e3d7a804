//! Section 5: resumption.

use xmpp_sm::{EndReason, Location, StaleH};

use super::{OWNER, interrupted};
use crate::support::{Net, Place, Side, quiet, secs};

// https://xmpp.org/extensions/xep-0198.html#resumption
#[test]
fn example_08_client_enables_stream_management() {
    let mut net = Net::with(quiet(), quiet().resume_timeout(Some(secs(300))));
    let conn = net.connect(OWNER);
    net.enable(conn);
    net.written("C: <enable xmlns='urn:xmpp:sm:3' resume='true' max='300'/>");
}

// https://xmpp.org/extensions/xep-0198.html#resumption
#[test]
fn example_09_server_allows_stream_resumption() {
    let mut net = Net::new(quiet());
    net.name_session("some-long-sm-id");
    let conn = net.connect(OWNER);
    net.client_writes(conn, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    net.expect(
        "C: <enable xmlns='urn:xmpp:sm:3' resume='true'/>
         S: <enabled xmlns='urn:xmpp:sm:3' id='some-long-sm-id' resume='true' max='600'/>",
    );
    net.cut(conn);
    assert_eq!(net.detached(conn, Side::Server).smid().as_str(), "some-long-sm-id");
}

// https://xmpp.org/extensions/xep-0198.html#resumption
#[test]
fn example_10_alternative_response_server_enables_stream_management_without_session_resumption() {
    // The crate's server gives no id without resumption; its client understands one.
    let mut net = Net::new(quiet());
    let conn = net.connect(OWNER);
    net.enable(conn);
    net.server_writes(conn, "<enabled xmlns='urn:xmpp:sm:3' id='some-long-sm-id'/>");
    net.deliver_from(conn, Side::Server, 1);
    assert!(net.client(conn).is_enabled() && !net.client(conn).is_resumable());

    let mut net = Net::new(quiet().resume_timeout(None));
    let conn = net.connect(OWNER);
    net.enable(conn);
    net.expect(
        "C: <enable resume='true' max='600'/>
         S: <enabled xmlns='urn:xmpp:sm:3'/>",
    );
    net.cut(conn);
    net.ended(&[(conn, EndReason::NotResumable)]);
}

// https://xmpp.org/extensions/xep-0198.html#resumption
#[test]
fn example_11_server_prefers_reconnection_at_a_particular_location() {
    let location = Location::new("[2001:41D0:1:A49b::1]:9222").ok();
    let mut net = Net::new(quiet().location(location));
    net.name_session("some-long-sm-id");
    let conn = net.connect(OWNER);
    net.enable(conn);
    net.expect(
        "C: <enable resume='true' max='600'/>
         S: <enabled xmlns='urn:xmpp:sm:3'
                     id='some-long-sm-id'
                     location='[2001:41D0:1:A49b::1]:9222'
                     resume='true'
                     max='600'/>",
    );
}

// https://xmpp.org/extensions/xep-0198.html#resumption
#[test]
fn example_12_stream_resumption_request() {
    let mut net = Net::new(quiet());
    let old = interrupted(&mut net);
    net.resume(old);
    net.written("C2: <resume xmlns='urn:xmpp:sm:3' h='42' previd='some-long-sm-id'/>");
}

// https://xmpp.org/extensions/xep-0198.html#resumption
#[test]
fn example_13_stream_resumed() {
    let mut net = Net::new(quiet());
    let old = interrupted(&mut net);
    let conn = net.resume(old);
    net.expect(
        "C2: <resume h='42' previd='some-long-sm-id'/>
         S2: <resumed xmlns='urn:xmpp:sm:3' h='7' previd='some-long-sm-id'/>",
    );
    assert!(net.server(conn).is_enabled() && net.client(conn).is_enabled());
}

// https://xmpp.org/extensions/xep-0198.html#resumption
#[test]
fn example_14_stream_timed_out() {
    let mut net = Net::new(quiet().stale_h(StaleH { enabled: true, ..StaleH::default() }));
    let old = interrupted(&mut net);
    let Place::Detached(session) = net.take_place(old, Side::Client) else { panic!() };
    net.advance(secs(600));
    net.resume_with(OWNER, session);
    net.expect(
        "C2: <resume h='42' previd='some-long-sm-id'/>
         S2: <failed xmlns='urn:xmpp:sm:3' h='7'>
               <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
             </failed>",
    );
}

// https://xmpp.org/extensions/xep-0198.html#resumption
#[test]
fn example_15_server_closes_old_stream_that_was_replaced_by_new() {
    let mut net = Net::new(quiet());
    let old = net.login(OWNER);
    net.cut_unnoticed(old);
    net.resume(old);
    net.expect(
        "-- cut, unnoticed by the server
         C2: <resume h='0' previd='sm-1'/>
         S: <stream:error>
              <conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>
            </stream:error>
            </stream:stream>
         S2: <resumed h='0' previd='sm-1'/>",
    );
}
