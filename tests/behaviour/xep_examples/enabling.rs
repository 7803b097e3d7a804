//! Sections 2 and 3: the stream feature, and enabling stream management.

use xmpp_sm::{EndReason, FEATURE};

use super::{OWNER, without_resumption};
use crate::support::{Net, Side, quiet};

// https://xmpp.org/extensions/xep-0198.html#feature
#[test]
fn example_01_server_sends_new_stream_header_along_with_stream_features() {
    let mut net = Net::new(quiet());
    let conn = net.open(OWNER);
    net.authenticate(conn);
    assert!(net.server(conn).has_feature());
    let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>";
    net.server_writes(conn, &format!("<stream:features>{bind}{FEATURE}</stream:features>"));
    net.expect(
        "S: <stream:features>
              <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>
              <sm xmlns='urn:xmpp:sm:3'/>
            </stream:features>",
    );
}

// https://xmpp.org/extensions/xep-0198.html#enable
#[test]
fn example_02_client_enables_stream_management() {
    let mut net = without_resumption();
    let conn = net.connect(OWNER);
    net.enable(conn);
    net.written("C: <enable xmlns='urn:xmpp:sm:3'/>");
}

// https://xmpp.org/extensions/xep-0198.html#enable
#[test]
fn example_03_server_enables_stream_management() {
    let mut net = without_resumption();
    let conn = net.connect(OWNER);
    net.client_writes(conn, "<enable/>");
    net.expect(
        "C: <enable/>
         S: <enabled xmlns='urn:xmpp:sm:3'/>",
    );
    assert!(net.server(conn).is_enabled() && !net.server(conn).is_resumable());
}

// https://xmpp.org/extensions/xep-0198.html#enable
#[test]
fn example_04_server_enables_stream_management_with_session_resumption() {
    let mut net = Net::new(quiet());
    net.name_session("some-long-sm-id");
    let conn = net.connect(OWNER);
    net.enable(conn);
    net.expect(
        "C: <enable resume='true' max='600'/>
         S: <enabled xmlns='urn:xmpp:sm:3' id='some-long-sm-id' resume='true' max='600'/>",
    );
    assert!(net.server(conn).is_resumable() && net.client(conn).is_resumable());
}

// https://xmpp.org/extensions/xep-0198.html#enable
#[test]
fn example_05_server_returns_error_if_client_attempts_to_enable_stream_management_before_resource_binding() {
    let mut net = Net::new(quiet());
    let conn = net.open(OWNER);
    net.authenticate(conn);
    net.client_writes(conn, "<enable/>");
    net.expect(
        "C: <enable/>
         S: <failed xmlns='urn:xmpp:sm:3'>
              <unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
            </failed>",
    );
    net.bind(conn);
    net.enable(conn);
    net.run();
    assert!(net.server(conn).is_enabled(), "errors are recoverable");
}

// https://xmpp.org/extensions/xep-0198.html#enable
#[test]
fn example_06_server_returns_error_if_client_attempts_to_enable_stream_management_more_than_once() {
    let mut net = Net::new(quiet());
    let conn = net.login_silent(OWNER);
    net.client_writes(conn, "<enable/>");
    net.deliver_from(conn, Side::Client, 1);
    net.written(
        "C: <enable/>
         S: <failed xmlns='urn:xmpp:sm:3'>
              <unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
            </failed>
         S: </stream:stream>",
    );
    net.ended(&[(conn, EndReason::PeerFault)]);
}
