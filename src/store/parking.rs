//! The contract of a store that keeps sessions themselves, so that one outlives the process that has it.

use std::future::Future;
use std::time::Instant;

use bytes::Bytes;

use super::{AsyncSessionStore, Registration};

/// A store that keeps sessions while no process has them: beside the record of a session lies its
/// snapshot, as bytes that the store does not look into.
///
/// A host that is told to stop, or whose client has gone, [parks](Self::park) the session. The host to which the client
/// comes back [claims](Self::claim) it with the registration that a [`lookup`](AsyncSessionStore::lookup) has found,
/// puts it together, [unparks](Self::unpark) it, and only then lets the client resume. From then on the session lives
/// in that host's memory, and the stored snapshot would be out of date. `snapshot::Ledger`, behind the feature
/// `snapshot`, says when to do which, unparking included; [`nodes`](crate::nodes) has a host around it.
///
/// How hosts learn that another one wants a session is their own business: a message between them. One that does not
/// answer has lost the session as soon as another has claimed it, and is told so when it next writes. A host that is
/// dead leaves sessions behind: others claim them, for those whose clients do not come back have to end somewhere.
///
/// ```
/// use std::time::Instant;
/// use xmpp_sm::{AsyncSessionStore, Claim, Config, Fence, Lookup, MemoryStore, Parking, Revision, SmId};
///
/// # futures::executor::block_on(async {
/// let (store, now) = (MemoryStore::new(&Config::default()), Instant::now());
/// let smid = SmId::random()?;
/// let before = AsyncSessionStore::register(&store, &smid, &"juliet@example.com".into(), "node-1/17", now).await?.registration;
/// assert_eq!(store.park(&before, Revision::FIRST, b"snapshot").await?, Fence::Held);
///
/// // On another node, to which the client has come:
/// let found = AsyncSessionStore::lookup(&store, &smid, "juliet@example.com", now).await?;
/// let Lookup::Session(record) = found else { unreachable!() };
/// let Claim::Claimed(claimed) = store.claim(&record.registration, "node-2/3", now).await? else { unreachable!() };
/// assert_eq!(claimed.snapshot, &b"snapshot"[..]);
/// assert_eq!(store.unpark(&claimed.registration, Revision::FIRST).await?, Fence::Held);
///
/// // The first node is late: it has lost the session, and is told so.
/// assert_eq!(store.park(&before, Revision::FIRST.next(), b"old").await?, Fence::Lost);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Contract
///
/// That of [`AsyncSessionStore`], and beyond it:
///
/// - **One owner, fenced.** A claim gives the session a higher [`Epoch`](super::Epoch). What comes under an older one, wherever from and
///   however late, changes nothing and is answered by [`Fence::Lost`].
/// - **A claim is one compare-and-set** against the epoch that was looked up. Of many that are made for one epoch, one
///   succeeds; the others get [`Claim::Lost`], and look again.
/// - **The snapshot stays** where it is when it is claimed, until the new owner writes another, [unparks](Self::unpark) it, or
///   ends the session: a host that dies in between loses nothing, for the next one claims from it.
/// - **Every call can be made again** after an error. A claim that is made again with the same epoch and the same handle, before
///   anything else was done with the session, is answered as the one before.
/// - **What is late does no harm.** A [`Revision`] goes up with each [`park`](Self::park) and [`unpark`](Self::unpark) of a
///   registration: one that comes behind a later one changes nothing. A [`Journal::append`] has the revision of the snapshot that
///   it belongs to.
/// - [`retire`](AsyncSessionStore::retire) and [`remove`](AsyncSessionStore::remove) take the snapshot out with the record;
///   [`register`](AsyncSessionStore::register) takes out that of the record that it replaces, even one that was displaced.
/// - **A session that was [displaced](super::Registered::displaced)** keeps its snapshot until it is retired or removed, and can
///   be claimed by its newest registration until then, as any other, though it is not found: its stanzas have to go somewhere.
///   It stays displaced, and is not written any more. The host that claims it passes its stanzas on and retires it; if that
///   host dies before, another claims it from that registration.
///
/// `parking_conformance!`, behind the feature `store-tests`, checks any store against all this.
pub trait Parking: AsyncSessionStore {
    /// Keeps the session as these bytes, in place of all that was kept of it.
    ///
    /// # Errors
    ///
    /// The store failed: it has these bytes, or those before.
    fn park(
        &self,
        registration: &Registration,
        revision: Revision,
        snapshot: &[u8],
    ) -> impl Future<Output = Result<Fence, Self::Error>> + Send;

    /// Drops what is kept of the session, which lives in its host's memory from now on. Its record stays.
    ///
    /// # Errors
    ///
    /// The store failed: it has dropped it or not.
    fn unpark(
        &self,
        registration: &Registration,
        revision: Revision,
    ) -> impl Future<Output = Result<Fence, Self::Error>> + Send;

    /// Makes the session the caller's, with all that is kept of it. Its record names the new handle, which is another
    /// one for each attempt to claim: by it a claim that is made again is told from another.
    ///
    /// # Errors
    ///
    /// The store failed: the session may be the caller's or not. To claim it again, with the same handle, tells.
    fn claim(
        &self,
        registration: &Registration,
        handle: Self::Handle,
        now: Instant,
    ) -> impl Future<Output = Result<Claim, Self::Error>> + Send;
}

/// A store that keeps sessions while they live, so that not even the death of their process loses one: beside the
/// snapshot lies a journal of what has changed since.
///
/// A host writes down what is new before it goes out: a stanza is in the store before it is on the wire, and `h` before
/// it is told. It [parks](Parking::park) the session when it is enabled, [appends](Self::append) what changes, all that
/// one turn of its loop has changed in one call, and parks it again before the journal grows long. `snapshot::Ledger`,
/// behind the feature `snapshot`, says what to write.
///
/// # Contract
///
/// - **A call is atomic**, whatever it has: all changes are in the journals, or none.
/// - What was appended comes back from a [claim](Parking::claim), in order, behind the snapshot that it belongs to.
/// - **A change may come twice** where a call was made again after an error. The changes of a `Ledger` say where they belong,
///   and are applied once.
/// - Changes of another [`Revision`] than that of the snapshot that is kept are not appended: [`Fence::Lost`].
///
/// `journal_conformance!`, behind the feature `store-tests`, checks any store against all this.
///
/// # Several sessions in one call
///
/// A stanza that is handled by being queued for another session changes two sessions: the recipient's has a stanza more, and
/// the sender's a higher `h`. In one call neither is true without the other, whenever the process is killed.
///
/// - **Order.** Changes of one session are appended in the order in which they are given. Which of two sessions comes
///   first has no meaning: one is never seen without the other.
/// - **[`Fence::Held`]**: all of it is written.
/// - **[`Fence::Lost`]**: nothing is, and it is not told for which session. Each is written by itself then: the recipient's
///   first, and the sender's when the stanza is written or, if it is the recipient's that is lost, kept elsewhere.
/// - **An error**: all of it or nothing is written, or will be. What is due then is given again, all of it. A change
///   that comes twice is applied once. `RedisStoreError::Apart` and `Evicted` say that nothing is written, and are dealt with as
///   `Lost` is.
/// - **Half a call** is never left: `RedisStore` makes it one script, takes back what it has appended if the engine refuses the
///   rest, and the engine's append-only file and its replicas have a script as a whole or not at all.
///
/// With ledgers: a host settles the receipt as soon as the recipient's session has the stanza, takes what is due of both, and
/// gives [`Due::change`](crate::nodes#a-nodes-loop) of both to one call. A snapshot is no change, and is written by itself: so
/// before a stanza is handed over, both sessions write what they owe.
pub trait Journal: Parking {
    /// Appends changes to the journals of sessions, of several at once: a stanza that is handled by being queued for
    /// another session changes two, and neither can be true without the other.
    ///
    /// Returns [`Fence::Lost`], and has changed nothing, if one of them is not held any more.
    ///
    /// # Errors
    ///
    /// The store failed: all changes are appended, or none. A store whose sessions lie on several nodes refuses changes
    /// of sessions that do not lie together.
    fn append(&self, changes: &[Change<'_>]) -> impl Future<Output = Result<Fence, Self::Error>> + Send;
}

/// A change of a session that [`Journal::append`] takes.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Whose session it is, and which.
    pub registration: &'a Registration,
    /// That of the snapshot to which the change belongs.
    pub revision: Revision,
    /// What has changed.
    pub change: &'a [u8],
}

/// Whether a session is still the caller's. Returned by what writes it down: [`Parking::park`] and [`Journal::append`].
///
/// [What a host meets](crate::nodes#what-a-host-meets) says what it does about each, and [a fence that is lost](crate::nodes#a-fence-that-is-lost) step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a session that is lost must not go on"]
pub enum Fence {
    /// It is, and what was to be written is written.
    Held,
    /// It is not: another host has claimed it, or it is over. Nothing was written. The host leaves the client. The new
    /// owner has all that was written down; the rest goes to wherever the session is now.
    ///
    /// It is also the answer to what comes behind something later of the same registration.
    Lost,
}

/// What became of a [claim](Parking::claim). [What a host meets](crate::nodes#what-a-host-meets) says what it does about each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a session that was claimed lives nowhere else"]
pub enum Claim {
    /// The session is the caller's.
    Claimed(Claimed),
    /// Nothing is kept of it, and nothing has changed: who has it has it in memory. If that host is dead, so is the
    /// session: it is [removed](AsyncSessionStore::remove). If it only does not answer, the client is refused so that
    /// it asks again.
    NotParked,
    /// The registration is not the latest: another was faster, or the session is over. Look again.
    Lost,
}

/// A session that was [claimed](Parking::claim).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the session lives nowhere else"]
pub struct Claimed {
    /// The new registration. Its revisions start again at the first. A session that was displaced is retired by it.
    pub registration: Registration,
    /// The session as it was parked last.
    pub snapshot: Bytes,
    /// What has changed since, oldest first. Only a [`Journal`] has some.
    pub journal: Vec<Bytes>,
}

/// The number of a snapshot, or of its end, that one registration writes down: it goes up with each [`park`](Parking::park) and
/// [`unpark`](Parking::unpark). A [`Change`] has that of its snapshot.
///
/// See the example of [`Parking`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The first of a registration.
    pub const FIRST: Self = Self(1);

    /// Returns the next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}
