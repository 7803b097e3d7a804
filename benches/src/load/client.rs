//! A client that costs little: it sends prepared bytes, and looks for no more than the beginnings of elements.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender};

use super::server::Server;

const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                      to='localhost' version='1.0'>";
/// As long as what people write.
const BODY: &str = "With love's light wings did I o'erperch these walls, for stony limits cannot hold love out.";

pub struct Client {
    socket: TcpStream,
    /// What is sent again and again.
    message: Vec<u8>,
    input: Vec<u8>,
    /// How much of `input` has been read and not looked at: the beginning of an element, cut short.
    left: usize,
    output: Vec<u8>,
    received: usize,
}

impl Client {
    /// A session of `me` that writes to the one of `you` of the same number.
    pub fn login(server: &Server, me: &str, you: &str, pair: usize, sm: bool) -> Self {
        let socket = TcpStream::connect(server.address).expect("a connection");
        socket.set_nodelay(true).expect("a socket");
        let message =
            format!("<message to='{you}@localhost/{pair}' type='chat' id='love'><body>{BODY}</body></message>");
        let mut client = Self {
            socket,
            message: message.into(),
            input: vec![0; 64 * 1024],
            left: 0,
            output: Vec::new(),
            received: 0,
        };
        let plain = match me {
            "romeo" => "AHJvbWVvAHNlY3JldA==",
            _ => "AGp1bGlldABzZWNyZXQ=",
        };
        client.ask(HEADER, "</stream:features>");
        let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>");
        client.ask(&auth, "</success>");
        client.ask(HEADER, "</stream:features>");
        let bind = format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{pair}</resource></bind>");
        client.ask(&format!("<iq type='set' id='bind'>{bind}</iq>"), "</bind></iq>");
        if sm {
            client.ask("<enable xmlns='urn:xmpp:sm:3' resume='true'/>", "/>");
        }
        client
    }

    fn ask(&mut self, question: &str, end: &str) {
        self.socket.write_all(question.as_bytes()).expect("a server that listens");
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let read = self.socket.read(&mut self.input).expect("an answer");
            assert!(read > 0, "the server has closed the connection: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&self.input[..read]);
        }
    }

    /// Sends `count` messages and receives as many: at first a `window` full of them, then one for each that comes.
    pub fn talk(&mut self, count: usize, window: usize) {
        let (end, mut sent) = (self.received + count, window.min(count));
        self.output.extend_from_slice(&self.message.repeat(sent));
        self.flush();
        while self.received < end {
            let answers = self.receive().min(count - sent);
            sent += answers;
            for _ in 0..answers {
                self.output.extend_from_slice(&self.message);
            }
            self.flush();
        }
    }

    /// Receives `count` messages. For each another one is granted.
    pub fn listen(&mut self, count: usize, grant: &Sender<usize>) {
        let end = self.received + count;
        while self.received < end {
            let more = self.receive();
            self.flush();
            let _ = grant.send(more); // the last are not waited for
        }
    }

    /// Sends `count` messages, a `window` full at first and then as they are granted.
    pub fn send(&mut self, count: usize, window: usize, granted: &Receiver<usize>) {
        let (mut sent, mut next) = (0, window);
        while sent < count {
            let now = next.min(count - sent);
            self.output.extend_from_slice(&self.message.repeat(now));
            self.flush();
            sent += now;
            if sent < count {
                next = granted.recv().expect("somebody listens") + granted.try_iter().sum::<usize>();
            }
        }
    }

    fn flush(&mut self) {
        if !self.output.is_empty() {
            self.socket.write_all(&self.output).expect("a server that listens");
            self.output.clear();
        }
    }

    /// Takes what has come, and gives the number of messages in it. Each `<r/>` is answered, soon.
    fn receive(&mut self) -> usize {
        let before = self.received;
        let read = self.socket.read(&mut self.input[self.left..]).expect("a server that talks");
        assert!(read > 0, "the server has closed the connection");
        let end = self.left + read;
        let mut at = 0;
        while let Some(found) = self.input[at..end].iter().position(|byte| *byte == b'<') {
            at += found;
            match self.input.get(at + 1..(at + 3).min(end)) {
                Some(b"/m") => self.received += 1,
                Some(b"r ") => write!(self.output, "<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.received).expect("room"),
                Some([_, _]) => {}
                _ => break,
            }
            at += 1;
        }
        let rest = match self.input[at.min(end)..end].first() {
            Some(b'<') => at,
            _ => end,
        };
        self.input.copy_within(rest..end, 0);
        self.left = end - rest;
        self.received - before
    }
}
