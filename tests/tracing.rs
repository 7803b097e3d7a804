//! One event for each transition of a session, named as in the documentation, and neither an SM-ID nor a stanza in any.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use xmpp_sm::{Arrival, Config, Early, Enable, EndReason, Nonza, Resume, Session, SmId, Taker, Unbound};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.0.insert_str(0, &format!("{value:?}")),
            name => write!(self.0, " {name}={value:?}").expect("text"),
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        assert_eq!((event.metadata().target(), *event.metadata().level()), ("xmpp_sm", Level::DEBUG));
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("no panic").push(line.0);
    }
}

const SECRET: &str = "sm-id-of-juliet";

fn taker(config: &Arc<Config>, previd: &str, h: u32, now: Instant) -> Taker<u32> {
    let mut stream = Unbound::new(config.clone(), "juliet@example.com");
    let resume = Resume { previd: SmId::new(previd).expect("text"), h: h.into() };
    let Ok(Early::Resume(request)) = stream.handle(Nonza::Resume(resume).into(), now) else { panic!() };
    stream.into_taker(request, 2).expect("its own")
}

#[test]
fn each_transition_is_told_once() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        let (config, mut now) = (Arc::new(Config::default()), Instant::now());
        let mut session: Session<&str, u32> = Unbound::new(config.clone(), "juliet@example.com").bind(1);
        let enable = Nonza::Enable(Enable { resume: true, max: None });
        let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { panic!() };
        session.accept_enable(request, SmId::new(SECRET).ok(), now).expect("its own");
        for stanza in ["<message>one</message>", "<message>two</message>"] {
            session.send(stanza, now).expect("room");
        }
        while session.next_write(now).is_some() {}
        session.lost(now);
        session.send("<message>three</message>", now).expect("room");
        now += Duration::from_secs(90);
        session.take(taker(&config, "another", 0, now), now);
        session.take(taker(&config, SECRET, 1, now), now);
        while session.next_write(now).is_some() {}
        session.close(EndReason::Stopped, None, now);
        while session.next_write(now).is_some() {}
        session.lost(now);
        while session.poll().is_some() {}
    });
    let lines = lines.0.lock().expect("no panic").clone();
    let expected = [
        "enabled resumable=true",
        "detached detached_why=\"Lost\" unacked=2 waiting=0",
        "refused condition=\"item-not-found\"",
        "resumed resumed_after=90.0 unacked=1",
        "ended reason=\"Stopped\" h=0 leftovers=2",
    ];
    assert_eq!(lines, expected);
}
