//! The example component, and its link to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use tokio::sync::oneshot;

use super::super::client::Client;
use super::super::proxy::{self, Cut};
use super::super::server::Running;
use super::super::{all, message, messages, numbers};
use super::component::{self, Options};
use super::{cuts, goes_back, started};

/// Messages, and how many of them are on their way at once: the link is cut while there are more to come.
const MESSAGES: usize = 240;
const AT_ONCE: usize = 8;

/// The component, behind a proxy that makes these cuts. It stops when the sender is dropped.
async fn component(server: &Running, cuts: Vec<Cut>, options: &[&str]) -> (Arc<AtomicUsize>, oneshot::Sender<()>) {
    let done = Arc::new(AtomicUsize::new(0));
    let count = done.clone();
    let to = server.components.expect("an address for components");
    let proxy = proxy::start(to, cuts, move |_| _ = count.fetch_add(1, Ordering::Relaxed)).await.expect("a proxy");
    let connect = format!("--connect={proxy}");
    let all = ["component", &connect, "--domain=echo.localhost", "--secret=secret"];
    let options = Options::parse_from(all.iter().chain(options));
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move { component::run(&options, async { drop(stopped.await) }).await });
    (done, stop)
}

/// Waits until the component answers.
async fn linked(client: &mut Client) {
    loop {
        client.send(&message("echo.localhost", "here?")).await;
        if !client.upto("</message>").await.contains("type='error'") {
            break;
        }
    }
}

#[tokio::test]
async fn each_message_is_sent_back_once_and_in_order_whatever_becomes_of_the_link() {
    let server = started(&["--ack-freq=2"]).await;
    let planned = cuts();
    assert!(planned.len() >= 20);
    let (done, _stop) = component(&server, planned.clone(), &[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    linked(&mut romeo).await;
    let mut back = Vec::new();
    for first in (1..=MESSAGES).step_by(AT_ONCE) {
        for number in first..first + AT_ONCE {
            romeo.send(&message("echo.localhost", format_args!("{number}."))).await;
        }
        back.extend(numbers(&romeo.upto(&format!("<body>{}.</body>", first + AT_ONCE - 1)).await));
    }
    assert_eq!(back, all(MESSAGES));
    assert_eq!(done.load(Ordering::Relaxed), planned.len(), "cuts");
    linked(&mut romeo).await;
    assert_eq!(numbers(&romeo.ping().await), [0; 0]);
}

#[tokio::test]
async fn what_has_waited_too_long_for_a_component_goes_back() {
    let server = started(&["--resume-timeout=1"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut echo = super::sessions::component(&server).await;
    echo.enable().await;
    let mut witness = Client::simple(&server, "juliet", "balcony").await;
    echo.cut(&mut witness).await;
    goes_back(&mut romeo, "echo.localhost").await;
    // And there is no link any more.
    romeo.send(&message("echo.localhost", "later")).await;
    romeo.upto("<remote-server-not-found ").await;
}

#[tokio::test]
async fn a_component_that_stops_well_has_acknowledged_all_that_it_answered() {
    let server = started(&[]).await;
    let (_, stop) = component(&server, Vec::new(), &[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    linked(&mut romeo).await;
    romeo.send(&messages("echo.localhost", 20)).await;
    romeo.upto("<body>20.</body>").await;
    drop(stop);
    loop {
        romeo.send(&message("echo.localhost", "here?")).await;
        let back = romeo.upto("</message>").await;
        assert_eq!(numbers(&back), [0; 0], "an answered one comes back as an error: {back}");
        if back.contains("<remote-server-not-found ") {
            break;
        }
    }
}

/// It never asks for stream management and speaks only when it is spoken to.
#[tokio::test]
async fn a_component_without_stream_management_gets_what_is_for_it() {
    let server = started(&[]).await;
    let (_, _stop) = component(&server, Vec::new(), &["--no-sm"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    linked(&mut romeo).await;
    romeo.send("<iq type='get' id='ping' to='echo.localhost'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    romeo.upto(" id='ping'").await;
    romeo.upto("<service-unavailable ").await;
}
