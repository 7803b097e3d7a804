//! Elements that may not come now, and those that say what cannot be.

use xmpp_sm::{
    Action, CannotEnable, Counter, Enable, Enabled, Error, Failed, Foreign, Inbound, Kind, Nonza, NotRecordedWhy,
    ParseError, Refusal, Resume, ResumeRequest, Resumed,
};

use super::wrong;
use crate::world::event::Side;
use crate::world::ledger::{Checked, Msg, Violation, ensure};
use crate::world::pair::{End, Pair, Shared, Step};
use crate::world::setting::smid;

const KINDS: [Kind; 7] =
    [Kind::Enable, Kind::Enabled, Kind::Resume, Kind::Resumed, Kind::Failed, Kind::Ack, Kind::AckRequest];

impl Pair {
    /// Tries them at one end of a connection.
    pub fn probe_elements(&mut self, cx: &Shared, at: usize, side: Side) -> Checked {
        let session = self.end(at, side).session;
        for kind in KINDS {
            self.end(at, side).probe_kind(cx, side, kind)?;
        }
        let end = self.end(at, side);
        end.probe_calls(cx, side)?;
        end.probe_others(cx)?;
        let Some(session) = session else { return Ok(()) };
        // An h that cannot be right, where an h may come.
        let previd = self.session(session).smid.map_or(smid(u16::MAX), smid);
        let stream = &self.end(at, side).stream;
        for h in wrong(stream.acked(), stream.sent()) {
            let end = self.end(at, side);
            let (element, nonza) = match end.step {
                Step::Enabled => (Kind::Ack, Nonza::Ack(h)),
                Step::Resuming(_) => (Kind::Resumed, Nonza::Resumed(Resumed { previd: previd.clone(), h })),
                _ => continue,
            };
            let why = self.session(session).half(side).wrong(h);
            let wanted = why.map(|why| Error::WrongH { element, why });
            self.end(at, side).refuses(cx, Inbound::Nonza(nonza), wanted)?;
        }
        Ok(())
    }
}

impl End {
    fn refuses(&mut self, cx: &Shared, inbound: Inbound, wanted: Option<Error>) -> Checked {
        let text = format!("{inbound:?}");
        match self.stream.handle(inbound, cx.now) {
            Err(error) if Some(&error) == wanted.as_ref() => Ok(()),
            got => Err(Violation(format!("{text} gives {got:?}, not {wanted:?}"))),
        }
    }

    /// An element of this kind, if it may not come; and one that is not well made, whether it may or not.
    fn probe_kind(&mut self, cx: &Shared, side: Side, kind: Kind) -> Checked {
        let malformed = ParseError::Missing { element: kind, attribute: "what it must have" };
        let why = match self.admits(cx, side, kind) {
            // Whatever else it says, the answer is no, and the session is over.
            Ok(()) if kind == Kind::Failed => return Ok(()),
            Ok(()) => Error::Malformed(malformed),
            Err(why) => {
                self.refuses(cx, Inbound::Nonza(example(kind)), Some(why))?;
                why
            }
        };
        self.refuses(cx, Inbound::Malformed(malformed), Some(why))
    }

    /// Whether an element of this kind may come now, or what must be said of it.
    fn admits(&self, cx: &Shared, side: Side, kind: Kind) -> Result<(), Error> {
        use Kind::{Ack, AckRequest, Enable, Enabled, Failed, Resume, Resumed};
        match (side, &self.step, kind) {
            (_, Step::Held(..) | Step::Lost(..), _) => Err(Error::RequestPending),
            (_, Step::Enabled, Ack | AckRequest) => Ok(()),
            (_, _, Ack | AckRequest) => Err(Error::NotEnabled(kind)),
            (Side::Client, _, Enable | Resume) => Err(Error::WrongRole(kind)),
            (Side::Server, _, Enabled | Resumed | Failed) => Err(Error::WrongRole(kind)),
            (Side::Client, Step::Enabling, Enabled | Failed) => Ok(()),
            (Side::Client, Step::Resuming(_), Resumed | Failed) => Ok(()),
            (Side::Client, _, Enabled | Resumed | Failed) => Err(Error::NotRequested(kind)),
            (Side::Server, _, _) if cx.setting.disabled => Err(Error::Unsupported(kind)),
            (Side::Server, Step::Enabled, Enable) => Err(Error::AlreadyEnabled),
            (Side::Server, Step::Open, Enable) if self.bound || !cx.setting.binds => Ok(()),
            (Side::Server, Step::Open, Resume) if self.bound => Err(Error::Unexpected(kind)),
            (Side::Server, Step::Open, Resume) if cx.options(side).can_resume() => Ok(()),
            (Side::Server, Step::Open, Resume) => Err(Error::Unsupported(kind)),
            (Side::Server, _, Enable | Resume) => Err(Error::Unexpected(kind)),
        }
    }

    /// What the host may call at the wrong time.
    fn probe_calls(&mut self, cx: &Shared, side: Side) -> Checked {
        self.stream.authenticated();
        if !matches!(self.step, Step::Open | Step::Bound) {
            self.stream.bound();
        }
        let wanted = match &self.step {
            _ if side == Side::Server => Some(CannotEnable::Server),
            _ if self.attempted => Some(CannotEnable::SentBefore),
            Step::Open if !cx.setting.binds => None,
            _ => Some(CannotEnable::NotBound),
        };
        if let Some(wanted) = wanted {
            let enable = self.stream.enable();
            ensure!(enable == Err(wanted), "a client asks: {enable:?}, not {wanted:?}");
        }
        if !matches!(self.step, Step::Enabled) {
            let said = (self.stream.request_ack(cx.now), self.stream.send_ack());
            ensure!(said == (None, None), "{said:?} before stream management is on");
        }
        if let Step::Resuming(_) = self.step {
            let msg = Msg { session: None, from: side, position: 0, bytes: 1 };
            let no = self.stream.record_sent(msg, cx.now);
            ensure!(
                no.as_ref().is_err_and(|no| no.why == NotRecordedWhy::AwaitingServer),
                "sent before <resumed/>: {no:?}"
            );
            let other = Nonza::Resumed(Resumed { previd: smid(u16::MAX), h: 0.into() });
            self.refuses(cx, Inbound::Nonza(other), Some(Error::ForeignSession))?;
        }
        Ok(())
    }

    /// While a server's host has a request in its hands, nothing is taken and nothing is counted.
    pub fn probe_pending(&mut self, cx: &Shared) -> Checked {
        self.stream.authenticated();
        self.stream.bound();
        let told = (self.stream.is_enabled(), self.stream.is_recording(), self.stream.has_feature());
        ensure!(told == (false, false, false), "while a request is pending: {told:?}");
        for inbound in
            [Inbound::Stanza { bytes: 1 }, Inbound::Nonza(example(Kind::Enable)), Inbound::Nonza(example(Kind::Resume))]
        {
            self.refuses(cx, inbound, Some(Error::RequestPending))?;
        }
        if let Some(stale) = self.stale.take() {
            self.stale = Some(self.probe_stale(stale)?);
        }
        let sent = self.stream.record_sent(Msg { session: None, from: Side::Server, position: 0, bytes: 1 }, cx.now);
        ensure!(
            sent.as_ref().is_ok_and(|sent| sent.number.is_none() && sent.write.is_none()),
            "counted too early: {sent:?}"
        );
        Ok(())
    }

    /// A request that the stream has answered itself is nobody's any more, also while the next one is pending.
    pub fn probe_stale(&mut self, request: ResumeRequest) -> Checked<ResumeRequest> {
        match self.stream.refuse_resume(request, Refusal::NotFound) {
            Err(Foreign(request)) => Ok(request),
            Ok(nonza) => Err(Violation(format!("a request is answered twice: {nonza}"))),
        }
    }

    /// What is no element of stream management, and what its namespace does not have.
    fn probe_others(&mut self, cx: &Shared) -> Checked {
        let unknown = Inbound::Malformed(ParseError::UnknownElement);
        if self.pending_since().is_some() {
            for inbound in [Inbound::Stanza { bytes: 1 }, Inbound::Other, unknown] {
                self.refuses(cx, inbound, Some(Error::RequestPending))?;
            }
            return Ok(());
        }
        self.refuses(cx, unknown, Some(Error::Malformed(ParseError::UnknownElement)))?;
        let other = self.stream.handle(Inbound::Other, cx.now);
        ensure!(matches!(other, Ok(Action::Other)), "something else gives {other:?}");
        let error = self.stream.handle(Inbound::StreamError { conflict: true }, cx.now);
        ensure!(matches!(error, Ok(Action::Other)), "a stream error gives {error:?}");
        if let Step::Enabled = self.step {
            if !self.stream.can_receive() {
                self.refuses(cx, Inbound::Stanza { bytes: 1 }, Some(Error::ReceiptsFull))?;
            }
            return Ok(());
        }
        let Ok(Action::Deliver(receipt)) = self.stream.handle(Inbound::Stanza { bytes: 1 }, cx.now) else {
            return Err(Violation("a stanza is not delivered".into()));
        };
        let (number, settled) = (receipt.number(), self.stream.record_handled(receipt));
        ensure!((number, &settled) == (None, &Ok(None)), "a stanza is counted as {number:?}, and settled: {settled:?}");
        Ok(())
    }
}

/// Any element of this kind.
fn example(kind: Kind) -> Nonza {
    let (h, previd) = (Counter::new(7), smid(u16::MAX));
    match kind {
        Kind::Enable => Nonza::Enable(Enable::default()),
        Kind::Enabled => Nonza::Enabled(Enabled::default()),
        Kind::Resume => Nonza::Resume(Resume { previd, h }),
        Kind::Resumed => Nonza::Resumed(Resumed { previd, h }),
        Kind::Failed => Nonza::Failed(Failed::default()),
        Kind::Ack => Nonza::Ack(h),
        Kind::AckRequest => Nonza::AckRequest,
    }
}
