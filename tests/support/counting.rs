//! An allocator that counts what the threads of one server ask of it, and nothing else: the hook that
//! runs first on each of them marks it. Whatever a test harness or a client does meanwhile is not
//! seen.
#![allow(
    unsafe_code,
    reason = "only an allocator can count allocations, and it is unsafe to be one"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often the threads of one server have asked the allocator for anything, and the most that they
/// have asked for at once.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    times: AtomicUsize,
    largest: AtomicUsize,
}

impl Counter {
    /// One for a server. It stays for ever, since a thread's last words may come late; that it is
    /// still known tells it from what has leaked.
    pub(crate) fn new() -> &'static Self {
        static ALL: Mutex<Vec<&'static Counter>> = Mutex::new(Vec::new());
        let counter = Box::leak(Box::default());
        ALL.lock().unwrap().push(counter);
        counter
    }

    /// What is to run first on each thread of the server.
    pub(crate) fn hook(&'static self) -> Box<dyn Fn(usize) + Send + Sync> {
        Box::new(|_| MINE.set(Some(self)))
    }

    /// How often they have asked so far: for memory, for more, and to take it back.
    pub(crate) fn get(&self) -> usize {
        self.times.load(Ordering::SeqCst)
    }

    /// The most bytes that they have asked for at once since this was asked last.
    #[allow(dead_code, reason = "not everybody asks")]
    pub(crate) fn take_largest(&self) -> usize {
        self.largest.swap(0, Ordering::SeqCst)
    }
}

thread_local! {
    /// The counter of the server that this thread belongs to.
    static MINE: Cell<Option<&'static Counter>> = const { Cell::new(None) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(size: usize) {
    // A thread whose locals are gone is past its work for a server.
    if let Ok(Some(counter)) = MINE.try_with(Cell::get) {
        counter.times.fetch_add(1, Ordering::SeqCst);
        counter.largest.fetch_max(size, Ordering::SeqCst);
    }
}

// SAFETY: the system's allocator does all of the work, with the arguments as they came. Counting
// allocates nothing: the thread-local is a constant without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
