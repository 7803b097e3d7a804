//! SM-IDs of every size and with every character that XML can carry.

use xmpp_sm::{Condition, Enabled, Error, InvalidText, Kind, Nonza, ParseError, SmId};

use crate::support::at_work::{Stream, action, config, failed, refuses};
use crate::support::{JULIET, Net, Side, quiet};

fn waiting_for_resume() -> Stream {
    let mut stream = Stream::server(config());
    stream.authenticated();
    stream
}

#[test]
fn a_previd_of_no_bytes_and_of_4001() {
    for previd in [String::new(), "x".repeat(4001), "é".repeat(2001), "x".repeat(8000)] {
        let mut stream = waiting_for_resume();
        let error = refuses(&mut stream, &format!("<resume h='0' previd='{previd}'/>"));
        assert_eq!(error, Error::Malformed(ParseError::Invalid { element: Kind::Resume, attribute: "previd" }));
        assert_eq!(error.reaction(), failed(Condition::BadRequest));
        assert!(SmId::new(&previd).is_err());
    }
}

#[test]
fn a_previd_of_4000_bytes_is_an_id_like_another() {
    for previd in ["x".repeat(4000), "é".repeat(2000), "&lt;".repeat(4000), "x".to_owned()] {
        let mut net = Net::new(quiet());
        let conn = net.open(JULIET);
        net.authenticate(conn);
        net.client_writes(conn, &format!("<resume h='0' previd='{previd}'/>"));
        net.expect(&format!(
            "C: <resume h='0' previd='{previd}'/>
             S: <failed><item-not-found/></failed>"
        ));
    }
}

#[test]
fn an_id_of_4000_bytes_or_of_characters_that_need_escaping_is_resumed_by() {
    let odd = "'\"<>&amp;]]>\t\n\r <!-- --> &#x9; ünïcödé 日本 \u{7f} \u{10ffff} \u{e000} ";
    for id in ["x".repeat(4000), odd.to_owned(), " ".to_owned(), odd.repeat(30)] {
        let mut net = Net::new(quiet());
        net.name_session(&id);
        let juliet = net.login(JULIET);
        assert_eq!(net.client(juliet).smid().map(SmId::as_str), Some(&*id));
        net.server_sends(juliet, "<message id='m1'/>");
        net.cut(juliet);
        let again = net.resume(juliet);
        net.run();
        assert!(net.client(again).is_enabled() && net.server(again).is_enabled(), "{id:?}");
        assert_eq!(net.got(again, Side::Client), ["m1"]);
    }
}

#[test]
fn an_id_with_space_around_it_is_another_id() {
    let mut net = Net::new(quiet());
    let juliet = net.login_silent(JULIET);
    net.cut(juliet);
    net.skip();
    for previd in [" sm-1", "sm-1 ", "SM-1", "sm-1&#10;"] {
        let conn = net.open(JULIET);
        net.authenticate(conn);
        net.client_writes(conn, &format!("<resume h='0' previd='{previd}'/>"));
        net.expect(&format!(
            "C{conn}: <resume h='0' previd='{previd}'/>
             S{conn}: <failed><item-not-found/></failed>"
        ));
    }
    net.silent_resume(JULIET, "sm-1", 0);
    net.run();
    assert!(net.server(6).is_enabled());
}

#[test]
fn what_xml_cannot_carry_is_no_id_even_if_a_parser_lets_it_through() {
    for c in ['\0', '\u{1}', '\u{8}', '\u{b}', '\u{c}', '\u{e}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
        let previd = format!("a{c}b");
        assert_eq!(SmId::new(&previd), Err(InvalidText::NotXml));
        let parsed = Nonza::parse("resume", [("previd", &*previd), ("h", "0")], None);
        assert_eq!(parsed, Err(ParseError::Invalid { element: Kind::Resume, attribute: "previd" }), "{c:?}");
        let parsed = Nonza::parse("enabled", [("id", &*previd), ("location", &*previd)], None);
        assert_eq!(parsed, Ok(Nonza::Enabled(Enabled::default())), "{c:?}");
    }
}

#[test]
fn no_error_says_what_the_peer_wrote() {
    let secret = "correct-horse";
    for text in [
        format!("<resume previd='{secret}' h='x'/>"),
        format!("<resume previd='{secret}{}' h='0'/>", "x".repeat(4000)),
        format!("<resumed previd='{secret}' h='0'/>"),
    ] {
        let error = refuses(&mut waiting_for_resume(), &text);
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        // And yet a reader of the log knows which element it was.
        assert!(error.to_string().contains("<resume"), "{error}");
    }
    let mut stream = waiting_for_resume();
    let taken = action(&mut stream, &format!("<resume previd='{secret}' h='0'/>"));
    assert!(!format!("{taken:?}").contains(secret));
}

#[test]
fn each_character_that_an_attribute_cannot_hold_is_escaped_by_itself() {
    for c in ['&', '<', '>', '\'', '"', '\t', '\n', '\r'] {
        let previd = SmId::new(&format!("a{c}b")).unwrap();
        let resume = Nonza::Resume(xmpp_sm::Resume { previd, h: 0.into() });
        let text = resume.to_string();
        assert!(!text.contains(&format!("a{c}b")), "{text}");
        assert_eq!(Nonza::from_element(&text.parse().unwrap()), Some(Ok(resume)), "{text}");
    }
}
