//! Sessions that cannot live where they are claimed, and one that nobody has: they do not stay as a record.

use super::{ASK, BIND, Client, ENABLE, JULIET, Node, ROMEO, bodies, eventually, message, two};
use crate::server::Redis;

const HERS: &str = "xmpp-sm-sessions:{juliet@localhost}";

/// Of her sessions, without the last epoch.
fn records(redis: &Redis) -> usize {
    redis.tell::<Vec<String>>(&format!("HKEYS {HERS}")).iter().filter(|field| !field.is_empty()).count()
}

#[test]
fn a_session_that_cannot_be_read_is_gone_and_what_it_was_is_set_aside() {
    let redis = Redis::start();
    let [(one, _romeo, _), (other, juliet, smid)] = two(&redis, "durable");
    // It is parked when her stream is lost, or not yet.
    drop((juliet, other));
    let journal = redis.tell::<Vec<String>>(&format!("KEYS {HERS}:*")).remove(0);
    let key = journal.split('+').next().unwrap();
    let _: u32 = redis.tell(&format!("DEL {journal}"));
    let () = redis.tell(&format!("SET {key} damaged"));
    let mut juliet = Client::log_in(&one, JULIET);
    let failed = juliet.resume(&smid, 1);
    assert!(failed.contains("item-not-found"), "{failed}");
    let aside: Vec<String> = redis.tell("KEYS xmpp-sm-damaged:{juliet@localhost}:*");
    assert_eq!(redis.tell::<Vec<String>>(&format!("LRANGE {} 0 -1", aside[0])), ["damaged"]);
    assert_eq!(records(&redis), 0);
    juliet.begin();
}

#[test]
fn a_session_that_does_not_fit_is_over_and_what_it_holds_waits_for_its_user() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, mut juliet, smid)] = two(&redis, "durable");
    for number in 2..5 {
        romeo.say(&message(number));
    }
    juliet.gets(&[2, 3, 4]);
    let resource = redis.tell::<Vec<String>>("HKEYS xmpp-sm-place:{juliet@localhost}").remove(0);
    let to = format!("to='juliet@localhost/{resource}'");
    for (name, what) in [("iq", "type='get' id='open'"), ("message", "type='headline'"), ("iq", "type='result' id='r'")]
    {
        romeo.say(&format!("<{name} {what} {to}><query xmlns='jabber:iq:version'/></{name}>"));
    }
    juliet.until(|read| read.matches("jabber:iq:version").count() == 3);
    drop((juliet, other));
    let small = ["--promise", "durable", "--buffer-max", "2", "--backlog-max", "1"];
    let small = Node::start_with(&redis, "small", &small);
    let failed = Client::log_in(&small, JULIET).resume(&smid, 1);
    assert!(failed.contains("item-not-found") && failed.contains("h='1'"), "{failed}");
    // Who waits for an answer does not wait for her to come back.
    let answer = romeo.until(|read| read.contains("</error>")) + &romeo.ask(ASK, "<a ");
    assert_eq!(answer.matches("<service-unavailable ").count(), 1, "{answer}");
    assert!(answer.contains("id='open'"), "{answer}");
    drop(one);
    assert_eq!(records(&redis), 1, "its last h");
    small.stop();
    let large = Node::start(&redis, "large", "durable");
    let mut juliet = Client::log_in(&large, JULIET);
    juliet.begins_with(&[1, 2, 3, 4]);
}

/// Its answer came too late, and the client was told that it cannot resume.
#[test]
fn a_registration_whose_answer_was_lost_is_taken_out() {
    let redis = Redis::start();
    let one = Node::start(&redis, "one", "durable");
    // The scripts are there.
    Client::log_in(&one, ROMEO).begin();
    let mut juliet = Client::log_in(&one, JULIET);
    juliet.ask(BIND, "</iq>");
    redis.pause();
    let enabled = juliet.ask(ENABLE, "<enabled");
    assert!(!enabled.contains("id="), "{enabled}");
    redis.wake();
    eventually("it is carried out", || records(&redis) == 1);
    eventually("nobody has it", || records(&redis) == 0);
    // The session is there, and is none that can be resumed.
    juliet.ask("<presence/>", "<presence");
    let answer = juliet.ask(ASK, "<a ");
    assert_eq!(bodies(&answer), [0; 0]);
}
