//! What one account can cost a server, with the default options.
//!
//! The account is authenticated, and does its worst. The host follows the documentation: it registers each session that
//! can be resumed, closes what the store displaces, keeps its stanzas as [`Bytes`](bytes::Bytes), and gives each connection
//! an output of 64 KiB. Heap is counted at the allocator, the host's stanzas included, by a test that fails if a row is
//! no longer true. No row touches the sessions, the stale `h` or the lookups of another account.
//!
//! | what the account does | bounded by | heap, MiB |
//! | --- | --- | --- |
//! | 12 000 logins, each with a session that it abandons at once | ten sessions an owner ([`per_owner`](crate::MemoryStore::per_owner)), the oldest go | 0.1 |
//! | the same, and each session is filled with stanzas of 64 KiB | [`buffer_max_bytes`](crate::Config::buffer_max_bytes), [`backlog_max_bytes`](crate::Config::backlog_max_bytes) | 16 |
//! | the same with stanzas of one byte | [`buffer_max`](crate::Config::buffer_max), [`backlog_max`](crate::Config::backlog_max) | 0.8 |
//! | ten connected sessions that acknowledge nothing, filled with stanzas of 64 KiB | the same, and twice the backlog for the time of [`on_full`](crate::Config::on_full) | 21 |
//! | ten sessions that send stanzas of 64 KiB, none of which the host can settle | [`receipts_max_bytes`](crate::Config::receipts_max_bytes) | 6 |
//! | ten sessions that send stanzas of one byte, none of which the host can settle | [`receipts_max`](crate::Config::receipts_max) | 0.9 |
//! | 12 000 sessions that expire, with [`stale_h`](crate::Config::stale_h) on | ten stale `h` an owner | 0.1 |
//! | a session with a full buffer that is resumed 10 000 times | the buffer; each resumption resends it | 1.2 |
//! | 100 000 `<r/>`, and as many `<resume/>`, from a client that reads nothing | 64 replies of either kind | 0.1 |
//!
//! What a host has to bound itself: the connections of an account that have no session or none that can be resumed, the
//! size of an element, what it keeps for the account besides (offline messages, private storage), and its CPU for each
//! element that it parses. The size of an element is that in memory, finished or not: as a tree of `minidom`, the nine bytes of
//! `<a b=''/>` take a thousand. [`examples/server`](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/server) bounds all of
//! it, and a test counts what an account can have it hold.
