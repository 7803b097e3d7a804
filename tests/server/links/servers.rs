//! Two example servers that are linked, and lose their link.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use xmpp_sm::Nonza;

use super::super::client::Client;
use super::super::proxy::{self, Cut, Way};
use super::super::server::Running;
use super::super::server::trace::{Traced, What};
use super::super::{all, message, numbers};
use super::{cuts, goes_back, start};

/// Messages each way, and how many of them are on their way at once: the link is cut while there are more to come.
const MESSAGES: usize = 240;
const AT_ONCE: usize = 8;

/// Servers for `localhost` and `b.example`. The first is connected to, through a proxy that makes these cuts.
struct Pair {
    localhost: Running,
    example: Running,
    done: Arc<AtomicUsize>,
    /// What `b.example` was told when it came back.
    answers: Arc<Mutex<Vec<&'static str>>>,
}

async fn pair(cuts: Vec<Cut>, options: &[&str]) -> Pair {
    let localhost = start(&[options, &["--link=b.example:secret"]].concat(), None).await;
    let done = Arc::new(AtomicUsize::new(0));
    let count = done.clone();
    let to = localhost.servers.expect("an address for servers");
    let proxy = proxy::start(to, cuts, move |_| _ = count.fetch_add(1, Ordering::Relaxed)).await.expect("a proxy");
    let answers = Arc::new(Mutex::new(Vec::new()));
    let told = answers.clone();
    let trace = move |traced: &Traced<'_>| {
        if traced.client == "localhost" {
            told.lock().expect("no panic").extend(match traced.what {
                What::From(Nonza::Enabled(_)) | What::To(Nonza::Enabled(_)) => Some("enabled"),
                What::From(Nonza::Resumed(_)) | What::To(Nonza::Resumed(_)) => Some("resumed"),
                What::From(Nonza::Failed(_)) | What::To(Nonza::Failed(_)) => Some("failed"),
                _ => None,
            });
        }
    };
    let link = format!("--link=localhost:secret@{proxy}");
    let example = start(&[options, &["--domain=b.example", &link]].concat(), Some(Arc::new(trace))).await;
    Pair { localhost, example, done, answers }
}

/// A session of juliet's, at `b.example`.
async fn juliet(server: &Running) -> Client {
    let mut juliet = Client::login(server, "juliet").await;
    juliet.bind("balcony").await;
    juliet.send("<presence/>").await;
    juliet.upto("<presence from='juliet@b.example/balcony'").await;
    juliet
}

/// Waits until stanzas come through, from `b.example` and back.
async fn linked(juliet: &mut Client) {
    loop {
        juliet.send("<iq type='get' id='link' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        juliet.upto(" id='link'").await;
        if juliet.upto(">").await.contains("type='result'") {
            break;
        }
    }
}

/// Everything up to the message of that number, in the namespace that a client knows.
async fn take(client: &mut Client, last: usize) -> Vec<usize> {
    let received = client.upto(&format!("<body>{last}.</body>")).await;
    assert!(!received.contains("jabber:"), "{received}");
    numbers(&received)
}

#[tokio::test]
async fn each_stanza_comes_once_and_in_order_whatever_becomes_of_the_link() {
    let planned = cuts();
    assert!(planned.len() >= 20);
    let pair = pair(planned.clone(), &["--ack-freq=2"]).await;
    let mut romeo = Client::simple(&pair.localhost, "romeo", "orchard").await;
    let mut juliet = juliet(&pair.example).await;
    linked(&mut juliet).await;
    let (mut romeos, mut juliets) = (Vec::new(), Vec::new());
    for first in (1..=MESSAGES).step_by(AT_ONCE) {
        for number in first..first + AT_ONCE {
            romeo.send(&message("juliet@b.example/balcony", format_args!("{number}."))).await;
            juliet.send(&message("romeo@localhost/orchard", format_args!("{number}."))).await;
        }
        romeos.extend(take(&mut romeo, first + AT_ONCE - 1).await);
        juliets.extend(take(&mut juliet, first + AT_ONCE - 1).await);
    }
    assert_eq!(juliets, all(MESSAGES));
    assert_eq!(romeos, all(MESSAGES));
    // Nothing follows, and nothing was refused.
    linked(&mut juliet).await;
    assert_eq!(numbers(&romeo.ping().await), [0; 0]);
    assert_eq!(pair.done.load(Ordering::Relaxed), planned.len(), "cuts");
    let answers = pair.answers.lock().expect("no panic").clone();
    assert_eq!(answers.iter().filter(|answer| **answer == "enabled").count(), 1, "{answers:?}");
    assert!(!answers.contains(&"failed"), "{answers:?}");
    assert!(answers.iter().filter(|answer| **answer == "resumed").count() >= planned.len() - 6, "{answers:?}");
}

/// How long the link was away is counted from the last time that it was lost.
#[tokio::test]
async fn a_link_that_is_resumed_is_not_given_up_later() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let cut = Cut { way: Way::ToServer, what: "<message", nth: 1, keep: 30 };
    let pair = pair(vec![cut], &["--resume-timeout=3"]).await;
    let mut romeo = Client::simple(&pair.localhost, "romeo", "orchard").await;
    let mut juliet = juliet(&pair.example).await;
    linked(&mut juliet).await;
    let start = Instant::now();
    for number in 1.. {
        juliet.send(&message("romeo@localhost/orchard", format_args!("{number}."))).await;
        assert_eq!(take(&mut romeo, number).await, [number]);
        if start.elapsed() > TIMEOUT + TIMEOUT / 10 {
            break;
        }
        sleep(TIMEOUT / 10).await;
    }
    assert_eq!(*pair.answers.lock().expect("no panic"), ["enabled", "resumed"]);
}

/// Passes on what comes to a server, and holds `<enable/>` back for as long as something may wait for it, and longer.
async fn slow(server: SocketAddr, is_connected: Arc<Notify>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let pass = async move |client: TcpStream| {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
        let to_server = async {
            let mut bytes = [0; 4096];
            while let read @ 1.. = from_client.read(&mut bytes).await? {
                if bytes[..read].windows(7).any(|window| window == b"<enable") {
                    is_connected.notify_one();
                    sleep(Duration::from_millis(1100)).await;
                }
                to_server.write_all(&bytes[..read]).await?;
            }
            Ok(())
        };
        tokio::try_join!(to_server, copy(&mut from_server, &mut to_client))
    };
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let _ = pass(client).await;
        }
    });
    address
}

/// What waits for the link would end one connection after the other.
#[tokio::test]
async fn a_link_that_is_being_made_is_not_given_up() {
    let localhost = start(&["--link=b.example:secret"], None).await;
    let is_connected = Arc::new(Notify::new());
    let address = slow(localhost.servers.expect("an address for servers"), is_connected.clone()).await;
    let link = format!("--link=localhost:secret@{address}");
    let example = start(&["--resume-timeout=1", "--domain=b.example", &link], None).await;
    let mut juliet = juliet(&example).await;
    is_connected.notified().await;
    juliet.send("<iq type='get' id='link' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    juliet.upto(" id='link'").await;
    let answer = juliet.upto(">").await;
    assert!(answer.contains("type='result'"), "{answer}");
}

/// Each would wait for ever until the other's link is over.
#[tokio::test]
async fn two_that_connect_to_each_other_have_one_link() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = free.local_addr().expect("an address");
    let link = format!("--link=localhost:secret@{address}");
    let example = start(&["--domain=b.example", &link], None).await;
    let mut juliet = juliet(&example).await;
    let link = format!("--link=b.example:secret@{}", example.servers.expect("an address for servers"));
    let listen = format!("--listen-servers={address}");
    drop(free);
    let localhost = start(&[&listen, &link], None).await;
    timeout(Duration::from_secs(20), linked(&mut juliet)).await.expect("a link");
    let mut romeo = Client::simple(&localhost, "romeo", "orchard").await;
    juliet.send(&message("romeo@localhost/orchard", "1.")).await;
    assert_eq!(take(&mut romeo, 1).await, [1]);
    romeo.send(&message("juliet@b.example/balcony", "1.")).await;
    assert_eq!(take(&mut juliet, 1).await, [1]);
}

#[tokio::test]
async fn what_has_waited_too_long_for_the_other_server_goes_back() {
    let Pair { localhost, example, .. } = pair(Vec::new(), &["--resume-timeout=1"]).await;
    let mut juliet = juliet(&example).await;
    linked(&mut juliet).await;
    localhost.stop().await;
    goes_back(&mut juliet, "romeo@localhost").await;
    // And so does what comes later, at once.
    juliet.send(&message("romeo@localhost", "later")).await;
    juliet.upto("remote-server-timeout").await;
}
