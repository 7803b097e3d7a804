//! Logins by SASL2, whose elements are the hosts' own.

use minidom::Element;
use xmpp_sm::{Bound, Early, EnableRequest, Inline, InlineOffer, InlineReply, NS, Nonza, Offer, Replay, Success};

use super::ledger::{Checked, Life, ensure};
use super::link::{Elem, End, Request};
use super::setting::Stream;
use super::{OWNER, World};

const SASL2: &str = "urn:xmpp:sasl:2";
const BIND2: &str = "urn:xmpp:bind:0";

/// The element of stream management in another.
fn nonza(parent: &Element) -> Option<Nonza> {
    parent.children().find_map(Nonza::from_element)?.ok()
}

impl World<'_> {
    /// Whether the session was asked for in `<authenticate/>` on this connection.
    pub fn is_inline(&self, l: usize) -> bool {
        self.setting.inline || self.links[l].resumes_inline
    }

    /// The client puts into `<authenticate/>` what its session asks for.
    pub fn authenticate(&mut self, l: usize) -> Checked {
        let offered = self.setting.sasl2.unwrap_or_default();
        let is_offered = self.hosts[0].is_offered;
        let resume = is_offered && offered.resume && Inline::has_resume_feature(&self.configs[1]);
        let offer = InlineOffer { resume, bind: offered.bind, enable: is_offered && offered.enable };
        let request = self.hosts[0].session.inline(offer, self.now);
        let authenticate = Element::builder("authenticate", SASL2).append_all(request.to_elements(Some("tag"))).build();
        if let Some(Nonza::Resume(resume)) = nonza(&authenticate) {
            ensure!(offer.resume, "<resume/> is not offered inline");
            self.links[l].resumes_inline = true;
            self.wrote_resume(0, l, &resume)?;
        }
        if let Some(bind) = authenticate.get_child("bind", BIND2) {
            ensure!(offer.bind, "<bind/> is not offered inline");
            self.links[l].binds_inline = true;
            self.links[l].enables_inline = bind.has_child("enable", NS);
            ensure!(offer.enable == self.links[l].enables_inline, "<enable/> is in <bind/> where it is offered");
        }
        self.links[l].end[0] = End::Login(request);
        self.links[l].push(0, Elem::Authenticate(authenticate));
        Ok(())
    }

    /// The client is who it says it is.
    pub fn authenticated(&mut self, l: usize, authenticate: &Element, replay: Replay) -> Checked {
        let inline = Inline::from_authenticate(authenticate).map_err(|error| error.to_string())?;
        let end = std::mem::replace(&mut self.links[l].end[1], End::Gone);
        let End::Unbound(stream, _) = end else { return Err("there is no stream that asks".into()) };
        self.links[l].end[1] = End::Unbound(stream.with_inline(inline, replay), Request::None);
        self.go_on_inline(l)
    }

    /// A client that knows only the old way: its `<resume/>` is taken as a part of `<authenticate/>`.
    pub fn ask_inline(&mut self, l: usize, resume: &Nonza) -> Checked {
        let authenticate = Element::builder("authenticate", SASL2).append(resume.to_element()).build();
        self.authenticated(l, &authenticate, Replay::Impossible)
    }

    /// `<failed/>` is written, or it goes into `<success/>`.
    pub fn answer_refused(&mut self, l: usize, failed: Option<Nonza>) -> Checked {
        match failed {
            Some(failed) => {
                self.links[l].push(1, Elem::Nonza(failed));
                Ok(())
            }
            None => self.go_on_inline(l),
        }
    }

    fn go_on_inline(&mut self, l: usize) -> Checked {
        let now = self.now;
        let End::Unbound(stream, request) = &mut self.links[l].end[1] else { return Ok(()) };
        match stream.poll(now) {
            Some(Early::Resume(asked)) => {
                *request = Request::Held(asked);
                if self.setting.late { Ok(()) } else { self.look_up(l) }
            }
            Some(Early::Bind(_)) if self.is_stopping => {
                self.links[l].leave(1);
                Ok(())
            }
            Some(Early::Bind(bind)) => {
                let tag = bind.get_child("tag", BIND2).map(Element::text);
                ensure!(tag.as_deref() == Some("tag"), "the tag is {tag:?}");
                self.links[l].is_fresh[1] = true;
                self.bind(l).map(drop)
            }
            Some(Early::Success(success)) => self.write_success(l, &success),
            early => Err(format!("in place of <success/>: {early:?}").into()),
        }
    }

    /// Nobody has a session on this connection.
    fn write_success(&mut self, l: usize, success: &Success) -> Checked {
        ensure!(success.bound.is_none(), "bound, and there is no session");
        let is_bound = self.links[l].binds_inline && self.setting.replay == Replay::Impossible;
        ensure!(!is_bound, "<bind/> is left out");
        let Some(features) = success.features else { return Err("no features without a session".into()) };
        let is_on = self.setting.stream != Stream::Disabled;
        ensure!(features.bind && features.sm == is_on, "without a session: {features:?}");
        let is_failed = matches!(success.resume, Some(Nonza::Failed(_)));
        ensure!(is_failed == self.is_inline(l), "without a session: {:?}", success.resume);
        match (&success.resume, self.setting.sasl2) {
            (Some(failed), None) => self.links[l].push(1, Elem::Nonza(failed.clone())),
            _ => self.push_success(l, success),
        }
        Ok(())
    }

    fn push_success(&mut self, l: usize, success: &Success) {
        let enable = |bound: &Bound| bound.enable.as_ref().map(Nonza::to_element);
        let bound = |bound| Element::builder("bound", BIND2).append_all(enable(bound)).build();
        let element = Element::builder("success", SASL2)
            .append_all(success.resume.as_ref().map(Nonza::to_element))
            .append_all(success.bound.as_ref().map(bound))
            .build();
        let is_offered = self.hosts[0].is_offered;
        let features = success.features;
        let offer = features.map(|offers| Offer { stream_management: offers.sm && is_offered, binds: offers.bind });
        self.links[l].push(1, Elem::Success(element, offer));
    }

    /// A session writes `<success/>`, before all else.
    pub fn wrote_success(&mut self, h: usize, l: usize, success: &Success) -> Checked {
        let Success { resume, bound, features, .. } = success;
        let is_resumed = matches!(resume, Some(Nonza::Resumed(_)));
        ensure!(is_resumed != bound.is_some(), "resumed and bound, or neither: {success:?}");
        ensure!(is_resumed == features.is_none(), "features follow a session that goes on: {success:?}");
        ensure!(resume.is_some() == self.links[l].resumes_inline, "what became of <resume/>? {success:?}");
        ensure!(std::mem::take(&mut self.links[l].is_fresh[1]), "<success/> where something was written");
        if let (true, Some(resumed)) = (is_resumed, resume) {
            self.wrote_nonza(h, l, resumed)?;
        }
        let enable = bound.as_ref().and_then(|bound| bound.enable.as_ref());
        ensure!(is_resumed || enable.is_some() == self.links[l].enables_inline, "and <enable/>? {success:?}");
        let is_enabled = matches!(enable, Some(Nonza::Enabled(_)));
        if let (true, Some(enabled)) = (is_enabled, enable) {
            self.wrote_nonza(h, l, enabled)?;
        }
        if let Some(features) = features {
            let is_on = self.setting.stream != Stream::Disabled && !is_enabled;
            ensure!(!features.bind && features.sm == is_on, "after a session began: {features:?}");
        }
        self.links[l].must_flush[1] = is_resumed || is_enabled;
        self.push_success(l, success);
        Ok(())
    }

    /// The client has asked for stream management in its `<bind/>`.
    pub fn asked_inline(&mut self, h: usize, request: EnableRequest) -> Checked {
        let l = self.hosts[h].session.connection().copied().ok_or("nobody asks to enable")?;
        ensure!(self.links[l].enables_inline, "nobody asks to enable");
        self.links[l].life = Some(self.lives.len());
        self.lives.push(Life::default());
        self.hosts[h].enable = Some(request);
        self.hosts[h].enable_since = Some(self.now);
        if self.setting.late { Ok(()) } else { self.accept(h) }
    }

    /// Something comes for a client that waits for `<success/>`.
    pub fn login_goes_on(&mut self, l: usize, elem: Elem) -> Checked {
        match elem {
            Elem::Success(success, offer) => self.logged_in(l, &success, offer),
            Elem::Error { .. } | Elem::Close => {
                self.leave_login(l);
                Ok(())
            }
            elem => Err(format!("{elem:?} before <success/>").into()),
        }
    }

    pub fn leave_login(&mut self, l: usize) {
        self.hosts[0].awaits = None;
        self.links[l].leave(0);
    }

    fn logged_in(&mut self, l: usize, success: &Element, offer: Option<Offer>) -> Checked {
        let now = self.now;
        let reply = InlineReply::from_success(success);
        let (resume, bound) = (nonza(success), success.get_child("bound", BIND2));
        ensure!(reply.is_resumed() == matches!(resume, Some(Nonza::Resumed(_))), "{reply:?} is read of {resume:?}");
        ensure!(reply.is_bound() == bound.is_some(), "{reply:?} is read of {bound:?}");
        let End::Login(request) = std::mem::replace(&mut self.links[l].end[0], End::Host(0)) else {
            return Err("nobody has asked to log in".into());
        };
        let host = &mut self.hosts[0];
        host.may_give_up = host.has_no_hope();
        let offer = offer.unwrap_or(Offer { stream_management: false, binds: false });
        if host.is_over() || host.is_ending {
            let result = host.session.connect_inline(OWNER, request, reply, offer, l, now);
            ensure!(result.is_err(), "a session that ends takes a connection");
            self.leave_login(l);
            return Ok(());
        }
        match resume {
            Some(Nonza::Resumed(_)) => self.resumed_arrives(0, l)?,
            Some(Nonza::Failed(failed)) => self.failed_arrives(0, &failed, bound.is_some())?,
            _ => {}
        }
        let result = self.hosts[0].session.connect_inline(OWNER, request, reply, offer, l, now);
        result.map_err(|wrong| wrong.to_string())?;
        let Some(bound) = bound else { return Ok(()) };
        ensure!(self.hosts[0].awaits.is_none(), "<bound/>, and nothing about <resume/>");
        // What the last session left waits for this one.
        self.end_life(0)?;
        let Some(Nonza::Enabled(enabled)) = nonza(bound) else { return Ok(()) };
        ensure!(self.hosts[0].session.is_enabled(), "<enabled/>, and stream management is off");
        let life = self.links[l].life;
        let can_resume = self.setting.options[0].can_resume();
        let half = &mut self.lives[life.ok_or("<enabled/> without <enable/>")?].half[0];
        (half.counts_out, half.counts_in, half.is_resumable) = (true, true, enabled.resume && can_resume);
        self.hosts[0].life = life;
        Ok(())
    }
}
