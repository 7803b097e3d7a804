//! What the sessions of a node write down: the changes of many in one call.

use std::sync::Arc;

use futures::future::join_all;
use parking_lot::Mutex;
use redis::aio::ConnectionManager;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use xmpp_sm::snapshot::Due;
use xmpp_sm::{Fence, Journal as _, RedisStore, RedisStoreError, Registration};

/// Changes that are written down at once.
const MOST: usize = 200;

type Store = RedisStore<ConnectionManager>;
/// What was written comes back. An error is that of all who have written with it.
pub type Written = Result<(Due, Fence), Arc<RedisStoreError>>;

pub struct Journal {
    store: Arc<Store>,
    out: UnboundedSender<Entry>,
    pending: Mutex<Option<UnboundedReceiver<Entry>>>,
}

struct Entry {
    registration: Registration,
    due: Due,
    answer: oneshot::Sender<Written>,
}

impl Entry {
    async fn write_alone(self, store: &Store) {
        let written = self.due.write(store, &self.registration).await.map_err(Arc::new);
        let _ = self.answer.send(written.map(|fence| (self.due, fence)));
    }
}

impl Journal {
    pub fn new(store: Arc<Store>) -> Self {
        let (out, pending) = unbounded_channel();
        Self { store, out, pending: Mutex::new(Some(pending)) }
    }

    pub fn run(&self) {
        if let Some(pending) = self.pending.lock().take() {
            tokio::spawn(write(self.store.clone(), pending));
        }
    }

    /// Writes down what is due of a session, with what is due of others.
    pub async fn write(&self, registration: &Registration, due: Due) -> Written {
        let (answer, written) = oneshot::channel();
        let entry = Entry { registration: registration.clone(), due, answer };
        if entry.due.change(registration).is_none() {
            entry.write_alone(&self.store).await;
        } else {
            let _ = self.out.send(entry);
        }
        written.await.unwrap_or_else(|_| Err(Arc::new(RedisStoreError::TimedOut)))
    }
}

/// What comes while a call is on its way goes with the next.
async fn write(store: Arc<Store>, mut pending: UnboundedReceiver<Entry>) {
    let mut batch = Vec::new();
    while pending.recv_many(&mut batch, MOST).await > 0 {
        let changes: Vec<_> = batch.iter().filter_map(|entry| entry.due.change(&entry.registration)).collect();
        match store.append(&changes).await {
            Ok(Fence::Held) => {
                for Entry { due, answer, .. } in batch.drain(..) {
                    let _ = answer.send(Ok((due, Fence::Held)));
                }
            }
            // Nothing was written: one of them is another node's by now, or is not where it was. The others do not wait for it.
            Ok(Fence::Lost) | Err(RedisStoreError::Evicted | RedisStoreError::Apart) => {
                join_all(batch.drain(..).map(|entry| entry.write_alone(&store))).await;
            }
            Err(error) => {
                let error = Arc::new(error);
                for Entry { answer, .. } in batch.drain(..) {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}
