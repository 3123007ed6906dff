//! What another process holds, as the system tells it.

use std::fmt;

/// What a server holds while nobody is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gauge {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// In KiB: what the system counts, and what the server has asked its allocator for.
    pub(crate) memory: usize,
    pub(crate) heap: usize,
}

impl Gauge {
    pub(crate) fn read(pid: u32, heap: u64) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it is alive");
        let number = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or_else(|| panic!("{field} is not in {status}"))
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it is alive");
        Self {
            descriptors: descriptors.count(),
            threads: number("Threads:"),
            memory: number("VmRSS:"),
            heap: heap as usize / 1024,
        }
    }

    pub(crate) fn same_but_memory(&self, other: &Self) -> bool {
        (self.descriptors, self.threads) == (other.descriptors, other.threads)
    }
}

impl fmt::Display for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, threads, memory, heap } = self;
        write!(
            f,
            "{descriptors} descriptors, {threads} threads, {memory} KiB of memory, {heap} KiB of heap"
        )
    }
}
