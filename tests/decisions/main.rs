//! Where the XEP leaves room, the crate has decided. One test or more for each decision, in the order of
//! the design's table:
//!
//! | decision | tests |
//! | --- | --- |
//! | `h` in serial arithmetic; too high, backwards; wrong on `<resume/>` | `h` |
//! | malformed `<a/>`, `<enable/>`, `<resume/>`; the XSD types | `syntax` |
//! | out of order, twice, off; what is resumable, for how long; features | `negotiation` |
//! | when to ask; silence around `<enable/>` and `<resume/>`; no answer | `requests` |
//! | a buffer that fills up: asked before blamed | `pressure` |
//! | receipts that are open, or never settled | `receipts` |
//! | a full buffer; what comes back, once; stale h; delay stamps | `endings` |

#[path = "../support/mod.rs"]
mod support;
#[path = "../support_raw/mod.rs"]
mod support_raw;

mod endings;
mod h;
mod negotiation;
mod pressure;
mod receipts;
mod requests;
mod syntax;

const JULIET: &str = "juliet@capulet.lit";

fn stanzas(number: u32) -> std::num::NonZeroU32 {
    std::num::NonZeroU32::new(number).unwrap()
}
