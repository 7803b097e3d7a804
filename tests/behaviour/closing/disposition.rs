//! What becomes of the stanzas that a session leaves: every cell of the table in `disposition`, written out.

use xmpp_sm::disposition::{Facts, IqKind, Kind, MessageKind, PresenceKind, Step, steps};
use xmpp_sm::{Condition, EndReason};

/// The endings of a server's session, but for `Replaced`.
const ENDINGS: [EndReason; 6] = [
    EndReason::Closed,
    EndReason::NotResumable,
    EndReason::Expired,
    EndReason::PeerFault,
    EndReason::BufferFull,
    EndReason::Stopped,
];

const FULL: &str = "to='juliet@example.com/balcony'";
const BARE: &str = "to='juliet@example.com'";
const BODY: &str = "<body>ciao!</body>";
const NO_STORE: &str = "<body>b</body><no-store xmlns='urn:xmpp:hints'/>";
const STORE: &str = "<x xmlns='a:b'/><store xmlns='urn:xmpp:hints'/>";
const BOTH: &str = "<store xmlns='urn:xmpp:hints'/><no-store xmlns='urn:xmpp:hints'/>";
const NOT_FOR_GOOD: &str = "<body>b</body><no-permanent-store xmlns='urn:xmpp:hints'/>";
const NO_COPY: &str = "<body>b</body><no-copy xmlns='urn:xmpp:hints'/>";
const PRIVATE: &str = "<body>b</body><private xmlns='urn:xmpp:carbons:2'/>";
const COMPOSING: &str = "<composing xmlns='http://jabber.org/protocol/chatstates'/><thread>t</thread>\
                         <no-permanent-store xmlns='urn:xmpp:hints'/><origin-id xmlns='urn:xmpp:sid:0' id='1'/>";
const COMPOSING_STORED: &str =
    "<composing xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>";
const COMPOSING_PRIVATE: &str = "<composing xmlns='http://jabber.org/protocol/chatstates'/>\
     <private xmlns='urn:xmpp:carbons:2'/><delay xmlns='urn:xmpp:delay' stamp='2026-11-26T00:00:00Z'/>";
const ACTIVE: &str = "<active xmlns='http://jabber.org/protocol/chatstates'/><body>b</body>";
const RECEIVED: &str = "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>";
const SENT: &str = "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></sent>";
/// Of the same names, and something else.
const STRANGE: &str = "<no-store xmlns='a:b'/><private xmlns='a:b'/><no-copy xmlns='a:b'/><received xmlns='a:b'/>";
const OWN: &str = "from='juliet@example.com'";
const OTHER: &str = "from='tybalt@example.com/x'";

// The steps.
const ESB: &str = "elsewhere store bounce";
const SESB: &str = "successor elsewhere store bounce";
const EB: &str = "elsewhere bounce";
const SEB: &str = "successor elsewhere bounce";
const SB: &str = "store bounce";
const SSB: &str = "successor store bounce";
const ESD: &str = "elsewhere store drop";
const ED: &str = "elsewhere drop";
const SD: &str = "successor drop";
const TD: &str = "store drop";
const STD: &str = "successor store drop";
const B: &str = "bounce";
const D: &str = "drop";

/// What is said about a stanza: for each ending but one, for `Replaced`, where it is archived, where it has come back
/// too often.
type Row = (&'static str, [&'static str; 3], [&'static str; 4]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // stanza                                               others replaced archived exhausted
    ("message", ["type='chat'", BARE, BODY],                [ESB , ESB , D   , B]),
    ("message", ["type='chat'", FULL, BODY],                [ESB , SESB, D   , B]),
    ("message", ["type='normal'", BARE, BODY],              [ESB , ESB , D   , B]),
    ("message", ["type='normal'", FULL, BODY],              [ESB , SESB, D   , B]),
    ("message", ["", FULL, BODY],                           [ESB , SESB, D   , B]),
    ("message", ["", "", BODY],                             [ESB , ESB , D   , B]),
    ("message", ["type='strange'", BARE, BODY],             [ESB , ESB , D   , B]),

    ("message", ["type='chat'", BARE, NO_STORE],            [EB  , EB  , D   , B]),
    ("message", ["type='chat'", FULL, NO_STORE],            [EB  , SEB , D   , B]),
    ("message", ["type='normal'", BARE, NO_STORE],          [EB  , EB  , D   , B]),
    ("message", ["type='chat'", BARE, STORE],               [ESB , ESB , D   , B]),
    ("message", ["type='chat'", BARE, BOTH],                [EB  , EB  , D   , B]),
    ("message", ["type='chat'", BARE, NOT_FOR_GOOD],        [ESB , ESB , D   , B]),
    ("message", ["type='chat'", BARE, STRANGE],             [ESB , ESB , D   , B]),
    ("message", ["type='chat'", FULL, STRANGE],             [ESB , SESB, D   , B]),

    ("message", ["type='chat'", FULL, NO_COPY],             [SB  , SSB , D   , B]),
    ("message", ["type='chat'", BARE, NO_COPY],             [ESB , ESB , D   , B]),
    ("message", ["type='normal'", FULL, PRIVATE],           [SB  , SSB , D   , B]),
    ("message", ["type='chat'", FULL, PRIVATE],             [SB  , SSB , D   , B]),
    ("message", ["type='chat'", BARE, PRIVATE],             [ESB , ESB , D   , B]),

    ("message", ["type='chat'", BARE, COMPOSING],           [EB  , EB  , D   , B]),
    ("message", ["type='chat'", BARE, COMPOSING_PRIVATE],   [EB  , EB  , D   , B]),
    ("message", ["type='normal'", BARE, COMPOSING],         [ESB , ESB , D   , B]),
    ("message", ["type='chat'", BARE, COMPOSING_STORED],    [ESB , ESB , D   , B]),
    ("message", ["type='chat'", BARE, ACTIVE],              [ESB , ESB , D   , B]),
    ("message", ["type='chat'", BARE, ""],                  [ESB , ESB , D   , B]),

    ("message", [OWN, FULL, RECEIVED],                      [D   , D   , D   , D]),
    ("message", [OWN, FULL, SENT],                          [D   , D   , D   , D]),
    ("message", [OTHER, FULL, RECEIVED],                    [ESB , SESB, D   , B]),
    ("message", ["", FULL, RECEIVED],                       [ESB , SESB, D   , B]),
    ("message", ["", "", SENT],                             [ESB , ESB , D   , B]),

    ("message", ["type='headline'", BARE, BODY],            [ED  , ED  , D   , D]),
    ("message", ["type='headline'", FULL, BODY],            [D   , SD  , D   , D]),
    ("message", ["type='headline'", BARE, STORE],           [ESD , ESD , D   , D]),
    ("message", ["type='headline'", FULL, STORE],           [TD  , STD , D   , D]),
    ("message", ["type='headline'", BARE, BOTH],            [ED  , ED  , D   , D]),

    ("message", ["type='groupchat'", FULL, BODY],           [B   , B   , B   , B]),
    ("message", ["type='groupchat'", FULL, STORE],          [B   , B   , B   , B]),
    ("message", ["type='groupchat'", BARE, NO_COPY],        [B   , B   , B   , B]),
    ("message", ["type='error'", FULL, BODY],               [D   , D   , D   , D]),
    ("message", ["type='error'", BARE, STORE],              [D   , D   , D   , D]),
    ("message", ["type='error'", OWN, RECEIVED],            [D   , D   , D   , D]),

    ("presence", ["", BARE, ""],                            [D   , D   , D   , D]),
    ("presence", ["type='unavailable'", FULL, ""],          [D   , D   , D   , D]),
    ("presence", ["type='probe'", BARE, ""],                [D   , D   , D   , D]),
    ("presence", ["type='error'", FULL, ""],                [D   , D   , D   , D]),
    ("presence", ["type='strange'", BARE, ""],              [D   , D   , D   , D]),
    ("presence", ["type='subscribe'", BARE, ""],            [ESD , ESD , ESD , D]),
    ("presence", ["type='subscribed'", BARE, ""],           [ESD , ESD , ESD , D]),
    ("presence", ["type='unsubscribe'", BARE, ""],          [ESD , ESD , ESD , D]),
    ("presence", ["type='unsubscribed'", FULL, ""],         [ESD , ESD , ESD , D]),

    ("iq", ["type='get'", FULL, ""],                        [B   , B   , B   , B]),
    ("iq", ["type='set'", FULL, ""],                        [B   , B   , B   , B]),
    ("iq", ["type='result'", FULL, ""],                     [D   , D   , D   , D]),
    ("iq", ["type='error'", FULL, ""],                      [D   , D   , D   , D]),
    ("iq", ["", FULL, ""],                                  [D   , D   , D   , D]),
];

fn told(facts: &Facts, reason: EndReason) -> String {
    let names = steps(facts, reason).map(|step| match step {
        Step::Successor => "successor",
        Step::Elsewhere => "elsewhere",
        Step::Store => "store",
        Step::Bounce(Condition::ServiceUnavailable) => "bounce",
        Step::Drop => "drop",
        Step::Resend => "resend",
        other => panic!("{other:?}"),
    });
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn each_stanza_goes_the_way_of_its_row() {
    for (name, [kind, to, content], [others, replaced, archived, exhausted]) in ROWS {
        let xml = format!("<{name} xmlns='jabber:client' {kind} {to}>{content}</{name}>");
        let facts = Facts::of(&xml.parse().expect("XML")).expect("a stanza");
        for reason in ENDINGS {
            assert_eq!(told(&facts, reason), *others, "{reason:?}: {xml}");
            assert_eq!(told(&Facts { archived: true, ..facts }, reason), *archived, "{reason:?}: {xml}");
            assert_eq!(told(&Facts { exhausted: true, ..facts }, reason), *exhausted, "{reason:?}: {xml}");
        }
        assert_eq!(told(&facts, EndReason::Replaced), *replaced, "{xml}");
        assert_eq!(told(&Facts { archived: true, ..facts }, EndReason::Replaced), *archived, "{xml}");
        assert_eq!(told(&Facts { exhausted: true, ..facts }, EndReason::Replaced), *exhausted, "{xml}");
        for reason in [EndReason::EnableRefused, EndReason::ResumeRefused] {
            assert_eq!(told(&facts, reason), "resend", "{reason:?}: {xml}");
            assert_eq!(told(&Facts { exhausted: true, ..facts }, reason), *exhausted, "{reason:?}: {xml}");
        }
    }
}

/// The crate's own elements and others that are no stanza have no facts, and typed hosts say the same as elements do.
#[test]
fn facts_of_elements_and_of_types_are_the_same() {
    for xml in ["<r xmlns='urn:xmpp:sm:3'/>", "<messages xmlns='jabber:client'/>"] {
        assert_eq!(Facts::of(&xml.parse().expect("XML")), None);
    }
    let of = |xml: &str| Facts::of(&xml.parse().expect("XML")).expect("a stanza");
    let message = of("<message xmlns='jabber:server' type='chat' to='a@b'><body/></message>");
    assert_eq!(message, Facts::new(Kind::Message(MessageKind::Chat)));
    let full = of("<presence xmlns='jabber:client' to='a@b/c/d' type='subscribe'/>");
    assert_eq!(full, Facts { to_full: true, ..Facts::new(Kind::Presence(PresenceKind::Subscription)) });
    let domain = of("<iq xmlns='jabber:client' type='set' to='example.com'/>");
    assert_eq!(domain, Facts::new(Kind::Iq(IqKind::Request)));
}
