//! An allocator that keeps account of what the program holds: the memory of a process tells as well
//! what its allocator keeps for later, which goes up and down as threads come and go.
#![allow(unsafe_code, reason = "only an allocator can keep account, and it is unsafe to be one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static HELD: AtomicUsize = AtomicUsize::new(0);

/// How many bytes the program has asked for and not given back.
pub(crate) fn held() -> usize {
    HELD.load(Ordering::SeqCst)
}

struct Accountant;

#[global_allocator]
static ALLOCATOR: Accountant = Accountant;

// SAFETY: the system's allocator does all of the work, with the arguments as they came. `realloc` and
// `alloc_zeroed` are the defaults, which use these two.
unsafe impl GlobalAlloc for Accountant {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
