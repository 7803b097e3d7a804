//! The lists that the mail of users waits in, and what is done to them in any order: by sessions that are replaced, move and
//! end, and by calls that come late or are made again.

#[path = "../../../examples/server/nodes/lists.rs"]
mod scripts;

use std::sync::atomic::{AtomicU64, Ordering};

use jid::{FullJid, Jid};
use scripts::{Call, Holder, Kept, Lists, Most, Otherwise, PATIENCE, Place, Posted, Taken, Trimmed, read};

use crate::server::Redis;

const A: &str = "a/1";
const B: &str = "b/2";
const C: &str = "c/3";

struct Mail {
    lists: Lists,
    jid: FullJid,
    number: AtomicU64,
    redis: Redis,
}

/// What a session takes first at a node, and next.
fn first(taker: u64) -> Call {
    Call { taker, number: 1 }
}

fn next(Call { taker, number }: Call) -> Call {
    Call { taker, number: number + 1 }
}

/// Nothing is taken and not struck off.
fn none(call: Call) -> Call {
    Call { number: 0, ..call }
}

fn texts(stanzas: Vec<Vec<u8>>) -> Vec<String> {
    stanzas.iter().map(|stanza| String::from_utf8(read(stanza).unwrap().0.to_owned()).unwrap()).collect()
}

const FIFTY: Most = Most { stanzas: 50, bytes: 1000 };

impl Mail {
    async fn start() -> Self {
        let redis = Redis::start();
        let lists = Lists::new(redis.connect().await);
        Self { lists, jid: FullJid::new("juliet@localhost/balcony").unwrap(), number: AtomicU64::new(0), redis }
    }

    fn holder<'a>(&'a self, session: &'a str, node: &'a str) -> Holder<'a> {
        Holder { node, jid: &self.jid, session: Some(session) }
    }

    async fn binds(&self, holder: Holder<'_>) {
        assert!(self.lists.arrive(holder, true).await.unwrap());
    }

    /// A session that was claimed.
    async fn moves(&self, holder: Holder<'_>) -> bool {
        self.lists.arrive(holder, false).await.unwrap()
    }

    async fn put(&self, stanzas: &[&str]) {
        let to = Jid::from(self.jid.clone());
        let posted =
            stanzas.iter().map(|stanza| Posted { to: &to, otherwise: Otherwise::Waits, stanza: stanza.as_bytes() });
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.lists.put(C, number, &posted.collect::<Vec<_>>()).await.unwrap();
    }

    /// Waits for nobody.
    async fn take(&self, holder: Holder<'_>, call: Call) -> Vec<String> {
        match self.lists.take(holder, call, FIFTY, Kept::Now, false).await.unwrap() {
            Taken::Stanzas(stanzas, _) => texts(stanzas),
            other => panic!("{other:?}"),
        }
    }

    /// The nodes of those who had the resource before and have not left it.
    async fn waits_for(&self, holder: Holder<'_>, call: Call) -> Vec<String> {
        match self.lists.take(holder, call, FIFTY, Kept::Now, true).await.unwrap() {
            Taken::After(before) => before.into_iter().map(|place| place.node).collect(),
            other => panic!("{other:?}"),
        }
    }

    async fn is_replaced(&self, holder: Holder<'_>, call: Call) -> bool {
        self.lists.take(holder, call, FIFTY, Kept::Now, true).await.unwrap() == Taken::Replaced
    }

    /// Nobody has its resource, or it has that itself elsewhere.
    async fn is_astray(&self, holder: Holder<'_>, call: Call) -> bool {
        self.lists.take(holder, call, FIFTY, Kept::Now, true).await.unwrap() == Taken::Astray
    }

    async fn trim(&self, holder: Holder<'_>, call: Call) -> bool {
        self.lists.trim(holder, call).await.unwrap() == Trimmed::IsStruck
    }

    async fn depart(&self, holder: Holder<'_>, call: Call, left: &[(bool, &str)]) -> bool {
        self.departs(holder, call, left).await.0
    }

    /// And what has no place any more.
    async fn departs(&self, holder: Holder<'_>, call: Call, left: &[(bool, &str)]) -> (bool, Vec<String>) {
        let left = left.iter().map(|(is_taken, stanza)| (*is_taken, stanza.as_bytes()));
        let (has_taken, back) = self.lists.depart(holder, call, left).await.unwrap();
        (has_taken, texts(back))
    }

    /// What waits for the user.
    fn kept(&self) -> Vec<String> {
        texts(self.redis.tell("LRANGE xmpp-sm-mail:{juliet@localhost} 0 -1"))
    }

    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.redis.tell("KEYS xmpp-sm-*{juliet@localhost}*");
        keys.retain(|key| !key.starts_with("xmpp-sm-calls:"));
        keys
    }
}

/// Its node has given it up. It would take the resource from a session whose client has it.
#[tokio::test]
async fn a_bind_that_comes_late_is_refused() {
    let mail = Mail::start().await;
    let slow = Lists::new(mail.redis.connect_within(PATIENCE).await.unwrap());
    let (old, late) = (mail.holder("old", A), mail.holder("late", B));
    mail.binds(old).await;
    let () = mail.redis.tell("CLIENT PAUSE 60000 WRITE");
    let error = slow.arrive(late, true).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let () = mail.redis.tell("CLIENT UNPAUSE");
    // What is asked later is answered later.
    assert_eq!(slow.node_of(&mail.jid).await.unwrap(), A);
    mail.put(&["1"]).await;
    assert_eq!(mail.take(old, first(1)).await, ["1"]);
    // Who waits has it.
    assert!(slow.arrive(late, true).await.unwrap());
    assert!(mail.is_replaced(old, next(first(1))).await);
}

/// An engine that comes back without its last seconds has the list, or the place, as it was before.
#[tokio::test]
async fn a_session_whose_place_or_call_is_forgotten_stays_and_takes_what_is_there() {
    let mail = Mail::start().await;
    let session = mail.holder("one", A);
    mail.binds(session).await;
    mail.put(&["1"]).await;
    assert_eq!(mail.take(session, first(1)).await, ["1"]);
    // What it has taken.
    let () = mail.redis.tell("HDEL xmpp-sm-holder:{juliet@localhost}/balcony call count front");
    assert_eq!(mail.lists.trim(session, first(1)).await.unwrap(), Trimmed::IsUnknown);
    assert_eq!(mail.take(session, next(first(1))).await, ["1"]);
    mail.lists.stay(session).await.unwrap();
    assert!(mail.trim(session, next(first(1))).await, "staying forgets nothing");
    // That it has come here, where another has been before.
    let moved = mail.holder("one", B);
    mail.put(&["2"]).await;
    for call in [first(2), first(3)] {
        assert_eq!(mail.lists.trim(moved, call).await.unwrap(), Trimmed::Astray);
        assert!(mail.is_astray(moved, call).await);
        mail.lists.stay(moved).await.unwrap();
        assert_eq!(mail.take(moved, call).await, ["2"]);
        // That it has been there at all.
        let () = mail.redis.tell("DEL xmpp-sm-place:{juliet@localhost} xmpp-sm-holder:{juliet@localhost}/balcony");
    }
    // Another session has it by then.
    let newest = mail.holder("two", C);
    mail.binds(newest).await;
    mail.lists.stay(moved).await.unwrap();
    assert!(mail.is_replaced(moved, first(4)).await);
    assert_eq!(mail.lists.trim(moved, first(4)).await.unwrap(), Trimmed::Replaced);
}

#[tokio::test]
async fn what_a_replaced_session_leaves_while_its_successor_takes_is_not_struck_off() {
    let mail = Mail::start().await;
    let (old, new) = (mail.holder("old", A), mail.holder("new", B));
    mail.binds(old).await;
    mail.put(&["1", "2"]).await;
    assert_eq!(mail.take(old, first(1)).await, ["1", "2"]);
    assert!(mail.trim(old, first(1)).await);
    mail.binds(new).await;
    mail.put(&["3", "4"]).await;
    assert_eq!(mail.take(new, first(2)).await, ["3", "4"]);
    assert!(mail.depart(old, none(first(1)), &[(false, "1"), (false, "2")]).await);
    mail.put(&["5"]).await;
    assert!(mail.trim(new, first(2)).await);
    assert_eq!(mail.take(new, next(first(2))).await, ["1", "2", "5"]);
    // If it leaves before it takes, its order is as it was.
    assert!(mail.trim(new, next(first(2))).await);
    let newest = mail.holder("newest", C);
    mail.binds(newest).await;
    mail.put(&["6"]).await;
    assert!(mail.depart(new, none(first(2)), &[(false, "4"), (false, "5")]).await);
    assert_eq!(mail.take(newest, first(3)).await, ["4", "5", "6"]);
}

#[tokio::test]
async fn what_those_have_who_had_the_resource_before_goes_before_what_has_come_since() {
    let mail = Mail::start().await;
    let [one, two, three] = [("one", A), ("two", B), ("three", A)].map(|(session, node)| mail.holder(session, node));
    mail.binds(one).await;
    mail.binds(two).await;
    mail.put(&["5"]).await;
    assert_eq!(mail.waits_for(two, first(2)).await, [A]);
    // It moves, and its node dies; and one more comes.
    assert!(mail.moves(Holder { node: C, ..two }).await);
    assert_eq!(mail.waits_for(Holder { node: C, ..two }, first(3)).await, [A]);
    mail.binds(three).await;
    assert_eq!(mail.waits_for(three, first(4)).await, [A, C]);
    assert!(mail.depart(Holder { node: C, ..two }, none(first(3)), &[(false, "3"), (false, "4")]).await);
    assert_eq!(mail.waits_for(three, first(4)).await, [A]);
    assert!(mail.depart(one, none(first(1)), &[(false, "1"), (false, "2")]).await);
    let Taken::Stanzas(stanzas, _) = mail.lists.take(three, first(4), FIFTY, Kept::Now, true).await.unwrap() else {
        panic!("it waits for nobody")
    };
    assert_eq!(texts(stanzas), ["1", "2", "3", "4", "5"]);

    // Whoever has waited long enough waits no more.
    mail.binds(one).await;
    assert_eq!(mail.waits_for(one, first(5)).await, [A]);
    assert_eq!(mail.take(one, first(5)).await, ["1", "2", "3", "4", "5"]);
    assert!(mail.trim(one, first(5)).await);
    assert_eq!(
        mail.lists.take(one, next(first(5)), FIFTY, Kept::Now, true).await.unwrap(),
        Taken::Stanzas(Vec::new(), false)
    );
}

/// Until her client is available she takes nothing of what waits for her, and what comes for it does not overtake that.
#[tokio::test]
async fn what_waits_for_the_user_goes_before_what_comes_for_a_session_that_takes_it() {
    let mail = Mail::start().await;
    let session = mail.holder("s", A);
    mail.put(&["1"]).await;
    mail.binds(session).await;
    mail.put(&["2"]).await;
    let to = Jid::from(mail.jid.clone());
    let iq = Posted { to: &to, otherwise: Otherwise::Nothing, stanza: b"iq" };
    assert_eq!(mail.lists.put(C, 10, &[iq]).await.unwrap(), b"1");
    let take = async |call, kept| match mail.lists.take(session, call, FIFTY, kept, true).await.unwrap() {
        Taken::Stanzas(stanzas, _) => texts(stanzas),
        other => panic!("{other:?}"),
    };
    assert_eq!(take(first(1), Kept::Later).await, ["iq"]);
    assert!(mail.trim(session, first(1)).await);
    mail.put(&["3"]).await;
    let two = next(first(1));
    assert_eq!(take(two, Kept::Later).await, [""; 0]);
    // Who never takes it gets what is for it.
    assert_eq!(take(two, Kept::Never).await, [""; 0]);
    mail.put(&["4"]).await;
    assert_eq!(take(two, Kept::Never).await, ["4"]);
    assert!(mail.trim(session, two).await);
    assert_eq!(mail.kept(), ["1", "2", "3"]);
    let three = next(two);
    assert_eq!(take(three, Kept::Later).await, [""; 0]);
    mail.put(&["5"]).await;
    assert_eq!(take(three, Kept::Now).await, ["1", "2", "3", "5"]);
    assert!(mail.trim(session, three).await);
    mail.put(&["6"]).await;
    assert_eq!(take(next(three), Kept::Now).await, ["6"]);
}

#[tokio::test]
async fn what_was_taken_and_not_struck_off_is_taken_again_where_the_session_moves() {
    let mail = Mail::start().await;
    let (here, there) = (mail.holder("s", A), mail.holder("s", B));
    mail.binds(here).await;
    mail.put(&["1", "2"]).await;
    assert_eq!(mail.take(here, first(1)).await, ["1", "2"]);
    assert!(mail.moves(there).await);
    // Its former node was only slow.
    assert!(!mail.trim(here, first(1)).await);
    assert!(mail.is_astray(here, first(1)).await);
    mail.put(&["3"]).await;
    assert_eq!(mail.take(there, first(2)).await, ["1", "2", "3"]);
    assert!(!mail.depart(here, first(1), &[(true, "1"), (false, "0"), (true, "2")]).await);
    assert!(mail.trim(there, first(2)).await);
    assert_eq!(mail.take(there, next(first(2))).await, ["0"]);
    // It comes back to a node that has not forgotten it.
    assert!(mail.moves(here).await);
    assert!(!mail.trim(here, first(1)).await);
    assert_eq!(mail.take(here, first(3)).await, ["0"]);
}

#[tokio::test]
async fn of_what_a_replaced_session_has_taken_exactly_that_is_left_out_which_is_in_the_list() {
    let mail = Mail::start().await;
    let (old, new) = (mail.holder("old", A), mail.holder("new", B));
    mail.binds(old).await;
    mail.put(&["2", "4"]).await;
    assert_eq!(mail.take(old, first(1)).await, ["2", "4"]);
    mail.binds(new).await;
    let left = [(false, "1"), (true, "2"), (false, "3"), (true, "4")];
    assert!(!mail.depart(old, first(1), &left).await);
    assert_eq!(mail.take(new, first(2)).await, ["1", "3", "2", "4"]);

    // It was struck off, and the answer was lost.
    let newest = mail.holder("newest", C);
    assert!(mail.trim(new, first(2)).await);
    mail.binds(newest).await;
    assert!(mail.depart(new, first(2), &[(true, "2"), (true, "4")]).await);
    assert_eq!(mail.take(newest, first(3)).await, ["2", "4"]);
}

#[tokio::test]
async fn what_a_session_has_taken_goes_on_with_it_and_once() {
    let mail = Mail::start().await;
    let session = mail.holder("s", A);
    mail.binds(session).await;
    mail.put(&["1", "2"]).await;
    assert_eq!(mail.take(session, first(1)).await, ["1", "2"]);
    mail.put(&["3"]).await;
    // The first answer is lost.
    for _ in 0..2 {
        assert!(mail.depart(session, first(1), &[(true, "1"), (true, "2")]).await);
        assert_eq!(mail.kept(), ["1", "2", "3"]);
        assert_eq!(mail.keys(), ["xmpp-sm-mail:{juliet@localhost}"]);
    }
    // The next has it first.
    let next = mail.holder("next", B);
    mail.binds(next).await;
    mail.put(&["4"]).await;
    assert_eq!(mail.take(next, first(2)).await, ["1", "2", "3", "4"]);
}

/// It is for a call that is made again where the answer was lost, which may be hours later, and for one that comes late.
#[tokio::test]
async fn what_is_noted_of_calls_goes_half_an_hour_after_the_last_was_answered() {
    let mail = Mail::start().await;
    let noted = || -> String { mail.redis.tell::<Vec<String>>("KEYS xmpp-sm-calls:*").remove(0) };
    let left = || mail.redis.tell::<i64>(&format!("TTL {}", noted()));
    let (here, there) = (mail.holder("s", A), mail.holder("s", B));
    for is_moved in [false, true] {
        mail.binds(here).await;
        mail.put(&["1"]).await;
        assert_eq!(mail.take(here, first(1)).await, ["1"]);
        assert!(mail.trim(here, first(1)).await);
        assert!(left() > 80_000, "{}", left());
        if is_moved {
            assert!(mail.moves(there).await);
            mail.lists.is_done(here, first(1)).await;
        } else {
            assert!(mail.depart(here, none(next(first(1))), &[]).await);
        }
        assert!((1700..=1800).contains(&left()), "{}", left());
        // One that is made again has the same answer, and changes nothing.
        assert!(mail.trim(here, first(1)).await);
        println!("{} bytes", mail.redis.tell::<usize>(&format!("MEMORY USAGE {}", noted())));
        let () = mail.redis.tell("FLUSHALL");
    }
}

/// More than what is on Lua's stack.
#[tokio::test]
async fn a_session_leaves_as_much_as_may_wait_in_it() {
    let mail = Mail::start().await;
    let (old, new) = (mail.holder("old", A), mail.holder("new", B));
    let numbers: Vec<_> = (0..20_000).map(|number| number.to_string()).collect();
    let left: Vec<_> = numbers.iter().map(|number| (false, number.as_str())).collect();
    mail.binds(old).await;
    mail.binds(new).await;
    mail.put(&["last"]).await;
    assert!(mail.depart(old, none(first(1)), &left).await);
    assert_eq!(mail.take(new, first(2)).await, numbers[..50]);
    let (has_taken, back) = mail.departs(new, none(first(2)), &[]).await;
    assert!(has_taken);
    // What has no room goes back.
    assert_eq!(mail.kept(), numbers[..1000]);
    assert_eq!((back.len(), back.last().unwrap().as_str()), (19_001, "last"));
}

/// A call whose answer was lost gives it back once more.
#[tokio::test]
async fn what_no_other_session_may_have_is_given_back() {
    let mail = Mail::start().await;
    let (to, garden) = (Jid::from(mail.jid.clone()), FullJid::new("juliet@localhost/garden").unwrap());
    let (session, other) = (mail.holder("s", A), Holder { node: B, jid: &garden, session: Some("o") });
    let put = async || {
        let all = [(Otherwise::Nothing, "iq"), (Otherwise::Waits, "1"), (Otherwise::Another, "state")];
        let posted = all.map(|(otherwise, stanza)| Posted { to: &to, otherwise, stanza: stanza.as_bytes() });
        let number = mail.number.fetch_add(1, Ordering::Relaxed);
        assert_eq!(mail.lists.put(C, number, &posted).await.unwrap(), b"111");
    };
    // What was given back is forgotten where its answer has come.
    let () = mail.redis.tell("ACL SETUSER default -unlink");
    mail.binds(session).await;
    put().await;
    for _ in 0..2 {
        let (_, back) = mail.departs(session, none(first(1)), &[(false, "0")]).await;
        assert_eq!(back, ["iq", "state"]);
        assert_eq!(mail.kept(), ["0", "1"]);
    }
    let () = mail.redis.tell("ACL SETUSER default +unlink");
    mail.binds(other).await;
    assert_eq!(mail.take(other, first(3)).await, ["0", "1"]);
    assert!(mail.trim(other, first(3)).await);
    mail.binds(session).await;
    put().await;
    for back in [&["iq"][..], &[]] {
        assert_eq!(
            mail.departs(session, none(first(2)), &[(false, "2")]).await,
            (true, back.iter().map(|iq| iq.to_string()).collect())
        );
    }
    assert_eq!(mail.take(other, next(first(3))).await, ["2", "1", "state"]);
}

#[tokio::test]
async fn calls_that_come_late_or_again_take_and_strike_off_nothing_else() {
    let mail = Mail::start().await;
    let session = mail.holder("s", A);
    mail.binds(session).await;
    mail.put(&["1"]).await;
    let (one, two) = (first(1), next(first(1)));
    for _ in 0..2 {
        assert_eq!(mail.take(session, one).await, ["1"]);
        mail.put(&["2"]).await;
    }
    for _ in 0..2 {
        assert!(mail.trim(session, one).await);
    }
    assert_eq!(mail.take(session, two).await, ["2", "2"]);
    let _: u32 = mail.redis.tell("RPUSH xmpp-sm-mail:{juliet@localhost} 0_x");
    assert_eq!(mail.take(session, one).await, [""; 0]);
    assert!(mail.trim(session, one).await);
    assert!(mail.trim(session, two).await);
    // One that nobody has heard the answer of takes nothing away.
    let _: u32 = mail.redis.tell("DEL xmpp-sm-mail:{juliet@localhost}");
    mail.put(&["3"]).await;
    let three = next(two);
    assert_eq!(mail.take(session, three).await, ["3"]);
    assert!(mail.depart(session, none(three), &[(false, "2")]).await);
    assert_eq!(mail.kept(), ["2", "3"]);
    assert!(mail.is_astray(session, three).await);
    assert!(!mail.trim(session, three).await);
    assert_eq!(mail.kept(), ["2", "3"]);
}

/// It may have been claimed there while another client was binding its resource.
#[tokio::test]
async fn a_session_is_told_that_its_resource_is_bound_wherever_it_is() {
    let mail = Mail::start().await;
    for (node, old, new) in [(A, "s", "next"), (B, "other", "last")] {
        mail.binds(mail.holder(old, A)).await;
        let mut connection = mail.redis.client().get_connection().unwrap();
        let mut hears = connection.as_pubsub();
        hears.set_read_timeout(Some(10 * PATIENCE)).unwrap();
        hears.subscribe(format!("xmpp-sm-link-2:{A}")).unwrap();
        mail.binds(mail.holder(new, node)).await;
        let said: String = hears.get_message().unwrap().get_payload().unwrap();
        assert_eq!(said, format!("bound {old} juliet@localhost/balcony"));
        assert!(mail.depart(mail.holder(old, A), none(first(1)), &[]).await);
    }
}

/// A node claims a session, and dies before it says where it is.
#[tokio::test]
async fn a_session_that_was_claimed_has_its_resource_wherever_that_was_unless_another_has_it() {
    let mail = Mail::start().await;
    mail.binds(mail.holder("s", A)).await;
    assert!(mail.moves(mail.holder("s", C)).await);
    mail.binds(mail.holder("other", A)).await;
    assert!(!mail.moves(mail.holder("s", B)).await);
    mail.put(&["1"]).await;
    // One of the same node is another all the same.
    assert!(mail.is_replaced(mail.holder("s", A), first(1)).await);
    assert!(mail.depart(mail.holder("s", A), none(first(1)), &[(false, "0")]).await);
    assert_eq!(mail.take(mail.holder("other", A), first(2)).await, ["0", "1"]);
}

#[tokio::test]
async fn places_that_an_earlier_version_has_made_are_known_by_their_nodes() {
    let mail = Mail::start().await;
    let place = |node: &str, session: Option<&str>| Place {
        jid: mail.jid.clone(),
        node: node.to_owned(),
        session: session.map(str::to_owned),
    };
    let user = mail.jid.to_bare();
    let found = async || {
        let (jid, node) = mail.lists.places_of(&user).await.unwrap().remove(0);
        mail.lists.place(jid, node).await.unwrap()
    };
    mail.binds(mail.holder("s", A)).await;
    assert_eq!(found().await, place(A, Some("s")));
    let _: u32 = mail.redis.tell(&format!("HSET xmpp-sm-place:{{juliet@localhost}} balcony {B}"));
    assert_eq!(found().await, place(B, None));
    assert_eq!(mail.lists.node_of(&mail.jid).await.unwrap(), B);
    assert_eq!(mail.lists.users().await.unwrap(), std::slice::from_ref(&user));
    mail.put(&["1"]).await;
    assert!(mail.moves(mail.holder("other", C)).await);
    let _: u32 = mail.redis.tell(&format!("HSET xmpp-sm-place:{{juliet@localhost}} balcony {B}"));
    assert!(mail.depart(Holder { session: None, ..mail.holder("", B) }, none(first(1)), &[]).await);
    assert_eq!(mail.kept(), ["1"]);
    assert!(mail.lists.users().await.unwrap().is_empty());
    assert_eq!(mail.lists.node_of(&mail.jid).await.unwrap(), "");
}

#[tokio::test]
async fn a_stanza_for_no_session_by_name_has_a_place_where_it_may_go() {
    let mail = Mail::start().await;
    let user = Jid::from(mail.jid.to_bare());
    let put = async |otherwise, stanza: &str| {
        let posted = Posted { to: &user, otherwise, stanza: stanza.as_bytes() };
        let number = mail.number.fetch_add(1, Ordering::Relaxed);
        mail.lists.put(C, number, &[posted]).await.unwrap() == b"1"
    };
    assert!(!put(Otherwise::Another, "state").await);
    assert!(!put(Otherwise::Nothing, "iq").await);
    assert!(put(Otherwise::Waits, "1").await);
    let session = mail.holder("s", A);
    mail.binds(session).await;
    assert_eq!(mail.take(session, first(1)).await, ["1"]);
    assert!(mail.trim(session, first(1)).await);
    assert!(put(Otherwise::Another, "state").await);
    assert!(put(Otherwise::Waits, "2").await);
    assert!(!put(Otherwise::Nothing, "iq").await);
    assert_eq!(mail.take(session, next(first(1))).await, ["state", "2"]);
}

/// [RFC 6121](https://www.rfc-editor.org/rfc/rfc6121#section-8.5.2.1.1): to nobody yet, if there is no other.
#[tokio::test]
async fn a_stanza_for_no_session_by_name_goes_to_none_of_negative_priority() {
    let mail = Mail::start().await;
    let garden = FullJid::new("juliet@localhost/garden").unwrap();
    let (hers, other) = (mail.holder("s", A), Holder { node: B, jid: &garden, session: Some("o") });
    let put = async |otherwise, to: &Jid, stanza: &str| {
        let posted = Posted { to, otherwise, stanza: stanza.as_bytes() };
        let number = mail.number.fetch_add(1, Ordering::Relaxed);
        mail.lists.put(C, number, &[posted]).await.unwrap() == b"1"
    };
    let take = async |holder, call, kept| match mail.lists.take(holder, call, FIFTY, kept, true).await.unwrap() {
        Taken::Stanzas(stanzas, _) => {
            assert!(stanzas.is_empty() || mail.trim(holder, call).await);
            texts(stanzas)
        }
        other => panic!("{other:?}"),
    };
    // A resource that is nowhere is as good as none.
    let (user, nowhere) = (Jid::from(mail.jid.to_bare()), Jid::new("juliet@localhost/attic").unwrap());
    mail.binds(hers).await;
    assert_eq!(take(hers, first(1), Kept::Never).await, [""; 0]);
    assert!(put(Otherwise::Waits, &user, "1").await && put(Otherwise::Waits, &nowhere, "2").await);
    assert!(!put(Otherwise::Another, &user, "state").await);
    // Nor where it moves.
    assert!(mail.moves(hers).await);
    assert!(put(Otherwise::Waits, &user, "3").await);
    assert_eq!(mail.kept(), ["1", "2", "3"]);
    // Another has it, but leaves nothing to the first.
    mail.binds(other).await;
    assert_eq!(take(other, first(2), Kept::Now).await, ["1", "2", "3"]);
    assert!(put(Otherwise::Waits, &user, "4").await && put(Otherwise::Another, &user, "state").await);
    assert!(mail.depart(other, none(first(2)), &[(false, "0")]).await);
    assert_eq!(mail.kept(), ["0", "4"]);
    assert_eq!(take(hers, first(1), Kept::Now).await, ["0", "4"]);
    assert!(put(Otherwise::Waits, &user, "5").await);
    mail.binds(other).await;
    assert!(mail.depart(other, none(first(3)), &[(false, "6")]).await);
    assert_eq!(take(hers, next(first(1)), Kept::Now).await, ["5", "6"]);
}

/// What waits for the user goes before what is in its list.
#[tokio::test]
async fn what_is_for_one_session_stays_in_order_when_its_priority_is_not_negative_any_more() {
    let mail = Mail::start().await;
    let user = Jid::from(mail.jid.to_bare());
    let put_for_user = async |stanza: &str| {
        let posted = Posted { to: &user, otherwise: Otherwise::Waits, stanza: stanza.as_bytes() };
        let number = mail.number.fetch_add(1, Ordering::Relaxed);
        assert_eq!(mail.lists.put(C, number, &[posted]).await.unwrap(), b"1");
    };
    let take = async |holder, call, most, kept| match mail.lists.take(holder, call, most, kept, true).await.unwrap() {
        Taken::Stanzas(stanzas, _) => texts(stanzas),
        other => panic!("{other:?}"),
    };
    let (one, new) = (Most { stanzas: 1, bytes: 1000 }, mail.holder("new", B));
    // It becomes unavailable; or another binds the resource.
    for (is_new, hers) in [(false, first(1)), (true, first(2))] {
        let session = mail.holder("s", A);
        mail.binds(session).await;
        assert_eq!(take(session, hers, FIFTY, Kept::Never).await, [""; 0]);
        mail.put(&["1", "2"]).await;
        put_for_user("for her").await;
        let (session, call) = if is_new {
            mail.binds(new).await;
            mail.put(&["3"]).await;
            assert!(mail.depart(session, none(hers), &[(false, "0")]).await);
            (new, first(3))
        } else {
            assert_eq!(take(session, hers, one, Kept::Later).await, ["1"]);
            mail.put(&["3"]).await;
            assert!(mail.trim(session, hers).await);
            (session, next(hers))
        };
        let expected: &[_] = if is_new { &["for her", "0", "1", "2", "3"] } else { &["for her", "2", "3"] };
        assert_eq!(take(session, call, FIFTY, Kept::Now).await, expected);
        assert!(mail.depart(session, call, &[]).await);
        assert_eq!(mail.kept(), [""; 0]);
    }
}

/// Nobody would take it out of there otherwise, and there would never be any.
#[tokio::test]
async fn mail_is_taken_where_there_is_no_memory() {
    let mail = Mail::start().await;
    let session = mail.holder("s", A);
    mail.binds(session).await;
    mail.put(&["1"]).await;
    let () = mail.redis.tell("CONFIG SET maxmemory 1");
    assert_eq!(mail.take(session, first(1)).await, ["1"]);
    assert!(mail.trim(session, first(1)).await);
    assert_eq!(mail.take(session, next(first(1))).await, [""; 0]);
}
