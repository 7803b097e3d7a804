//! A user, whose clients come one after the other: each but the first knows nothing of the session that the one before it
//! had, and binds the resource anew.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::FutureExt;
use jid::FullJid;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::unconstrained;
use tokio::time::timeout;

use super::balancer::{Door, Leaves, Place};
use super::client::WINDOW;
use super::talks::Talks;

/// How long nothing comes when all that is missing is lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Far more than a login takes, or an answer.
const LONGEST: Duration = Duration::from_secs(120);

pub struct User<C> {
    jid: FullJid,
    peer: FullJid,
    place: Place,
    anew: UnboundedReceiver<Leaves>,
    client: C,
    door: Door,
    story: Story,
}

/// What all clients of a user have seen.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The bare JID.
    pub owner: String,
    /// The numbers that were sent: 1 to this.
    pub sent: usize,
    /// How often each of them was sent again by a client that did not know whether the one before it had.
    pub again: BTreeMap<usize, usize>,
    /// The numbers that were received, by which of the clients.
    pub received: Vec<(usize, usize)>,
    /// How often a session went on, and how many there were.
    pub resumed: usize,
    pub sessions: usize,
    /// How many of the clients were not the first, and how many of these came to another server than the one before.
    pub anew: usize,
    pub elsewhere: usize,
}

impl<C: Talks> User<C> {
    /// Connects the first client, and waits until it is logged in.
    pub async fn begin(
        jid: FullJid,
        peer: FullJid,
        place: Place,
        anew: UnboundedReceiver<Leaves>,
    ) -> std::io::Result<Self> {
        let door = place.listen().await?;
        let mut client = C::connect(jid.clone(), &peer, door.address);
        within(&jid, "its first session", client.bound()).await?;
        let story = Story { owner: jid.to_bare().to_string(), ..Story::default() };
        Ok(Self { jid, peer, place, anew, client, door, story })
    }

    /// Sends so many messages, and takes as many.
    pub async fn talk(&mut self, count: usize) -> std::io::Result<()> {
        let (mut latest, mut until) = (0, Instant::now());
        loop {
            // A client that has only just come does not begin to wait anew.
            let seen = self.client.seen().latest;
            if seen > latest || seen == 0 {
                (latest, until) = (seen, Instant::now() + PATIENCE);
            }
            let patience = until.saturating_duration_since(Instant::now());
            let leaves = tokio::select! {
                _all = self.client.talk(&self.peer, count, patience) => return Ok(()),
                Some(leaves) = self.anew.recv() => leaves,
            };
            self.bind_anew(leaves).await?;
        }
    }

    /// The client is there no more, and another one comes that has the messages and nothing else.
    async fn bind_anew(&mut self, leaves: Leaves) -> std::io::Result<()> {
        let at = self.place.at();
        let door = std::mem::replace(&mut self.door, self.place.listen().await?);
        within(&self.jid, "its connections to end", door.shut(leaves)).await?;
        // What the server was told of as handled is here.
        while unconstrained(self.client.hear()).now_or_never().is_some() {}
        let before = self.client.seen().clone();
        self.client = C::connect(self.jid.clone(), &self.peer, self.door.address);
        within(&self.jid, "another session", self.client.bound()).await?;
        self.story.add(&before);
        self.story.anew += 1;
        self.story.elsewhere += usize::from(self.place.at() != at);
        // The peer is at most one window ahead of what it has received. Whether it has the others is not known.
        let known = before.sent.min(before.latest.saturating_sub(WINDOW));
        (known + 1..=before.sent).for_each(|number| *self.story.again.entry(number).or_default() += 1);
        let seen = self.client.seen();
        (seen.sent, seen.latest) = (known, seen.latest.max(before.latest));
        seen.before.extend(before.before.into_iter().chain(before.received));
        Ok(())
    }

    /// Takes what is still on its way, and leaves.
    pub async fn finish(mut self) -> std::io::Result<Story> {
        let seen = within(&self.jid, "what comes last", self.client.finish()).await?;
        self.story.add(&seen);
        Ok(self.story)
    }
}

async fn within<T>(jid: &FullJid, what: &str, waits: impl Future<Output = T>) -> std::io::Result<T> {
    timeout(LONGEST, waits).await.map_err(|_| std::io::Error::other(format!("{jid} waits in vain for {what}")))
}
