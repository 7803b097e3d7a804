//! What a link's session leaves, and when the side that connects gives one up.

use std::time::Instant;

use xmpp_parsers::stanza_error::DefinedCondition;
use xmpp_sm::disposition::{Step, steps};
use xmpp_sm::{EndReason, SessionEnded};

use super::super::mail::{Delivery, Mailbox};
use super::super::session::Session;
use super::super::smids;
use super::super::stanza::{Written, left};
use super::accept;
use super::session::Host;

/// What becomes of a stanza that a link has left. For users of another domain nothing is stored here, and who else could
/// get it is known there: it goes over the link that takes this one's place, or back. `None`: nowhere.
pub fn step(stanza: &Written, reason: EndReason) -> Option<Step> {
    let is_replaced = reason == EndReason::Replaced;
    steps(&stanza.facts()?, reason).find(|step| match step {
        Step::Successor | Step::Elsewhere => is_replaced,
        step => matches!(step, Step::Bounce(_)),
    })
}

impl Host {
    /// A client's session does not expire by itself. When it is ours to say, what has waited for the other server goes back
    /// once it has been away as long as a session waits here, and is not just coming back: what waits meanwhile would end
    /// one connection after the other.
    pub fn gives_up(&self, session: &Session) -> Option<Instant> {
        let is_away = self.peer.is_some() && session.connection().is_none() && !self.is_given_up;
        let waits = is_away && session.waiting() + session.unacked() > 0;
        self.away_since.filter(|_| waits).map(|since| since + self.link.server.patience)
    }

    /// A session of the side that connects is over, and the link goes on with the next.
    pub fn hand_back(&self, mut ended: SessionEnded<Written>) {
        let reason = ended.reason;
        for stanza in left(&mut ended).filter(|stanza| step(stanza, reason).is_some()) {
            self.refuse(Delivery::own(stanza), DefinedCondition::RemoteServerTimeout);
        }
    }

    /// The link is over.
    pub fn over(self, mut ended: SessionEnded<Written>, mailbox: Mailbox) {
        let (server, reason) = (&self.link.server, ended.reason);
        smids::end(server, self.registration.as_ref(), &ended);
        let (back, takers) = server.router.links.end((self.id, &self.link.domain), reason, left(&mut ended), mailbox);
        back.into_iter().for_each(|delivery| self.refuse(delivery, DefinedCondition::RemoteServerTimeout));
        for taker in takers {
            if let Some(refused) = smids::resume(taker, server) {
                accept::continue_login(self.link.clone(), refused);
            }
        }
    }

    pub fn refuse(&self, delivery: Delivery, condition: DefinedCondition) {
        self.link.server.router.refuse((delivery, condition));
    }
}
