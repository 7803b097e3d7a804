//! Stream management [inside of SASL2 and Bind 2](https://xmpp.org/extensions/xep-0198.html#inline): a client authenticates,
//! resumes its session, or binds a resource and enables stream management, in one round trip.
//!
//! # A server
//!
//! SASL and its elements are the host's. The crate reads what the client asks for, keeps the order, and says what belongs
//! into `<success/>`:
//!
//! 1. Among the stream features, `<authentication/>` has the `<inline/>` that `inline_features` makes.
//! 2. On `<authenticate/>`, [`Inline::from_authenticate`](crate::Inline::from_authenticate) reads what the client asks for. An
//!    error fails the authentication with `malformed-request`.
//! 3. If authentication fails, the [`Inline`](crate::Inline) is dropped: nothing is looked up, and nothing told.
//! 4. If it succeeds, [`Unbound::with_inline`](crate::Unbound::with_inline) takes it, and `inline` does the rest. The
//!    `<additional-data/>` that the mechanism wants to be in `<success/>` stays with the connection, for a session may write
//!    it.
//! 5. When a connection [comes back](crate::Event::Refused), `inline` comes before anything else, again.
//!
//! The server's loop gets two arms more. [`Event::Enable`](crate::Event::Enable) is what
//! [`Arrival::Enable`](crate::Arrival::Enable) is. [`Write::Success`](crate::Write::Success) needs the session's full JID,
//! which a new connection does not know and the `Host` of the session does:
//!
//! ```text
//! Event::Enable(request) => enable(request, &mut session, &host), // as `on_element` does it
//!
//! match item {
//!     Write::Success(sm) => host.write_success(connection, *sm), // `success` below, with the session's full JID
//!     item => connection.push(item),
//! }
//! ```
//!
//! | the client asks for | what becomes of it | in `<success/>` | then |
//! | --- | --- | --- | --- |
//! | its session | resumed | the session's full JID, `<resumed/>` | what is resent; no features |
//! | its session and a resource | resumed | the same; the `<bind/>` is ignored | the same |
//! | its session | refused | the bare JID, `<failed/>` | features, with `<bind/>` and `<sm/>` |
//! | its session and a resource | refused, and bound | the new full JID, `<failed/>`, `<bound/>` | features |
//! | a resource | bound | the new full JID, `<bound/>` | features, with `<sm/>` |
//! | a resource, with stream management | bound and enabled | the new full JID, `<bound/>` with `<enabled/>` in it | features |
//! | a resource, with stream management | bound, not enabled | the new full JID, `<bound/>` with `<failed/>` in it | features, with `<sm/>` |
//! | neither | | the bare JID | features, with `<bind/>` and `<sm/>` |
//!
//! A malformed `<resume/>` or `<enable/>` is refused alone, with `bad-request`. What may be a [replay](crate::Replay) resumes
//! and binds nothing.
//!
//! This is the host's part. The tests run this very file, and so does `examples/server`. For attributes of `minidom` it
//! uses the crate `rxml` 0.14 with its feature `macros`.
//!
//! ```
#![doc = include_str!("host/inline.rs")]
//! ```
//!
//! # A client
//!
//! 1. When the connection is there and the features are read, [`InlineOffer::from_features`](crate::InlineOffer::from_features)
//!    says what the server offers, and [`Session::inline`](crate::Session::inline) what to ask for:
//!    [`to_elements`](crate::InlineRequest::to_elements) belongs into `<authenticate/>`.
//! 2. If authentication fails, drop the request: nothing has changed.
//! 3. On `<success/>`, [`InlineReply::from_success`](crate::InlineReply::from_success) reads what has come of it. Unless the session
//!    [goes on](crate::InlineReply::is_resumed), the stream features follow. If a resource
//!    [is bound](crate::InlineReply::is_bound), its JID is the `<authorization-identifier/>`.
//! 4. [`Session::connect_inline`](crate::Session::connect_inline) takes all that, and the connection. The session goes on from
//!    there as after [`connect`](crate::Session::connect): what the server did not do inline is done the old way.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use minidom::Element;
//! use xmpp_sm::{Config, Event, InlineOffer, InlineReply, Offer, Session};
//!
//! let now = Instant::now();
//! let mut session: Session<String, ()> = Session::client(Arc::new(Config::default()), "juliet@example.com");
//! let features: Element = "<features xmlns='http://etherx.jabber.org/streams'><authentication xmlns='urn:xmpp:sasl:2'>\
//!      <mechanism>SCRAM-SHA-1</mechanism><inline><sm xmlns='urn:xmpp:sm:3'/><bind xmlns='urn:xmpp:bind:0'>\
//!      <inline><feature var='urn:xmpp:sm:3'/></inline></bind></inline></authentication></features>".parse()?;
//! let request = session.inline(InlineOffer::from_features(&features), now);
//! let authenticate = Element::builder("authenticate", "urn:xmpp:sasl:2")
//!     .append_all(request.to_elements(Some("balcony")))
//!     .build();
//! assert!(authenticate.has_child("bind", "urn:xmpp:bind:0"));
//!
//! // ... the client writes it, with its mechanism and initial response, and this comes back ...
//! let success: Element = "<success xmlns='urn:xmpp:sasl:2'>\
//!      <authorization-identifier>juliet@example.com/balcony</authorization-identifier><bound xmlns='urn:xmpp:bind:0'>\
//!      <enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/></bound></success>".parse()?;
//! let reply = InlineReply::from_success(&success);
//! assert!(reply.is_bound() && !reply.is_resumed());
//! // ... unless it is resumed, the features follow: what they offer of these two ...
//! let offer = Offer { stream_management: false, binds: false };
//! session.connect_inline("juliet@example.com", request, reply, offer, (), now)?;
//! assert!(matches!(session.poll(), Some(Event::Online { enabled: true })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In the client's loop, `log_in` runs while the loop owns the session. So `log_in` asks the loop for the request, over a
//! channel of `(InlineOffer, oneshot::Sender<InlineRequest>)`, and returns the request and the reply beside the connection
//! if there are any. The loop gets one arm more, and `connect_inline` in that of `log_in`, as in `examples/client` with
//! `--inline`:
//!
//! ```text
//! Some((offer, request)) = asked.recv() => drop(request.send(session.inline(offer, now()))),
//! ```
