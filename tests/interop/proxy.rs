//! A TCP proxy that knows nothing of XML: it forwards bytes, logs them, and breaks connections in every way that
//! networks do.

use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{Fuse, FusedFuture};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

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

const HALF_CLOSE: Duration = Duration::from_millis(200);
const LINGER: Duration = Duration::from_millis(300);

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
    tasks: Vec<JoinHandle<()>>,
}

struct Connection {
    index: usize,
    recorder: Arc<Recorder>,
    cut: watch::Sender<Option<Cut>>,
    /// After so many more bytes in this direction the connection is cut.
    budget: Mutex<Option<(Dir, u64, Cut)>>,
    /// Not forwarded, not even read.
    paused: watch::Sender<bool>,
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

    pub fn is_cut(&self, index: usize) -> bool {
        self.get(index).is_some_and(|connection| connection.cut.borrow().is_some())
    }

    /// While held, connections are accepted and get no further.
    pub fn hold(&self, hold: bool) {
        self.shared.hold.send_replace(hold);
    }

    /// While paused, a connection moves no byte in either direction.
    pub fn pause(&self, index: usize, paused: bool) {
        if let Some(connection) = self.get(index) {
            connection.paused.send_replace(paused);
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
            paused: watch::channel(false).0,
            broken: watch::channel(false).0,
            over: watch::channel(false).0,
        });
        state.connections.push(connection.clone());
        state.tasks.retain(|task| !task.is_finished());
        let (server, hold) = (shared.server, shared.hold.subscribe());
        state.tasks.push(tokio::spawn(async move {
            connection.note("opened by the client");
            if let Err(e) = serve(&connection, client, server, hold).await {
                connection.note(&format!("proxy: {e}"));
            }
            connection.note("over");
            connection.over.send_replace(true);
        }));
    }
}

/// One side of a connection.
struct Leg {
    io: TcpStream,
    /// The same socket: it can be shut down while `io` is shared.
    twin: std::net::TcpStream,
}

impl Leg {
    fn new(stream: TcpStream) -> std::io::Result<Arc<Self>> {
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        let twin = stream.try_clone()?;
        Ok(Arc::new(Self { io: TcpStream::from_std(stream)?, twin }))
    }

    fn fin(&self) {
        let _ = self.twin.shutdown(Shutdown::Write);
    }

    /// The last one to drop the leg sends an RST.
    fn rst(&self) {
        let _ = self.io.set_zero_linger();
    }
}

async fn serve(
    connection: &Arc<Connection>,
    client: TcpStream,
    server: SocketAddr,
    mut hold: watch::Receiver<bool>,
) -> std::io::Result<()> {
    // An error means that the proxy is gone, and this task with it.
    let _ = hold.wait_for(|hold| !hold).await;
    let client = Leg::new(client)?;
    let server = Leg::new(TcpStream::connect(server).await?)?;
    let mut up = Task::spawn(pump(connection.clone(), Dir::ToServer, client.clone(), server.clone()));
    let mut down = Task::spawn(pump(connection.clone(), Dir::ToClient, server.clone(), client.clone()));
    let (mut ordered, mut broken) = (connection.cut.subscribe(), connection.broken.subscribe());
    let how = tokio::select! {
        how = ordered.wait_for(Option::is_some) => how.ok().and_then(|how| *how),
        _ = broken.wait_for(|broken| *broken) => None,
        ((), ()) = async { tokio::join!(up.ended(), down.ended()) } => None,
    };
    let Some(how) = how else {
        up.stop().await;
        down.stop().await;
        if *connection.broken.borrow() {
            client.rst();
            server.rst();
        }
        return Ok(());
    };
    connection.note(&format!("cut: {how:?}"));
    if let Cut::Stall(time) = how {
        connection.paused.send_replace(true);
        tokio::time::sleep(time).await;
    }
    let kept = match how {
        Cut::HalfClose(Dir::ToServer) => Some(&mut down),
        Cut::HalfClose(Dir::ToClient) => Some(&mut up),
        _ => None,
    };
    if let Some(kept) = kept {
        let (dead, source) = match how {
            Cut::HalfClose(Dir::ToServer) => (&server, &client),
            _ => (&client, &server),
        };
        dead.fin();
        let dir = if Arc::ptr_eq(dead, &server) { Dir::ToServer } else { Dir::ToClient };
        let _ = tokio::time::timeout(HALF_CLOSE, async { tokio::join!(drain(connection, dir, source), kept.ended()) })
            .await;
    }
    up.stop().await;
    down.stop().await;
    match how {
        Cut::Fin => {
            client.fin();
            server.fin();
            let drained = async {
                tokio::join!(drain(connection, Dir::ToServer, &client), drain(connection, Dir::ToClient, &server))
            };
            let _ = tokio::time::timeout(LINGER, drained).await;
        }
        Cut::Blackhole => {
            client.rst();
            drop(client);
            drain(connection, Dir::ToClient, &server).await;
        }
        Cut::Rst | Cut::Stall(_) | Cut::HalfClose(_) => {
            client.rst();
            server.rst();
        }
    }
    Ok(())
}

/// A task that can be asked again how it ended.
struct Task {
    handle: AbortHandle,
    end: Fuse<JoinHandle<()>>,
}

impl Task {
    fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        let task = tokio::spawn(work);
        Self { handle: task.abort_handle(), end: task.fuse() }
    }

    async fn ended(&mut self) {
        if !self.end.is_terminated() {
            let _ = (&mut self.end).await;
        }
    }

    /// Nothing of it runs any more when this returns.
    async fn stop(mut self) {
        self.handle.abort();
        self.ended().await;
    }
}

/// Forwards one direction until it ends or the connection is cut.
async fn pump(connection: Arc<Connection>, dir: Dir, from: Arc<Leg>, to: Arc<Leg>) {
    let mut paused = connection.paused.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if *paused.borrow_and_update() {
            let _ = paused.changed().await;
            continue;
        }
        tokio::select! {
            _ = paused.changed() => continue,
            _ = from.io.readable() => {}
        }
        if *paused.borrow() {
            continue;
        }
        match from.io.try_read(&mut buffer) {
            Ok(0) => {
                connection.note(&format!("{dir}: end of stream"));
                return to.fin();
            }
            Ok(n) => {
                let at = Instant::now();
                let (allowed, cut) = connection.spend(dir, n);
                let written = write(&connection, dir, at, &to, &buffer[..allowed]).await;
                connection.recorder.bytes(connection.index, dir, at, &buffer[written..n], false);
                if let Some(how) = cut {
                    connection.order(how);
                    return;
                }
                if written < allowed {
                    return;
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => {
                connection.note(&format!("{dir}: {e}"));
                connection.broken.send_replace(true);
                return;
            }
        }
    }
}

/// Writes what it can, and says how much that was.
async fn write(connection: &Connection, dir: Dir, at: Instant, to: &Leg, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        if to.io.writable().await.is_err() {
            return written;
        }
        match to.io.try_write(&bytes[written..]) {
            Ok(n) => {
                connection.recorder.bytes(connection.index, dir, at, &bytes[written..written + n], true);
                written += n;
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => {
                connection.note(&format!("{dir}: {e}"));
                return written;
            }
        }
    }
    written
}

/// Logs what still comes, and forwards none of it.
async fn drain(connection: &Connection, dir: Dir, from: &Leg) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if from.io.readable().await.is_err() {
            return;
        }
        match from.io.try_read(&mut buffer) {
            Ok(0) => return connection.note(&format!("{dir}: end of stream")),
            Ok(n) => connection.recorder.bytes(connection.index, dir, Instant::now(), &buffer[..n], false),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return connection.note(&format!("{dir}: {e}")),
        }
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

    fn note(&self, text: &str) {
        self.recorder.note(self.index, text);
    }
}
