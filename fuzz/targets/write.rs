//! All that the crate writes, whatever is in it: another parser reads it, and it says the same.

#![no_main]

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use xmpp_sm::{
    Condition, Counter, Enable, Enabled, Failed, InvalidText, Location, Nonza, Resume, Resumed, SmId, StreamError,
    delay,
};
use xmpp_sm_fuzz::words::Value;
use xmpp_sm_fuzz::{schema, written};

#[derive(Arbitrary, Debug)]
enum What {
    Enable { resume: bool, max: Option<NonZeroU32> },
    Enabled { id: Option<Text>, resume: bool, max: Option<NonZeroU32>, location: Option<Text> },
    Resume { previd: Text, h: u32 },
    Resumed { previd: Text, h: u32 },
    Failed { h: Option<u32>, condition: Option<u8> },
    Ack { h: u32 },
    Request,
    Dates(u64, u64),
    StreamError { which: u8, h: u32, other: u32 },
}

/// A text that XML can carry, as both types that hold one.
#[derive(Debug)]
struct Text(SmId, Location);

impl<'a> Arbitrary<'a> for Text {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let Value(text) = u.arbitrary()?;
        let wrong = match text.len() {
            0 => Some(InvalidText::Empty),
            4001.. => Some(InvalidText::TooLong),
            _ => (!schema::is_text(&text)).then_some(InvalidText::NotXml),
        };
        match (SmId::new(&text), Location::new(&text)) {
            (Ok(smid), Ok(location)) => {
                assert_eq!((wrong, smid.as_str(), location.as_str()), (None, &*text, &*text));
                Ok(Self(smid, location))
            }
            (smid, location) => {
                assert_eq!((smid.err(), location.err()), (wrong, wrong), "{text:?}");
                Err(arbitrary::Error::IncorrectFormat)
            }
        }
    }
}

fuzz_target!(|what: What| {
    let nonza = match what {
        What::Enable { resume, max } => Nonza::Enable(Enable { resume, max }),
        What::Enabled { id, resume, max, location } => {
            let (id, location) = (id.map(|Text(id, _)| id), location.map(|Text(_, location)| location));
            Nonza::Enabled(Enabled { id, resume, max, location })
        }
        What::Resume { previd: Text(previd, _), h } => Nonza::Resume(Resume { previd, h: h.into() }),
        What::Resumed { previd: Text(previd, _), h } => Nonza::Resumed(Resumed { previd, h: h.into() }),
        What::Failed { h, condition } => {
            let condition = condition.and_then(|i| Condition::ALL.get(usize::from(i))).copied();
            Nonza::Failed(Failed { h: h.map(Counter::new), condition })
        }
        What::Ack { h } => Nonza::Ack(h.into()),
        What::Request => Nonza::AckRequest,
        What::Dates(one, other) => return check_dates(one, other),
        What::StreamError { which, h, other } => {
            let (h, other) = (h.into(), other.into());
            return written::check_stream_error(&match which % 6 {
                0 => StreamError::HandledCountTooHigh { h, send_count: other },
                1 => StreamError::HandledCountBackwards { h, acked: other },
                2 => StreamError::Conflict,
                3 => StreamError::PolicyViolation,
                4 => StreamError::ResourceConstraint,
                _ => StreamError::ForeignSession,
            });
        }
    };
    written::check(&nonza);
});

/// Dates are in the order of their texts, as long as four digits are enough for the year.
fn check_dates(one: u64, other: u64) {
    // To the middle of the year 10 000 and beyond.
    let millis = [one, other].map(|millis| millis % 300_000_000_000_000);
    let date = |millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    let [Some(one), Some(other)] = millis.map(date) else { return };
    let texts = [one, other].map(delay::date_time);
    let same_order = texts[0].cmp(&texts[1]) == one.cmp(&other);
    let saturated = texts.iter().any(|text| text == "9999-12-31T23:59:59.999Z");
    assert!((same_order || saturated) && texts.iter().all(|text| text.len() == 24), "{texts:?}");
}
