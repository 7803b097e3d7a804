//! Section 4: acks.

use super::{OWNER, without_resumption};
use crate::support::Side;

// https://xmpp.org/extensions/xep-0198.html#acking
#[test]
fn example_07_simple_stanza_acking() {
    let mut net = without_resumption();
    let conn = net.connect(OWNER);
    net.enable(conn);
    // The client need not wait for a response.
    net.client_sends(
        conn,
        "<message from='laurence@example.net/churchyard' to='juliet@example.com' xml:lang='en'>
           <body>I'll send a friar with speed, to Mantua, with my letters to thy lord.</body>
         </message>",
    );
    net.run();
    net.requests(conn, Side::Client);
    net.expect(
        "C: <enable xmlns='urn:xmpp:sm:3'/>
         C: <message from='laurence@example.net/churchyard' to='juliet@example.com' xml:lang='en'>
              <body>
                I'll send a friar with speed, to Mantua,
                with my letters to thy lord.
              </body>
            </message>
         S: <enabled xmlns='urn:xmpp:sm:3'/>
         C: <r xmlns='urn:xmpp:sm:3'/>
         S: <a xmlns='urn:xmpp:sm:3' h='1'/>",
    );
    assert_eq!(net.client(conn).unacked().len(), 0);
}
