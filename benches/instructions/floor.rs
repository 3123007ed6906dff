//! What a request on one loop may not do at all: take a lock, or allocate.

use super::variant::Variant;
use super::{REQUESTS, counted};

const BACKEND: &str = "event-loop:1";

/// Whole names, and beginnings or parts of names, of functions that allocate or free.
const ALLOCATORS: [&str; 6] = ["malloc", "calloc", "realloc", "free", "aligned_alloc", "cfree"];
const ALLOCATOR_PARTS: [&str; 5] =
    ["__rust_alloc", "__rust_dealloc", "__rust_realloc", "__rdl_", "memalign"];

/// Of functions that lock, or wait for another thread. The fast path of a `Mutex` of the standard library
/// is inlined and cannot be seen here; where it has to wait, or to wake, it calls one of these.
const LOCK_PARTS: [&str; 9] = [
    "pthread_mutex_",
    "pthread_rwlock_",
    "pthread_cond_",
    "pthread_spin_",
    "futex",
    "lock_contended",
    "::park",
    "unpark",
    "lll_lock",
];
/// What the standard library waits and wakes by. (The crate's own calls do not go through it.)
const LOCKS: [&str; 1] = ["syscall"];

/// So many calls are none: the other threads of the process lock now and then, at its start and its end.
const FEW: u64 = REQUESTS / 1_000;

/// Counts the calls of 10,000 requests with the defaults.
///
/// # Panics
/// If one of them locks or allocates.
pub(super) fn check() {
    let (before, after) = counted(BACKEND, Variant::Everything, REQUESTS);
    let seen = |part: &str| after.calls.keys().any(|name| name.contains(part));
    assert!(seen("malloc") && seen("Echo"), "the names of functions are not known here");
    let mut found = Vec::new();
    for (name, n) in &after.calls {
        let more = n.saturating_sub(before.calls.get(name).copied().unwrap_or(0));
        if more >= FEW && is_forbidden(name) {
            found.push((name, more));
        }
    }
    println!(
        "\nFunctions that {REQUESTS} requests on `{BACKEND}` lock or allocate by: {}",
        found.len()
    );
    assert!(found.is_empty(), "requests lock or allocate: {found:?}");
}

fn is_forbidden(name: &str) -> bool {
    // With its version: `malloc@@GLIBC_2.2.5`.
    let whole = name.split('@').next().unwrap_or(name);
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    ALLOCATORS.contains(&whole)
        || LOCKS.contains(&whole)
        || has(&ALLOCATOR_PARTS)
        || has(&LOCK_PARTS)
}
