//! Logins by SASL2, whose elements are the hosts' own.

use minidom::Element;
use xmpp_sm::{
    Condition, EnableRequest, InlineBound, InlineElements, InlineOffer, InlineSuccess, LoginStep, NS, Nonza, Offer,
    Refusal, Replay,
};

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
        let resume = is_offered && offered.resume && InlineElements::has_resume_feature(&self.configs[1]);
        let offer = InlineOffer { resume, bind: offered.bind, enable: is_offered && offered.enable };
        let request = self.hosts[0].session.request_inline(OWNER, offer, self.now).map_err(|why| why.to_string())?;
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
        let inline = InlineElements::from_authenticate(authenticate).map_err(|error| error.to_string())?;
        let (config, now) = (self.configs[1].clone(), self.now);
        let step = match self.setting.stream {
            Stream::Binds => inline.authenticated(config, OWNER, replay, now),
            Stream::Disabled => inline.authenticated_disabled(config, OWNER, replay, now),
            Stream::WithoutBind => return Err("nothing is inline where no resource is bound".into()),
        };
        self.go_on_with(l, step)
    }

    /// A client that knows only the old way: its `<resume/>` is taken as a part of `<authenticate/>`.
    pub fn ask_inline(&mut self, l: usize, resume: &Nonza) -> Checked {
        let authenticate = Element::builder("authenticate", SASL2).append(resume.to_element()).build();
        self.authenticated(l, &authenticate, Replay::Impossible)
    }

    /// What comes next in a login.
    pub fn go_on_with(&mut self, l: usize, step: LoginStep) -> Checked {
        match step {
            LoginStep::Resume(request) => {
                self.links[l].end[1] = End::Asked(request);
                if self.setting.late { Ok(()) } else { self.look_up(l) }
            }
            LoginStep::Bind(_) if self.is_stopping => {
                self.links[l].leave(1);
                Ok(())
            }
            LoginStep::Bind(request) => {
                let tag = request.element().get_child("tag", BIND2).map(Element::text);
                ensure!(tag.as_deref() == Some("tag"), "the tag is {tag:?}");
                self.links[l].is_fresh[1] = true;
                let session = request.bind(l, self.now);
                self.begin(l, session)
            }
            LoginStep::Unknown(_) => Err("the store can tell, and the host is told that it cannot".into()),
            LoginStep::Success { success, stream } => {
                self.links[l].end[1] = End::Unbound(stream, Request::None);
                self.write_success(l, &success)
            }
            LoginStep::Failed { failed, stream } => {
                ensure!(!self.is_inline(l), "<failed/> belongs into <success/>");
                self.links[l].end[1] = End::Unbound(stream, Request::None);
                self.links[l].push(1, Elem::Nonza(failed));
                Ok(())
            }
        }
    }

    /// The client does not authenticate, and the connection ends.
    pub fn fail_login(&mut self, l: usize) {
        self.links[l].push(1, Elem::Failure);
        self.links[l].leave(1);
    }

    /// The store cannot tell whether there is the session. `binds`: the client gets its resource all the same.
    pub fn cannot_tell(&mut self, l: usize, binds: bool) -> Checked {
        let step = self.refused_at(l, Refusal::Because(Condition::InternalServerError))?;
        let is_told = matches!(step, LoginStep::Unknown(_));
        ensure!(is_told == self.links[l].binds_inline, "a store cannot tell, and the host is told: {is_told}");
        match step {
            LoginStep::Unknown(unknown) if binds => self.go_on_with(l, LoginStep::Bind(unknown.into_bind())),
            LoginStep::Unknown(_) => {
                self.fail_login(l);
                Ok(())
            }
            step => self.go_on_with(l, step),
        }
    }

    /// Nobody has a session on this connection.
    fn write_success(&mut self, l: usize, success: &InlineSuccess) -> Checked {
        ensure!(success.bound.is_none(), "bound, and there is no session");
        let is_bound = self.links[l].binds_inline && self.setting.replay == Replay::Impossible;
        ensure!(!is_bound, "<bind/> is left out");
        let Some(features) = success.features else { return Err("no features without a session".into()) };
        let is_on = self.setting.stream != Stream::Disabled;
        ensure!(features.binds && features.stream_management == is_on, "without a session: {features:?}");
        let is_failed = matches!(success.resume, Some(Nonza::Failed(_)));
        ensure!(is_failed == self.is_inline(l), "without a session: {:?}", success.resume);
        match (&success.resume, self.setting.sasl2) {
            (Some(failed), None) => self.links[l].push(1, Elem::Nonza(failed.clone())),
            _ => self.push_success(l, success),
        }
        Ok(())
    }

    fn push_success(&mut self, l: usize, success: &InlineSuccess) {
        let enable = |bound: &InlineBound| bound.enable.as_ref().map(Nonza::to_element);
        let bound = |bound| Element::builder("bound", BIND2).append_all(enable(bound)).build();
        let element = Element::builder("success", SASL2)
            .append_all(success.resume.as_ref().map(Nonza::to_element))
            .append_all(success.bound.as_ref().map(bound))
            .build();
        let is_offered = self.hosts[0].is_offered;
        let offer =
            success.features.map(|offer| Offer { stream_management: offer.stream_management && is_offered, ..offer });
        self.links[l].push(1, Elem::Success(element, offer));
    }

    /// A session writes `<success/>`, before all else.
    pub fn wrote_success(&mut self, h: usize, l: usize, success: &InlineSuccess) -> Checked {
        let InlineSuccess { resume, bound, features, .. } = success;
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
            ensure!(!features.binds && features.stream_management == is_on, "after a session began: {features:?}");
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
            Elem::Failure => {
                // The server is alive: it has said nothing about the session.
                self.hosts[0].tries -= u32::from(self.links[l].resumes_inline);
                if let End::Login(request) = std::mem::replace(&mut self.links[l].end[0], End::Mute) {
                    self.hosts[0].session.authentication_failed(request);
                }
                self.leave_login(l);
                Ok(())
            }
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
        let (resume, bound) = (nonza(success), success.get_child("bound", BIND2));
        let End::Login(request) = std::mem::replace(&mut self.links[l].end[0], End::Host(0)) else {
            return Err("nobody has asked to log in".into());
        };
        let reply = request.reply(success);
        ensure!(reply.is_resumed() == matches!(resume, Some(Nonza::Resumed(_))), "{reply:?} is read of {resume:?}");
        ensure!(reply.is_bound() == bound.is_some(), "{reply:?} is read of {bound:?}");
        let host = &mut self.hosts[0];
        host.may_give_up = host.has_no_hope(&self.setting.options[0]);
        let offer = offer.unwrap_or(Offer { stream_management: false, binds: false });
        if host.is_over() || host.is_ending {
            let result = host.session.connect_inline(reply, offer, l, now);
            ensure!(result.is_err(), "a session that ends takes a connection");
            self.leave_login(l);
            return Ok(());
        }
        match resume {
            Some(Nonza::Resumed(_)) => self.resumed_arrives(0, l)?,
            Some(Nonza::Failed(failed)) => self.failed_arrives(0, &failed, bound.is_some())?,
            _ => {}
        }
        let result = self.hosts[0].session.connect_inline(reply, offer, l, now);
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
