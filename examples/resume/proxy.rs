//! A TCP proxy that counts bytes, and cuts a connection at the byte it is told.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

/// Where to cut: `keep` bytes after the start of the `nth` occurrence (from 1) of `what`, in what one connection
/// carries one way. The byte before is the last that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub way: Way,
    pub what: &'static str,
    pub nth: usize,
    pub keep: usize,
}

/// A cut was made, after so many bytes on that connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub cut: Cut,
    pub bytes: usize,
}

struct Plan<F> {
    server: SocketAddr,
    cuts: Mutex<VecDeque<Cut>>,
    report: F,
}

/// Starts a proxy and gives its address. It makes the cuts in the order given, one for each connection from the
/// first on, and reports them; then it only passes on.
pub async fn start(
    server: SocketAddr,
    cuts: impl IntoIterator<Item = Cut>,
    report: impl Fn(Done) + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let plan = Arc::new(Plan { server, cuts: Mutex::new(cuts.into_iter().collect()), report });
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, plan.clone()));
        }
    });
    Ok(address)
}

async fn pass(client: TcpStream, plan: Arc<Plan<impl Fn(Done)>>) -> io::Result<()> {
    let server = TcpStream::connect(plan.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let cut = plan.cuts().pop_front();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever ends first, cut or closed, takes both connections with it.
    let ended = tokio::select! {
        ended = pump(from_client, to_server, cut.filter(|cut| cut.way == Way::ToServer)) => ended,
        ended = pump(from_server, to_client, cut.filter(|cut| cut.way == Way::ToClient)) => ended,
    };
    match (cut, ended) {
        (Some(cut), Ok(Some(bytes))) => (plan.report)(Done { cut, bytes }),
        // It ended before its time: the cut is for the next one.
        (Some(cut), _) => plan.cuts().push_front(cut),
        (None, _) => {}
    }
    Ok(())
}

impl<F> Plan<F> {
    fn cuts(&self) -> MutexGuard<'_, VecDeque<Cut>> {
        self.cuts.lock().expect("nobody panics with the plan in hand")
    }
}

/// Passes on what comes, up to the cut. Gives the bytes until there, or nothing if the connection ends before.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut: Option<Cut>) -> io::Result<Option<usize>> {
    let mut all = Vec::new();
    loop {
        let passed = all.len();
        if from.read_buf(&mut all).await? == 0 {
            return Ok(None);
        }
        let end = cut.and_then(|cut| Some(find(&all, cut.what, cut.nth)? + cut.keep));
        match end {
            Some(end) if end <= all.len() => {
                assert!(passed <= end, "byte {end} has passed before it was known to be the last");
                to.write_all(&all[passed..end]).await?;
                return Ok(Some(end));
            }
            _ => to.write_all(&all[passed..]).await?,
        }
    }
}

fn find(bytes: &[u8], what: &str, nth: usize) -> Option<usize> {
    let starts = bytes.windows(what.len()).enumerate().filter(|(_, window)| *window == what.as_bytes());
    starts.map(|(start, _)| start).nth(nth - 1)
}
