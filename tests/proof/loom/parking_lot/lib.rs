//! As much of `parking_lot` as `xmpp-sm` uses, over the locks of loom.

pub use loom::sync::MutexGuard;

#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no thread panics with the lock")
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("no thread panics with the lock")
    }
}
