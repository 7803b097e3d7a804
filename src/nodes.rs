//! Sessions that outlive their process: a restart, a crash, another node, an upgrade.
//!
//! | what shall not end a session | what it takes |
//! | --- | --- |
//! | its server is restarted in good order | the feature `snapshot`, and a file: [a restart](#a-restart). No engine |
//! | its client comes back to another node; a node stops in good order | the features `snapshot` and `redis`, and [a node's loop](#a-nodes-loop) with [`Promise::Parked`] or [`Promise::Memory`] |
//! | a node is killed | the same with [`Promise::Durable`] |
//! | any of these, over another engine than Redis | [a store of your own](#a-store-of-your-own) |
//!
//! What a host that shares its sessions by Redis or Valkey has in its `Cargo.toml`; [`RedisStore`] says how to configure the
//! engine:
//!
//! ```toml
//! [dependencies]
//! xmpp-sm = { version = "0.1", features = ["redis", "snapshot"] }
//! # `RedisStore` takes connections of this crate, so it is the same major version, and 1.8 or later. The host says by
//! # features what it needs: "cluster-async" for a cluster, "sentinel", "tokio-rustls-comp" for TLS (`rediss://`).
//! redis = { version = "1.8", default-features = false, features = ["connection-manager", "tokio-comp"] }
//! bytes = "1"
//! minidom = "0.19"
//! tokio = { version = "1", features = ["io-util", "macros", "net", "rt-multi-thread", "sync", "time"] }
//!
//! [dev-dependencies]
//! xmpp-sm = { version = "0.1", features = ["store-tests"] } # to check a store of your own
//! ```
//!
//! # A restart
//!
//! A server that is told to stop closes its listener, has each session leave its client, and writes it down. The next
//! process reads all of them before it listens. Its clients resume as if nothing had been, with what is left of their time.
//!
//! The [server's loop](crate#a-servers-loop) gets a `Mail::Stop(Stop)` and an arm for it, `return host.stop(session, mailbox,
//! stop).await`, which calls `park` and hands over what it returns. A session must not be written down while others still send
//! to it: so all of them stop reading first, and then each empties its mailbox. The tests run this file:
//!
//! ```
//! # mod server_loop { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/host/server.rs")); }
#![doc = include_str!("host/restart.rs")]
//! # fn main() {}
//! ```
//!
//! - **What cannot be read** is [below](#what-a-host-meets). A host that has met some renames the file instead of removing it.
//! - **A session without stream management** ends: [`close`](crate::Session::close) with `Stopped`.
//! - **The file is as secret** as what people wrote to each other: its mode is 0600, its directory the server's own.
//! - **What waits for users who are offline** is no session's, and the host's to keep.
//! - **Stale `h`** goes along by [`stale_records`](crate::MemoryStore::stale_records) and
//!   [`restore_stale`](crate::MemoryStore::restore_stale).
//!
//! [`examples/server --state-dir`](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/server/state.rs) does all of it.
//!
//! # A node's loop
//!
//! This is the [server's loop](crate#a-servers-loop) with a [`Ledger`]: what is due is written down before anything goes out.
//! It shares `Connection`, `Input`, `drive` and `now` with that loop, which is the module `server_loop` here. The tests run this very
//! file, over a store that fails, and kill its nodes.
//!
//! ```
//! # mod server_loop { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/host/server.rs")); }
#![doc = include_str!("host/node.rs")]
//! # fn main() {}
//! ```
//!
//! - **A login** that has bound a resource starts `serve`, with `Shared { registration: None, ledger }`, where `ledger` is
//!   `Ledger::new(promise).version(version)`: [upgrades](#upgrades). On `<resume/>` it looks into the node's own table of
//!   sessions, by owner and SM-ID, which `registered` and `revived` fill. It gives the [`Taker`](crate::Taker) to the session
//!   that it finds there, and else to `find`, in a task: that makes the one `lookup`.
//! - **A session's state** has changed, such as its presence: `Mail::Changed`. Each session of a node gets one when
//!   [the engine has lost something](RedisStore#what-was-lost), when `version` is another one, and twice in each
//!   [`session_ttl`](RedisStore::session_ttl), if there is one. With that, and where
//!   the engine has lost them, sessions would have to be registered again. The loop ends them instead, and what they have goes to
//!   their users; [`nodes/engine.rs`](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/server/nodes/engine.rs) of the example registers them.
//! - **A session that is not here any more**, and its resource, are forgotten by the host in `pass_on` or `let_go`: each `serve` ends
//!   with one of them.
//! - **A node that stops** closes its listener, gives each session a `Mail::LetGo(None)`, and ends when all of them are elsewhere: when
//!   `serve` has returned.
//!
//! Who waits for what:
//!
//! | who | waits until |
//! | --- | --- |
//! | anything that goes out | [`due`](crate::snapshot::Ledger::due) has been written. [`next_write`](crate::snapshot::Ledger::next_write) returns `None` until then |
//! | a receipt ([`Durable`](Promise::Durable)) | the recipient's ledger [has written](crate::snapshot::Ledger::is_written) the stanza: `Done`. Where that session ends, its stanzas are elsewhere. A mailbox dies with its process, and `Done` with it, uncalled: then the sender's host sends the stanza on its way again, as to a recipient that is not there ([in order](#order)). With the other promises the mailbox is enough |
//! | `<a/>`, which tells `h` | the sender's own ledger has written that `h`: a second write, after the recipient's |
//! | the next element of the client | the store has answered. While it does not, nothing is read, nor written; connections and sessions stay |
//! | a client that is back at another node | the session's node has let go, some seconds at most. Then it is claimed all the same |
//! | a session that is let go | receipts, for a bounded time, for they count in `h`; then what is due |
//! | [`retire`](AsyncSessionStore::retire) and [`remove`](AsyncSessionStore::remove) | the stanzas of the session are kept elsewhere. A node that dies before leaves a session that others claim |
//!
//! **Many sessions write together.** [`Due::change`](crate::snapshot::Due::change) gives the changes of several sessions to one
//! [`append`](crate::Journal::append): in which order, and what it leaves if it fails, is
//! [there](crate::Journal#several-sessions-in-one-call).
//!
//! **Nodes talk to each other** by a link of the host's, which may lose anything but stanzas: a node that hears nothing claims,
//! and the other one finds that its [fence is lost](#a-fence-that-is-lost).
//!
//! | what is said | by whom, to whom | what the other one does |
//! | --- | --- | --- |
//! | let go of this owner's SM-ID, for a client with this [`h`](crate::Taker::h) | `ask_to_let_go`, to the node in the handle, which may be this one | finds its session by `registered`, and gives it a `Mail::LetGo`. If it has none, it says at once that it is free |
//! | it is free | `let_go`, to who has asked | waits no longer, and claims it |
//! | it is kept: no client [can have handled](crate::Session::check_resume) so many stanzas of it | `keep`, to who has asked with that | refuses its client, and leaves the session where it is |
//! | this registration was displaced | `end`, to the node in the handle | finds it in the same way, and gives it a `Mail::End(Replaced)` |
//! | a stanza for a full JID | `route` and `pass_on`, to the node that has the resource | gives it to the session with a `Done` that answers. If it has no such session, it says so, and the sender looks again where that is |
//! | I live | each, to all | counts a node as dead that has not said so for some seconds |
//!
//! **A dead node's sessions** are claimed by their clients as they come back. For those that do not, a node looks through
//! [`sessions_at`](RedisStore::sessions_at) when it starts, and when one that has said "I live" is dead, until nothing is left of
//! that. It gives each to `adopt`, so that their time runs out somewhere and their stanzas go on. It is a script for each owner, too
//! much to do every few seconds. [`examples/server/nodes`](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/server/nodes) has
//! that, the link, and the mail of users.
//!
//! - **Whose they were** is in their handles: `sessions_at(b"", 0)` lists all. A handle names a node and its run, a random number
//!   that each start makes. "I live" names both, so what a former run of this very node had is a dead one's.
//! - **Of its own run** a node adopts what is not in its table: the answer to a `register` or a `claim` was lost, or it has let go
//!   and nobody came. It looks these up by name, and once more some ten seconds later, for one may be on its way.
//! - **A node that is only cut off** counts as dead, too. What it has in memory goes on there, but its client cannot resume it once
//!   `adopt` or `find` has removed its record. The example's search removes it after a minute.
//!
//! ## Order
//!
//! The stanzas of one sender to one full JID stay in order if its host keeps those whose `Done` is open in a queue for that full
//! JID. Each is answered: `Done` is called; or it is dropped uncalled, and a value in it, whose `Drop` says so, tells the sender's
//! host. A node that has died answers nothing: the others know that when it has not said "I live" for some seconds.
//!
//! - **One was dropped, or the node has died**: the host asks where the full JID is now, and sends the whole queue there, oldest
//!   first. What is new goes behind it.
//! - **The full JID moves** while some are open: what is new waits until these are answered. For they may be in the mailbox that
//!   follows the session.
//! - **A mailbox dies as a whole**: of what went to one place, none that was dropped was before one that was kept.
//! - **The example has no queue at the sender**: the mail of a session is a list in the Redis, whichever node has it.
//!
//! # A fence that is lost
//!
//! [`Fence::Lost`](crate::Fence::Lost) says that this node has the session no more. What the host does, in order, which is
//! `lost` in the loop:
//!
//! 1. It writes nothing more to the client, and settles what is open: [`settle_all`](crate::Session::settle_all). Those receipts
//!    count no more, for the new owner goes by the `h` that was written down: the client sends the stanzas of these once
//!    more. A connection that waits for receipts gets the session by that, and is left in the next step.
//! 2. It leaves its client, [`lost`](crate::Session::lost): the connection is dropped without a word. An error or
//!    `</stream:stream>` would be taken for the end of the session; a client whose connection is gone asks for it, and
//!    finds it at the other node.
//! 3. It [polls](crate::Session::poll) until there is nothing more: connections come out.
//! 4. It [looks up](AsyncSessionStore::lookup) where the session is: the table below.
//! 5. [`into_parts`](crate::Session::into_parts) takes it apart. An error (`Ending`): it was closing, and `Ended` had its stanzas,
//!    all of which go on.
//! 6. These stanzas go on, and behind them what is in the mailbox, in order. Then the receipts that wait for these are
//!    settled.
//! 7. Nothing is retired or removed: the record is another's, but for a session that was displaced. This node forgets the
//!    resource, and sends no `unavailable`: the session lives.
//!
//! | the lookup says | which stanzas | to where |
//! | --- | --- | --- |
//! | a session of a higher epoch | [`not_written`](crate::snapshot::Ledger::not_written) | the node that has it, as new stanzas for the same full JID |
//! | a session of this epoch, or a lower one: the engine [has lost](RedisStore#what-was-lost) what came after | all, [`into_stanzas`](crate::SessionParts::into_stanzas): better twice than never | the same |
//! | its `h`: it has ended there, and its stanzas went on | `not_written` | where stanzas go whose recipient is not there |
//! | nothing: it was displaced, the store has lost it, or its client has closed it | all | the same |
//! | an error | `not_written` | the node that has the resource, if one has |
//!
//! **A session that was [displaced](crate::Registered::displaced)** is lost to its host as well: what it writes is refused. But no
//! other host has it. The host that has displaced it says so to its host, which ends it (`Mail::End`). Whether that is heard, or the
//! host finds that it has lost the session: it [claims](crate::Parking::claim) it by its own registration (`displaced`). Then its
//! stanzas are this host's to pass on, and its record is retired by the new registration. If the host dies before, its
//! session is among [those of a dead node](#a-nodes-loop): `adopt` claims it, `serve` finds at its first write that it is
//! displaced, and does the same.
//!
//! **A session that is over, and another's** (`owned`): what was not written down goes to the node that has it. In the loop these are as
//! many of the last stanzas as `Done`s are owed.
//!
//! # What a host meets
//!
//! "Unknown" is `Refusal::Because(Condition::InternalServerError)`: the client keeps its session and asks again.
//!
//! | when it looks for a session and claims it | what it means | what the host does |
//! | --- | --- | --- |
//! | [`Lookup::Session`] | there it is | has its node let go, and claims it with this registration |
//! | [`Lookup::StaleH`], [`Lookup::NotFound`] | it is over; or it never was, or is another owner's | refuses by what [`Lookup::session`](crate::Lookup::session) returns |
//! | [`Claim::Claimed`] | it is this node's alone. The store keeps what it has until this node writes | reads it, puts it together, and serves it with [`Ledger::claimed`](crate::snapshot::Ledger::claimed), which unparks or parks it |
//! | [`Claim::NotParked`] | nothing is kept of it: it is in the memory of its node, or died with that | node lives: unknown. Node is dead: removes it, and refuses with [`Refusal::NotFound`](crate::Refusal::NotFound) |
//! | [`Claim::Lost`] | another was faster, or it is over | looks again, some three times; then unknown |
//! | an error of the store | it is not known whether there is a session | unknown. A claim that is made again takes the same handle |
//!
//! | when it reads one | what it means | what the host does |
//! | --- | --- | --- |
//! | [`Newer`](crate::snapshot::SnapshotError::Newer) | a later release wrote it | unknown, and leaves it in the store: a node that can read it claims it from this one. This node answers "let go" for it at once, for it has nothing |
//! | [`TooLarge`](crate::snapshot::SnapshotError::TooLarge), [`TooMany`](crate::snapshot::SnapshotError::TooMany) | more than [`Limits`](crate::snapshot::Limits) | as `Newer` if other nodes read more; else as damaged |
//! | [`Stanza`](crate::snapshot::SnapshotError::Stanza) | the host's own type does not know this stanza again | as `Newer` if a later release of the host wrote it; else as damaged |
//! | [`Truncated`](crate::snapshot::SnapshotError::Truncated), [`Damaged`](crate::snapshot::SnapshotError::Damaged), [`Malformed`](crate::snapshot::SnapshotError::Malformed) | it is damaged, or a change in its journal is missing | keeps the bytes aside for an operator to mend, removes it, and refuses with `NotFound` |
//! | [`DoesNotFit`](crate::DoesNotFit) | this node's [`Config`](crate::Config) allows less than that of the writer | its [stanzas](crate::SessionParts::into_stanzas) go where those of an ended session go; then it is retired with the `h` of its [parts](crate::SessionParts::detached), and the client told that |
//! | its time is over | no error: the session lives, and its [deadline](crate::Session::deadline) is due | serves it. It ends as [`Expired`](crate::EndReason::Expired) |
//!
//! | when it writes | what it means | what the host does |
//! | --- | --- | --- |
//! | [`Fence::Held`](crate::Fence::Held) | it is written | [`wrote`](crate::snapshot::Ledger::wrote), and goes on |
//! | [`Fence::Lost`](crate::Fence::Lost) | the session is not this node's | [what is lost](#a-fence-that-is-lost) |
//! | [`TimedOut`], [`Unavailable`], [`Other`] | it may be written, or not, or will be | reads and writes nothing, and tries again each second: `due` has the same and what has come since |
//! | [`NoMemory`], [`ReadOnly`], [`Denied`] | nothing is written, and an operator has to mend the engine | the same |
//! | [`Evicted`] | the engine has dropped what it kept | [`host_changed`](crate::snapshot::Ledger::host_changed): the whole session is written again |
//! | [`Apart`] | the sessions of one `append` lie on several nodes of the cluster; nothing is written | writes each by itself |
//! | [`OwnerFull`], [`StoreError`](crate::StoreError), at `register` | nothing is registered | [`accept_enable`](crate::Session::accept_enable) without an SM-ID: the session cannot be resumed, and its stream is as good as any |
//! | [`Foreign`] | data of another program lies under this owner's key, and stays | `register`: the same. Else unknown, and an operator has to look |
//! | [`Evicted`], [`NoMemory`], when the session is over | nothing can be written there, perhaps for long. The store still says whose it is | [looks it up](AsyncSessionStore::lookup): a session that is unknown, or has this registration, is held; any other is lost |
//!
//! | when it takes a session apart: [`NotAtRestWhy`](crate::NotAtRestWhy) | what the host does |
//! | --- | --- |
//! | `Events` | [`poll`](crate::Session::poll)s until there are none |
//! | `Connected` | [`lost`](crate::Session::lost) |
//! | `ReceiptsOpen` | waits for them a bounded time; then [`settle_all`](crate::Session::settle_all) |
//! | `Taken` | `settle_all`, which gives it the connection that waits, then `lost` and `poll` |
//! | `Ending` | polls: `Ended` has its stanzas. It is not written down |
//!
//! # What may come twice
//!
//! Nothing comes twice where a node stops in good order, or lets go. Where a node is killed, or finds that its fence is lost, no
//! more than was on its way at that moment:
//!
//! | what comes twice | why |
//! | --- | --- |
//! | what a client sends once more | the node had handled it, and had not written down its `h`. A host can [append](crate::Journal#several-sessions-in-one-call) the sender's `h` and the recipient's stanza in one call: then it is none. Neither the loop above nor the example does that: both write `h` when somebody keeps the stanza |
//! | what the sender's host sends once more | the recipient's node had appended it, and died before it called `Done`, or before the sender's node heard of it |
//! | what a node [passes on](#a-fence-that-is-lost) of a session that it has lost | the store had just failed, and had written it all the same; or it has lost the session, and it is not known what is left |
//! | what a session that is over has left | its node had passed that on, and died before it had [retired](AsyncSessionStore::retire) the session: another claims it and passes it on. Of one session, all that it had left |
//!
//! To a client that resumes nothing is sent twice: its `<resume/>` says what it has.
//!
//! # Clocks
//!
//! | time | by whose clock | when it begins |
//! | --- | --- | --- |
//! | [`resume_timeout`](crate::Config::resume_timeout) of a session in memory | the node's monotonic clock, `now` | when its stream is lost |
//! | the same of one that was parked | what is left of it is written down with the wall clock; the reader subtracts what has passed by its own | with the loss of the stream. A reader that is ahead by a minute takes a minute off; one that is behind takes off less, and never adds any |
//! | the same of one that had its stream when its node died (`Durable`) | the reader's monotonic clock | when it is claimed, in full: it is not known when the node died |
//! | [`session_ttl`](RedisStore::session_ttl) | the engine's | with `register`, `park`, `unpark`, `claim`. Not with `append`: see there |
//! | stale `h`, [`geriatric`](crate::StaleH::geriatric) | the engine's; in a [`MemoryStore`](crate::MemoryStore) `now` | with `retire` |
//! | [epochs](crate::Epoch) | the engine's, and always more than the last | a node's clock has no part in who has a session |
//! | the [stamp](crate::delay) of a stanza | the wall clock of the node that queued it | a reader takes one in its future for now |
//! | whether a node lives | the host's link; in the example a key that the engine expires | |
//!
//! So a node whose clock is wrong ends parked sessions too early, or stamps stanzas wrongly. It neither loses nor doubles one.
//!
//! # What it costs
//!
//! | a message between two clients | [`Memory`](Promise::Memory) | [`Parked`](Promise::Parked) | [`Durable`](Promise::Durable) |
//! | --- | --- | --- | --- |
//! | calls of the store | 0 | 0; 1 if the recipient has no stream | 2, shared with all else that is due in that turn |
//! | it is on the wire later by | 0 | 0 | 1 round trip, and 1 `fsync` |
//! | the sender's `<a/>` is later by | 0 | 0 | 2 round trips, and 2 `fsync` |
//! | CPU time of two nodes of the example server, as a multiple of `Memory`'s, measured as below | 1 | 1.1 | 1.8 |
//!
//! Each call is one round trip, and each of these is one call; with `RedisStore` the first use of a script on an engine takes one
//! more.
//!
//! | when | calls of the store |
//! | --- | --- |
//! | a session begins | `register`; with [`Durable`](Promise::Durable) a `park` |
//! | a turn of the loop that changes something, however much (`Durable`) | one `append`; now and then a `park`, when the journal is longer than eight times its snapshot and 64 KiB |
//! | a stanza from client to client (`Durable`) | before it is on the wire, one `append` of the recipient's session; before the sender's `<a/>`, one more of the sender's. Both are shared with all else that is due then |
//! | a turn of the loop ([`Memory`](Promise::Memory), [`Parked`](Promise::Parked)) with a stream | none |
//! | a session loses its stream (`Parked`) | one `park`; for each turn in which something comes for it, one `append` |
//! | it is resumed where it is (`Parked`) | one `unpark` |
//! | it is resumed at another node | `lookup`, `claim`, and `unpark` or, with `Durable`, `park`; beside what the nodes say to each other |
//! | it is over | one to ask whether it is held, if anything is kept; `retire` or `remove` |
//!
//! Measured (the section *Sessions that outlive their process* of the page on
//! [benches](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/benches), with how and where):
//!
//! | what | measured |
//! | --- | --- |
//! | a take-over takes, against one `GET` of the snapshot | 5.8 times as long |
//! | durable stanzas of 200 bytes on one connection, 100 in a turn: of one session; of a hundred | 1.2 million a second; 550 000 a second |
//! | a parked session in Redis, by `MEMORY USAGE` | 384 bytes, and for each stanza its own and 5 or 6. By `used_memory` 42 bytes more; with a `session_ttl` 107 bytes more again |
//! | a session that is not parked and of which nothing is kept | 168 bytes and its owner's name, in one hash for each owner |
//! | 10 000 sessions parked when a node stops; read again | 1.5 s; 1.5 s |
//!
//! # A store of your own
//!
//! A store over another engine implements [`AsyncSessionStore`]; [`Parking`](crate::Parking), if sessions shall be parked; and
//! [`Journal`](crate::Journal), which [`Ledger`] and the loop above take. Each is a contract in words, and a suite that checks it:
//! `store_conformance!`, `parking_conformance!` and `journal_conformance!` of [`store_tests`](crate::store_tests). A store
//! that has no journal returns an error from `append`, never [`Fence::Lost`](crate::Fence::Lost): the loop above then parks the
//! whole session, a second later. That does for [`Promise::Parked`], not for [`Promise::Durable`].
//!
//! | what one record has | what it is |
//! | --- | --- |
//! | key | owner and SM-ID. A lookup with another owner finds nothing |
//! | epoch | given by `register` and `claim`, and higher each time, for all of an owner's |
//! | handle | of who has it |
//! | revision, and whether it is a snapshot or nothing | of the last `park` or `unpark` under this epoch |
//! | snapshot, and the changes behind it in order | until another takes their place |
//! | the epoch before the last claim | until the next `park` or `unpark`. A claim that comes from this epoch, with the handle that the record has, is one that is made again: it is answered as it was |
//! | displaced | it is not found nor written, and claimed as any other. It stays displaced until it is retired |
//! | stale `h`, since when, and the epoch | once it is retired, instead of all this. `remove` with this epoch drops it, too |
//!
//! An owner's sessions are bounded, by the store: one more is an error of `register`, or takes the place of the oldest, which is
//! [displaced](crate::Registered::displaced). The suites register up to 2 000 sessions of one owner: the bound of the store
//! that they are given is at least 1 000, and less than 2 000.
//!
//! In a database each operation is one transaction on one row: `UPDATE … WHERE owner = … AND smid = … AND epoch = …`, and
//! "no row" is [`Fence::Lost`](crate::Fence::Lost) or [`Claim::Lost`]. What is behind a timeout may be done or not: the
//! contracts say of each call how it is made again.
//!
//! # Upgrades
//!
//! Nodes are restarted one by one, in two rounds; [the format](crate::snapshot#upgrades) says why.
//!
//! | when | `version`, in the login and in `revive` | until |
//! | --- | --- | --- |
//! | first round: the new release | `Version::V1`, what the old release reads | no node of the old release is left |
//! | second round, or `Mail::Changed` to each session | `Version::V2` | the new release is not to be rolled back any more |
//! | back: the same in the other order. Restart with, or change to | `Version::V1` | nothing in `V2` is left. Then the old release may start |
//!
//! - **A running session** is told by `Mail::Changed`: it is written whole in that turn of the loop, one without a stream, too.
//! - **Nothing in `V2` is left** when two things are so. Each session of the nodes that live has had a `Mail::Changed`, and the store
//!   has answered. And [`sessions_at`](RedisStore::sessions_at) lists no handle of a run that wrote `V2` and has ended: `adopt`
//!   takes these sessions, and `serve` writes them again.
//! - **What is overlooked** is not lost: an old node answers "unknown" to its client, and a new one can read it.
//! - **The records of `RedisStore`** are those of every release so far. A release that reads others says so in its changelog. Each host
//!   sends its own scripts, so two releases run side by side over the same records.
//! - **What nodes say to each other** is the host's own, and so is that it is understood by two releases.
//!
//! [`TimedOut`]: crate::RedisStoreError::TimedOut
//! [`Unavailable`]: crate::RedisStoreError::Unavailable
//! [`Other`]: crate::RedisStoreError::Other
//! [`NoMemory`]: crate::RedisStoreError::NoMemory
//! [`ReadOnly`]: crate::RedisStoreError::ReadOnly
//! [`Denied`]: crate::RedisStoreError::Denied
//! [`Evicted`]: crate::RedisStoreError::Evicted
//! [`Apart`]: crate::RedisStoreError::Apart
//! [`OwnerFull`]: crate::RedisStoreError::OwnerFull
//! [`Foreign`]: crate::RedisStoreError::Foreign

#![cfg_attr(
    not(all(feature = "redis", feature = "snapshot", feature = "store-tests")),
    allow(rustdoc::broken_intra_doc_links)
)]

#[cfg(all(doc, feature = "redis"))]
use crate::RedisStore;
#[cfg(all(doc, feature = "snapshot"))]
use crate::snapshot::{Ledger, Promise};
#[cfg(doc)]
use crate::{AsyncSessionStore, Claim, Lookup};
