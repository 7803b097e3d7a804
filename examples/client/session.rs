//! The client's session, over all its connections: the loop that the documentation shows.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use minidom::Element;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep_until;
use xmpp_parsers::ns;
use xmpp_sm::{Arrival, EndReason, Event, Inbound, MustBind, Session};

use super::connection::{Connection, drive};
use super::lines::Line;
use super::login::{Arrived, Ask, Inlined, Refused, Tries};
use super::user::User;
use super::xml::Incoming;
use super::{Options, login, message};

/// From the start to the user's `quit`. `tell` is given a line for each event.
///
/// An error: the server does not let us in.
pub async fn run(
    options: Options,
    mut lines: UnboundedReceiver<Line>,
    tell: impl Fn(String) + Sync,
) -> Result<(), Refused> {
    let owner = options.jid.to_bare().to_string();
    let mut session = Session::<Bytes, Connection>::client(Arc::new(options.config()), &*owner);
    let mut user = User::new(&options, &tell);
    let (ask, mut asked) = unbounded_channel();
    let tries = Tries::default();
    let mut login = Box::pin(login::log_in(&options, &tries, &ask, &tell));
    let (mut binding, mut farewell, mut result) = (None, None, Ok(()));
    loop {
        while let Some(event) = session.poll() {
            match event {
                Event::Left { connection, parting, .. } => {
                    tell(format!("offline {parting:?}"));
                    farewell = Some(tokio::spawn(connection.part(parting)));
                }
                Event::Bind(token) => {
                    binding = Some(token);
                    session.connection_mut().into_iter().for_each(|connection| login::bind(connection, &options.jid));
                }
                Event::Online { .. } => {
                    tries.have_succeeded();
                    user.on_online();
                }
                Event::Resumed => {
                    tries.have_succeeded();
                    tell("resumed".to_owned());
                }
                Event::NotResumed(failed) => {
                    tell(format!("failed {}", failed.h.map_or("-".to_owned(), |h| h.get().to_string())));
                }
                Event::Conflict => user.is_away = true,
                Event::Ended(_) => {
                    if let Some(farewell) = farewell {
                        let _ = farewell.await;
                    }
                    return result;
                }
                _ => {}
            }
        }
        let now = Instant::now();
        while session.has_room()
            && let Some(stanza) = user.outbox.pop_front()
        {
            session.send(stanza, now).unwrap_or_else(|not| tell(format!("note {not}")));
        }
        while session.connection().is_some_and(Connection::has_room)
            && let Some((connection, item)) = session.next_write(now)
        {
            connection.push(item);
        }
        let (is_offline, deadline) = (session.connection().is_none(), session.deadline());
        let reads = session.wants_read() && user.is_reading;
        tokio::select! {
            arrived = &mut login, if is_offline && !user.is_away => {
                login.set(login::log_in(&options, &tries, &ask, &tell));
                let now = Instant::now();
                // The owner is the session's. If it is over, the connection is of no use.
                match arrived {
                    Ok(Arrived { offer, connection, inline: None }) => {
                        drop(session.connect(&owner, offer, connection, now));
                    }
                    Ok(Arrived { offer, connection, inline: Some(Inlined { reply, jid }) }) => {
                        if reply.is_bound() {
                            user.jid = jid;
                        }
                        drop(session.connect_inline(reply, offer, connection, now));
                    }
                    Err(refused) => {
                        result = Err(refused);
                        session.close(EndReason::Closed, None, now);
                    }
                }
            }
            Some(ask) = asked.recv() => match ask {
                Ask::Request(offer, request) => {
                    drop(request.send(session.request_inline(&owner, offer, Instant::now())));
                }
                Ask::Failed(request) => session.authentication_failed(request),
            },
            arrived = drive(session.connection_mut(), reads) => match arrived {
                Ok(None) => {}
                Ok(Some(Incoming::Element(element))) => on_element(element, &mut session, &mut binding, &mut user),
                // It is none that a host has anything to do with.
                Ok(Some(Incoming::Nonza(nonza))) => drop(session.handle(nonza.into(), Instant::now())),
                Ok(Some(Incoming::Footer | Incoming::Header)) => session.peer_closed(Instant::now()),
                Err(why) => {
                    tell(format!("note {why}"));
                    session.lost(Instant::now());
                }
            },
            line = lines.recv(), if !user.is_quitting => {
                user.on_line(line.unwrap_or(Line::Quit));
                if user.is_quitting {
                    session.close(EndReason::Closed, None, Instant::now());
                }
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                session.timeout(Instant::now());
            }
        }
    }
}

fn on_element(
    element: Element,
    session: &mut Session<Bytes, Connection>,
    binding: &mut Option<MustBind>,
    user: &mut User<'_>,
) {
    let now = Instant::now();
    let inbound = Inbound::from_element(&element, ns::JABBER_CLIENT);
    if let (Inbound::StreamError { .. }, Some(condition)) = (&inbound, element.children().next()) {
        user.tell(format_args!("note stream error: {}", condition.name()));
    }
    // It is read only when the session wants to.
    let Ok(Arrival::Stanza(receipt)) = session.handle(inbound, now) else { return };
    if let Some(token) = binding.take_if(|_| login::is_bind(&element)) {
        match login::bound(element) {
            Ok(jid) => {
                user.jid = jid.to_string();
                // It is of an earlier connection, which is lost, or of this one.
                let _ = session.bound(token, now);
            }
            Err(why) => {
                user.tell(format_args!("note {why}"));
                session.lost(now);
            }
        }
        return;
    }
    message::read(element).into_iter().for_each(|message| user.tell(format_args!("received {message}")));
    // It is handled now: from here on h covers it.
    let _ = session.settle(receipt, now);
}
