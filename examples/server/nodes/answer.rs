//! An answer that many ask for at once.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// One question is on its way at a time. Its answer is that of all who came before it was asked, and of nobody who came later.
pub struct Answer<T> {
    /// How often it was asked.
    asked: AtomicU64,
    /// With the number of its question.
    last: Mutex<Option<(u64, T)>>,
}

impl<T: Clone> Answer<T> {
    /// Returns what was asked since this was called, by `ask` or by somebody else's.
    pub async fn get(&self, ask: impl Future<Output = T>) -> T {
        let before = self.asked.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        match &*last {
            Some((number, answer)) if *number > before => answer.clone(),
            _ => {
                let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
                let answer = ask.await;
                *last = Some((number, answer.clone()));
                answer
            }
        }
    }
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Self { asked: AtomicU64::new(0), last: Mutex::default() }
    }
}
