//! The stanzas that are unacknowledged, found by their numbers and replaced under them.

use crate::world::event::Side;
use crate::world::ledger::{Checked, Face, Fate, Half, Msg, ensure};
use crate::world::setting::Options;

impl Half {
    /// Asks for every stanza that may be there by its number, and for those before and after them; puts another in its
    /// place, and the right one again.
    pub fn probe_queue(&self, face: &mut impl Face, options: &Options) -> Checked {
        for count in self.acked..=self.sent.len() + 1 {
            let number = self.out_counter(count);
            let place = count.checked_sub(1).filter(|place| *place >= self.acked);
            let sent = place.and_then(|place| self.sent.get(place)).filter(|sent| sent.fate == Fate::Queued);
            let found = face.queued(number).map(|queued| (*queued.stanza, queued.queued, queued.number));
            let wanted = sent.map(|sent| (sent.msg, sent.at, number));
            ensure!(found == wanted, "number {number} is {found:?}, not {wanted:?}");
            let other = |bytes| Msg { session: None, from: Side::Client, bytes, position: u32::MAX };
            let Some(sent) = sent else {
                let got = face.replace(number, other(0));
                ensure!(got == Err(other(0)), "number {number} is not there, and is replaced: {got:?}");
                continue;
            };
            let (total, most, own) = (self.queued_bytes(), options.buffer_max_bytes, sent.msg.bytes);
            let room = most.saturating_sub(total) as u32;
            let large = face.replace(number, other(own + room + 1));
            ensure!(
                large == Err(other(own + room + 1)),
                "one that does not fit takes the place of {number}: {large:?}"
            );
            // From one that is smaller there is no way back where the queue is over its bounds.
            let sizes = if total > most { vec![own] } else { vec![own, 0, own + room] };
            for bytes in sizes {
                let got = face.replace(number, other(bytes));
                ensure!(got == Ok(sent.msg), "the place of {number} is taken: {got:?}");
                let found = face.queued(number).map(|queued| (*queued.stanza, queued.queued));
                ensure!(found == Some((other(bytes), sent.at)), "number {number} is replaced, and is {found:?}");
                let (now, wanted) = (face.unacked_bytes(), total - own as usize + bytes as usize);
                ensure!(now == wanted, "number {number} is replaced, and {now} bytes are queued, not {wanted}");
                let back = face.replace(number, sent.msg);
                ensure!(back == Ok(other(bytes)), "number {number} is put back: {back:?}");
            }
        }
        Ok(())
    }
}
