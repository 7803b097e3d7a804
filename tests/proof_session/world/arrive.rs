//! What arrives at an end of a connection, and what its host does about it.

use xmpp_sm::{
    Arrival, Condition, Early, Failed, Lookup, Nonza, Record, Refusal, Session, SessionStore, SmId, Unbound,
};

use super::counts::{Seen, check_early};
use super::host::{Host, Mail, Open, Reply};
use super::ledger::{Checked, Fate, Got, Violation, ensure};
use super::link::{Elem, End, Item, Request};
use super::setting::{REQUEST, Stream};
use super::{OWNER, World};

fn is_unknown(failed: &Failed) -> bool {
    let condition = matches!(failed.condition, Some(Condition::InternalServerError | Condition::ResourceConstraint));
    condition && failed.h.is_none()
}

impl World<'_> {
    pub fn can_deliver(&self, l: usize, side: usize) -> bool {
        let link = &self.links[l];
        !link.wire[side].is_empty()
            && match &link.end[side] {
                End::Host(h) => {
                    let session = &self.hosts[*h].session;
                    session.connection() == Some(&l) && session.wants_read()
                }
                End::Unbound(_, request) => matches!(request, Request::None),
                End::Login(_) => true,
                End::Asked(_) | End::Mail | End::Mute | End::Gone => false,
            }
    }

    pub fn deliver(&mut self, l: usize, side: usize) -> Checked {
        let elem = self.links[l].wire[side].pop_front().ok_or("nothing is on its way")?;
        match &self.links[l].end[side] {
            End::Host(h) => self.give(*h, l, elem),
            End::Login(_) => self.login_goes_on(l, elem),
            _ => self.give_early(l, elem),
        }
    }

    /// The server's end has no session yet.
    fn give_early(&mut self, l: usize, elem: Elem) -> Checked {
        let now = self.now;
        if let Elem::Authenticate(element) = &elem {
            return self.authenticated(l, element, self.setting.replay);
        }
        let Some(inbound) = elem.inbound() else {
            self.links[l].push(1, Elem::Close);
            self.links[l].leave(1);
            return Ok(());
        };
        check_early(&inbound)?;
        if let (true, Elem::Nonza(nonza @ Nonza::Resume(_))) = (self.setting.inline, &elem) {
            return self.ask_inline(l, nonza);
        }
        let End::Unbound(stream, request) = &mut self.links[l].end[1] else { return Ok(()) };
        match stream.handle(inbound, now).map_err(|not| not.to_string())? {
            Early::Resume(asked) => {
                *request = Request::Held(asked);
                if self.setting.late { Ok(()) } else { self.look_up(l) }
            }
            Early::Write(nonza) => {
                self.links[l].push(1, Elem::Nonza(nonza));
                Ok(())
            }
            Early::Stanza if matches!(elem, Elem::Bind) => {
                self.links[l].push(1, Elem::Bound);
                self.bind(l).map(drop)
            }
            Early::Begin => {
                let h = self.bind(l)?;
                self.give(h, l, elem)
            }
            Early::Close(last) => {
                self.links[l].push(1, Elem::Error { conflict: false });
                let _ = last;
                self.links[l].leave(1);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A session begins on a connection; others on the same resource have to end.
    pub fn bind(&mut self, l: usize) -> Checked<usize> {
        let end = std::mem::replace(&mut self.links[l].end[1], End::Gone);
        let End::Unbound(stream, _) = end else { return Err("there is no stream to bind".into()) };
        self.begin(l, stream.bind(l))?;
        Ok(self.hosts.len() - 1)
    }

    pub fn begin(&mut self, l: usize, mut session: Session<Item, usize>) -> Checked {
        let h = self.hosts.len();
        session.return_acknowledged(self.setting.returns);
        session.report_detached(true);
        self.hosts.push(Host::new(session, 1));
        self.seen.push(Seen::default());
        self.links[l].end[1] = End::Host(h);
        if self.setting.stream == Stream::Binds {
            for other in 1..h {
                if !self.hosts[other].is_over() {
                    self.post(other, Mail::End(xmpp_sm::EndReason::Replaced))?;
                }
            }
        }
        Ok(())
    }

    /// The store answers: the connection goes to its session, or on with its login. As the documentation has it.
    pub fn look_up(&mut self, l: usize) -> Checked {
        let end = std::mem::replace(&mut self.links[l].end[1], End::Gone);
        let taker = match end {
            End::Unbound(stream, Request::Held(request)) => {
                stream.into_taker(request, l).map_err(|_| "a stream does not know its request")?
            }
            End::Asked(request) => request.into_taker(l),
            _ => return Err("nothing is looked up".into()),
        };
        let found = self.store.lookup(taker.previd(), taker.owner(), self.now).map_err(|error| error.to_string())?;
        let refusal = match found {
            Lookup::Session(Record { handle: h, .. }) if !self.hosts[h].is_over() => {
                self.links[l].end[1] = End::Mail;
                return self.post(h, Mail::Take(taker, l));
            }
            Lookup::StaleH(h) => Refusal::Expired(Some(h)),
            _ => Refusal::NotFound,
        };
        self.refused(taker.refuse(refusal))
    }

    /// The element goes to the session.
    fn give(&mut self, h: usize, l: usize, elem: Elem) -> Checked {
        let (side, now) = (self.hosts[h].side, self.now);
        let Some(inbound) = elem.inbound() else {
            self.hosts[h].peer_closed = true;
            self.hosts[h].is_ending |= side == 1;
            self.hosts[h].may_give_up |= !self.is_resumable(h);
            self.hosts[h].session.peer_closed(now);
            return Ok(());
        };
        self.before_arrival(h, l, &elem)?;
        let arrival = self.hosts[h].session.handle(inbound, now);
        let arrival = arrival.map_err(|not| format!("it wanted to read: {not}"))?;
        match (elem, arrival) {
            (Elem::Bound, Arrival::Stanza(_)) => {
                let token = self.hosts[h].binding.take().ok_or("bound, and nothing was to be bound")?;
                self.hosts[h].session.bound(token, now).map_err(|_| "the token is not the present one".into())
            }
            (Elem::Stanza(item), Arrival::Stanza(receipt)) => self.delivered(h, l, item.id, receipt),
            (Elem::Stanza(_), Arrival::Handled) => {
                // Then the session is at its end, and must come to it.
                self.hosts[h].is_ending = true;
                Ok(())
            }
            (Elem::Nonza(_), Arrival::Enable(request)) => {
                self.hosts[h].enable = Some(request);
                self.hosts[h].enable_since = Some(now);
                if self.setting.late { Ok(()) } else { self.accept(h) }
            }
            (Elem::Nonza(_) | Elem::Malformed | Elem::Error { .. } | Elem::Bound, Arrival::Handled) => Ok(()),
            (elem, arrival) => Err(Violation(format!("{elem:?} is {arrival:?}"))),
        }
    }

    fn delivered(&mut self, h: usize, l: usize, id: u32, receipt: xmpp_sm::Receipt) -> Checked {
        let (side, now) = (self.hosts[h].side, self.now);
        let life = self.hosts[h].life.filter(|life| self.lives[*life].half[side].counts_in);
        ensure!(life.is_some() == receipt.number().is_some(), "{id} has the receipt {:?}", receipt.number());
        let place = match life {
            None => {
                ensure!(self.uncounted.insert((l, id)), "{id} arrives twice");
                None
            }
            Some(life) => {
                let [client, server] = &mut self.lives[life].half;
                let (own, peer) = if side == 0 { (client, server) } else { (server, client) };
                let place = own.input.len();
                let sent = peer.out.get(place).copied();
                ensure!(sent == Some(id), "{id} arrives in place of {sent:?}, as number {}", place + 1);
                own.input.push(Got { since: now, is_settled: false, is_given_up: false });
                Some((life, place))
            }
        };
        self.hosts[h].receipts.push_back(Open { receipt, place });
        Ok(())
    }

    /// What an element means, by the XEP.
    fn before_arrival(&mut self, h: usize, l: usize, elem: &Elem) -> Checked {
        let side = self.hosts[h].side;
        let is_ending = self.hosts[h].is_ending;
        let life = self.hosts[h].life;
        let counts = life.is_some_and(|life| self.lives[life].half[side].counts_in);
        let is_on = counts && self.hosts[h].awaits.is_none();
        match elem {
            // What a session that ends has not read any more is the reply, not what it acknowledges.
            Elem::Nonza(Nonza::Ack(handled)) if is_on || is_ending => {
                if self.on_ack(h, handled.get())? {
                    let half = life.map(|life| &self.lives[life].half[side]);
                    let is_full = self.hosts[h].waiting.is_over(&self.setting.options[side]);
                    if half.is_some_and(|half| half.first_kept() == half.out.len()) && !is_full {
                        self.hosts[h].noticed = None;
                    }
                } else if !is_ending {
                    self.blame(h);
                }
            }
            Elem::Nonza(Nonza::AckRequest) if is_on && !is_ending => self.links[l].requests[side] += 1,
            Elem::Nonza(Nonza::Enabled(enabled)) if side == 0 && !is_ending => {
                let is_reply = self.hosts[h].awaits.take() == Some(Reply::Enable);
                if is_reply {
                    let life = life.ok_or("<enabled/> without <enable/>")?;
                    let can_resume = self.setting.options[0].can_resume();
                    self.lives[life].half[0].counts_in = true;
                    self.lives[life].half[0].is_resumable = enabled.resume && can_resume;
                }
            }
            Elem::Nonza(Nonza::Resumed(_)) if side == 0 && !is_ending => self.resumed_arrives(h, l)?,
            Elem::Nonza(Nonza::Failed(failed)) if side == 0 && !is_ending => self.failed_arrives(h, failed, false)?,
            Elem::Nonza(Nonza::Enable(_)) if is_on && !is_ending => self.blame(h),
            Elem::Malformed if is_on && !is_ending => self.blame(h),
            Elem::Malformed => {}
            Elem::Error { conflict } => {
                self.hosts[h].has_conflict |= *conflict;
                self.hosts[h].may_give_up |= !self.is_resumable(h);
                self.hosts[h].is_rejected |= self.hosts[h].awaits == Some(Reply::Resume);
                if side == 1 && !is_ending {
                    self.blame(h);
                }
                self.is_conflict |= *conflict && side == 0;
            }
            _ => {}
        }
        Ok(())
    }

    /// `is_bound`: a resource is bound inline, whatever becomes of the session.
    pub fn failed_arrives(&mut self, h: usize, failed: &Failed, is_bound: bool) -> Checked {
        match self.hosts[h].awaits.take() {
            Some(Reply::Enable) => {
                let life = self.hosts[h].life.take().ok_or("<failed/> without <enable/>")?;
                let half = &self.lives[life].half[0];
                for id in half.out[half.acked..].iter().copied() {
                    self.fates.set(id, Fate::Passed)?;
                }
            }
            // The server cannot tell whether there is such a session, and may on another connection, unless that was the last.
            Some(Reply::Resume)
                if is_unknown(failed)
                    && !is_bound
                    && self.hosts[h].tries < self.setting.options[0].resume_tries_max => {}
            Some(Reply::Resume) => {
                (self.hosts[h].may_give_up, self.hosts[h].is_refused) = (true, true);
                if let Some(handled) = failed.h {
                    self.on_ack(h, handled.get())?;
                }
            }
            None => {}
        }
        Ok(())
    }

    pub fn resumed_arrives(&mut self, h: usize, l: usize) -> Checked {
        if self.hosts[h].awaits.take() == Some(Reply::Resume) {
            (self.hosts[h].tries, self.hosts[h].is_rejected) = (0, false);
            let handled = self.links[l].h[1].ok_or("<resumed/> that was not written")?;
            ensure!(self.on_ack(h, handled)?, "<resumed/> has h {handled}");
        }
        Ok(())
    }

    fn blame(&mut self, h: usize) {
        self.hosts[h].is_blamed = true;
        self.hosts[h].is_ending = true;
    }

    /// The host has registered the session.
    pub fn accept(&mut self, h: usize) -> Checked {
        let (now, request) = (self.now, self.hosts[h].enable.take().ok_or("no request to enable")?);
        let connection = self.hosts[h].session.connection().copied();
        let smid = SmId::new(&format!("s{h}")).ok().filter(|_| request.is_resumable());
        if let Some(smid) = &smid {
            let registered =
                self.store.register(smid, &OWNER.into(), h, self.now).map_err(|error| error.to_string())?;
            self.hosts[h].registration = Some(registered.registration);
        }
        let was_ending = self.hosts[h].is_ending;
        match self.hosts[h].session.accept_enable(request, smid, now) {
            Ok(()) => {
                let l = connection.ok_or("a request is taken where there is no connection")?;
                let life = self.links[l].life.ok_or("nobody asked to enable")?;
                self.hosts[h].life = Some(life);
                self.lives[life].half[1].counts_in = true;
                Ok(())
            }
            Err(_) => {
                let is_late = now - self.hosts[h].enable_since.unwrap_or(now) >= REQUEST;
                let is_gone = connection.is_none() || was_ending || self.hosts[h].is_over() || self.hosts[h].may_settle;
                ensure!(is_gone || is_late, "a request is not taken");
                Ok(())
            }
        }
    }

    /// Whether a stream without a session starts with an element like this one.
    pub fn unbound(&self) -> Unbound {
        let config = self.configs[1].clone();
        match self.setting.stream {
            Stream::Binds => Unbound::new(config, OWNER),
            Stream::WithoutBind => Unbound::without_bind(config, OWNER),
            Stream::Disabled => Unbound::disabled(config, OWNER),
        }
    }
}
