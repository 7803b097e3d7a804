//! What the library does, subject by subject.

mod acknowledging {
    mod answering;
    mod h;
}
mod buffer {
    mod bounds;
    mod full;
    mod grace;
    mod kept;
    mod pressure;
}
mod client;
mod closing {
    mod disposition;
    mod ending;
    mod giving_up;
    mod stream;
}
mod costs {
    mod allocations;
    mod work;
}
mod counting {
    mod stanzas;
    mod wrap;
}
mod inline;
mod ledger;
mod logs;
mod negotiation {
    mod enabling;
    mod features;
    mod granting;
    mod pending;
}
mod pages;
mod phases;
mod receipts {
    mod bounds;
    mod open;
    mod settled;
}
mod requests {
    mod frequency;
    mod held_back;
    mod nonzas;
    mod unanswered;
}
mod resumption {
    mod refused;
    mod resent;
    mod value;
    mod waiting;
}
mod session;
mod sm_suite;
mod snapshot;
mod stale_h;
#[path = "../support/mod.rs"]
mod support;
mod syntax {
    mod attributes;
    mod elements;
    mod sm_ids;
    mod typed;
    mod values;
}
mod take_over {
    mod failing;
    mod requested;
}
mod timers {
    mod hearing;
    mod lost;
}
mod xep_examples;
