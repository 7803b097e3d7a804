//! The mail of sessions that move, are replaced, or cannot live any more: it goes with them, or on, in order and once.

use std::thread;
use std::time::{Duration, Instant};

use xmpp_sm::{AsyncSessionStore, Claim, Config, Lookup, Parking, Record, RedisStore, SmId};

use super::{ASK, Client, ENABLE, JULIET, Node, PATIENCE, ROMEO, all_is_at, bodies, eventually, example, message, two};
use crate::runtime;
use crate::server::Redis;

const HERS: &str = "xmpp-sm-sessions:{juliet@localhost}";

/// Her session, if there is one; and claims it in the name of a node that is dead, if told so.
fn hers(redis: &Redis, smid: &str, claims: bool) -> Option<Record<bytes::Bytes>> {
    runtime().block_on(async {
        let store = RedisStore::new(redis.connect().await, &Config::default()).prefix("xmpp-sm-sessions");
        let found = store.lookup(&SmId::new(smid).unwrap(), "juliet@localhost", Instant::now()).await.unwrap();
        let Lookup::Session(record) = found else { return None };
        if claims {
            let claim = store.claim(&record.registration, "dead/1/2".into(), Instant::now()).await.unwrap();
            assert!(matches!(claim, Claim::Claimed(_)), "{claim:?}");
        }
        Some(record)
    })
}

/// What of a session is written down, in whose place that is put.
fn put(redis: &Redis, snapshot: &[u8]) {
    let keys: Vec<String> = redis.tell(&format!("KEYS {HERS}:*"));
    // A snapshot, or the journal that has one in front.
    let key = keys[0].split('+').next().unwrap();
    for key in &keys {
        let () = redis.tell(&format!("DEL {key}"));
    }
    let () = redis::cmd("SET").arg(key).arg(snapshot).query(&mut redis.client().get_connection().unwrap()).unwrap();
}

fn has_no_mail(redis: &Redis) -> bool {
    redis.tell::<Vec<String>>("KEYS xmpp-sm-mail:{juliet@localhost}*").is_empty()
}

pub fn bind(resource: &str) -> String {
    let bind = format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>");
    format!("<iq type='set' id='b'>{bind}</iq>")
}

fn to_her(number: u32) -> String {
    message(number).replace("@localhost", "@localhost/balcony")
}

impl Client {
    /// Returns what comes at once.
    pub fn begins_as(&mut self, resource: &str) -> String {
        let mut came = self.ask(&bind(resource), "</iq>");
        came += &self.ask(ENABLE, "<enabled");
        came + &self.ask("<presence/>", "<presence")
    }
}

/// The place of her session names the node that had it before.
#[test]
fn a_session_outlives_a_node_that_dies_as_soon_as_it_has_claimed_it() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, juliet, smid)] = two(&redis, "durable");
    drop((juliet, other));
    hers(&redis, &smid, true).unwrap();
    romeo.say(&message(2));
    let is_dead = |record: Record<bytes::Bytes>| record.handle.starts_with(b"dead/");
    eventually("somebody takes it over", || !hers(&redis, &smid, false).is_some_and(is_dead));
    all_is_at(&one, &smid);
}

/// [RFC 6121](https://www.rfc-editor.org/rfc/rfc6121#section-8.5.3.2): whoever asks a client that does not come back is told so,
/// and nobody else is asked. What is in its list with the iq goes on.
#[test]
fn an_iq_for_a_session_that_is_over_goes_to_no_other_session_of_its_user() {
    for has_tablet in [false, true] {
        let redis = Redis::start();
        let options = ["--promise=parked", "--resume-timeout=9"];
        let [one, other] = ["one", "other"].map(|name| Node::start_with(&redis, name, &options));
        let mut romeo = Client::log_in(&one, ROMEO);
        romeo.begins_as("orchard");
        let mut tablet = Client::log_in(&other, JULIET);
        if has_tablet {
            tablet.begins_as("tablet");
        }
        let mut juliet = Client::log_in(&other, JULIET);
        juliet.begins_as("balcony");
        juliet.is_told(1);
        drop(juliet);
        let to = "to='juliet@localhost/balcony'";
        let iq = |kind: &str| format!("<iq {to} id='{kind}' type='{kind}'><query xmlns='jabber:iq:version'/></iq>");
        let message = |number: u32| message(number).replace("to='juliet@localhost'", to);
        // She is not there: her session has the first, and then no room.
        romeo.say(&message(1));
        let in_her_list = || redis.tell::<u32>("LLEN xmpp-sm-mail:{juliet@localhost}/balcony");
        romeo.is_told(2);
        eventually("the first is taken", || in_her_list() == 0);
        romeo.say(&[iq("get"), message(2), iq("set"), iq("result"), message(3)].concat());
        eventually("the others are in her list", || in_her_list() == 5);
        let errors = romeo.until(|read| read.matches("</error>").count() == 2);
        assert_eq!(errors.matches("<service-unavailable ").count(), 2, "{errors}");
        assert!(errors.contains("id='get'") && errors.contains("id='set'"), "{errors}");
        if !has_tablet {
            tablet.say(&(bind("tablet") + ENABLE + "<presence/>"));
        }
        let came = tablet.until(|read| read.contains("<body>3</body>")) + &tablet.ask(ASK, "<a ");
        assert_eq!(bodies(&came), [1, 2, 3], "{came}");
        assert!(!came.contains("jabber:iq:version"), "{came}");
    }
}

/// Her node has no answer, though it was done, and her client was sent away.
#[test]
fn mail_does_not_stay_where_a_resource_was_bound_and_no_session_has_begun() {
    let redis = Redis::start();
    let one = Node::start(&redis, "one", "parked");
    let mut romeo = Client::log_in(&one, ROMEO);
    romeo.begins_as("orchard");
    // It was at a node that lives, which cannot be told.
    let () = redis.tell("SET xmpp-sm-node:other 1");
    let () = redis.tell("HSET xmpp-sm-place:{juliet@localhost} balcony other/1");
    let () = redis.tell("ACL SETUSER default -publish");
    let mut juliet = Client::log_in(&one, JULIET);
    juliet.say(&bind("balcony"));
    assert!(juliet.until_closed().contains("<resource-constraint "));
    let () = redis.tell("ACL SETUSER default +publish");
    let node: String = redis.tell("HGET xmpp-sm-place:{juliet@localhost} balcony");
    assert!(node.starts_with("one/"), "{node}");
    romeo.say(&message(1));
    romeo.is_told(2);
    Client::log_in(&one, JULIET).begins_with(&[1]);
}

/// Nor does it take the resource from a session whose client has bound it since.
#[test]
fn a_bind_that_its_node_has_given_up_leaves_no_place() {
    let redis = Redis::start();
    let one = Node::start(&redis, "one", "parked");
    let mut romeo = Client::log_in(&one, ROMEO);
    romeo.begins_as("orchard");
    let mut juliet = Client::log_in(&one, JULIET);
    // What only reads is answered.
    let () = redis.tell("CLIENT PAUSE 60000 WRITE");
    juliet.say(&bind("balcony"));
    assert!(juliet.until_closed().contains("<resource-constraint "));
    let () = redis.tell("CLIENT UNPAUSE");
    romeo.say(&message(1));
    romeo.is_told(2);
    assert!(!redis.tell::<bool>("EXISTS xmpp-sm-place:{juliet@localhost}"));
}

/// Of what she takes at once, some would be nowhere.
#[test]
fn more_mail_than_a_session_has_room_for_comes_all_the_same() {
    let redis = Redis::start();
    let more = ["--promise", "durable", "--backlog-max-bytes", "10000", "--offline-max-bytes", "10000"];
    let [one, other] = ["one", "other"].map(|name| Node::start_with(&redis, name, &more));
    let mut romeo = Client::log_in(&one, ROMEO);
    romeo.begins_as("orchard");
    let all: Vec<u32> = (1..=60).collect();
    for number in &all {
        let padding = format!("<thread>{}</thread><body>", "x".repeat(1000));
        romeo.say(&message(*number).replace("<body>", &padding));
    }
    romeo.is_told(61);
    Client::log_in(&other, JULIET).begins_with(&all);
}

/// She has as many sessions as she may have: what she had before has made room.
fn displace(redis: &Redis) {
    runtime().block_on(async {
        let store = RedisStore::new(redis.connect().await, &Config::default()).prefix("xmpp-sm-sessions");
        for _ in 0..10 {
            let smid = SmId::random().unwrap();
            store.register(&smid, &"juliet@localhost".into(), "dead/1/2".into(), Instant::now()).await.unwrap();
        }
    });
}

/// Her node finds it when it writes, before anybody has told it.
#[test]
fn what_a_displaced_session_has_goes_on_once_and_nothing_of_it_stays() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (_other, juliet, _)] = two(&redis, "durable");
    displace(&redis);
    romeo.say(&message(2));
    let is_displaced = || redis.tell::<Vec<String>>(&format!("KEYS {HERS}:*")).is_empty();
    eventually("nothing is kept of it", is_displaced);
    drop(juliet);
    let mut juliet = Client::log_in(&one, JULIET);
    juliet.begins_with(&[1, 2]);
    // By then its node would have taken it over.
    thread::sleep(Duration::from_secs(12));
    assert_eq!(bodies(&juliet.ask(ASK, "<a ")), [0; 0]);
}

/// Another takes it over, and finds that it was displaced.
#[test]
fn what_a_displaced_session_has_goes_on_once_though_its_node_is_dead() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, juliet, _)] = two(&redis, "durable");
    displace(&redis);
    drop((other, juliet));
    romeo.say(&message(2));
    let is_gone = || redis.tell::<Vec<String>>(&format!("KEYS {HERS}:*")).is_empty();
    eventually("nothing is kept of it", is_gone);
    let mut juliet = Client::log_in(&one, JULIET);
    juliet.begins_with(&[1, 2]);
    assert_eq!(bodies(&juliet.ask(ASK, "<a ")), [0; 0]);
}

/// Her node has let go of it, and lives.
#[test]
fn the_mail_of_a_session_that_cannot_be_read_goes_on() {
    // It needs a reader of version 99.
    let payload = b"\xa2\x00\x18\x63\x01\xf6";
    let sum = crc32fast::hash(payload).to_be_bytes();
    let newer = [&b"\xd9\xd9\xf7\x82\x46"[..], payload, b"\x1a", &sum].concat();
    for (unreadable, condition) in [(&b"damaged"[..], "item-not-found"), (&newer, "internal-server-error")] {
        let redis = Redis::start();
        let [(one, mut romeo, _), (_other, juliet, smid)] = two(&redis, "parked");
        drop(juliet);
        // The first of these goes into her session, which is written down once more.
        romeo.say(&message(2));
        romeo.is_told(3);
        eventually("it is out of the list", || has_no_mail(&redis));
        romeo.say(&[3, 4].map(message).concat());
        romeo.is_told(5);
        put(&redis, unreadable);
        let mut juliet = Client::log_in(&one, JULIET);
        let failed = juliet.resume(&smid, 1);
        assert!(failed.contains(condition), "{failed}");
        romeo.say(&message(5));
        romeo.is_told(6);
        let mut came = juliet.begins_as("balcony");
        if !came.contains("<body>5</body>") {
            came += &juliet.until(|read| read.contains("<body>5</body>"));
        }
        // Her node may see that nothing of her session is left before it forgets it: what that had comes behind, then.
        let numbers = bodies(&came);
        assert!([&[3, 4, 5][..], &[3, 4, 5, 1, 2]].contains(&&numbers[..]), "{condition}: {numbers:?}");
    }
}

#[test]
fn what_is_neither_in_a_session_nor_struck_off_goes_on_once() {
    for promise in ["memory", "parked", "durable"] {
        let redis = Redis::start();
        let nodes = ["one", "other"].map(|name| Node::start(&redis, name, promise));
        let mut romeo = Client::log_in(&nodes[1], ROMEO);
        romeo.begins_as("orchard");
        let mut juliet = Client::log_in(&nodes[1], JULIET);
        juliet.begins_as("balcony");
        // Nothing is struck off, and what comes from within her node is none of that.
        let () = redis.tell("ACL SETUSER default -ltrim");
        romeo.say(&message(1));
        juliet.gets(&[1]);
        romeo.say("<presence to='juliet@localhost/balcony'><status>here</status></presence>");
        juliet.until(|read| read.contains("here"));
        let mut next = Client::log_in(&nodes[0], JULIET);
        let mut came = next.begins_as("balcony");
        juliet.until(|read| read.contains("<conflict "));
        drop(juliet);
        let () = redis.tell("ACL SETUSER default +ltrim");
        let begun = Instant::now();
        romeo.say(&message(2));
        romeo.say(&message(3));
        came += &next.until(|read| read.contains("<body>3</body>"));
        assert_eq!(bodies(&came), [1, 2, 3], "{promise}");
        assert!(begun.elapsed() < PATIENCE / 2, "what waited for that comes by itself");
    }
}

/// Her former client is silent, and her node waits for it. Nothing is written to the next one that is not counted.
#[test]
fn what_a_replaced_session_has_comes_first_and_not_before_stream_management() {
    let redis = Redis::start();
    let [one, other] = ["one", "other"].map(|name| Node::start(&redis, name, "parked"));
    let (mut romeo, mut juliet) = (Client::log_in(&one, ROMEO), Client::log_in(&other, JULIET));
    romeo.begins_as("orchard");
    juliet.begins_as("balcony");
    romeo.say(&to_her(1));
    juliet.gets(&[1]);
    let mut next = Client::log_in(&one, JULIET);
    let bound = next.ask(&bind("balcony"), "</iq>");
    romeo.say(&to_her(2));
    romeo.is_told(3);
    juliet.until(|read| read.contains("<conflict "));
    thread::sleep(Duration::from_secs(3)); // it is over by then
    assert_eq!(redis.tell::<usize>("LLEN xmpp-sm-mail:{juliet@localhost}/balcony"), 2);
    let enabled = next.ask(ENABLE, "<enabled");
    assert_eq!(bodies(&bound), [0; 0]);
    let smid = enabled.split_once(" id='").unwrap().1.split_once('\'').unwrap().0;
    drop(next);
    let mut last = Client::log_in(&other, JULIET);
    let mut came = last.resume(smid, 0);
    if bodies(&came).len() < 2 {
        came += &last.until(|read| read.contains("<body>2</body>"));
    }
    assert_eq!(bodies(&came), [1, 2]);

    // While the former one is open.
    let mut next = Client::log_in(&one, JULIET);
    let mut came = next.begins_as("balcony");
    romeo.say(&to_her(3));
    if !came.contains("<body>3</body>") {
        came += &next.until(|read| read.contains("<body>3</body>"));
    }
    assert_eq!(bodies(&came), [1, 2, 3]);
}

/// Chat states wait until a client looks, and none is lost by that.
#[test]
fn what_waits_for_an_inactive_client_goes_where_its_session_goes() {
    let in_good_order = ["memory", "parked", "durable"].map(|promise| [(promise, "lives"), (promise, "stops")]);
    for (promise, fate) in in_good_order.into_iter().flatten().chain([("durable", "is killed")]) {
        let redis = Redis::start();
        let [one, other] = ["one", "other"].map(|name| Node::start(&redis, name, promise));
        let (mut romeo, mut juliet) = (Client::log_in(&one, ROMEO), Client::log_in(&other, JULIET));
        romeo.begins_as("orchard");
        let begun = juliet.begins_as("balcony");
        let smid = begun.split_once("<enabled").and_then(|(_, rest)| rest.split_once(" id='")).unwrap().1;
        juliet.say("<inactive xmlns='urn:xmpp:csi:0'/>");
        juliet.ask(ASK, "<a ");
        let state = "<paused xmlns='http://jabber.org/protocol/chatstates'/>";
        romeo.say(&format!("<message to='juliet@localhost' type='chat'>{state}</message>"));
        romeo.is_told(2);
        eventually("it is out of the list", || has_no_mail(&redis));
        let _other = match fate {
            "lives" => Some(other),
            "stops" => {
                other.stop();
                None
            }
            _ => None,
        };
        let mut next = Client::log_in(&one, JULIET);
        let mut resumed = next.resume(smid.split_once('\'').unwrap().0, 1);
        assert!(resumed.contains("<resumed"), "{promise}, {fate}: {resumed}");
        romeo.say(&message(2));
        if !resumed.contains("<body>2</body>") {
            resumed += &next.until(|read| read.contains("<body>2</body>"));
        }
        assert!(resumed.contains("<paused "), "{promise}, {fate}: {resumed}");
    }
}

/// Her former node has hung, and ends a session that is another's.
#[test]
fn what_a_session_has_that_is_anothers_does_not_go_on_from_there_where_there_is_no_memory() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, mut old, smid)] = two(&redis, "durable");
    other.hang();
    romeo.say(&message(2));
    let mut juliet = all_is_at(&one, &smid);
    juliet.say("<a xmlns='urn:xmpp:sm:3' h='3'/>");
    juliet.ask(ASK, "<a ");
    old.say("</stream:stream>");
    let () = redis.tell("CONFIG SET maxmemory 1");
    other.signal("-CONT");
    old.until_closed();
    thread::sleep(Duration::from_secs(3)); // it has ended by then
    let () = redis.tell("CONFIG SET maxmemory 0");
    thread::sleep(Duration::from_secs(3));
    romeo.say(&message(3));
    juliet.gets(&[3]);
}

/// Those that come first are in what her former node has written down, which nobody has taken over yet.
#[test]
fn what_a_session_of_a_dead_node_has_comes_before_what_has_come_since() {
    for (promise, fate) in [("memory", "stops"), ("parked", "stops"), ("durable", "stops"), ("durable", "is killed")] {
        let redis = Redis::start();
        // It looks seldom for sessions that nobody has.
        let one = Node::start_with(&redis, "one", &["--promise", promise, "--dead-after=60"]);
        let other = Node::start_with(&redis, "other", &["--promise", promise, "--dead-after=3"]);
        let (mut romeo, mut juliet) = (Client::log_in(&one, ROMEO), Client::log_in(&other, JULIET));
        romeo.begins_as("orchard");
        juliet.begins_as("balcony");
        romeo.say(&[1, 2].map(to_her).concat());
        juliet.gets(&[1, 2]);
        romeo.is_told(3);
        if fate == "stops" {
            other.stop();
        } else {
            drop(other);
            eventually("it counts as dead", || !redis.tell::<bool>("EXISTS xmpp-sm-node:other"));
        }
        romeo.say(&to_her(3));
        romeo.is_told(4);
        let begun = Instant::now();
        let mut next = Client::log_in(&one, JULIET);
        let mut came = next.begins_as("balcony");
        if bodies(&came).len() < 3 {
            came += &next.until(|read| bodies(read).contains(&3));
        }
        assert_eq!(bodies(&came), [1, 2, 3], "{promise}, {fate}");
        assert!(begun.elapsed() < Duration::from_secs(8), "she waits for no more than that");
        // Nor is he told that she has gone.
        let told = romeo.ask(ASK, "<a ");
        assert!(!told.contains("unavailable"), "{told}");
    }
}

/// Of a session that has died with its node nothing comes any more.
#[test]
fn nobody_waits_for_a_session_that_is_lost() {
    let redis = Redis::start();
    let one = Node::start_with(&redis, "one", &["--promise=memory", "--dead-after=60"]);
    let other = Node::start_with(&redis, "other", &["--promise=memory", "--dead-after=3"]);
    let (mut romeo, mut juliet) = (Client::log_in(&one, ROMEO), Client::log_in(&other, JULIET));
    romeo.begins_as("orchard");
    juliet.begins_as("balcony");
    drop(other);
    eventually("it counts as dead", || !redis.tell::<bool>("EXISTS xmpp-sm-node:other"));
    let mut next = Client::log_in(&one, JULIET);
    let begun = Instant::now();
    let mut came = next.begins_as("balcony");
    romeo.say(&message(1).replace("@localhost", "@localhost/balcony"));
    if bodies(&came).is_empty() {
        came += &next.until(|read| bodies(read).contains(&1));
    }
    assert_eq!(bodies(&came), [1]);
    assert!(begun.elapsed() < Duration::from_secs(8));
}

/// His node is hers.
#[test]
fn what_has_no_room_in_her_list_goes_back_and_does_not_overtake_what_is_there() {
    let redis = Redis::start();
    let one = Node::start(&redis, "one", "parked");
    let (mut romeo, mut juliet) = (Client::log_in(&one, ROMEO), Client::log_in(&one, JULIET));
    romeo.begins_as("orchard");
    // Before she says what she wants, she takes nothing.
    juliet.ask(&bind("balcony"), "</iq>");
    romeo.say(&to_her(1));
    romeo.is_told(2);
    let mut fill = redis::cmd("EVAL");
    let stanza = " <message xmlns='jabber:client' to='juliet@localhost/balcony' type='chat'><body>0</body></message>";
    fill.arg("for n = 2, 10000 do redis.call('RPUSH', KEYS[1], ARGV[1]) end").arg(1);
    fill.arg("xmpp-sm-mail:{juliet@localhost}/balcony").arg(stanza);
    let () = fill.query(&mut redis.client().get_connection().unwrap()).unwrap();
    romeo.say(&to_her(2));
    let back = romeo.until(|read| read.contains("</message>"));
    assert!(back.contains("service-unavailable"), "{back}");
    let mut came = juliet.ask(ENABLE, "<enabled");
    if bodies(&came).is_empty() {
        came += &juliet.until(|read| !bodies(read).is_empty());
    }
    assert_eq!(bodies(&came)[0], 1, "what he has sent first");
}

/// Romeo is at one node, and juliet at the other has a session and has said no more.
fn without_presence(redis: &Redis) -> ([Node; 2], Client, Client) {
    let nodes = ["one", "other"].map(|name| Node::start(redis, name, "parked"));
    let (mut romeo, mut juliet) = (Client::log_in(&nodes[0], ROMEO), Client::log_in(&nodes[1], JULIET));
    romeo.begins_as("orchard");
    juliet.ask(&bind("balcony"), "</iq>");
    juliet.ask(ENABLE, "<enabled");
    (nodes, romeo, juliet)
}

fn her_mail_knows(redis: &Redis, what: &str, is: &str) {
    let get = format!("HGET xmpp-sm-holder:{{juliet@localhost}}/balcony {what}");
    eventually("her mail knows", || redis.tell::<Option<String>>(&get).as_deref() == Some(is));
}

/// [RFC 6121](https://www.rfc-editor.org/rfc/rfc6121#section-8.5.2.1.1): it waits for one that is there for her.
#[test]
fn what_is_for_her_goes_to_no_session_of_negative_priority() {
    let redis = Redis::start();
    let ([one, _other], mut romeo, mut juliet) = without_presence(&redis);
    juliet.ask("<presence><priority>-1</priority></presence>", "<presence");
    her_mail_knows(&redis, "kept", "never");
    romeo.say(&[message(1), to_her(2)].concat());
    romeo.is_told(3);
    juliet.gets(&[2]);
    let mut tablet = Client::log_in(&one, JULIET);
    let mut came = tablet.begins_as("tablet");
    if bodies(&came).is_empty() {
        came += &tablet.until(|read| bodies(read).contains(&1));
    }
    assert_eq!(bodies(&came), [1]);
    romeo.say(&[to_her(3), message(4)].concat());
    tablet.gets(&[4]);
    juliet.gets(&[3]);
    // Of two presences and two messages. What the other has not acknowledged goes to nobody yet, either, until she changes her mind.
    tablet.say("<a xmlns='urn:xmpp:sm:3' h='3'/></stream:stream>");
    tablet.until_closed();
    eventually("it is gone", || !redis.tell::<bool>("HEXISTS xmpp-sm-place:{juliet@localhost} tablet"));
    romeo.say(&[message(5), to_her(6)].concat());
    juliet.gets(&[6]);
    juliet.say("<presence/>");
    juliet.gets(&[4, 5]);
}

/// [RFC 6121](https://www.rfc-editor.org/rfc/rfc6121#section-8.5.2.1.1): a client that has not sent its presence, or has taken it
/// back, gets what is for it by name.
#[test]
fn what_is_for_her_waits_until_a_client_of_hers_is_available() {
    let redis = Redis::start();
    let (_nodes, mut romeo, mut juliet) = without_presence(&redis);
    let waits =
        |number: u32| eventually("it waits", || redis.tell::<u32>("LLEN xmpp-sm-mail:{juliet@localhost}") == number);
    for (number, is_there) in [(1, "<presence/>"), (4, "<presence><priority>1</priority></presence>")] {
        romeo.say(&[to_her(number), message(number + 1)].concat());
        juliet.gets(&[number]);
        waits(1);
        assert_eq!(bodies(&juliet.ask(ASK, "<a ")), [0; 0]);
        juliet.say(is_there);
        juliet.gets(&[number + 1]);
        romeo.say(&message(number + 2));
        juliet.gets(&[number + 2]);
        juliet.say("<presence type='unavailable'/>");
        her_mail_knows(&redis, "takes", "no");
    }
}

/// It has waited there for her former session to end, and she is at another node by then.
#[test]
fn a_connection_that_is_gone_takes_her_resource_from_no_other() {
    let redis = Redis::start();
    let () = redis.tell("ACL SETUSER other on >x ~* &* +@all");
    let one = Node::start(&redis, "one", "durable");
    let at = redis.url() + "?user=other&pass=x";
    let other = Node::try_start(example("server"), &at, "other", &["--promise=durable", "--dead-after=60"]).unwrap();
    Client::log_in(&other, JULIET).begins_as("balcony");
    let () = redis.tell("ACL SETUSER other -evalsha -eval");
    let mut gone = Client::log_in(&other, JULIET);
    gone.say(&bind("balcony"));
    thread::sleep(Duration::from_millis(500));
    drop(gone);
    let mut juliet = Client::log_in(&one, JULIET);
    juliet.begins_as("balcony");
    let () = redis.tell("ACL SETUSER other +evalsha +eval");
    // What she has sent there is over before this is.
    thread::sleep(Duration::from_secs(3));
    juliet.ask("<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>", "id='p'");
}
