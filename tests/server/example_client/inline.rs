//! The example client before the example server, with SASL2 and Bind 2.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::User;
use super::server::Server;
use crate::client::Client;
use crate::{message, numbers, start};

/// A relay whose connections can be cut.
struct Relay {
    address: SocketAddr,
    cut: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Relay {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (cut, mut cuts) = watch::channel(());
        let task = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.expect("a client");
                let mut server = TcpStream::connect(to).await.expect("the server");
                cuts.mark_unchanged();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = cuts.changed() => {}
                }
            }
        });
        Self { address, cut, task }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn the_client_binds_and_resumes_inline() {
    let server = start(&["--mechanism=SCRAM-SHA-256"]).await;
    let relay = Relay::start(server.address).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let mut juliet = User::start_at(relay.address, &["--inline"]);
    let online = juliet.until("online juliet@localhost/client/").await;
    let jid = online.strip_prefix("online ").expect("who it is").to_owned();
    for round in 0..5 {
        juliet.count(3 * round + 1, 3 * round + 2);
        romeo.upto(&format!("{}</body>", 3 * round + 2)).await;
        relay.cut.send_replace(());
        juliet.count(3 * round + 3, 3 * round + 3);
        romeo.send(&message(&jid, format_args!("{round}."))).await;
        juliet.until("resumed").await;
        let received = juliet.until("received ").await;
        assert!(received.ends_with(&format!("{round}.")), "{received}");
        let seen = romeo.upto(&format!("{}</body>", 3 * round + 3)).await;
        assert!(!seen.contains("unavailable"), "{seen}");
    }
    assert!(numbers(&romeo.ping().await).is_empty(), "and no more");
}

/// A server that cannot tell yet is alive: it may say so as often as it likes, and the session is kept.
#[tokio::test]
async fn a_server_that_cannot_tell_yet_gives_no_session_up() {
    let server = Server::start().await;
    let (mut user, stream) = User::online(&server, &["--inline"]).await;
    drop(stream);
    user.until("offline Drop").await;
    let offer = "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>SCRAM-SHA-1</mechanism><inline>\
                 <sm xmlns='urn:xmpp:sm:3'/></inline></authentication>";
    // After ten tries that come to nothing it would be given up.
    for _ in 0..12 {
        let mut stream = server.accept_silently().await;
        stream.open(offer).await;
        assert!(stream.element().await.has_child("resume", "urn:xmpp:sm:3"));
        stream.fail("urn:xmpp:sasl:2", "temporary-auth-failure").await;
        assert!(user.until("offline ").await.ends_with("asks us to try again later"));
    }
}
