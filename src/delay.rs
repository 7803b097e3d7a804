//! [XEP-0203](https://xmpp.org/extensions/xep-0203.html) stamps for stanzas that are delivered late.
//!
//! A server [should add](https://xmpp.org/extensions/xep-0198.html#acking) the time at which a stanza was
//! first sent when it delivers it again or keeps it for later. The crate's queues hold an `Instant`, which
//! costs nothing; it becomes a date only when a stamp is written.
//!
//! ```
//! use std::time::{Duration, Instant, SystemTime};
//! use minidom::Element;
//! use xmpp_sm::delay;
//!
//! let queued = Instant::now();
//! let (now, wall_clock) = (queued + Duration::from_secs(90), SystemTime::UNIX_EPOCH + Duration::from_secs(100));
//!
//! let mut message: Element = "<message xmlns='jabber:client'><body>ciao!</body></message>".parse()?;
//! assert!(delay::stamp(&mut message, "example.com", delay::wall_clock(queued, now, wall_clock)));
//! let stamp = message.get_child("delay", delay::NS).and_then(|delay| delay.attr("stamp"));
//! assert_eq!(stamp, Some("1970-01-01T00:00:10.000Z"));
//! # Ok::<(), minidom::Error>(())
//! ```

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use minidom::Element;
use minidom::rxml::NcName;

/// The [namespace](https://xmpp.org/extensions/xep-0203.html#registrar-ns) of delay stamps.
pub const NS: &str = "urn:xmpp:delay";

/// Adds the stamp of a stanza that was first sent at `queued`, on behalf of `from`, the domain that kept
/// it. Tells whether it did: only message and presence are stamped, those that carry no stamp, and no
/// messages of type `error` or `headline`.
pub fn stamp(stanza: &mut Element, from: &str, queued: SystemTime) -> bool {
    let kind = stanza.attr("type");
    let wanted = match stanza.name() {
        "message" => !matches!(kind, Some("error" | "headline")),
        "presence" => kind != Some("error"),
        _ => false,
    };
    if !wanted || stanza.has_child("delay", NS) {
        return false;
    }
    let mut delay = Element::builder("delay", NS);
    for (name, value) in [("from", from), ("stamp", date_time(queued).as_str())] {
        // The names are our own: each is an NCName.
        if let Ok(name) = NcName::try_from(name) {
            delay = delay.attr(name, value);
        }
    }
    stanza.append_child(delay.build());
    true
}

/// The date of an `Instant`, from two readings of the host's clocks that were taken together. A date
/// before 1970 becomes 1970.
pub fn wall_clock(queued: Instant, now: Instant, now_by_the_wall: SystemTime) -> SystemTime {
    let since = now.saturating_duration_since(queued);
    now_by_the_wall.checked_sub(since).unwrap_or(UNIX_EPOCH).max(UNIX_EPOCH)
}

/// A date as [XEP-0082](https://xmpp.org/extensions/xep-0082.html) wants it: UTC,
/// with milliseconds. It has room for the years 1970 to 9999 and saturates.
pub fn date_time(date: SystemTime) -> String {
    const LAST: u64 = 253_402_300_799;
    let since = date.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = match since.as_secs() {
        seconds if seconds <= LAST => (seconds, since.subsec_millis()),
        _ => (LAST, 999),
    };
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of the day that is so many days after 1970-01-01, by walking years of
/// four centuries, which all have the same number of days.
#[expect(clippy::arithmetic_side_effects, reason = "there are fewer than 2^22 days up to the year 9999")]
fn civil(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_a_real_calendar() {
        // Every day of eight centuries, and the ends.
        for seconds in (0..800 * 366).map(|day| day * 86_400 + day % 86_400).chain([253_402_207_200]) {
            let date = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
            let expected = jiff::Timestamp::try_from(date).unwrap().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
            assert_eq!(date_time(date), expected);
        }
        assert_eq!(date_time(UNIX_EPOCH + Duration::from_millis(253_402_300_799_005)), "9999-12-31T23:59:59.005Z");
        assert_eq!(date_time(UNIX_EPOCH + Duration::from_secs(253_402_300_800)), "9999-12-31T23:59:59.999Z");
        assert_eq!(date_time(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn only_what_may_carry_a_stamp_gets_one_and_only_one() {
        for (xml, wanted) in [
            ("<message xmlns='jabber:client'/>", true),
            ("<message xmlns='jabber:client' type='chat'/>", true),
            ("<message xmlns='jabber:client' type='groupchat'/>", true),
            ("<presence xmlns='jabber:server'/>", true),
            ("<presence xmlns='jabber:client' type='subscribe'/>", true),
            ("<presence xmlns='jabber:client' type='error'/>", false),
            ("<message xmlns='jabber:client' type='error'/>", false),
            ("<message xmlns='jabber:client' type='headline'/>", false),
            ("<iq xmlns='jabber:client' type='set'/>", false),
            ("<message xmlns='jabber:client'><delay xmlns='urn:xmpp:delay' stamp='x'/></message>", false),
        ] {
            let mut stanza: Element = xml.parse().unwrap();
            let before = stanza.clone();
            assert_eq!(stamp(&mut stanza, "example.com", UNIX_EPOCH), wanted, "{xml}");
            assert_eq!(stanza != before, wanted);
            assert!(!stamp(&mut stanza, "example.com", UNIX_EPOCH), "{xml}");
        }
    }

    #[test]
    fn the_wall_clock_goes_back_by_the_time_in_the_queue() {
        let queued = Instant::now();
        let wall = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(wall_clock(queued, queued + Duration::from_secs(400), wall), UNIX_EPOCH + Duration::from_secs(600));
        assert_eq!(wall_clock(queued, queued + Duration::from_secs(4000), wall), UNIX_EPOCH);
        assert_eq!(wall_clock(queued + Duration::from_secs(1), queued, wall), wall);
    }
}
