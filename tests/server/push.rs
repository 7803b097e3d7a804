//! When a push service would wake a device: the trace says it.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use parking_lot::Mutex;

use super::client::Client;
use super::server::Server;
use super::server::options::Options;
use super::server::trace::{Trace, Traced, What};
use super::{OPTIONS, message, start};

#[tokio::test]
async fn a_device_is_woken_once_when_its_session_is_detached_and_once_for_each_stanza() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let log = said.clone();
    let trace: Trace = Arc::new(move |traced: &Traced<'_>| {
        if let What::Detached { .. } | What::Queued { .. } = traced.what {
            log.lock().push(traced.to_string());
        }
    });
    let server = Server::start(&Options::parse_from(OPTIONS), Some(trace)).await.expect("a free port");
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", juliet.h)).await;
    juliet.ping().await;
    romeo.send(&message("juliet@localhost", "one")).await;
    juliet.upto("one").await;
    assert_eq!(*said.lock(), [""; 0], "there is a connection");

    juliet.cut(&mut romeo).await;
    for body in ["two", "three"] {
        romeo.send(&message("juliet@localhost", body)).await;
    }
    romeo.ping().await;
    let lines = ["detached: 2 unacknowledged, 0 waiting", "queued: 1 waiting", "queued: 2 waiting"];
    assert_eq!(*said.lock(), lines.map(|line| format!("juliet@localhost/balcony {line}")));

    let (mut again, _) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    again.upto("three").await;
    romeo.send(&message("juliet@localhost", "four")).await;
    again.upto("four").await;
    assert_eq!(said.lock().len(), 3, "a device that is awake is not woken");
}

/// Only for as long as that: a device that is not woken has less time.
#[tokio::test]
async fn a_session_whose_device_is_woken_waits_longer() {
    for (option, is_waited_for) in [("--wait-once-woken=600", true), ("--wait-once-woken=none", false)] {
        let server = start(&["--resume-timeout=1", option]).await;
        let mut romeo = Client::simple(&server, "romeo", "orchard").await;
        let mut juliet = Client::session(&server, "juliet", "balcony").await;
        juliet.cut(&mut romeo).await;
        romeo.send(&message("juliet@localhost/balcony", "one")).await;
        romeo.ping().await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let (_, answer) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
        assert_eq!(answer.contains("<resumed "), is_waited_for, "{answer}");
    }
}
