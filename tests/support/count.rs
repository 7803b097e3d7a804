//! Counts what this thread asks of the allocator, so that cost is measured and never timed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { taken: 0, freed: 0, bytes: 0 }) };
}

/// What was asked of the allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many pieces of memory were taken; one that grows or shrinks is taken again.
    pub taken: usize,
    /// How many were given back.
    pub freed: usize,
    /// How many more bytes are held now; fewer, if negative.
    pub bytes: isize,
}

/// What this thread asks of the allocator while `work` runs.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Counts) {
    let before = COUNTS.get();
    let result = work();
    let after = COUNTS.get();
    let counts = Counts {
        taken: after.taken - before.taken,
        freed: after.freed - before.freed,
        bytes: after.bytes - before.bytes,
    };
    (result, counts)
}

/// How many bytes this thread holds more than it held at its start.
#[allow(dead_code, reason = "most count pieces of work")]
pub fn held() -> isize {
    COUNTS.get().bytes
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(taken: usize, freed: usize, bytes: isize) {
    let Counts { taken: t, freed: f, bytes: b } = COUNTS.get();
    COUNTS.set(Counts { taken: t + taken, freed: f + freed, bytes: b + bytes });
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, 0, layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note(0, 1, -(layout.size() as isize));
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(1, 1, new_size as isize - layout.size() as isize);
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}
