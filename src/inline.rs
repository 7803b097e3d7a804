//! Stream management [inside of SASL2 and Bind 2](https://xmpp.org/extensions/xep-0198.html#inline): a client authenticates,
//! resumes its session, or binds a resource and enables stream management, in one round trip.
//!
//! # A server
//!
//! SASL and its elements are the host's. The crate reads what the client asks for, keeps the order, and says what belongs
//! into `<success/>`:
//!
//! 1. Among the stream features, `<authentication/>` has the `<inline/>` that `inline_features` makes.
//! 2. On `<authenticate/>`, [`InlineElements::from_authenticate`](crate::InlineElements::from_authenticate) reads what the
//!    client asks for. An error fails the authentication with `malformed-request`.
//! 3. If authentication fails, the [`InlineElements`](crate::InlineElements) are dropped: nothing is looked up, and nothing
//!    told.
//! 4. If it succeeds, [`authenticated`](crate::InlineElements::authenticated) returns the first [step](crate::LoginStep), and
//!    `inline_login` goes on from there. The `<additional-data/>` that the mechanism wants to be in `<success/>` stays with
//!    the connection, for a session may write it.
//! 5. A connection that [comes back](crate::Event::Refused) has the next step with it: `log_in` of the server's loop starts
//!    `inline_login` with that.
//!
//! The [server's loop](crate#a-servers-loop) gets two arms more, one for events and one for what is written. The latter calls
//! `write_success` of the file below:
//!
//! ```
//! # use std::sync::Arc;
//! # use std::time::Instant;
//! # use bytes::Bytes;
//! # use xmpp_sm::{Config, Event, InlineElements, InlineSuccess, LoginStep, Replay, Session, SmId, Write};
//! # type Connection = Vec<String>;
//! # struct Host { jid: &'static str }
//! # impl Host {
//! #     fn register(&self, _: &Arc<str>) -> Option<SmId> { SmId::new("x").ok() }
//! # }
//! # impl Host {
//! #     fn write_success(&self, connection: &mut Connection, jid: &str, success: InlineSuccess) {
//! #         let enabled = success.bound.and_then(|bound| bound.enable).map(|reply| reply.to_string());
//! #         connection.push(format!("<success> {jid} {}", enabled.unwrap_or_default()));
//! #     }
//! # }
//! # fn has_room(connection: &Connection) -> bool { connection.len() < 64 }
//! # fn push(connection: &mut Connection, item: Write<'_, Bytes>) { connection.push(format!("{item:?}")); }
//! # fn turn(session: &mut Session<Bytes, Connection>, host: &Host, now: impl Fn() -> Instant) {
//! while let Some(event) = session.poll() {
//!     match event {
//!         Event::Enable(request) => {
//!             let smid = if request.is_resumable() { host.register(session.owner()) } else { None };
//!             let _ = session.accept_enable(request, smid, now());
//!         }
//!         _ => {} // as before
//!     }
//! }
//! while session.connection().is_some_and(has_room)
//!     && let Some((connection, item)) = session.next_write(now())
//! {
//!     match item {
//!         Write::Success(success) => host.write_success(connection, host.jid, *success),
//!         item => push(connection, item), // as before
//!     }
//! }
//! # }
//! # let now = Instant::now();
//! # let authenticate: minidom::Element = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-1'>\
//! #      <bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind></authenticate>".parse()?;
//! # let inline = InlineElements::from_authenticate(&authenticate)?;
//! # let config = Arc::new(Config::default());
//! # let step = inline.authenticated(config, "juliet@example.com", Replay::Impossible, now);
//! # let LoginStep::Bind(request) = step else { unreachable!() };
//! # let mut session: Session<Bytes, Connection> = request.bind(Vec::new(), now);
//! # turn(&mut session, &Host { jid: "juliet@example.com/balcony" }, || now);
//! # let written = &session.connection().ok_or("no connection")?[0];
//! # assert!(written.starts_with("<success> juliet@example.com/balcony <enabled ") && written.contains("id='x'"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A `push` that matches [`Write`](crate::Write) without `_` does not compile before it says what becomes of `Success`.
//!
//! [`Event::Enable`](crate::Event::Enable) is to `<bind/>` what [`Arrival::Enable`](crate::Arrival::Enable) is to a bare
//! `<enable/>`. [`Write::Success`](crate::Write::Success) needs the session's full JID, which a new connection does not know:
//! the session's own `Host` does. After an inline `<enable/>` stream management is on from the first stanza, and stanzas
//! may be sent before the initial presence. A client that binds `<inactive/>` is so from the start:
//! [`set_active`](crate::Session::set_active) is called directly after [`InlineBind::bind`](crate::InlineBind::bind).
//!
//! TLS early data ("0-RTT") can be recorded and sent again by anybody. A server
//! [must not](https://xmpp.org/extensions/xep-0388.html#security) authenticate by an `<authenticate/>` that came in it, with or
//! without inline elements: it fails the authentication, or takes no early data. [`Replay`](crate::Replay) is the
//! second line behind that. What may be a replay resumes and binds nothing.
//!
//! | the client asks for | what becomes of it | in `<success/>` | then |
//! | --- | --- | --- | --- |
//! | its session | resumed | the session's full JID, `<resumed/>` | what is resent; no features |
//! | its session and a resource | resumed | the same; the `<bind/>` is ignored | the same |
//! | its session | refused | the bare JID, `<failed/>` | features, with `<bind/>` and `<sm/>` |
//! | its session and a resource | refused, and bound | the new full JID, `<failed/>`, `<bound/>` | features |
//! | its session and a resource | not known: the store does not answer | none: `<failure/>`, `temporary-auth-failure` | the end of the stream: the client tries again |
//! | a resource | bound | the new full JID, `<bound/>` | features, with `<sm/>` |
//! | a resource, with stream management | bound and enabled | the new full JID, `<bound/>` with `<enabled/>` in it | features |
//! | a resource, with stream management | bound, not enabled | the new full JID, `<bound/>` with `<failed/>` in it | features, with `<sm/>` |
//! | neither | | the bare JID | features, with `<bind/>` and `<sm/>` |
//!
//! "Features, with `<bind/>`": the `<bind/>` of RFC 6120. A malformed `<resume/>` or `<enable/>` is refused alone, with
//! `bad-request`.
//!
//! "Not known": the store or another node does not answer, so the host refuses with `internal-server-error` or
//! `resource-constraint`. If it bound a resource now, the client would give up a session that may still exist: the
//! client would send again what was not acknowledged, and the server would hand out what it still has, too. So
//! [`Unknown`](crate::LoginStep::Unknown) is a step of its own. Failing the authentication leaves the session as it is;
//! a host may also bind all the same.
//!
//! This is the host's part. The tests run this very file, and so does
//! [`examples/server`](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/server). For attributes of
//! `minidom` it uses the crate `rxml` 0.14 with its feature `macros`.
//!
//! ```
#![doc = include_str!("host/inline.rs")]
//! ```
//!
//! # A client
//!
//! 1. When the connection is there and the features are read, [`InlineOffer::from_features`](crate::InlineOffer::from_features)
//!    says what the server offers, and [`Session::request_inline`](crate::Session::request_inline) what to ask for:
//!    [`to_elements`](crate::InlineRequest::to_elements) belongs into `<authenticate/>`, which must not be sent as TLS early
//!    data.
//! 2. On `<failure/>`, [`authentication_failed`](crate::Session::authentication_failed) takes the request back: nothing has
//!    changed. With `temporary-auth-failure` in it, the client tries again later, with the same password. If the
//!    connection is lost before there is an answer, drop the request: that counts as a
//!    [try](crate::Config::resume_tries_max).
//! 3. On `<success/>`, [`InlineRequest::reply`](crate::InlineRequest::reply) reads what has come of it. Unless the session
//!    [goes on](crate::InlineReply::is_resumed), the stream features follow. If a resource
//!    [is bound](crate::InlineReply::is_bound), its JID is the `<authorization-identifier/>`, and the former session is lost,
//!    whatever the server says about it.
//! 4. [`Session::connect_inline`](crate::Session::connect_inline) takes the reply, and the connection. The session goes on from
//!    there as after [`connect`](crate::Session::connect): what the server did not do inline is done the old way.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use minidom::Element;
//! use xmpp_sm::{Config, Event, InlineOffer, Offer, Session};
//!
//! let now = Instant::now();
//! let mut session: Session<String, ()> = Session::client(Arc::new(Config::default()), "juliet@example.com");
//! let features: Element = "<features xmlns='http://etherx.jabber.org/streams'><authentication xmlns='urn:xmpp:sasl:2'>\
//!      <mechanism>SCRAM-SHA-1</mechanism><inline><sm xmlns='urn:xmpp:sm:3'/><bind xmlns='urn:xmpp:bind:0'>\
//!      <inline><feature var='urn:xmpp:sm:3'/></inline></bind></inline></authentication></features>".parse()?;
//! let request = session.request_inline("juliet@example.com", InlineOffer::from_features(&features), now)?;
//! let authenticate = Element::builder("authenticate", "urn:xmpp:sasl:2")
//!     .append_all(request.to_elements(Some("balcony")))
//!     .build();
//! assert!(authenticate.has_child("bind", "urn:xmpp:bind:0"));
//!
//! // ... the client writes it, with its mechanism and initial response, and this comes back ...
//! let success: Element = "<success xmlns='urn:xmpp:sasl:2'>\
//!      <authorization-identifier>juliet@example.com/balcony</authorization-identifier><bound xmlns='urn:xmpp:bind:0'>\
//!      <enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/></bound></success>".parse()?;
//! let reply = request.reply(&success);
//! assert!(reply.is_bound() && !reply.is_resumed());
//! // ... unless it is resumed, the features follow: what they offer of these two ...
//! let offer = Offer { stream_management: false, binds: false };
//! session.connect_inline(reply, offer, (), now)?;
//! assert!(matches!(session.poll(), Some(Event::Online { enabled: true })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In the [client's loop](crate#a-clients-loop) the login asks the loop, which has the session, over a channel.
//! [`examples/client`](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/client) does this with `--inline`:
//!
//! ```
//! # use std::mem::take;
//! # use std::sync::Arc;
//! # use std::time::Instant;
//! # use bytes::Bytes;
//! # use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
//! # use tokio::sync::oneshot;
//! # use tokio::task::JoinSet;
//! # use xmpp_sm::{Config, Event, InlineOffer, InlineReply, InlineRequest, NotConnectedWhy, Offer, Session};
//! enum Ask {
//!     Request(InlineOffer, oneshot::Sender<Result<InlineRequest, NotConnectedWhy>>),
//!     Failed(InlineRequest),
//! }
//!
//! # struct App;
//! # struct Connection;
//! impl App {
//!     /// As before. Without a reply: by SASL without inline elements.
//!     fn log_in(
//!         &self,
//!         is_conflict: bool,
//!         ask: UnboundedSender<Ask>,
//!     ) -> impl Future<Output = (Offer, Connection, Option<InlineReply>)> + Send + 'static {
//!         async move {
//!             // ...
//! #           assert!(!is_conflict);
//! #           let (reply, request) = oneshot::channel();
//! #           let _ = ask.send(Ask::Request(InlineOffer::default(), reply));
//! #           let request = request.await.ok().and_then(Result::ok);
//! #           let success = minidom::Element::bare("success", "urn:xmpp:sasl:2");
//! #           let offer = Offer { stream_management: true, binds: true };
//! #           (offer, Connection, request.map(|request| request.reply(&success)))
//!         }
//!     }
//! #   fn owner(&self) -> &str { "juliet@example.com" }
//! }
//!
//! # async fn run(session: &mut Session<Bytes, Connection>, app: &App, now: impl Fn() -> Instant) {
//! # let (mut is_conflict, mut logins) = (false, JoinSet::new());
//! // before the loop
//! let (ask, mut asked) = unbounded_channel();
//!
//! # loop {
//! #     while let Some(event) = session.poll() {
//! #         if let Event::Bind(_) = event { return; }
//! #     }
//! #     if session.connection().is_none() && logins.is_empty() {
//! // where a login begins
//! logins.spawn(app.log_in(take(&mut is_conflict), ask.clone()));
//! #     }
//! #     tokio::select! {
//! // in the place of the first arm
//! Some(Ok((offer, connection, reply))) = logins.join_next() => match reply {
//!     Some(reply) => drop(session.connect_inline(reply, offer, connection, now())),
//!     None => drop(session.connect(app.owner(), offer, connection, now())),
//! },
//! Some(ask) = asked.recv() => match ask {
//!     Ask::Request(offer, request) => drop(request.send(session.request_inline(app.owner(), offer, now()))),
//!     Ask::Failed(request) => session.authentication_failed(request),
//! },
//! #     }
//! # }
//! # }
//! # let mut session = Session::client(Arc::new(Config::default()), "juliet@example.com");
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(run(&mut session, &App, Instant::now));
//! # assert!(session.connection().is_some());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! What is neither a stanza nor stream management, `<inactive/>` for one, the client writes itself, between two of what
//! [`next_write`](crate::Session::next_write) returns.
