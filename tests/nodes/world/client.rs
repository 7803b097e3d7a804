//! A client that comes back: to any node, with the session that it had, as long as it is told that it can be asked for.

use std::collections::VecDeque;
use std::time::Instant;

use xmpp_sm::{
    Arrival, Attempts, Condition, Event, LeftWhy, MustBind, Nonza, Offer, Session, SessionParts, Side, SmId, Write,
};

use super::World;
use super::link::{Elem, End, Item, Link};
use crate::support::{Checked, Violation, ensure};

#[derive(Debug)]
pub struct Client {
    pub session: Session<Item, usize>,
    pub smid: Option<SmId>,
    binding: Option<MustBind>,
    /// What was given to its session, and not acknowledged.
    unacked: VecDeque<u32>,
    pub sends: u32,
    pub connects: u32,
}

pub fn owner(client: usize) -> String {
    format!("user{client}@example.com")
}

impl Client {
    pub fn new(session: Session<Item, usize>) -> Self {
        let mut client = Self { session, smid: None, binding: None, unacked: VecDeque::new(), sends: 0, connects: 0 };
        client.session.return_acknowledged(true);
        client
    }

    pub fn link(&self) -> Option<usize> {
        self.session.connection().copied()
    }
}

impl World<'_> {
    pub fn connect(&mut self, c: usize, node: usize) -> Checked {
        let l = self.links.len();
        let stream = xmpp_sm::Unbound::new(self.config.clone(), owner(c));
        let server = End::Unbound(Box::new(stream));
        self.links.push(Link { client: c, node, wire: Default::default(), has_client: true, server });
        let client = &mut self.clients[c];
        client.connects += 1;
        client.binding = None;
        let offer = Offer { stream_management: true, binds: true };
        client.session.connect(&owner(c), offer, l, self.now).map_err(|wrong| wrong.to_string().into())
    }

    pub fn client_sends(&mut self, c: usize) -> Checked {
        let to = (c + 1) % self.clients.len();
        let item = Item { id: self.account.sent, to: to as u8 };
        self.account.sent += 1;
        let client = &mut self.clients[c];
        client.sends += 1;
        client.unacked.push_back(item.id);
        client.session.send(item, self.now).map_err(|not| not.to_string().into())
    }

    /// The client's end is gone.
    pub fn cut(&mut self, l: usize) -> Checked {
        let c = self.links[l].client;
        self.links[l].has_client = false;
        self.links[l].wire[0].clear();
        if self.clients[c].link() == Some(l) {
            self.clients[c].session.lost(self.now);
        }
        self.client_turn(c)?;
        self.persists(c)
    }

    /// It does not give its session up, however often it was not answered.
    fn persists(&mut self, c: usize) -> Checked {
        if !self.clients[c].session.is_detached() || self.clients[c].link().is_some() {
            return Ok(());
        }
        let fresh = Session::client(self.config.clone(), owner(c));
        let session = std::mem::replace(&mut self.clients[c].session, fresh);
        let parts = session.into_parts().map_err(|not| not.to_string())?;
        let SessionParts { owner, side, waiting } = parts;
        let Side::Client { session, .. } = side else { return Err("a client's session is a server's".into()) };
        let side = Side::Client { session, attempts: Attempts::default() };
        let parts = SessionParts { owner, side, waiting };
        let session = Session::from_parts(self.config.clone(), parts, self.now).map_err(|not| not.to_string())?;
        self.clients[c].session = session;
        self.clients[c].session.return_acknowledged(true);
        Ok(())
    }

    pub fn arrives_at_client(&mut self, l: usize, elem: Elem) -> Checked {
        let (c, now) = (self.links[l].client, self.now);
        if let Elem::Nonza(Nonza::Failed(failed)) = &elem {
            match failed.condition {
                // It asks again.
                Some(Condition::InternalServerError) => return self.cut(l),
                Some(Condition::ItemNotFound) => {}
                _ => return Err(format!("a client is told {failed:?}").into()),
            }
        }
        if let Elem::Nonza(Nonza::Enabled(enabled)) = &elem {
            self.clients[c].smid = enabled.id.clone();
        }
        let client = &mut self.clients[c];
        let Some(inbound) = elem.inbound() else {
            client.session.peer_closed(now);
            return self.client_turn(c);
        };
        let arrival = client.session.handle(inbound, now).map_err(|not| not.to_string())?;
        match (elem, arrival) {
            (Elem::Bound, Arrival::Stanza(_)) => {
                let token = client.binding.take().ok_or("bound, and nothing was to be bound")?;
                let _ = client.session.bound(token, now);
            }
            (Elem::Stanza(item), Arrival::Stanza(receipt)) => {
                ensure!(usize::from(item.to) == c, "{item:?} comes to client {c}");
                client.session.settle(receipt, now).map_err(|error| error.to_string())?;
                self.account.arrives(item.id, c)?;
            }
            (_, Arrival::Handled) => {}
            (elem, arrival) => return Err(Violation(format!("{elem:?} is {arrival:?}"))),
        }
        self.client_turn(c)
    }

    pub fn client_turn(&mut self, c: usize) -> Checked {
        loop {
            while let Some(event) = self.clients[c].session.poll() {
                self.on_client_event(c, event)?;
            }
            let client = &mut self.clients[c];
            let Some((l, write)) = client.session.next_write(self.now) else { break };
            let elem = match write {
                Write::Stanza { stanza, .. } => Elem::Stanza(stanza.clone()),
                Write::Nonza(nonza) => Elem::Nonza(nonza.clone()),
                Write::Close => Elem::Close,
                Write::Flush => continue,
                other => return Err(Violation(format!("a client writes {other:?}"))),
            };
            let l = *l;
            self.links[l].tell_server(elem);
        }
        Ok(())
    }

    fn on_client_event(&mut self, c: usize, event: Event<Item, usize>) -> Checked {
        match event {
            Event::Left { connection, why, .. } => {
                if let LeftWhy::Error(error) = &why {
                    ensure!(matches!(error, xmpp_sm::Error::AckTimeout), "client {c} blames its server: {error}");
                }
                self.links[connection].has_client = false;
                self.links[connection].wire[0].clear();
            }
            Event::Bind(token) => {
                let client = &mut self.clients[c];
                // Whatever it has not heard of goes into its next session.
                if client.smid.take().is_some() {
                    self.account.may_double(client.unacked.iter().copied());
                }
                client.binding = Some(token);
                let l = client.link().ok_or("a resource has to be bound on no connection")?;
                self.links[l].tell_server(Elem::Bind);
            }
            Event::NotResumed(failed) => {
                let smid = self.clients[c].smid.clone().ok_or("it had no session")?;
                ensure!(self.account.is_gone(&smid), "client {c} is refused its session, which lives: {failed:?}");
                self.account.refused += 1;
            }
            Event::Acknowledged(returned) => {
                let first = self.clients[c].unacked.pop_front();
                ensure!(first == Some(returned.stanza.id), "{first:?} is not acknowledged first");
                self.account.acknowledged(returned.stanza.id)?;
            }
            Event::Resumed => self.account.resumed += 1,
            Event::Ended(ended) => return Err(Violation(format!("client {c}: {ended:?}"))),
            _ => {}
        }
        Ok(())
    }

    pub fn client_timeout(&mut self, c: usize, until: Instant) -> Checked {
        let client = &mut self.clients[c];
        if client.session.deadline().is_some_and(|deadline| deadline <= until) {
            client.session.timeout(self.now);
        }
        self.client_turn(c)?;
        self.persists(c)
    }
}
