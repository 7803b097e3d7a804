//! What it costs: counted in what is asked of a stanza and of the allocator, never in time.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Config, Disconnected, Stanza, StreamMgmt};

use crate::support::count::{Counts, counted};
use crate::support::raw::{ack, ask_to_resume, authenticated, bound, deliver, detach, enabled};
use crate::support::{bytes, quiet, stanzas};

thread_local! {
    static MEASURED: Cell<usize> = const { Cell::new(0) };
    static DROPPED: Cell<usize> = const { Cell::new(0) };
}

/// It cannot be copied, and counts what is done with it.
struct Counting(#[expect(dead_code, reason = "it has a size and an address")] u64);

impl Stanza for Counting {
    fn bytes(&self) -> usize {
        MEASURED.set(MEASURED.get() + 1);
        100
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
    }
}

/// How often stanzas were measured, how often dropped, and what the allocator was asked.
fn cost(work: impl FnOnce()) -> (usize, usize, Counts) {
    let (measured, dropped) = (MEASURED.get(), DROPPED.get());
    let ((), counts) = counted(work);
    (MEASURED.get() - measured, DROPPED.get() - dropped, counts)
}

fn large() -> Arc<Config> {
    Arc::new(quiet().buffer_max(stanzas(1_000_000)).buffer_max_bytes(bytes(1 << 30)))
}

fn stream_with(unacked: u64, now: Instant) -> StreamMgmt<Counting> {
    let mut stream = enabled(&large(), now);
    for n in 0..unacked {
        let _ = stream.record_sent(Counting(n), now).unwrap_or_else(|_| panic!("it fits"));
    }
    stream
}

fn addresses(stream: &StreamMgmt<Counting>) -> Vec<*const Counting> {
    stream.unacked().map(|queued| std::ptr::from_ref(queued.stanza)).collect()
}

#[test]
fn p25_a_stanza_that_arrives_while_detached_costs_the_same_however_many_wait() {
    let now = Instant::now();
    for waiting in [1_000, 50_000] {
        let mut session = detach(stream_with(waiting, now), now);
        let mut grown = 0;
        for n in 0..1000 {
            let (measured, dropped, counts) = cost(|| {
                session.record_sent(Counting(n), now).unwrap_or_else(|_| panic!("it fits"));
            });
            assert!(measured <= 2 && dropped == 0 && counts.freed <= 1, "{measured}, {counts:?}");
            grown += counts.taken;
        }
        // The ring doubles, at most twice among so few.
        assert!(grown <= 2, "{grown}");
        assert_eq!(session.unacked().len(), waiting as usize + 1000);
    }
}

#[test]
fn p25_to_detach_and_to_resume_copies_nothing() {
    let now = Instant::now();
    let stream = stream_with(10_000, now);
    let before = addresses(&stream);
    let mut again = authenticated(&large());
    let request = ask_to_resume(&mut again, 0, now);
    let (measured, dropped, counts) = cost(|| {
        let Disconnected::Resumable(session) = stream.disconnect(now) else { panic!("it is resumable") };
        let resumption = again.accept_resume(request, session, now).unwrap_or_else(|_| panic!("nothing is wrong"));
        assert_eq!((resumption.after, again.unacked().len()), (None, 10_000));
    });
    assert_eq!((measured, dropped, counts.taken), (0, 0, 0), "{counts:?}");
    // They are where they were.
    assert_eq!(addresses(&again), before);
}

#[test]
fn p26_an_acknowledgement_costs_by_what_it_acknowledges() {
    let now = Instant::now();
    for kept in [1_000, 50_000] {
        let mut stream = stream_with(kept, now);
        let mut h = 0;
        for acked in [0, 1, 10, 100] {
            h += acked;
            let before = addresses(&stream);
            let (measured, dropped, counts) = cost(|| {
                ack(&mut stream, h, now).unwrap();
            });
            let acked = acked as usize;
            assert_eq!((measured, dropped), (acked, acked), "of {kept}");
            assert_eq!(counts, Counts::default(), "of {kept}");
            // What is kept was not so much as moved.
            assert_eq!(addresses(&stream), before[acked..]);
        }
    }
}

#[test]
fn a_stream_without_stream_management_costs_no_allocation() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    for mut stream in [bound(&config), StreamMgmt::<Counting>::disabled(config.clone())] {
        let (measured, dropped, counts) = cost(|| {
            for n in 0..1000 {
                let _ = stream.record_sent(Counting(n), now).unwrap_or_else(|_| panic!("it is off"));
                let receipt = deliver(&mut stream, now);
                assert_eq!(stream.record_handled(receipt), Ok(None));
            }
        });
        // The stanza itself is dropped at once: nobody will ask for it again.
        assert_eq!((measured, dropped, counts), (0, 1000, Counts::default()));
    }
}
