//! Stream management in one file: a server and a client, thirty messages each way, and a connection that is cut in the
//! middle. No network, no threads.
//!
//! ```text
//! cargo run --example loopback
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use minidom::Element;
use xmpp_sm::{
    Arrival, Config, Early, Event, MemoryStore, Offer, Parting, Session, SessionStore, SmId, Unbound, Write,
};

const NS: &str = "jabber:client";
const OWNER: &str = "juliet@example.com";

/// One direction of a connection: the elements that are on their way, as text.
type Wire = VecDeque<String>;

/// One side of the loop: its session, and the ids of the messages that it got.
struct Side {
    session: Session<String, Wire>,
    got: Vec<u32>,
}

impl Side {
    /// Writes all that the session has to say, and tells what else it says.
    fn write(&mut self, now: Instant) -> Vec<Event<String, Wire>> {
        while let Some((wire, item)) = self.session.next_write(now) {
            match item {
                Write::Stanza { stanza, .. } => wire.push_back(stanza.clone()),
                Write::Nonza(nonza) => wire.push_back(nonza.to_string()),
                Write::StreamError(error) => wire.push_back(error.to_string()),
                _ => {}
            }
        }
        std::iter::from_fn(|| self.session.poll()).collect()
    }

    /// Takes one element from the other side.
    fn read(&mut self, text: &str, store: &MemoryStore<()>, now: Instant) -> Result<(), Box<dyn Error>> {
        let element: Element = text.parse()?;
        match self.session.handle(self.session.inbound(&element), now)? {
            Arrival::Stanza(receipt) => {
                self.got.push(element.attr("id").ok_or("a message without an id")?.parse()?);
                self.session.settle(receipt, now)?;
            }
            Arrival::Enable(request) => {
                let smid = SmId::random()?;
                let _ = store.register(&smid, self.session.owner(), (), now)?;
                self.session.accept_enable(request, Some(smid), now)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (config, now) = (Arc::new(Config::default()), Instant::now());
    let store = MemoryStore::new(&config);
    let offer = Offer { stream_management: true, binds: true };

    // A connection: the client has authenticated, and binds a resource.
    let mut client = Side { session: Session::client(config.clone(), OWNER), got: Vec::new() };
    client.session.connect(OWNER, offer, Wire::new(), now).map_err(|no| no.to_string())?;
    let Some(Event::Bind(must_bind)) = client.session.poll() else { unreachable!("there is no session yet") };
    client.session.bound(must_bind, now)?;
    let mut server = Side { session: Unbound::new(config.clone(), OWNER).bind(Wire::new()), got: Vec::new() };

    for id in 1..=30 {
        let message = format!("<message xmlns='{NS}' id='{id}'/>");
        server.session.send(message.clone(), now)?;
        client.session.send(message, now)?;

        if id == 15 {
            // Written, and lost with the connection: neither side knows how much the other has got.
            server.write(now);
            client.write(now);
            server.session.lost(now);
            client.session.lost(now);
            println!("cut: the server does not know whether {} of its messages arrived", server.session.unacked());

            // The client comes back and asks for its session, on a stream that is not bound.
            client.session.connect(OWNER, offer, Wire::new(), now).map_err(|no| no.to_string())?;
            client.write(now);
            let resume: Element = take(&mut client).ok_or("no <resume/>")?.parse()?;
            let mut stream = Unbound::new(config.clone(), OWNER);
            let Early::Resume(request) = stream.handle(stream.inbound(&resume), now)? else { unreachable!() };
            store.lookup(request.previd(), OWNER, now)?.session().map_err(|_| "an unknown session")?;
            server.session.take(stream.into_taker(request, Wire::new())?, now);
        }

        // What each has written travels to the other, until both are silent.
        loop {
            for event in server.write(now).into_iter().chain(client.write(now)) {
                match event {
                    Event::Resumed => println!("resumed"),
                    Event::Left { parting: Parting::Drop, .. } | Event::Online { .. } => {}
                    other => return Err(format!("unexpected: {other:?}").into()),
                }
            }
            match (take(&mut server), take(&mut client)) {
                (None, None) => break,
                (to_client, to_server) => {
                    to_client.map_or(Ok(()), |text| client.read(&text, &store, now))?;
                    to_server.map_or(Ok(()), |text| server.read(&text, &store, now))?;
                }
            }
        }
    }

    let all: Vec<u32> = (1..=30).collect();
    assert_eq!((&server.got, &client.got), (&all, &all), "each message once, in order");
    println!("30 messages each way, one cut: 0 lost, 0 doubled");
    Ok(())
}

/// The next element that this side has written.
fn take(side: &mut Side) -> Option<String> {
    side.session.connection_mut()?.pop_front()
}
