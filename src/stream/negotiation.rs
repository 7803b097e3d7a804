//! What may come when, in both roles.

use std::time::Instant;

use super::{Action, Inbound, Phase, Role, StreamMgmt};
use crate::error::Error;
use crate::nonza::{Failed, Kind, Nonza};
use crate::queue::Returned;
use crate::receipts::Receipt;
use crate::stanza::Stanza;

impl<S: Stanza> StreamMgmt<S> {
    /// Takes whatever is not on the fast path.
    #[inline(never)]
    pub(super) fn handle_otherwise(
        &mut self,
        inbound: Inbound,
        now: Instant,
        into: &mut impl Extend<Returned<S>>,
    ) -> Result<Action<S>, Error> {
        if matches!(self.phase, Phase::EnablePending(_) | Phase::ResumePending(_)) {
            return Err(Error::RequestPending);
        }
        match inbound {
            Inbound::Stanza { .. } => Ok(Action::Deliver(Receipt::uncounted())),
            Inbound::Other | Inbound::StreamError { .. } => Ok(Action::Other),
            // Where stream management is on, these two do not come here.
            Inbound::Nonza(nonza @ (Nonza::Ack(_) | Nonza::AckRequest)) => Err(Error::NotEnabled(nonza.kind())),
            Inbound::Nonza(Nonza::Enable(enable)) => {
                self.admit(Kind::Enable)?;
                Ok(Action::Enable(self.on_enable(enable, now)))
            }
            Inbound::Nonza(Nonza::Resume(resume)) => {
                self.admit(Kind::Resume)?;
                Ok(Action::Resume(self.on_resume(resume, now)))
            }
            Inbound::Nonza(Nonza::Enabled(enabled)) => {
                self.admit(Kind::Enabled)?;
                Ok(self.on_enabled(enabled, now))
            }
            Inbound::Nonza(Nonza::Resumed(resumed)) => self.on_resumed(&resumed, now, into),
            Inbound::Nonza(Nonza::Failed(failed)) => {
                self.admit(Kind::Failed)?;
                Ok(self.on_failed(failed, into))
            }
            Inbound::Malformed(error) => {
                if let Some(kind) = error.element() {
                    self.admit(kind)?;
                }
                match error.element() {
                    // Whatever else it says, the reply is no.
                    Some(Kind::Failed) => Ok(self.on_failed(Failed::default(), into)),
                    _ => Err(error.into()),
                }
            }
        }
    }

    /// Whether an element may come from this side, in this phase.
    pub(super) fn admit(&self, kind: Kind) -> Result<(), Error> {
        let enabled = self.phase == Phase::Enabled;
        match (kind, self.role) {
            (Kind::Ack | Kind::AckRequest, _) if enabled => Ok(()),
            (Kind::Ack | Kind::AckRequest, _) => Err(Error::NotEnabled(kind)),
            (Kind::Enable | Kind::Resume, Role::Client) => Err(Error::WrongRole(kind)),
            (Kind::Enabled | Kind::Resumed | Kind::Failed, Role::Server) => Err(Error::WrongRole(kind)),
            (Kind::Enable | Kind::Resume, Role::Server) => self.admit_request(kind),
            (Kind::Enabled | Kind::Resumed | Kind::Failed, Role::Client) => match (kind, self.phase) {
                (Kind::Enabled | Kind::Failed, Phase::Enabling) => Ok(()),
                (Kind::Resumed | Kind::Failed, Phase::Resuming(_)) => Ok(()),
                _ => Err(Error::NotRequested(kind)),
            },
        }
    }
}
