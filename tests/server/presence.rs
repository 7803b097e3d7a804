//! Who is told that a session is there, and that it is gone.

use std::sync::Arc;

use clap::Parser;
use futures::FutureExt;
use jid::FullJid;
use minidom::Element;
use xmpp_sm::EndReason;

use super::client::Client;
use super::server::mail::{Delivery, Mail, Mailbox, mailbox};
use super::server::options::Options;
use super::server::router::Router;
use super::server::sasl::Accounts;
use super::server::stanza::Written;
use super::server::state::Known;
use super::{OPTIONS, Running, start};

pub const TO_JULIET: &str = "<presence to='juliet@localhost/balcony'/>";
pub const GONE: &str = "<presence from='romeo@localhost/orchard' type='unavailable'/>";

/// Romeo, seen by nobody, and Juliet, who shows herself to nobody.
pub async fn hidden(server: &Running) -> (Client, Client) {
    let mut romeo = Client::login(server, "romeo").await;
    romeo.bind("orchard").await;
    romeo.enable().await;
    let mut juliet = Client::login(server, "juliet").await;
    juliet.bind("balcony").await;
    (romeo, juliet)
}

pub async fn close(mut client: Client) {
    client.send("</stream:stream>").await;
    client.rest().await;
}

#[tokio::test]
async fn who_was_told_by_name_is_told_that_the_session_has_expired() {
    for before in ["", "<presence/>"] {
        let server = start(&["--resume-timeout=1"]).await;
        let (mut romeo, mut juliet) = hidden(&server).await;
        juliet.send(before).await;
        romeo.send(&(before.to_owned() + TO_JULIET)).await;
        juliet.upto("to='juliet@localhost/balcony'/>").await;
        romeo.cut(&mut juliet).await;
        juliet.upto(GONE).await;
        assert!(!juliet.ping().await.contains("unavailable"), "once");
    }
}

#[tokio::test]
async fn who_was_told_by_name_is_told_that_the_session_is_closed() {
    let server = start(&[]).await;
    let (mut romeo, mut juliet) = hidden(&server).await;
    romeo.send(TO_JULIET).await;
    romeo.ping().await;
    close(romeo).await;
    let seen = juliet.ping().await;
    assert_eq!(seen.matches(GONE).count(), 1, "{seen}");
}

#[tokio::test]
async fn who_knows_already_is_not_told_again() {
    let server = start(&[]).await;
    for gone in ["<presence type='unavailable' to='juliet@localhost/balcony'/>", "<presence type='unavailable'/>"] {
        let (mut romeo, mut juliet) = hidden(&server).await;
        romeo.send(&(TO_JULIET.to_owned() + gone)).await;
        romeo.ping().await;
        let seen = juliet.ping().await;
        assert_eq!(seen.matches("unavailable").count(), 1, "{gone}: {seen}");
        close(romeo).await;
        let seen = juliet.ping().await;
        assert!(!seen.contains("unavailable"), "{gone}: {seen}");
    }
}

#[tokio::test]
async fn presence_about_a_subscription_is_not_lost_with_a_session() {
    let server = start(&["--resume-timeout=1"]).await;
    let (mut romeo, mut juliet) = Client::both(&server).await;
    romeo.send("<presence to='juliet@localhost' type='subscribe'/>").await;
    romeo.upto(" type='subscribed'/>").await;
    romeo.cut(&mut juliet).await;
    juliet.upto(GONE).await;

    let mut again = Client::simple(&server, "romeo", "garden").await;
    let seen = again.upto("</presence>").await + &again.ping().await;
    assert_eq!(seen.matches(" type='subscribed'><delay ").count(), 1, "{seen}");
}

fn sessions(router: &Router, user: &str, count: u64) -> Vec<(FullJid, Mailbox)> {
    let session = |number| {
        let jid: FullJid = format!("{user}@localhost/{number}").parse().expect("a full JID");
        let (handle, mailbox) = mailbox();
        assert!(matches!(router.bind(number, &jid, &handle), Ok(None)));
        (jid, mailbox)
    };
    (1..=count).map(session).collect()
}

fn router() -> Router {
    let options = Options::parse_from(OPTIONS);
    Router::new(&options, Arc::new(Accounts::new(options.users.iter().cloned())), None, None)
}

fn send(router: &Router, from: &FullJid, presence: &str) {
    let presence: Element = presence.replace("<presence", "<presence xmlns='jabber:client'").parse().expect("XML");
    router.route(&presence, Delivery::own(Written::new(&presence)), from);
}

fn next(mailbox: &mut Mailbox) -> Option<Written> {
    match mailbox.recv().now_or_never().flatten()? {
        Mail::Deliver(delivery) => Some(delivery.settle()),
        Mail::Kept => None,
        _ => panic!("something else"),
    }
}

/// Two connections wait for a session to end, and the older of them is the last to hear that it has.
#[test]
fn of_those_that_wait_for_a_resource_the_newest_has_it() {
    let router = router();
    let jid: FullJid = "romeo@localhost/orchard".parse().expect("a full JID");
    let (former, its_mailbox) = mailbox();
    assert!(matches!(router.bind(1, &jid, &former), Ok(None)));
    let [(older, _older), (newest, mut its_mail)] = [mailbox(), mailbox()];
    assert!(matches!(router.bind(2, &jid, &older), Ok(Some(_))));
    assert!(matches!(router.bind(3, &jid, &newest), Ok(Some(_))));
    drop(its_mailbox);
    assert!(matches!(router.bind(3, &jid, &newest), Ok(None)));
    assert!(router.bind(2, &jid, &older).is_err());
    assert!(its_mail.recv().now_or_never().is_none(), "it is not told to end");
}

/// What is known of a session whose client has not sent its presence.
fn known(jid: &FullJid) -> Known {
    Known { jid: jid.clone(), directed: Vec::new(), presence: None }
}

/// It has come from another node, or from another run of the server, while they waited for the one before it: with a higher
/// number, and with no connection, or one that is older than theirs.
#[test]
fn a_session_that_lives_again_gives_its_resource_to_whoever_has_connected_later() {
    let router = router();
    let jid: FullJid = "romeo@localhost/orchard".parse().expect("a full JID");
    let (former, its_mailbox) = mailbox();
    assert!(matches!(router.bind(2, &jid, &former), Ok(None)));
    let [(waits, _waits), (revived, mut its_mail)] = [mailbox(), mailbox()];
    assert!(matches!(router.bind(4, &jid, &waits), Ok(Some(_))));
    router.restore(5, &known(&jid), &revived);
    drop(its_mailbox);
    for connection in [None, Some(1), Some(3)] {
        router.set_connected(5, &jid, connection);
        assert!(matches!(router.bind(4, &jid, &waits), Ok(Some(_))), "{connection:?}");
        assert!(matches!(its_mail.recv().now_or_never().flatten(), Some(Mail::Replace(_))));
    }
    router.set_connected(5, &jid, Some(6));
    assert!(router.bind(4, &jid, &waits).is_err(), "its client has come back since");
}

/// The one before it is still about to end.
#[test]
fn a_session_that_lives_again_beside_another_of_its_resource_hears_what_is_said() {
    let router = router();
    let jid: FullJid = "romeo@localhost/orchard".parse().expect("a full JID");
    let [(former, mut its_mail), (revived, mut mail)] = [mailbox(), mailbox()];
    assert!(matches!(router.bind(1, &jid, &former), Ok(None)));
    router.restore(2, &known(&jid), &revived);
    router.tell(&jid, || Mail::Waiting);
    for mail in [&mut its_mail, &mut mail] {
        assert!(matches!(mail.recv().now_or_never().flatten(), Some(Mail::Waiting)));
    }
    // Its client is back.
    router.set_connected(2, &jid, Some(3));
    send(&router, &jid, "<presence/>");
    assert_eq!((router.takes_kept(1, &jid), router.takes_kept(2, &jid)), (None, Some(true)));
}

/// A task that ends by a mistake does not say so to the router.
#[test]
fn nothing_is_lost_with_a_session_that_reads_no_mail() {
    let router = router();
    let mut dead = sessions(&router, "juliet", 1);
    let (balcony, its_mailbox) = dead.remove(0);
    send(&router, &balcony, "<presence/>");
    drop(its_mailbox);
    let (romeo, _mailbox) = sessions(&router, "romeo", 1).remove(0);
    for to in ["juliet@localhost", balcony.as_str()] {
        let message: Element = format!("<message xmlns='jabber:client' to='{to}'/>").parse().expect("XML");
        router.route(&message, Delivery::own(Written::new(&message)), &romeo);
    }
    let (handle, mut mailbox) = mailbox();
    let garden: FullJid = "juliet@localhost/garden".parse().expect("a full JID");
    assert!(matches!(router.bind(2, &garden, &handle), Ok(None)));
    send(&router, &garden, "<presence/>");
    assert!(std::iter::from_fn(|| next(&mut mailbox)).all(|stanza| stanza.since.is_none()));
    let late = std::iter::from_fn(|| router.next_kept(2, &garden)).filter(|stanza| stanza.since.is_some());
    assert_eq!(late.count(), 2);
}

/// However many it goes to, it takes its memory once.
#[test]
fn a_presence_is_written_once_for_all() {
    let router = router();
    let mut all = sessions(&router, "juliet", 100);
    for (jid, _) in &all {
        send(&router, jid, "<presence/>");
    }
    all.iter_mut().for_each(|(_, mailbox)| while next(mailbox).is_some() {});
    let sender = all[0].0.clone();
    send(&router, &sender, "<presence><status>here</status></presence>");
    let written = all.iter_mut().map(|(_, mailbox)| next(mailbox).expect("a presence").bytes().as_ptr());
    let written: Vec<_> = written.collect();
    assert!(written.len() == 100 && written.iter().all(|bytes| *bytes == written[0]), "{written:?}");
}

/// All of them have to be told in the end.
#[test]
fn there_is_a_bound_to_who_is_told_by_name() {
    let router = router();
    let mut juliet = sessions(&router, "juliet", 101);
    let (handle, mut mailbox) = mailbox();
    let romeo: FullJid = "romeo@localhost/orchard".parse().expect("a full JID");
    assert!(matches!(router.bind(0, &romeo, &handle), Ok(None)));
    for (jid, _) in &juliet {
        send(&router, &romeo, &format!("<presence from='{romeo}' to='{jid}'/>"));
    }
    let told = juliet.iter_mut().filter_map(|(_, mailbox)| next(mailbox)).count();
    assert_eq!(told, 100);
    let refused = next(&mut mailbox).and_then(|error| error.element()).expect("an error");
    let refused = String::from(&refused);
    assert!(refused.contains("type='error'") && refused.contains("<resource-constraint "), "{refused}");

    // One goes, and there is room for another.
    let (gone, its_mailbox) = juliet.remove(0);
    router.end((1, &gone), EndReason::Closed, std::iter::empty(), its_mailbox);
    let last = juliet[99].0.clone();
    send(&router, &romeo, &format!("<presence from='{romeo}' to='{last}'/>"));
    assert!(next(&mut juliet[99].1).is_some() && next(&mut mailbox).is_none());
    router.end((0, &romeo), EndReason::Closed, std::iter::empty(), mailbox);
    assert!(juliet.iter_mut().all(|(_, mailbox)| next(mailbox).is_some() && next(mailbox).is_none()), "each once");
}
