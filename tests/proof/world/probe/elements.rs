//! Elements that may not come now, and those that say what cannot be.

use xmpp_sm::{
    Counter, Enable, Enabled, Error, Failed, Inbound, Kind, Nonza, ParseError, Resume, Resumed, StreamMgmt, WhyNot,
    WrongH,
};

use super::wrong;
use crate::world::event::Side;
use crate::world::ledger::{Checked, Msg, ensure};
use crate::world::pair::{Pair, Shared, Step};
use crate::world::setting::smid;

impl Pair {
    /// Tries them at one end of a connection.
    pub fn probe_elements(&mut self, cx: &Shared, at: usize, side: Side) -> Checked {
        let Some(end) = &mut self.connections[at].ends[side.index()] else { return Ok(()) };
        let now = cx.now;
        let stream = &mut end.stream;
        let h = Counter::new(7);
        let previd = smid(u16::MAX);
        let held = matches!(end.step, Step::Held(_));
        let server = side == Side::Server;
        let refuses = |stream: &mut StreamMgmt<Msg>, nonza: Nonza, wanted: Error| {
            let wanted = if held { Error::Unanswered } else { wanted };
            let kind = nonza.kind();
            let got = stream.handle(Inbound::Nonza(nonza), now);
            ensure!(matches!(&got, Err(error) if *error == wanted), "{kind} gives {got:?}, not {wanted:?}");
            Ok(())
        };
        let unrequested = |kind| if server { Error::WrongRole(kind) } else { Error::NotRequested(kind) };
        let enabled = Nonza::Enabled(Enabled::default());
        let resumed = Nonza::Resumed(Resumed { previd: previd.clone(), h });
        if server || !matches!(end.step, Step::Enabling) {
            refuses(stream, enabled, unrequested(Kind::Enabled))?;
        }
        if let Step::Resuming(_) = end.step {
            refuses(stream, resumed, Error::OtherSession)?;
            let own = stream.smid().cloned().unwrap_or(previd.clone());
            for h in wrong(stream) {
                let got = stream.handle(Inbound::Nonza(Nonza::Resumed(Resumed { previd: own.clone(), h })), now);
                let right = matches!(got, Err(Error::WrongH { element: Kind::Resumed, .. }));
                ensure!(right, "<resumed/> with h {h} gives {got:?}");
            }
            let msg = Msg { session: None, from: side, position: 0, bytes: 1 };
            let no = stream.record_sent(msg, now);
            ensure!(no.as_ref().is_err_and(|no| no.why == WhyNot::Resuming), "sent before <resumed/>: {no:?}");
        } else {
            refuses(stream, resumed, unrequested(Kind::Resumed))?;
            if server || !matches!(end.step, Step::Enabling) {
                refuses(stream, Nonza::Failed(Failed::default()), unrequested(Kind::Failed))?;
            }
        }
        let (ask, again) = (Nonza::Enable(Enable::default()), Nonza::Resume(Resume { previd, h }));
        if !server {
            refuses(stream, ask, Error::WrongRole(Kind::Enable))?;
            refuses(stream, again, Error::WrongRole(Kind::Resume))?;
        } else if held || matches!(end.step, Step::Enabled) {
            refuses(stream, ask, Error::AlreadyEnabled)?;
            refuses(stream, again, Error::Unexpected(Kind::Resume))?;
        }
        if !matches!(end.step, Step::Enabled) {
            refuses(stream, Nonza::Request, Error::NotEnabled(Kind::Request))?;
            return refuses(stream, Nonza::Ack(h), Error::NotEnabled(Kind::Ack));
        }
        let (sent, acked) = (stream.sent(), stream.acked());
        let [high, low, _] = wrong(stream);
        let wrong_h = |why| Error::WrongH { element: Kind::Ack, why };
        refuses(stream, Nonza::Ack(high), wrong_h(WrongH::TooHigh { h: high, sent }))?;
        refuses(stream, Nonza::Ack(low), wrong_h(WrongH::Backwards { h: low, acked }))?;
        let missing = ParseError::Missing { element: Kind::Ack, attribute: "h" };
        let got = stream.handle(Inbound::Malformed(missing), now);
        ensure!(matches!(got, Err(Error::Malformed(error)) if error == missing), "<a/> gives {got:?}");
        Ok(())
    }
}
