//! Any name, attributes and child: what the schema allows is read as what it says and survives being written,
//! and of anything else an error tells what is wrong.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use minidom::Element;
use minidom::rxml::NcName;
use xmpp_sm::{Inbound, NS, Nonza};
use xmpp_sm_fuzz::words::{Name, Namespace, Value};
use xmpp_sm_fuzz::{CLIENT, schema, written};

/// The size that a host says.
const SIZE: usize = 4711;

#[derive(Arbitrary, Debug)]
struct Parts<'a> {
    name: Name<'a>,
    ns: Namespace<'a>,
    attrs: Vec<(Name<'a>, Value)>,
    child: Option<Name<'a>>,
}

fuzz_target!(|parts: Parts| {
    let Parts { name: Name(name), ns: Namespace(ns), attrs, child } = &parts;
    let child = child.map(|Name(child)| child);
    // In XML no element has an attribute twice.
    let mut plain: Vec<(&str, &str)> = Vec::new();
    for (Name(name), Value(value)) in attrs {
        if plain.iter().all(|(other, _)| other != name) {
            plain.push((name, value));
        }
    }
    let inbound = Inbound::from_parts(name, ns, CLIENT, plain.iter().copied(), child, SIZE);
    schema::check(&inbound, name, ns, &plain, child);
    if let Inbound::Stanza { bytes } = inbound {
        assert_eq!(bytes, SIZE);
    }
    if *ns == NS {
        assert_eq!(Inbound::from(Nonza::parse(name, plain.iter().copied(), child)), inbound);
    }
    if let Some(element) = element(name, ns, &plain, child) {
        match (Inbound::from_element(&element, CLIENT), &inbound) {
            // What its sender chose counts, and nothing is left out: no stanza is free.
            (Inbound::Stanza { bytes }, Inbound::Stanza { .. }) => {
                let children = element.children().map(|child| child.name().len());
                let values = plain.iter().map(|(name, value)| name.len() + value.len());
                assert_eq!(bytes, name.len() + values.sum::<usize>() + children.sum::<usize>(), "{element:?}");
            }
            // Its condition is in another namespace than those of stanzas.
            (Inbound::StreamError { conflict }, Inbound::StreamError { .. }) => assert!(!conflict),
            (read, _) => assert_eq!(read, inbound, "{element:?}"),
        }
    }
    if let Inbound::Nonza(nonza) = &inbound {
        written::check(nonza);
    }
});

/// The same element for minidom, if XML can name its attributes so.
fn element(name: &str, ns: &str, attrs: &[(&str, &str)], child: Option<&str>) -> Option<Element> {
    let mut element = Element::builder(name, ns);
    for (name, value) in attrs {
        element = element.attr(NcName::try_from(*name).ok()?, *value);
    }
    // The text beside a condition is not taken for one.
    let child = child.filter(|child| *child != "text");
    let child = child.map(|child| Element::bare(child, "urn:ietf:params:xml:ns:xmpp-stanzas"));
    Some(element.append_all(child).build())
}
