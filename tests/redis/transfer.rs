//! A stanza that one session has handled by queueing it for another: both are written down by one call, and so by one
//! script. Whenever the process is killed, nothing is lost, and nothing comes twice.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xmpp_sm::snapshot::{Ledger, Limits, Promise, Snapshot};
use xmpp_sm::{
    Arrival, Claim, Config, Early, Enable, Fence, Inbound, Journal, Lookup, Nonza, Registration, Resume, Session, SmId,
    Unbound, Write,
};

use crate::server::Redis;
use crate::{JULIET, ROMEO, store};

const STANZAS: usize = 3000;

/// A session on a server, and what is written down of it.
struct Side {
    session: Session<String, ()>,
    ledger: Ledger,
    registration: Registration,
}

impl Side {
    async fn begin<J: Journal<Handle = Bytes>>(store: &J, config: &Arc<Config>, owner: &str) -> Self
    where
        J::Error: std::fmt::Debug,
    {
        let now = Instant::now();
        let mut session = Unbound::new(config.clone(), owner).bind(());
        let enable = Nonza::Enable(Enable { resume: true, max: None });
        let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { panic!() };
        let smid = SmId::random().unwrap();
        let registered = store.register(&smid, session.owner(), "node".into(), now).await.unwrap();
        session.accept_enable(request, Some(smid), now).unwrap();
        let mut side = Self { session, ledger: Ledger::new(Promise::Durable), registration: registered.registration };
        side.write(store).await;
        side
    }

    /// As another process finds it. Its client comes back, and has received so many stanzas.
    async fn claim<J: Journal<Handle = Bytes>>(
        store: &J,
        config: &Arc<Config>,
        (owner, smid): (&str, &SmId),
        received: usize,
    ) -> Self
    where
        J::Error: std::fmt::Debug,
    {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let Lookup::Session(record) = store.lookup(smid, owner, now).await.unwrap() else { panic!() };
        let Claim::Claimed(claimed) = store.claim(&record.registration, "other".into(), now).await.unwrap() else {
            panic!()
        };
        let limits = Limits::default();
        let read = Snapshot::from_journal(&claimed.snapshot, &claimed.journal, config, &limits, (now, wall)).unwrap();
        let ledger = Ledger::claimed(Promise::Durable, &read);
        let session = Session::from_parts(config.clone(), read.session, now).unwrap();
        let mut side = Self { session, ledger, registration: claimed.registration };
        let h = u32::try_from(received).unwrap().into();
        let mut stream = Unbound::new(config.clone(), owner);
        let resume = Nonza::Resume(Resume { previd: smid.clone(), h });
        let Ok(Early::Resume(request)) = stream.handle(resume.into(), now) else { panic!() };
        side.session.take(stream.into_taker(request, ()).unwrap(), now);
        side.write(store).await;
        side
    }

    /// What is due, by itself.
    async fn write<J: Journal>(&mut self, store: &J)
    where
        J::Error: std::fmt::Debug,
    {
        while self.session.poll().is_some() {}
        if let Some(due) = self.ledger.due(&self.session, Vec::new, Instant::now(), SystemTime::now()) {
            assert_eq!(due.write(store, &self.registration).await.unwrap(), Fence::Held);
            self.ledger.wrote(due);
        }
    }

    /// What goes out: stanzas, and the h of `<resumed/>`.
    fn go_out(&mut self) -> (Vec<String>, Option<usize>) {
        let (mut stanzas, mut h) = (Vec::new(), None);
        while let Some((_, item)) = self.ledger.next_write(&mut self.session, Instant::now()) {
            match item {
                Write::Stanza { stanza, .. } => stanzas.push(stanza.clone()),
                Write::Nonza(Nonza::Resumed(resumed)) => h = usize::try_from(resumed.h.get()).ok(),
                _ => {}
            }
        }
        (stanzas, h)
    }
}

async fn transfer<J: Journal<Handle = Bytes>>(store: &J, seed: u64)
where
    J::Error: std::fmt::Debug,
{
    let mut random = StdRng::seed_from_u64(seed);
    let config = Arc::new(Config::default());
    let (mut from, mut to) = (Side::begin(store, &config, ROMEO).await, Side::begin(store, &config, JULIET).await);
    let smids = [&from, &to].map(|side| side.registration.smid().clone());
    // What romeo's client has to send next, and what juliet's has.
    let (mut next, mut received, mut kills) = (1, Vec::new(), 0);
    while received.len() < STANZAS {
        let now = Instant::now();
        // A snapshot is written when nothing else is to be.
        from.write(store).await;
        to.write(store).await;
        let mut is_killed = random.random_bool(0.02);
        for _ in 0..random.random_range(1..5).min(STANZAS + 1 - next) {
            let Ok(Arrival::Stanza(receipt)) = from.session.handle(Inbound::Stanza { bytes: 10 }, now) else {
                panic!()
            };
            to.session.send(next.to_string(), now).unwrap();
            from.session.settle(receipt, now).unwrap();
            next += 1;
        }
        if !is_killed {
            let wall = SystemTime::now();
            let [one, other] = [&mut from, &mut to].map(|side| side.ledger.due(&side.session, Vec::new, now, wall));
            let changes = [(&one, &from), (&other, &to)]
                .into_iter()
                .filter_map(|(due, side)| Some(due.as_ref()?.change(&side.registration).expect("a change")));
            let changes: Vec<_> = changes.collect();
            assert_eq!(store.append(&changes).await.unwrap(), Fence::Held);
            // Behind the call, and before anybody knows.
            is_killed = random.random_bool(0.02);
            if !is_killed {
                one.into_iter().for_each(|due| from.ledger.wrote(due));
                other.into_iter().for_each(|due| to.ledger.wrote(due));
                from.go_out();
                received.extend(to.go_out().0);
                if random.random_bool(0.3) {
                    let h = u32::try_from(received.len()).unwrap().into();
                    to.session.handle(Nonza::Ack(h).into(), now).unwrap();
                }
            }
        }
        if is_killed {
            kills += 1;
            from = Side::claim(store, &config, (ROMEO, &smids[0]), 0).await;
            to = Side::claim(store, &config, (JULIET, &smids[1]), received.len()).await;
            let (_, h) = from.go_out();
            // What is not covered its client sends once more.
            next = h.expect("it is resumed") + 1;
            received.extend(to.go_out().0);
        }
    }
    let all: Vec<_> = (1..=STANZAS).map(|number| number.to_string()).collect();
    assert!(received == all, "seed {seed}, after {kills} kills: {} received", received.len());
    assert!(kills > 10, "{kills}");
}

#[tokio::test]
async fn what_is_handled_and_its_h_are_written_by_one_script() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    for seed in 0..3 {
        tokio::time::timeout(Duration::from_secs(120), transfer(&store, seed)).await.expect("it takes too long");
    }
}
