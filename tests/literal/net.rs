//! A network in memory: connections that take time, and can be cut at any byte.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What one side sees of a cut. What was in flight to it is lost, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// The end of the connection, after what has arrived.
    Eof,
    /// An error at once. What has arrived and was not read is lost, too.
    Reset,
    /// Nothing: no byte comes any more, and none is taken once the buffer is full.
    Nothing,
    /// Nothing, after what was in flight.
    NothingMore,
}

/// A cut, as the client and the server see it.
pub type Cut = [Sees; 2];

pub const CLIENT: usize = 0;
pub const SERVER: usize = 1;

/// One way of a connection.
#[derive(Default)]
struct Way {
    chunks: VecDeque<(Option<Instant>, VecDeque<u8>)>,
    bytes: usize,
    /// Cut after so many bytes more.
    armed: Option<(usize, Cut)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct State {
    /// What each side has to read.
    ways: [Way; 2],
    sees: [Option<Sees>; 2],
    /// Which sides have closed.
    closed: [bool; 2],
    capacity: usize,
    latency: Duration,
    is_cut: bool,
    /// How many cuts there were, of all connections.
    cuts: Arc<AtomicU32>,
}

/// A connection, for whoever cuts it.
#[derive(Clone)]
pub struct Link(Arc<Mutex<State>>);

/// One side of a connection.
pub struct End {
    link: Link,
    side: usize,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Link {
    pub fn new(capacity: usize, latency: Duration, cuts: &Arc<AtomicU32>) -> Self {
        let (ways, sees, closed) = Default::default();
        let (is_cut, cuts) = (false, cuts.clone());
        Self(Arc::new(Mutex::new(State { ways, sees, closed, capacity, latency, is_cut, cuts })))
    }

    pub fn end(&self, side: usize) -> End {
        End { link: self.clone(), side, sleep: None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn cut(&self, cut: Cut) {
        self.lock().cut(cut);
    }

    /// Cuts when so many more bytes have been written to this side. These arrive.
    pub fn cut_after(&self, bytes: usize, side: usize, cut: Cut) {
        self.lock().ways[side].armed = Some((bytes, cut));
    }

    pub fn is_cut(&self) -> bool {
        self.lock().is_cut
    }

    /// How many bytes wait for this side.
    pub fn waits_for(&self, side: usize) -> usize {
        self.lock().ways[side].bytes
    }
}

impl State {
    fn cut(&mut self, cut: Cut) {
        if self.is_cut || self.closed == [true; 2] {
            return;
        }
        self.is_cut = true;
        self.cuts.fetch_add(1, Ordering::Relaxed);
        self.sees = cut.map(Some);
        let now = Instant::now();
        for (way, sees) in self.ways.iter_mut().zip(cut) {
            match sees {
                Sees::Reset => way.chunks.clear(),
                Sees::Eof | Sees::Nothing => way.chunks.retain(|(at, _)| at.is_none_or(|at| at <= now)),
                Sees::NothingMore => {}
            }
            way.bytes = way.chunks.iter().map(|(_, chunk)| chunk.len()).sum();
        }
        self.wake();
    }

    fn wake(&mut self) {
        for way in &mut self.ways {
            way.reader.take().into_iter().chain(way.writer.take()).for_each(Waker::wake);
        }
    }

    fn write(&mut self, to: usize, bytes: &[u8]) {
        let at = (self.latency > Duration::ZERO).then(|| Instant::now() + self.latency);
        let way = &mut self.ways[to];
        way.chunks.push_back((at, bytes.to_vec().into()));
        way.bytes += bytes.len();
        way.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut state = this.link.lock();
        let sees = state.sees[this.side];
        if sees == Some(Sees::Reset) {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        let has_peer_closed = state.closed[1 - this.side];
        let way = &mut state.ways[this.side];
        while let Some((at, chunk)) = way.chunks.front_mut() {
            if let Some(at) = at.filter(|at| *at > Instant::now()) {
                let sleep = this.sleep.insert(Box::pin(sleep_until(at)));
                way.reader = Some(cx.waker().clone());
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                continue;
            }
            let n = buf.remaining().min(chunk.len());
            buf.put_slice(&chunk.make_contiguous()[..n]);
            chunk.drain(..n);
            if chunk.is_empty() {
                way.chunks.pop_front();
            }
            way.bytes -= n;
            way.writer.take().into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(()));
        }
        if sees == Some(Sees::Eof) || sees.is_none() && has_peer_closed {
            return Poll::Ready(Ok(()));
        }
        way.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.link.lock();
        let to = 1 - self.side;
        let is_broken = matches!(state.sees[self.side], Some(Sees::Eof | Sees::Reset));
        if is_broken || state.sees[self.side].is_none() && state.closed[to] {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let capacity = state.capacity;
        let n = buf.len().min(capacity.saturating_sub(state.ways[to].bytes));
        if n == 0 {
            state.ways[to].writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if state.sees[self.side].is_some() {
            // It goes nowhere.
            state.ways[to].bytes += n;
            return Poll::Ready(Ok(n));
        }
        match state.ways[to].armed {
            Some((left, cut)) if left <= n => {
                state.write(to, &buf[..left]);
                state.ways[to].chunks.iter_mut().for_each(|(at, _)| *at = None);
                state.cut(cut);
            }
            armed => {
                state.ways[to].armed = armed.map(|(left, cut)| (left - n, cut));
                state.write(to, &buf[..n]);
            }
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl End {
    pub fn side(&self) -> usize {
        self.side
    }

    fn close(&self) {
        let mut state = self.link.lock();
        state.closed[self.side] = true;
        state.wake();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close();
    }
}
