//! Elements to types and back, against touching their bytes.

use std::hint::black_box;
use std::num::NonZeroU32;

use bytes::BytesMut;
use minidom::Element;
use xmpp_sm::{Condition, Counter, Enable, Enabled, Failed, Inbound, Nonza, Resume, Resumed, SmId};

use crate::pair::{Row, pair};

pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        parse("a", &[("h", "123456")]),
        parse("r", &[]),
        parse("resume", &[("h", "123456"), ("previd", "0123456789abcdefghijkl")]),
        from_element("<a xmlns='urn:xmpp:sm:3' h='123456'/>"),
        from_element("<r xmlns='urn:xmpp:sm:3'/>"),
        from_element("<message xmlns='jabber:client' to='juliet@example.com'><body>hi</body></message>"),
    ];
    let (smid, h, max) = (SmId::from_random([7; 16]), Counter::new(123_456), NonZeroU32::new(600));
    for nonza in [
        Nonza::AckRequest,
        Nonza::Ack(h),
        Nonza::Enable(Enable { resume: true, max }),
        Nonza::Enabled(Enabled { id: Some(smid.clone()), resume: true, max, location: None }),
        Nonza::Resume(Resume { previd: smid.clone(), h }),
        Nonza::Resumed(Resumed { previd: smid, h }),
        Nonza::Failed(Failed { h: Some(h), condition: Some(Condition::ItemNotFound) }),
    ] {
        rows.push(write(nonza));
    }
    rows
}

/// The floor: the same comparison of names and values with themselves.
fn parse(name: &'static str, attrs: &'static [(&'static str, &'static str)]) -> Row {
    let floor = move |often| {
        for _ in 0..often {
            black_box(black_box(name) == black_box(name));
            for (name, value) in attrs {
                black_box(black_box(*name) == black_box(*name) && black_box(*value) == black_box(*value));
            }
        }
    };
    pair(&format!("parse `<{name}/>` from attributes, against comparing them"), None, floor, move |often| {
        for _ in 0..often {
            black_box(Nonza::parse(black_box(name), black_box(attrs).iter().copied(), None).is_ok());
        }
    })
}

fn from_element(xml: &str) -> Row {
    let element: Element = xml.parse().unwrap();
    let name = format!("`<{}/>` from an Element, against looking at its name and one attribute", element.name());
    let other = element.clone();
    let floor = move |often| {
        for _ in 0..often {
            black_box(black_box(&other).is(black_box("a"), xmpp_sm::NS));
            black_box(black_box(&other).attr("h"));
        }
    };
    pair(&name, None, floor, move |often| {
        for _ in 0..often {
            black_box(Inbound::from_element(black_box(&element), "jabber:client"));
        }
    })
}

fn write(nonza: Nonza) -> Row {
    let text = nonza.to_string();
    let (mut out, mut floor_out) = (BytesMut::with_capacity(512), BytesMut::with_capacity(512));
    let floor = move |often| {
        for _ in 0..often {
            floor_out.clear();
            floor_out.extend_from_slice(black_box(text.as_bytes()));
            black_box(&floor_out);
        }
    };
    pair(&format!("write `{}`, against copying its bytes", nonza.kind()), None, floor, move |often| {
        for _ in 0..often {
            out.clear();
            black_box(&nonza).write_to(&mut out);
            black_box(&out);
        }
    })
}
