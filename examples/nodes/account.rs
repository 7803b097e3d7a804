//! What became of the messages.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::causes::Causes;
use super::client::{Seen, WINDOW};
use super::user::Story;

/// What is on its way to or from a client at once. It is one window ahead of what it has received, as its peer is; and as
/// much comes again until what was received is acknowledged.
const ON_ITS_WAY: usize = 4 * WINDOW;
/// The same at a server of an earlier version, which wrote down no more than one `h` in a round trip, and came behind.
const BEHIND: usize = 40 * WINDOW;

#[derive(Clone, Debug, Default)]
pub struct Account {
    sent: usize,
    delivered: usize,
    doubled: Doubled,
    out_of_order: usize,
    late: usize,
    resumed: usize,
    sessions: usize,
    clients: usize,
    anew: usize,
    elsewhere: usize,
}

/// How often a message came once more, by why.
#[derive(Clone, Debug, Default)]
struct Doubled {
    /// A client of its sender had lost its state.
    sent_again: usize,
    /// The session had it whose client had lost its state.
    replaced: usize,
    /// A session was taken from a server that had not let go of it, the sender's or the receiver's.
    taken: usize,
    /// There is no cause.
    without: usize,
}

impl Story {
    pub fn add(&mut self, seen: &Seen) {
        let client = self.anew;
        self.received.extend(seen.received.iter().map(|number| (*number, client)));
        (self.sent, self.resumed, self.sessions) =
            (seen.sent, self.resumed + seen.resumed, self.sessions + seen.sessions);
    }
}

impl Account {
    /// `is_earlier`: a server is of an earlier version. With that, a client that binds a resource anew does not wait for what
    /// the session before has left.
    pub fn add(&mut self, one: &Story, other: &Story, causes: &Causes, is_earlier: bool) {
        let taken = causes.of(&one.owner) + causes.of(&other.owner);
        for (story, peer) in [(one, other), (other, one)] {
            let different: BTreeSet<_> = story.received.iter().map(|(number, _)| *number).collect();
            let lost: Vec<_> = (1..=peer.sent).filter(|number| !different.contains(number)).collect();
            if !lost.is_empty() {
                eprintln!("{}: {lost:?} of {} are lost", story.owner, peer.sent);
            }
            self.sent += peer.sent;
            self.delivered += different.len();
            self.doubled.add(story, peer, taken, if is_earlier { BEHIND } else { ON_ITS_WAY });
            self.count_late(story, is_earlier || causes.of(&story.owner) > 0);
            self.resumed += story.resumed;
            self.sessions += story.sessions;
            self.clients += 1 + story.anew;
            self.anew += story.anew;
            self.elsewhere += story.elsewhere;
        }
    }

    /// Each by what came first of it. Of a session that was taken from its server, nobody can wait for what it leaves: that
    /// goes to one that may have newer ones already.
    fn count_late(&mut self, story: &Story, may_be: bool) {
        let (mut latest, mut seen, mut late) = (0, BTreeSet::new(), vec![Vec::new(); story.anew + 1]);
        for (number, client) in story.received.iter().filter(|(number, _)| seen.insert(number)) {
            if *number < latest {
                late[*client].push((*number, latest));
            }
            latest = latest.max(*number);
        }
        for (client, late) in late.into_iter().enumerate() {
            let allowed = if client > 0 && may_be { late.len().min(ON_ITS_WAY) } else { 0 };
            self.late += allowed;
            self.out_of_order += late.len() - allowed;
            for (number, latest) in late.into_iter().skip(allowed) {
                eprintln!("{}: {number} came to client {client} after {latest}", story.owner);
            }
        }
    }

    fn lost(&self) -> usize {
        self.sent - self.delivered
    }

    pub fn is_well(&self) -> bool {
        self.lost() == 0 && self.doubled.without == 0 && self.out_of_order == 0 && self.sessions == self.clients
    }
}

impl Doubled {
    /// `taken`: how many sessions of the two were taken from servers that had not let go of them, and how much of each may
    /// come once more.
    fn add(&mut self, story: &Story, peer: &Story, taken: usize, most: usize) {
        let mut came: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, client) in &story.received {
            came.entry(*number).or_default().push(*client);
        }
        let mut by_replaced = vec![0; story.anew + 1];
        let mut others = BTreeMap::new();
        for (number, mut clients) in came {
            let sent_again = peer.again.get(&number).copied().unwrap_or_default().min(clients.len() - 1);
            let mut more = clients.len() - 1 - sent_again;
            // Each client may have it from the session of the one before.
            clients.dedup();
            for client in clients.into_iter().skip(1) {
                if more > 0 && by_replaced[client] < ON_ITS_WAY {
                    (more, by_replaced[client]) = (more - 1, by_replaced[client] + 1);
                }
            }
            self.sent_again += sent_again;
            others.extend((more > 0).then_some((number, more)));
        }
        self.replaced += by_replaced.iter().sum::<usize>();
        // Each session that was taken is a cause for what was on its way then: handled by the server, and its `h` not
        // written down; or taken out of the mail, and not struck off.
        for _ in 0..taken {
            let Some((&from, _)) = others.first_key_value() else { break };
            self.taken += others.range(from..from + most).count();
            others = others
                .into_iter()
                .map(|(number, more)| (number, more - usize::from(number < from + most)))
                .filter(|(_, more)| *more > 0)
                .collect();
        }
        for (number, more) in others {
            self.without += more;
            let clients: Vec<_> =
                story.received.iter().filter(|(other, _)| *other == number).map(|(_, client)| client).collect();
            eprintln!("{}: {number} came to clients {clients:?}, {more} times without a cause", story.owner);
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, delivered, doubled, out_of_order, late, resumed, sessions, clients, anew, elsewhere } = self;
        let Doubled { sent_again, replaced, taken, without } = doubled;
        let (lost, all) = (self.lost(), sent_again + replaced + taken + without);
        writeln!(f, "{clients} clients, {sessions} sessions, {resumed} resumed")?;
        if *anew > 0 {
            writeln!(
                f,
                "{anew} have bound anew, {elsewhere} at the other server; {late} came late of what a replaced session had"
            )?;
        }
        if all > 0 {
            writeln!(
                f,
                "doubled: {sent_again} sent again by a client that had lost its state, {replaced} of what a replaced session \
                 had, {taken} of what one had that was taken, {without} without a cause"
            )?;
        }
        write!(f, "{sent} sent, {delivered} delivered, {lost} lost, {all} doubled, {out_of_order} out of order")
    }
}
