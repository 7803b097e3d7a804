//! Nodes, the store that they share, clients, and all that is on its way between them.

mod account;
mod actor;
mod can;
mod client;
pub mod event;
mod finish;
mod leave;
mod link;
mod node;
pub mod setting;
mod store;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use account::Account;
pub use account::Sum;
use actor::Actor;
use client::Client;
use event::{Act, Event};
use link::{Elem, End, Item, Link};
use node::{Message, Node, Op};
use setting::Setting;
use store::{Call, What};
use xmpp_sm::{Config, Early, MemoryStore, Session, SmId};

use crate::support::{Checked, Violation, ensure};

/// All worlds begin at the same time.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
const SLEEP: Duration = Duration::from_secs(300);
/// How far what two nodes think of a deadline is apart, after two of them have written it down.
const DISAGREEMENT: Duration = Duration::from_secs(240);

/// A message that was handled, until the session that is to send it has it for certain.
#[derive(Debug)]
pub struct Post {
    item: Item,
    /// The session that has taken it.
    lease: Option<SmId>,
    /// Whether it is found by now.
    is_here: bool,
}

#[derive(Debug)]
pub struct World<'a> {
    setting: &'a Setting,
    acts: Vec<Act>,
    config: Arc<Config>,
    now: Instant,
    store: MemoryStore<String>,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    links: Vec<Link>,
    /// By place, which stays when one is gone.
    actors: Vec<Option<Actor>>,
    ops: Vec<Option<Op>>,
    calls: Vec<Option<Call>>,
    /// What was asked in each of them.
    asked: Vec<What>,
    messages: Vec<Option<(usize, Message)>>,
    /// What comes to each user.
    mail: Vec<Vec<Post>>,
    /// All sessions that there were, and whose.
    smids: Vec<(SmId, usize)>,
    /// When those expire that rest, as it is written down.
    deadlines: HashMap<SmId, Instant>,
    account: Account,
    crashes: u32,
    sleeps: u32,
    /// Whether all is done at once.
    is_quick: bool,
    pub is_told: bool,
}

/// What a node's clock shows.
fn wall(now: Instant, skew: i64) -> SystemTime {
    let ahead = Duration::from_secs(1_764_000_000_u64.saturating_add_signed(skew));
    UNIX_EPOCH + ahead + now.saturating_duration_since(*BEGIN)
}

impl<'a> World<'a> {
    pub fn new(setting: &'a Setting) -> Checked<Self> {
        let config = setting.config();
        let nodes = setting.skew.iter().take(setting.nodes);
        let nodes = nodes.map(|skew| Node { is_up: true, is_stopping: false, run: 0, skew: *skew });
        let clients = (0..2).map(|c| Client::new(Session::client(config.clone(), client::owner(c))));
        let many = NonZeroUsize::new(1000).ok_or("many")?;
        let mut world = Self {
            setting,
            acts: setting.acts(),
            now: *BEGIN,
            store: MemoryStore::new(&config).per_owner(many),
            config: config.clone(),
            nodes: nodes.collect(),
            clients: clients.collect(),
            links: Vec::new(),
            actors: Vec::new(),
            ops: Vec::new(),
            calls: Vec::new(),
            asked: Vec::new(),
            messages: Vec::new(),
            mail: vec![Vec::new(), Vec::new()],
            smids: Vec::new(),
            deadlines: HashMap::new(),
            account: Account::default(),
            crashes: 0,
            sleeps: 0,
            is_quick: true,
            is_told: false,
        };
        if setting.starts_online {
            for c in 0..2 {
                world.connect(c, c)?;
                world.client_turn(c)?;
            }
            world.until_nothing(Self::advance)?;
        }
        world.is_quick = setting.quick;
        world.acts = event::ALL.iter().map(|(act, _)| *act).collect();
        for event in setting.begins.split_whitespace() {
            let done = world.apply(event.parse()?)?;
            ensure!(done, "a world cannot begin with {event}");
        }
        world.acts = setting.acts();
        Ok(world)
    }

    /// Does what there is to do, until there is nothing. What has no end is a violation.
    fn until_nothing(&mut self, step: impl Fn(&mut Self) -> Checked<bool>) -> Checked {
        for _ in 0..1_000 {
            if !step(self)? {
                return Ok(());
            }
        }
        Err(Violation("it goes on for ever".to_owned()))
    }

    /// Does one step, if it can happen, and what follows at once.
    pub fn apply(&mut self, event: Event) -> Checked<bool> {
        if !self.can(event) {
            return Ok(false);
        }
        if self.is_told {
            println!("== {event} at {:?}", self.now - *BEGIN);
        }
        self.act(event)?;
        if self.is_quick {
            self.until_nothing(Self::follows)?;
        }
        self.stops();
        self.watch()?;
        if self.is_told {
            self.tell();
        }
        Ok(true)
    }

    fn act(&mut self, Event { act, at }: Event) -> Checked {
        let at = usize::from(at);
        match act {
            Act::Connect => {
                let c = at / self.nodes.len();
                self.connect(c, at % self.nodes.len())?;
                self.client_turn(c)
            }
            Act::Cut => self.cut(at),
            Act::Notice => self.notice(at),
            Act::Deliver => self.deliver(at / 2, at % 2),
            Act::Send => {
                self.client_sends(at)?;
                self.client_turn(at)
            }
            Act::Settle => self.settle(at),
            Act::Execute => {
                self.execute(at);
                Ok(())
            }
            Act::Answer => {
                let call = self.calls[at].as_mut().ok_or("no call")?;
                call.is_awaited = false;
                let answer = call.answer.clone();
                // It may be on its way twice.
                let is_twice = self.setting.has("again");
                self.calls[at].take_if(|call| !is_twice || matches!(call.what, What::Register(..)));
                self.on_answer(at, answer)
            }
            Act::Lose => {
                let call = self.calls[at].as_mut().ok_or("no call")?;
                call.is_awaited = false;
                self.calls[at].take_if(|call| call.answer.is_some());
                self.on_answer(at, None)
            }
            Act::Forget => {
                self.calls[at] = None;
                Ok(())
            }
            Act::Retry => {
                self.actors[at].iter_mut().for_each(|actor| actor.is_behind = false);
                self.turn(at)
            }
            Act::Message => match self.messages[at].take() {
                Some((_, message)) => self.hear(message),
                None => Ok(()),
            },
            Act::Silence => {
                self.messages[at] = None;
                Ok(())
            }
            Act::Mail => {
                self.mail[at].iter_mut().find(|post| !post.is_here).into_iter().for_each(|post| post.is_here = true);
                self.wake(at)
            }
            Act::Patience => {
                self.out_of_patience(at);
                Ok(())
            }
            Act::Suspect => self.claim_of(at),
            Act::Adopt => {
                let (smid, user) = self.smids[at / self.nodes.len()].clone();
                self.find(at % self.nodes.len(), smid, user, None);
                Ok(())
            }
            Act::Crash => {
                self.crashes += 1;
                self.crash(at)
            }
            Act::Stop => self.stop(at),
            Act::Start => {
                self.nodes[at].is_up = true;
                Ok(())
            }
            Act::Tick => {
                self.now = self.next_deadline().ok_or("nothing is due")?;
                self.times_out()
            }
            Act::Sleep => {
                self.sleeps += 1;
                self.now += SLEEP;
                self.times_out()
            }
        }
    }

    fn execute(&mut self, at: usize) {
        let (store, now) = (&self.store, self.now);
        let Some(call) = &mut self.calls[at] else { return };
        let answer = store::execute(store, &call.what, now);
        // The first answer is the one that is on its way.
        call.answer.get_or_insert(answer);
        if !call.is_awaited {
            self.calls[at] = None;
        }
    }

    fn deliver(&mut self, l: usize, side: usize) -> Checked {
        let elem = self.links[l].wire[side].pop_front().ok_or("nothing is on its way")?;
        if side == 0 {
            return self.arrives_at_client(l, elem);
        }
        let (now, node) = (self.now, self.links[l].node);
        match &mut self.links[l].server {
            End::Actor(a) => {
                let a = *a;
                self.arrives_at_actor(a, elem)
            }
            End::Unbound(stream) => {
                let Some(inbound) = elem.inbound() else {
                    self.links[l].leave();
                    return Ok(());
                };
                match stream.handle(inbound, now).map_err(|not| not.to_string())? {
                    Early::Resume(request) => {
                        let End::Unbound(stream) = std::mem::replace(&mut self.links[l].server, End::Asks) else {
                            return Ok(());
                        };
                        let user = self.links[l].client;
                        let taker = stream.into_taker(request, l).map_err(|_| "a stream does not know its request")?;
                        self.find(node, taker.previd().clone(), user, Some((taker, l)));
                        Ok(())
                    }
                    Early::Stanza if matches!(elem, Elem::Bind) => {
                        self.links[l].tell_client(Elem::Bound);
                        self.bind(l)
                    }
                    Early::Write(nonza) => {
                        self.links[l].tell_client(Elem::Nonza(nonza));
                        Ok(())
                    }
                    other => Err(format!("{elem:?} is {other:?}").into()),
                }
            }
            End::Asks | End::Gone => Ok(()),
        }
    }

    fn bind(&mut self, l: usize) -> Checked {
        let a = self.actors.len();
        let End::Unbound(stream) = std::mem::replace(&mut self.links[l].server, End::Actor(a)) else {
            return Ok(());
        };
        let ledger = xmpp_sm::snapshot::Ledger::new(self.setting.promise);
        let (node, user) = (self.links[l].node, self.links[l].client);
        self.actors.push(Some(Actor::new(node, user, stream.bind(l), ledger)));
        self.turn(a)
    }

    /// The server's end of a connection sees that the client is gone.
    fn notice(&mut self, l: usize) -> Checked {
        match self.links[l].server {
            End::Actor(a) => {
                let now = self.now;
                if let Some(actor) = &mut self.actors[a]
                    && actor.session.connection() == Some(&l)
                {
                    actor.session.lost(now);
                }
                self.turn(a)
            }
            _ => {
                self.links[l].leave();
                Ok(())
            }
        }
    }

    /// A message goes to where the sessions of its addressee find it.
    fn post(&mut self, item: Item, is_new: bool) {
        if is_new {
            *self.account.posted.entry(item.id).or_default() += 1;
        } else {
            self.account.may_be_late([item.id]);
        }
        let to = usize::from(item.to);
        self.mail[to].push(Post { item, lease: None, is_here: self.is_quick });
    }

    /// A session is gone, and what it has taken from the mail is for another.
    fn release(&mut self, smid: &SmId) {
        for post in self.mail.iter_mut().flatten() {
            if post.lease.take_if(|lease| lease == smid).is_some() {
                self.account.may_be_late([post.item.id]);
            }
        }
    }

    /// The sessions of a user look at their mail.
    fn wake(&mut self, user: usize) -> Checked {
        for a in 0..self.actors.len() {
            if self.actors[a].as_ref().is_some_and(|actor| actor.user == user && actor.ended.is_none()) {
                self.turn(a)?;
            }
        }
        Ok(())
    }

    fn times_out(&mut self) -> Checked {
        let now = self.now;
        for c in 0..self.clients.len() {
            self.client_timeout(c, now)?;
        }
        for a in 0..self.actors.len() {
            if let Some(actor) = &mut self.actors[a]
                && actor.session.deadline().is_some_and(|deadline| deadline <= now)
            {
                actor.session.timeout(now);
            }
            self.turn(a)?;
        }
        Ok(())
    }

    /// Remembers what is written down of the times of sessions that rest.
    fn watch(&mut self) -> Checked {
        // A node that does not know yet that it has lost a session thinks otherwise.
        if self.is_among(Act::Suspect) {
            return Ok(());
        }
        for actor in self.actors.iter().flatten() {
            let Some(smid) = actor.smid() else { continue };
            if let Some(deadline) =
                actor.session.deadline().filter(|_| actor.rests() && actor.is_safe() && actor.is_written)
            {
                self.deadlines.insert(smid.clone(), deadline);
            } else if !actor.session.is_detached() {
                self.deadlines.remove(smid);
            }
        }
        Ok(())
    }

    /// A clock that is wrong gives a session no more, and no less, than it is wrong.
    fn check_deadline(&self, smid: &SmId, deadline: Option<Instant>) -> Checked {
        let Some(before) = self.deadlines.get(smid).copied() else { return Ok(()) };
        let after = deadline.ok_or("it does not expire any more")?;
        let apart = after.saturating_duration_since(before).max(before.saturating_duration_since(after));
        // One that has expired meanwhile is due, however long ago.
        let is_right = apart <= DISAGREEMENT || before <= self.now && after <= self.now + DISAGREEMENT;
        ensure!(is_right, "it would expire {apart:?} from when it should");
        Ok(())
    }

    /// Prints what there is.
    fn tell(&self) {
        for (a, actor) in self.actors.iter().enumerate() {
            let Some(actor) = actor else { continue };
            let state = if actor.session.is_detached() { "detached" } else { "live" };
            let session = &actor.session;
            println!(
                "   actor {a} of user {} at node {}: {:?} {state} h {:?} unacked {} waiting {} receipts {}",
                actor.user,
                actor.node,
                actor.smid(),
                session.h(),
                session.unacked(),
                session.waiting(),
                actor.receipts.len()
            );
            println!(
                "      held {:?} untrimmed {:?} handled {:?} writing {} behind {} lets go {} ended {} {:?}",
                actor.held,
                actor.untrimmed,
                actor.handled,
                actor.writing.is_some(),
                actor.is_behind,
                actor.lets_go,
                actor.ended.is_some(),
                actor.ledger
            );
        }
        for (o, op) in self.ops.iter().enumerate().filter(|(_, op)| op.is_some()) {
            println!("   op {o}: {op:?}");
        }
        for (c, call) in self.calls.iter().enumerate().filter(|(_, call)| call.is_some()) {
            println!("   call {c}: {call:?}");
        }
        println!("   mail {:?}", self.mail);
        for (l, link) in self.links.iter().enumerate() {
            println!("   link {l}: {:?} client {} server {:?}", link.wire, link.has_client, link.server);
        }
    }
}
