//! Stream management is switched off.

use super::JULIET;
use crate::support::{Net, Side};

#[test]
fn no_crash_if_stream_mgmt_disabled_but_client_requests_stream_mgmt() {
    refuses("<enable/>");
}

#[test]
fn no_crash_if_stream_mgmt_disabled_but_client_requests_stream_mgmt_with_resumption() {
    refuses("<enable resume='true'/>");
}

fn refuses(enable: &str) {
    let mut net = Net::switched_off();
    let juliet = net.connect(JULIET);
    assert!(!net.server(juliet).has_feature());
    net.client_writes(juliet, enable);
    net.expect(&format!(
        "C: {enable}
         S: <failed><feature-not-implemented/></failed>"
    ));
    // The stream lives, and nothing is counted or kept.
    net.client_sends(juliet, "<message id='m1'/>");
    net.server_sends(juliet, "<message id='m2'/>");
    net.expect(
        "C: <message id='m1'/>
         S: <message id='m2'/>",
    );
    assert_eq!(net.got(juliet, Side::Server), ["m1"]);
    assert_eq!([net.server(juliet).h(), net.server(juliet).sent()], [0.into(), 0.into()]);
    assert_eq!(net.server(juliet).unacked().len(), 0);
    net.cut(juliet);
    net.handed_back(&[]);
}
