//! What the system tells about time spent, threads and memory; each is `None` where it does not.

use std::time::Duration;

/// The CPU time of this thread so far.
pub(crate) fn thread_cpu() -> Option<Duration> {
    cpu::of_thread()
}

/// The CPU time of this process so far, threads that have ended included.
pub(crate) fn process_cpu() -> Option<Duration> {
    cpu::of_process()
}

#[cfg(not(any(not(unix), target_os = "netbsd", target_os = "illumos", target_os = "solaris")))]
mod cpu {
    use rustix::time::{ClockId, clock_gettime};
    use std::time::Duration;

    pub(super) fn of_thread() -> Option<Duration> {
        read(ClockId::ThreadCPUTime)
    }

    pub(super) fn of_process() -> Option<Duration> {
        read(ClockId::ProcessCPUTime)
    }

    fn read(clock: ClockId) -> Option<Duration> {
        let time = clock_gettime(clock);
        Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
    }
}

/// For systems without such clocks, and those where `rustix` does not have them.
#[cfg(any(not(unix), target_os = "netbsd", target_os = "illumos", target_os = "solaris"))]
mod cpu {
    use std::time::Duration;

    pub(super) fn of_thread() -> Option<Duration> {
        None
    }

    pub(super) fn of_process() -> Option<Duration> {
        None
    }
}

/// What a server has spent so far, and what it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu: Option<Duration>,
    pub(crate) threads: Option<u64>,
    /// The most memory that was ever resident, in bytes.
    pub(crate) peak_memory: Option<u64>,
}

impl Usage {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        // First, so that what follows is not in it.
        let cpu = process_cpu();
        // proc(5); there is no such file on other systems.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = field(&status, "VmHWM:");
        Self { cpu, threads: field(&status, "Threads:"), peak_memory: kib.map(|kib| kib * 1024) }
    }
}

/// The number behind a name in `/proc/PID/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let status = "Name:\tx\nVmHWM:\t    1234 kB\nThreads:\t7\n";
        assert_eq!(field(status, "VmHWM:"), Some(1234));
        assert_eq!(field(status, "Threads:"), Some(7));
        assert_eq!(field(status, "Missing:"), None);
    }

    #[cfg(not(any(
        not(unix),
        target_os = "netbsd",
        target_os = "illumos",
        target_os = "solaris"
    )))]
    #[test]
    fn a_thread_that_works_spends_its_own_time_and_its_process_s() {
        // The process is asked first and last, so that its time holds all of the thread's.
        let process = process_cpu().unwrap();
        let thread = thread_cpu().unwrap();
        while thread_cpu().unwrap() - thread < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        // Half of it, for systems whose two clocks do not tick at once.
        let spent = process_cpu().unwrap() - process;
        assert!(spent >= Duration::from_millis(1), "{spent:?}");
    }
}
