//! What a host makes of a store that fails: to make a call again is safe, and the contract holds.

mod support;

use std::time::Instant;

use support::faulty::{Failed, Fault, Faulty, Persistent};
use xmpp_sm::store_tests::MakeStore;
use xmpp_sm::{AsyncSessionStore, Config, Counter, Lookup, MemoryStore, SmId, StaleH, Sweep};

/// The whole suite, with a fault in most calls.
struct WithFaults;

const FAULTS: &[Fault] = &[Fault::After, Fault::Slow, Fault::Before, Fault::After, Fault::None];

fn in_memory(stale_h: StaleH) -> MemoryStore<u64> {
    let many = 1000.try_into().unwrap();
    MemoryStore::new(&Config::default().stale_h(stale_h)).per_owner(many).stale_per_owner(many)
}

impl MakeStore for WithFaults {
    type Handle = u64;
    type Store = Persistent<MemoryStore<u64>>;

    fn store(&self, stale_h: StaleH) -> Self::Store {
        Persistent(Faulty::new(in_memory(stale_h), FAULTS))
    }

    fn handle(&self, number: u64) -> u64 {
        number
    }

    fn sweeper<'a>(&self, store: &'a Self::Store) -> Option<&'a dyn Sweep> {
        Some(store.0.inner())
    }
}

xmpp_sm::store_conformance!(WithFaults);
xmpp_sm::parking_conformance!(WithFaults);
xmpp_sm::journal_conformance!(WithFaults);

#[test]
fn a_fault_is_unknown_and_never_not_found() {
    let stale_h = StaleH { enabled: true, ..StaleH::default() };
    let now = Instant::now();
    let (id, owner) = (SmId::new("a").unwrap(), "juliet@example.com".into());
    for (fault, is_done) in [(Fault::Before, false), (Fault::After, true), (Fault::Slow, true)] {
        let faults: &'static [Fault] = match fault {
            Fault::Before => &[Fault::Before],
            Fault::After => &[Fault::After],
            _ => &[Fault::Slow],
        };
        let store = Faulty::new(in_memory(stale_h), faults);
        futures::executor::block_on(async {
            let registered = store.register(&id, &owner, 1, now).await;
            assert_eq!(registered.is_ok(), fault == Fault::Slow);
            let found = store.inner().lookup(&id, &owner, now).await.unwrap();
            assert_eq!(matches!(found, Lookup::Session(_)), is_done, "{fault:?}");
            let lookup = store.lookup(&id, &owner, now).await;
            assert!(matches!(lookup, Ok(Lookup::Session(_)) | Err(Failed::Unknown)), "{lookup:?}");
            let registration = store.inner().register(&id, &owner, 2, now).await.unwrap().registration;
            let retired = store.retire(&registration, Counter::new(7), now).await;
            assert_eq!(retired.is_ok(), fault == Fault::Slow);
            let found = store.inner().lookup(&id, &owner, now).await.unwrap();
            assert_eq!(found == Lookup::StaleH(Counter::new(7)), is_done, "{fault:?}");
        });
        assert_eq!(store.calls(), 3);
    }
}
