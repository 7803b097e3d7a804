//! The reader of XML: `<r/>` and `<a/>` go past the parser, and nothing else changes.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::io::{AsyncRead, ReadBuf};
use xmpp_sm::{Inbound, Nonza};

use super::server::xml::{Incoming, ReadError, XmlReader};

const HEADER: &str =
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// A connection that gives one piece at a time, and has none yet before each.
struct Pieces(VecDeque<Option<Vec<u8>>>);

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0.pop_front() {
            Some(Some(mut piece)) => {
                let rest = piece.split_off(piece.len().min(buf.remaining()));
                buf.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(Some(rest));
                }
            }
            Some(None) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            None => {}
        }
        Poll::Ready(Ok(()))
    }
}

fn reader(pieces: &[&str]) -> XmlReader<Pieces> {
    XmlReader::new(Pieces(pieces.iter().flat_map(|piece| [None, Some(piece.as_bytes().to_vec())]).collect()))
}

/// What the reader gives next. Each time there is nothing yet, its future is dropped.
fn next(reader: &mut XmlReader<Pieces>) -> Result<Incoming, ReadError> {
    loop {
        if let Some(next) = reader.next().now_or_never() {
            return next;
        }
    }
}

/// All that it gives, as text, and which of it did not go through the parser.
fn read(pieces: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut all, mut past) = (Vec::new(), Vec::new());
    let mut reader = reader(pieces);
    loop {
        all.push(match next(&mut reader) {
            Ok(Incoming::Header) => "header".to_owned(),
            Ok(Incoming::Footer) => "footer".to_owned(),
            Ok(Incoming::Nonza(nonza)) => {
                past.push(nonza.to_string());
                nonza.to_string()
            }
            Ok(Incoming::Element(element)) => match Inbound::from_element(&element, "jabber:client") {
                Inbound::Nonza(nonza) => nonza.to_string(),
                _ => String::from(&element),
            },
            Err(_) => return (all, past),
        });
    }
}

#[test]
fn it_makes_no_difference_where_the_text_is_cut() {
    let (ack, request) = ("<a xmlns='urn:xmpp:sm:3' h='7'/>", "<r xmlns='urn:xmpp:sm:3'/>");
    let odd = "<a h='+8' xmlns='urn:xmpp:sm:3'></a>";
    // The children of a message are none of the stream.
    let message = format!("<message><body>{request}</body>{request}</message>");
    let text =
        [HEADER, request, &message, ack, " \n", request, odd, request, "\t", &message, request, "</stream:stream>"];
    let text = text.concat();
    let (all, past) = read(&[&text]);
    let elements = |all: &[String]| all.iter().map(|element| element.matches('<').count()).collect::<Vec<_>>();
    assert_eq!(elements(&all), [0, 1, 6, 1, 1, 1, 1, 6, 1, 0], "{all:#?}");
    assert_eq!(
        (&*all[0], &*all[1], &*all[3], &*all[5], &*all[9]),
        ("header", request, ack, &*ack.replace('7', "8"), "footer")
    );
    // Whatever follows an element that ended.
    assert_eq!(past, [ack, request, request, request]);
    for cut in 1..text.len() {
        let (one, other) = text.split_at(cut);
        assert_eq!(read(&[one, other]).0, all, "cut at {cut}");
    }
    let bytes: Vec<&str> = (0..text.len()).map(|at| &text[at..=at]).collect();
    assert_eq!(read(&bytes), (all, vec![]));
}

#[test]
fn a_stream_that_has_ended_has_no_elements() {
    let closed = HEADER.replace("streams'>", "streams'/>");
    let request = Nonza::AckRequest.to_string();
    assert_eq!(read(&[&closed, &request]), (vec!["header".to_owned(), "footer".to_owned()], vec![]));
    let text = [HEADER, "<presence/></stream:stream>", &request].concat();
    assert_eq!(read(&[&text]).0.len(), 3);
}

#[test]
fn a_stream_that_starts_over_starts_with_a_header() {
    let request = Nonza::AckRequest.to_string();
    let mut reader = reader(&[HEADER, "<presence/>", &request]);
    assert!(matches!(next(&mut reader), Ok(Incoming::Header)));
    assert!(matches!(next(&mut reader), Ok(Incoming::Element(_))));
    reader.restart();
    // Where a header is wanted, this is taken for one.
    assert!(matches!(next(&mut reader), Ok(Incoming::Header)));
}

#[test]
fn what_is_too_much_is_too_much_after_an_acknowledgement_too() {
    let start = [HEADER, "<presence/>", &Nonza::Ack(7.into()).to_string(), &" ".repeat(600_000)].concat();
    let request = Nonza::AckRequest.to_string();
    let last = |end: &str| {
        let mut reader = reader(&[&start, &request, end]);
        loop {
            if let Err(error) = next(&mut reader) {
                return error;
            }
        }
    };
    let (long, deep) = (format!("<message><body>{}", "x".repeat(300_000)), "<x>".repeat(70));
    assert!(matches!(last(&long), ReadError::TooBig));
    assert!(matches!(last(&deep), ReadError::TooBig));
    assert!(matches!(last("<<"), ReadError::NotWellFormed(_)));
    assert!(matches!(last(""), ReadError::Gone(_)));
    // As many as are wanted, for they cost nothing once they are read.
    let many = [HEADER, "<presence/>", &request.repeat(20_000)].concat();
    assert_eq!(read(&[&many]).0.len(), 20_002);
}
