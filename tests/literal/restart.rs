//! The documented restart: sessions that write to each other, stopped and read again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use xmpp_sm::snapshot::{Snapshot, SnapshotError};
use xmpp_sm::{Arrival, Config, Enable, Inbound, Nonza, Parts, Session, SessionParts, Side, SmId, Unbound};

use crate::restart_host::{load, park, revive, save, stop};
use crate::server_loop::Mail;

fn online(config: &Arc<Config>, owner: &str) -> Session<Bytes, &'static str> {
    let now = crate::now();
    let mut session = Unbound::new(config.clone(), owner).bind("connection");
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { unreachable!() };
    session.accept_enable(request, Some(SmId::new(owner).unwrap()), now).unwrap();
    session
}

#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_when_a_server_stopped_is_there_when_it_has_started() {
    let config = Arc::new(Config::default());
    let dir = std::env::temp_dir().join(format!("xmpp-sm-restart-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("sessions");
    assert!(load(&file).unwrap().is_empty());

    let (to_juliet, of_juliet) = unbounded_channel();
    let (to_romeo, of_romeo) = unbounded_channel();
    let (mut romeo, juliet) = (online(&config, "romeo"), online(&config, "juliet"));
    let Ok(Arrival::Stanza(receipt)) = romeo.handle(Inbound::Stanza { bytes: 9 }, crate::now()) else { unreachable!() };
    let parted = std::cell::Cell::new(0);
    let part = |_, _| parted.set(parted.get() + 1);
    let (told, stops) = oneshot::channel();
    let all = async {
        let all = stop(|stop| told.send(stop).unwrap_or_else(|_| unreachable!()));
        timeout(Duration::from_secs(60), all).await.expect("all of them say that they read no more");
        assert_eq!(parted.get(), 0, "nobody is written down before none reads");
    };
    let sessions = async {
        let stop = stops.await.unwrap();
        let juliet = park(juliet, of_juliet, stop.clone(), "balcony", part);
        let romeo = async {
            // Romeo's session still reads, and sends.
            sleep(Duration::from_millis(300)).await;
            to_juliet.send(Mail::Deliver(Bytes::from("<message/>"))).unwrap();
            park(romeo, of_romeo, stop, "orchard", part).await
        };
        let settle = async {
            sleep(Duration::from_millis(800)).await;
            to_romeo.send(Mail::Settled(receipt)).unwrap();
        };
        let (juliet, romeo, ()) = tokio::join!(juliet, romeo, settle);
        (juliet, romeo)
    };
    let begun = crate::now();
    let ((), (juliet, romeo)) = tokio::join!(all, sessions);
    assert!(crate::now() - begun < Duration::from_secs(1), "it waits no longer than it has to");
    assert_eq!(parted.get(), 2);
    let snapshots = [juliet.unwrap(), romeo.unwrap()];
    save(&file, &snapshots).unwrap();

    let mut read = load(&file).unwrap().into_iter().map(Result::unwrap);
    let [juliet, romeo] = [read.next().unwrap(), read.next().unwrap()];
    let (juliet, balcony) = revive::<()>(juliet, &config).unwrap();
    let (romeo, _) = revive::<()>(romeo, &config).unwrap();
    assert_eq!((&*balcony, juliet.waiting(), juliet.smid().unwrap().as_str()), ("balcony", 1, "juliet"));
    assert_eq!(romeo.open_receipts(), 0);
    assert_eq!(romeo.into_parts().unwrap().detached().unwrap().h.get(), 1);

    // The file was cut off.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let read = load(&file).unwrap();
    assert!(matches!(&read[..], [Ok(_), Err(SnapshotError::Truncated)]), "{read:?}");

    // One of them is damaged. What a former process has left stays whole until another is there.
    let former = dir.join("former");
    std::fs::hard_link(&file, &former).unwrap();
    let [mut juliet, romeo] = snapshots;
    juliet[50] ^= 1;
    save(&file, &[juliet, romeo]).unwrap();
    let read = load(&file).unwrap();
    assert!(matches!(&read[..], [Err(SnapshotError::Damaged), Ok(_)]), "{read:?}");
    assert_eq!(std::fs::read(former).unwrap(), bytes[..bytes.len() - 1]);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_does_not_fit_when_a_server_has_started_waits_for_its_user() {
    let now = std::time::Instant::now();
    let stanza = |number: u32| (Bytes::from(format!("<message id='{number}'/>")), now);
    let parts = Parts {
        smid: SmId::new("x").unwrap(),
        deadline: None,
        resume_timeout: None,
        h: 0.into(),
        acked: 0.into(),
        unacked: (1..3).map(stanza).collect(),
    };
    let session = SessionParts { owner: "juliet".into(), side: Side::Server(parts), waiting: vec![stanza(3)] };
    let small = Arc::new(Config::default().buffer_max(1.try_into().unwrap()));
    let stanzas = revive::<()>(Snapshot { session, host: Vec::new() }, &small).unwrap_err();
    assert_eq!(stanzas, [1, 2, 3].map(|number| stanza(number).0));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_nobody_settles_delays_a_stop_by_two_seconds() {
    let config = Arc::new(Config::default());
    let mut session = online(&config, "romeo");
    let Ok(Arrival::Stanza(_lost)) = session.handle(Inbound::Stanza { bytes: 9 }, crate::now()) else { unreachable!() };
    let (_to, mailbox) = unbounded_channel();
    let (told, stops) = oneshot::channel();
    let all = stop(|stop| told.send(stop).unwrap_or_else(|_| unreachable!()));
    let all = async { timeout(Duration::from_secs(60), all).await.expect("it says that it reads no more") };
    let begun = crate::now();
    let session = async { park(session, mailbox, stops.await.unwrap(), "", |_, _| ()).await };
    let ((), session) = tokio::join!(all, session);
    assert!(session.is_some());
    let took = crate::now() - begun;
    assert!((2000..2100).contains(&took.as_millis()), "{took:?}");
}
