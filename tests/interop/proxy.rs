//! A TCP proxy that knows nothing of XML: it forwards bytes, logs them, and breaks connections in every way that
//! networks do.

mod pipe;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::record::{Dir, Recorder};

/// How a connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both sides get an RST.
    Rst,
    /// Both sides get a FIN; what they still write goes nowhere.
    Fin,
    /// One side gets a FIN, the other direction works on; an RST follows if nobody closes.
    HalfClose(Dir),
    /// Nothing moves for a while and nobody is told; then both sides get an RST.
    Stall(Duration),
    /// The client gets an RST. The server is not told: its connection stays open, and what it writes is logged and
    /// goes nowhere.
    Blackhole,
}

pub struct Proxy {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    accept: JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    recorder: Arc<Recorder>,
    hold: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: Vec<Arc<Connection>>,
    next: Option<(Dir, u64, Cut)>,
    trap: Option<String>,
    tasks: Vec<JoinHandle<()>>,
}

struct Connection {
    index: usize,
    recorder: Arc<Recorder>,
    cut: watch::Sender<Option<Cut>>,
    /// After so many more bytes in this direction the connection is cut.
    budget: Mutex<Option<(Dir, u64, Cut)>>,
    /// Directions that are not forwarded, not even read.
    paused: watch::Sender<&'static [Dir]>,
    /// Once the client has written this, it gets nothing any more.
    trap: Option<String>,
    /// What is written is read and goes nowhere.
    dark: watch::Sender<bool>,
    /// One side has reset it.
    broken: watch::Sender<bool>,
    over: watch::Sender<bool>,
}

impl Proxy {
    pub async fn start(server: SocketAddr, recorder: Arc<Recorder>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let (hold, _) = watch::channel(false);
        let shared = Arc::new(Shared { server, recorder, hold, state: Mutex::default() });
        let accept = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { addr, shared, accept })
    }

    /// The index of the newest connection.
    pub fn newest(&self) -> usize {
        self.shared.state.lock().unwrap().connections.len().saturating_sub(1)
    }

    /// Cuts a connection now, unless it was cut before or is over.
    pub fn cut(&self, index: usize, how: Cut) {
        if let Some(connection) = self.get(index) {
            connection.order(how);
        }
    }

    /// Cuts a connection after exactly `bytes` more in one direction.
    pub fn cut_after(&self, index: usize, dir: Dir, bytes: u64, how: Cut) {
        if let Some(connection) = self.get(index) {
            *connection.budget.lock().unwrap() = Some((dir, bytes, how));
        }
    }

    /// Cuts the connection that comes next after exactly `bytes` in one direction.
    pub fn cut_next_after(&self, dir: Dir, bytes: u64, how: Cut) {
        self.shared.state.lock().unwrap().next = Some((dir, bytes, how));
    }

    /// The connection that comes next moves nothing to the client from when the client has written this.
    pub fn pause_next_at(&self, text: String) {
        self.shared.state.lock().unwrap().trap = Some(text);
    }

    /// The connections that were cut.
    pub fn cuts(&self) -> Vec<usize> {
        let state = self.shared.state.lock().unwrap();
        let cut = state.connections.iter().filter(|connection| connection.cut.borrow().is_some());
        cut.map(|connection| connection.index).collect()
    }

    /// The connections of which the server may not have read all that was forwarded: an RST takes with it what the
    /// receiver has not read yet.
    pub fn resets(&self) -> Vec<usize> {
        let state = self.shared.state.lock().unwrap();
        let reset = state.connections.iter().filter(|connection| {
            let cut = *connection.cut.borrow();
            matches!(cut, Some(Cut::Rst | Cut::Stall(_) | Cut::HalfClose(_))) || *connection.broken.borrow()
        });
        reset.map(|connection| connection.index).collect()
    }

    /// While held, connections are accepted and get no further.
    pub fn hold(&self, hold: bool) {
        self.shared.hold.send_replace(hold);
    }

    /// In these directions a connection moves no byte from now on.
    pub fn pause(&self, index: usize, dirs: &'static [Dir]) {
        if let Some(connection) = self.get(index) {
            connection.paused.send_replace(dirs);
        }
    }

    /// From now on what either side writes goes nowhere, and nobody is told.
    pub fn darken(&self, index: usize) {
        if let Some(connection) = self.get(index) {
            connection.dark.send_replace(true);
        }
    }

    pub fn is_over(&self, index: usize) -> bool {
        self.get(index).is_none_or(|connection| *connection.over.borrow())
    }

    /// Waits until a connection is over, and says whether it was within the limit.
    pub async fn over(&self, index: usize, limit: Duration) -> bool {
        let Some(connection) = self.get(index) else {
            return false;
        };
        let mut over = connection.over.subscribe();
        tokio::time::timeout(limit, over.wait_for(|over| *over)).await.is_ok()
    }

    fn get(&self, index: usize) -> Option<Arc<Connection>> {
        self.shared.state.lock().unwrap().connections.get(index).cloned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
        for task in self.shared.state.lock().unwrap().tasks.drain(..) {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut state = shared.state.lock().unwrap();
        let connection = Arc::new(Connection {
            index: state.connections.len(),
            recorder: shared.recorder.clone(),
            cut: watch::channel(None).0,
            budget: Mutex::new(state.next.take()),
            trap: state.trap.take(),
            paused: watch::channel::<&[Dir]>(&[]).0,
            dark: watch::channel(false).0,
            broken: watch::channel(false).0,
            over: watch::channel(false).0,
        });
        state.connections.push(connection.clone());
        state.tasks.retain(|task| !task.is_finished());
        let (server, hold) = (shared.server, shared.hold.subscribe());
        state.tasks.push(tokio::spawn(async move {
            connection.note("opened by the client");
            if let Err(e) = pipe::serve(&connection, client, server, hold).await {
                connection.note(&format!("proxy: {e}"));
            }
            connection.note("over");
            connection.over.send_replace(true);
        }));
    }
}

impl Connection {
    /// The first order stands.
    fn order(&self, how: Cut) {
        if !*self.over.borrow() {
            self.cut.send_if_modified(|cut| cut.is_none() && cut.replace(how).is_none());
        }
    }

    /// How many of `n` bytes may still pass, and the cut that is due after them.
    fn spend(&self, dir: Dir, n: usize) -> (usize, Option<Cut>) {
        if *self.dark.borrow() {
            return (0, None);
        }
        let mut budget = self.budget.lock().unwrap();
        match &mut *budget {
            Some((armed, left, how)) if *armed == dir => {
                let allowed = n.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= allowed as u64;
                (allowed, (*left == 0).then_some(*how))
            }
            _ => (n, None),
        }
    }

    /// Before the server has these bytes of the client.
    fn spring(&self, bytes: &[u8]) {
        let is_in = |text: &String| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        if self.trap.as_ref().is_some_and(is_in) {
            self.paused.send_replace(&[Dir::ToClient]);
        }
    }

    fn note(&self, text: &str) {
        self.recorder.note(self.index, text);
    }
}
