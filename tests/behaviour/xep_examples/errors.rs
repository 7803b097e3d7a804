//! Section 6: error handling.

use super::{OWNER, interrupted};
use crate::support::{Net, quiet};

// https://xmpp.org/extensions/xep-0198.html#errors
#[test]
fn example_16_server_returns_error() {
    let mut net = Net::new(quiet());
    interrupted(&mut net);
    let conn = net.connect(OWNER);
    net.client_writes(conn, "<resume h='42' previd='some-long-sm-id'/>");
    net.expect(
        "C2: <resume h='42' previd='some-long-sm-id'/>
         S2: <failed xmlns='urn:xmpp:sm:3'>
               <unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
             </failed>",
    );
    net.enable(conn);
    net.run();
    assert!(net.server(conn).is_enabled(), "errors are recoverable");
}

// https://xmpp.org/extensions/xep-0198.html#errors
#[test]
fn example_17_entity_closes_stream_because_peer_acknowledges_more_stanzas_than_it_was_sent() {
    let mut net = Net::new(quiet());
    let conn = net.login_silent(OWNER);
    for _ in 0..8 {
        net.server_sends(conn, "<message/>");
    }
    net.client_writes(conn, "<a h='3'/>");
    net.skip();
    net.client_writes(conn, "<a h='10'/>");
    // RFC 6120 has the text before what is specific to an application, and so has the crate.
    net.expect(
        "C: <a h='10'/>
         S: <stream:error>
              <undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>
              <text xml:lang='en' xmlns='urn:ietf:params:xml:ns:xmpp-streams'>
                You acknowledged 10 stanzas, but I only sent you 8 so far.
              </text>
              <handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='8'/>
            </stream:error>
            </stream:stream>",
    );
}
