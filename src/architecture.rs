//! How the crate is built: its two layers, its rooms, and two ways through it.
//!
//! # Two layers
//!
//! The **engine** is [`StreamMgmt`](crate::StreamMgmt) with [`Detached`](crate::Detached) and
//! [`SessionStore`](crate::SessionStore). It counts, acknowledges, negotiates and resumes. It knows one stream at a time.
//!
//! The **session** is [`Session`](crate::Session) with [`Unbound`](crate::Unbound) and [`Taker`](crate::Taker). It is all
//! that a host would otherwise write around the engine, as one value that lives from bind to the end, with a connection or
//! without one: one way in, one way out, a backlog, take-overs, closing, and the client's decisions.
//!
//! Neither does I/O. Time comes in as the last argument of a call, and goes out as an `Option<Instant>`.
//!
//! # Rooms
//!
//! A room is a file of `src`, with the directory of the same name. Imports run downwards only: a room uses those below it
//! in this table, and none above. A test reads every import.
//!
//! | room | what is in it |
//! | --- | --- |
//! | `store_tests` | the contract of the stores as tests that any store can run; nothing without the feature `store-tests` |
//! | `typed` | reading and writing by the traits of the crate `xso`, and the page about it, with the feature `xso` |
//! | `snapshot` | a session as bytes, and the ledger of what of it is written down, with the feature `snapshot` |
//! | `session` | [`Session`](crate::Session): the way in, the way out, the backlog, evicted stanzas, take-overs, timers, closing; inline negotiation; its client's part |
//! | `trace` | events for the crate `tracing`, one for each transition of a session; nothing without the feature |
//! | `stream` | [`StreamMgmt`](crate::StreamMgmt): phases, what may come when, both roles' negotiation, stanzas in and out, when to ask for an acknowledgement, a stream that closes |
//! | `store` | [`SessionStore`](crate::SessionStore) and [`AsyncSessionStore`](crate::AsyncSessionStore), [`Parking`](crate::Parking) and [`Journal`](crate::Journal), the contracts; [`MemoryStore`](crate::MemoryStore); `RedisStore` with the feature `redis` |
//! | `disposition` | [what the specifications advise](crate::disposition) for the stanzas that a session leaves |
//! | `error` | [`Error`](crate::Error), whose [`Fault`](crate::Fault) it is, and the [`Reaction`](crate::Reaction) to it |
//! | `detached` | both directions of a session; [`Detached`](crate::Detached), a session without a stream; [`Ended`](crate::Ended), what it leaves |
//! | `receipts` | which stanzas of the peer the host has settled, and `h` |
//! | `queue` | the unacknowledged stanzas, which `h` can be right, and what waits behind them |
//! | `config` | the options, their defaults and bounds |
//! | `stats` | [`Stats`](crate::Stats), [`StoreStats`](crate::StoreStats): what an operator sees |
//! | `stream_error` | the stream errors that the crate has written |
//! | `delay` | stamps for what goes out late |
//! | `nonza` | the elements of `urn:xmpp:sm:3`: types, reading, writing |
//! | `smid` | [`SmId`](crate::SmId) |
//! | `counter` | [`Counter`](crate::Counter), which wraps |
//! | `stanza` | [`Stanza`](crate::Stanza): what the crate has to know of a stanza |
//!
//! Beside them stand the pages: this one, [`conformance`](crate::conformance), [`decisions`](crate::decisions),
//! [`phases`](crate::phases), [`costs`](crate::costs), [`inline`](crate::inline), [`nodes`](crate::nodes) and
//! [`tokens`](crate::tokens); and `host`, the host's part as the
//! documentation prints it, which the tests run.
//!
//! # A stanza's way out
//!
//! File and functions, from top to bottom; what is indented is called by what stands over it. The functions are there: a
//! test looks.
//!
//! ```text
//! the host has a stanza for the peer
//!   session/send.rs          send, send_otherwise        refuses it only if the session is over, or a client's is full
//!     queue/backlog.rs       push_waiting                it waits, in order, behind what is sent
//!
//! the host's connection has room
//!   session/write.rs         next_write                  the fast way: an <r/>, or a new stanza that there is room for
//!     stream/send.rs         record_first_calm
//!       queue/backlog.rs     first_waiting, send_first   it is kept and numbered: from here on it cannot be lost
//!       stream/requests.rs   is_in_rhythm, note_request  does an <r/> follow it?
//!     session/write.rs       choose, choose_new          all else, in this order: replies, <r/>, <a/>, resent, new
//!       stream/send.rs       takes, record_first         a new stanza where the queue is not calm: is there room?
//!     session/write.rs       write                       it is put together
//!   the host writes the stanza that it has borrowed from the queue, and then the <r/>
//! ```
//!
//! # An `<a/>`'s way in
//!
//! ```text
//! the host has read an element
//!   stream/inbound.rs        from_element                nonza, stanza, or none of both
//!     nonza/parse.rs         from_element, parse
//!   session/receive.rs       handle, take_ack            if the stream lives and is not closing
//!     stream/send.rs         check_ack
//!       queue.rs             check                       is this h possible? If not, all stays as it was
//!     stream/send.rs         acknowledge                 the engine
//!       queue.rs             acknowledge                 the stanzas go
//!       stream/requests.rs   on_answer                   the <r/> is answered, its timeout over
//!     session/tally.rs       on_answer                   how long the peer took
//!     session/evicted.rs     on_ack                      what had left the buffer is acknowledged, too
//! the next call of next_write finds the room that this has made
//! ```
