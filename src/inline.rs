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
//!    it: [`Write::Success`](crate::Write::Success). In its loop, [`Event::Enable`](crate::Event::Enable) is what
//!    [`Arrival::Enable`](crate::Arrival::Enable) is.
//! 5. When a connection [comes back](crate::Event::Refused), `inline` comes before anything else, again.
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
//! This is the host's part. The tests run this very file, and so does `examples/server`.
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
//! `examples/client` does it with `--inline`.
