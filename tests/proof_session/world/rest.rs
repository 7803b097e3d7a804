//! A session at rest is written down, and read by another process.

use std::borrow::Cow;
use std::mem;
use std::time::{Duration, UNIX_EPOCH};

use xmpp_sm::snapshot::{Limits, Portable, Snapshot};
use xmpp_sm::{Session, Stats, Unbound};

use super::counts::Seen;
use super::host::Mail;
use super::ledger::{Checked, ensure};
use super::link::Item;
use super::{OWNER, World};

impl Portable for Item {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        let mut bytes = self.id.to_be_bytes().to_vec();
        bytes.extend((self.bytes as u32).to_be_bytes());
        bytes.extend([u8::from(self.is_presence), u8::from(self.is_retracted)]);
        Cow::Owned(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, bytes) = bytes.split_first_chunk()?;
        let (size, flags) = bytes.split_first_chunk()?;
        let [is_presence, is_retracted] = *flags else { return None };
        Some(Self {
            id: u32::from_be_bytes(*id),
            bytes: u32::from_be_bytes(*size) as usize,
            is_presence: is_presence != 0,
            is_retracted: is_retracted != 0,
        })
    }
}

impl World<'_> {
    pub fn write_down(&mut self, h: usize) -> Checked {
        let (now, wall) = (self.now, UNIX_EPOCH + Duration::from_secs(1_764_000_000));
        let config = self.configs[1].clone();
        let nothing = Unbound::new(config.clone(), OWNER).bind(usize::MAX);
        let session = mem::replace(&mut self.hosts[h].session, nothing);
        let session = session.into_parts().map_err(|not| not.to_string())?;
        let written = Snapshot { session, host: vec![h as u8] };
        let read = Snapshot::from_bytes(&written.to_bytes(now, wall), &Limits::default(), now, wall);
        let read = read.map_err(|error| error.to_string())?;
        ensure!(read == written, "{read:?} is read, and {written:?} was written");
        let mut session = Session::from_parts(config, read.session, now).map_err(|not| not.to_string())?;
        session.return_acknowledged(self.setting.returns);
        session.report_detached(true);
        let host = &mut self.hosts[h];
        host.session = session;
        // What was given up before, its process takes with it.
        host.receipts.clear();
        host.mailbox.retain(|mail| !matches!(mail, Mail::Settled(_)));
        // Its time goes on; what it counts begins anew, as does a verdict.
        let resume_timeout = self.setting.options.iter().filter_map(|options| options.resume_timeout).min();
        let until = host.detached_since.zip(resume_timeout).map(|(since, timeout)| since + timeout);
        host.prolonged = host.prolonged.or(until);
        (host.detached_since, host.noticed, host.noticed_before) = (Some(now), None, None);
        let seen = &mut self.seen[h];
        *seen = Seen {
            sent: seen.sent,
            acked: seen.acked,
            queued: seen.queued,
            queued_told: seen.queued_told,
            is_told: true,
            before: Stats::default(),
            ..Seen::default()
        };
        Ok(())
    }
}
