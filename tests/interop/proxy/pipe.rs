//! One connection through the proxy: two sockets, a pump for each direction, and what a cut does to them.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{Fuse, FusedFuture};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use super::{Connection, Cut};
use crate::record::{BOTH, Dir};

/// How long half a connection goes on.
const HALF_CLOSE: Duration = Duration::from_millis(200);
/// How long a closed connection is read on.
const LINGER: Duration = Duration::from_millis(300);

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

pub(super) async fn serve(
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
    match how {
        Some(how) => {
            connection.note(&format!("cut: {how:?}"));
            cut(connection, how, client, server, up, down).await;
        }
        None => {
            up.stop().await;
            down.stop().await;
            if *connection.broken.borrow() {
                client.rst();
                server.rst();
            }
        }
    }
    Ok(())
}

async fn cut(connection: &Connection, how: Cut, client: Arc<Leg>, server: Arc<Leg>, mut up: Task, mut down: Task) {
    match how {
        Cut::Stall(time) => {
            connection.paused.send_replace(&BOTH);
            tokio::time::sleep(time).await;
        }
        // Nobody else reads what `drain` reads.
        Cut::HalfClose(Dir::ToServer) => {
            up.stop().await;
            server.fin();
            let rest = async { tokio::join!(drain(connection, Dir::ToServer, &client), down.ended()) };
            let _ = timeout(HALF_CLOSE, rest).await;
        }
        Cut::HalfClose(Dir::ToClient) => {
            down.stop().await;
            client.fin();
            let rest = async { tokio::join!(drain(connection, Dir::ToClient, &server), up.ended()) };
            let _ = timeout(HALF_CLOSE, rest).await;
        }
        Cut::Rst | Cut::Fin | Cut::Blackhole => {}
    }
    up.stop().await;
    down.stop().await;
    match how {
        Cut::Fin => {
            client.fin();
            server.fin();
            let rest = async {
                tokio::join!(drain(connection, Dir::ToServer, &client), drain(connection, Dir::ToClient, &server))
            };
            let _ = timeout(LINGER, rest).await;
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
    async fn stop(&mut self) {
        self.handle.abort();
        self.ended().await;
    }
}

/// Forwards one direction until it ends or the connection is cut.
async fn pump(connection: Arc<Connection>, dir: Dir, from: Arc<Leg>, to: Arc<Leg>) {
    let mut paused = connection.paused.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if paused.borrow_and_update().contains(&dir) {
            let _ = paused.changed().await;
            continue;
        }
        tokio::select! {
            _ = paused.changed() => continue,
            _ = from.io.readable() => {}
        }
        if paused.borrow().contains(&dir) {
            continue;
        }
        match from.io.try_read(&mut buffer) {
            Ok(0) => {
                connection.note(&format!("{dir}: end of stream"));
                return to.fin();
            }
            Ok(n) => {
                let at = Instant::now();
                if dir == Dir::ToServer {
                    connection.spring(&buffer[..n]);
                }
                let (allowed, cut) = connection.spend(dir, n);
                let written = write(&connection, dir, at, &to, &buffer[..allowed]).await;
                connection.recorder.withhold(connection.index, dir, at, &buffer[written..n]);
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
        let rest = &bytes[written..];
        match connection.recorder.forward(connection.index, dir, at, rest, |rest| to.io.try_write(rest)) {
            Ok(n) => written += n,
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
            Ok(n) => connection.recorder.withhold(connection.index, dir, Instant::now(), &buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return connection.note(&format!("{dir}: {e}")),
        }
    }
}
