//! Where the XEP leaves room, the crate has decided. One test or more for each decision, in the order of
//! the design's table:
//!
//! | decision | tests |
//! | --- | --- |
//! | `h` in serial arithmetic; too high, backwards; wrong on `<resume/>` | `h` |
//! | malformed `<a/>`, `<enable/>`, `<resume/>`; the XSD types | `syntax` |
//! | out of order, twice, off; what is resumable, for how long; features | `negotiation` |
//! | a request that the host drops, or answers too late | `dropped` |
//! | how long a session waits; sessions from parts | `waiting` |
//! | when to ask; silence around `<enable/>` and `<resume/>`; no answer | `requests` |
//! | silence: the oldest `<r/>` that is unanswered | `silence` |
//! | a buffer that fills up: asked before blamed | `pressure` |
//! | a host that does not read | `hearing` |
//! | stanzas that are replaced, or had back when acknowledged | `kept` |
//! | receipts that are open, or never settled | `receipts` |
//! | a full buffer; what comes back, once; stale h; delay stamps | `endings` |
//! | a stream that closes | `closing` |
//! | what a log may show | `logs` |

mod closing;
mod dropped;
mod endings;
mod h;
mod hearing;
mod kept;
mod logs;
mod negotiation;
mod pressure;
mod receipts;
mod requests;
mod silence;
mod syntax;
mod waiting;

const JULIET: &str = "juliet@capulet.lit";

fn stanzas(number: u32) -> std::num::NonZeroU32 {
    std::num::NonZeroU32::new(number).unwrap()
}
