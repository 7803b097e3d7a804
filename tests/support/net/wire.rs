//! Wire text: parsed as a receiver would, and shown in one canonical line as transcripts have it.
//!
//! A transcript leaves out the namespaces that everybody expects: `<r/>` in a transcript is
//! `<r xmlns='urn:xmpp:sm:3'/>` on the wire. Any other namespace is shown, so that `<r/>` on the wire, which
//! is `<r xmlns='jabber:client'/>` by the stream's header, is not taken for it.

use minidom::{Element, Node};
use xmpp_sm::NS;

pub const CLOSE: &str = "</stream:stream>";

const NS_STREAM: &str = "http://etherx.jabber.org/streams";
const NS_CLIENT: &str = "jabber:client";
/// The default namespace of text in a transcript: whatever is expected there.
const AS_EXPECTED: &str = "as-expected";

/// What a receiver reads from a piece of wire text: its elements, and whether the stream closes after them.
pub fn read(text: &str) -> (Vec<Element>, bool) {
    parse(text, NS_CLIENT)
}

/// The pieces of wire text, one canonical line for each element.
pub fn lines(text: &str) -> Vec<String> {
    let (elements, closes) = read(text);
    let close = closes.then(|| CLOSE.to_owned());
    elements.iter().map(|element| short(element, "")).chain(close).collect()
}

/// The canonical line of an element.
pub fn line(element: &Element) -> String {
    short(element, "")
}

/// A transcript as a list of canonical lines, each with who wrote it.
///
/// `C:` and `S:` are the client and the server of the first connection, `C2:` and `S2:` of the second, and
/// so on; what follows, up to the next such mark, is wire text. Lines that begin with `--` are events.
pub fn transcript(text: &str) -> Vec<String> {
    let mut parts: Vec<(String, String)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_once(':').filter(|(mark, _)| is_mark(mark)) {
            Some((mark, rest)) => parts.push((mark.to_owned(), rest.to_owned())),
            None if line.starts_with("--") => parts.push((String::new(), line.to_owned())),
            None => {
                let last = parts.last_mut().unwrap_or_else(|| panic!("a transcript begins with a mark: {line}"));
                last.1.push(' ');
                last.1.push_str(line);
            }
        }
    }
    let marked = |(mark, text): (String, String)| -> Vec<String> {
        if mark.is_empty() {
            return vec![text];
        }
        let (elements, closes) = parse(&text, AS_EXPECTED);
        assert!(closes || !elements.is_empty(), "no element in {text:?}");
        let close = closes.then(|| CLOSE.to_owned());
        elements.iter().map(|e| short(e, "")).chain(close).map(|line| format!("{mark}: {line}")).collect()
    };
    parts.into_iter().flat_map(marked).collect()
}

/// Wire text for a hand-written element of stream management that does not say its namespace.
pub fn with_ns(text: &str) -> String {
    let name_end = text.find([' ', '/', '>']).unwrap_or(text.len());
    let (head, rest) = text.split_at(name_end);
    let says = rest.split('>').next().is_some_and(|attributes| attributes.contains("xmlns="));
    if says || !is_nonza(head.trim_start_matches('<')) {
        return text.to_owned();
    }
    format!("{head} xmlns='{NS}'{rest}")
}

fn is_mark(mark: &str) -> bool {
    let number = mark.strip_prefix(['C', 'S']);
    number.is_some_and(|number| number.is_empty() || number.bytes().all(|b| b.is_ascii_digit()))
}

fn is_nonza(name: &str) -> bool {
    matches!(name, "a" | "r" | "enable" | "enabled" | "resume" | "resumed" | "failed" | "sm")
}

fn parse(text: &str, default_ns: &str) -> (Vec<Element>, bool) {
    let (text, closes) = match text.trim_end().strip_suffix(CLOSE) {
        Some(text) => (text, true),
        None => (text, false),
    };
    let stream = format!("<stream:stream xmlns='{default_ns}' xmlns:stream='{NS_STREAM}'>{text}{CLOSE}");
    let stream: Element = stream.parse().unwrap_or_else(|error| panic!("not XML: {error}: {text:.500}"));
    (stream.children().cloned().collect(), closes)
}

/// Where the reader of a transcript expects an element to be.
fn expected_ns(element: &Element, parent: &str) -> String {
    match (parent, element.name()) {
        ("", "features" | "error") => NS_STREAM.to_owned(),
        ("", name) if is_nonza(name) => NS.to_owned(),
        ("", _) => NS_CLIENT.to_owned(),
        ("failed", _) => "urn:ietf:params:xml:ns:xmpp-stanzas".to_owned(),
        ("error", "handled-count-too-high") => NS.to_owned(),
        ("error", _) => "urn:ietf:params:xml:ns:xmpp-streams".to_owned(),
        _ => String::new(),
    }
}

fn short(element: &Element, parent: &str) -> String {
    let prefix = if element.has_ns(NS_STREAM) { "stream:" } else { "" };
    let name = format!("{prefix}{}", element.name());
    let mut out = format!("<{name}");
    let expected = expected_ns(element, parent);
    let ns = element.ns();
    if !expected.is_empty() && ns != expected && ns != AS_EXPECTED {
        out.push_str(&format!(" xmlns='{ns}'"));
    }
    for ((ns, name), value) in element.attrs() {
        let prefix = if ns.is_none() { String::new() } else { format!("{{{}}}", ns.as_str()) };
        out.push_str(&format!(" {prefix}{name}='{}'", value.escape_default()));
    }
    let mut content = String::new();
    for node in element.nodes() {
        match node {
            Node::Element(child) => {
                let inherits = child.ns() == element.ns();
                let line = short(child, if parent.is_empty() { element.name() } else { "-" });
                // Deeper down an element says its namespace where it is not its parent's.
                let own =
                    !inherits && expected_ns(child, if parent.is_empty() { element.name() } else { "-" }).is_empty();
                content.push_str(&if own { declare(&line, &child.ns()) } else { line });
            }
            Node::Text(text) => content.push_str(&text.split_whitespace().collect::<Vec<_>>().join(" ")),
        }
    }
    out.push_str(&if content.is_empty() { "/>".to_owned() } else { format!(">{content}</{name}>") });
    out
}

fn declare(line: &str, ns: &str) -> String {
    let name_end = line.find([' ', '/', '>']).unwrap_or(line.len());
    let (head, rest) = line.split_at(name_end);
    format!("{head} xmlns='{ns}'{rest}")
}
