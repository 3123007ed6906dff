//! A network of its own for a case, in which packets can be lost.

use crate::results::injected;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Programs that it takes.
pub(crate) const TOOLS: [&str; 3] = ["unshare", "ip", "nft"];

/// A namespace of the kernel with nothing but the loopback (network_namespaces(7)). This thread is
/// in it, and what it starts: processes and other threads. Until the value is dropped.
pub(crate) struct Network {
    /// A process that does nothing but keep the namespace, and ends with us, whatever happens.
    keeper: Child,
    outside: File,
}

impl Network {
    /// Whether namespaces and rules for packets can be had here.
    pub(crate) fn works() -> bool {
        static WORKS: OnceLock<bool> = OnceLock::new();
        *WORKS.get_or_init(|| {
            let script = "ip link set lo up && nft add table inet t";
            let mut command = Command::new("unshare");
            let command = command.args(["--net", "sh", "-c", script]).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        })
    }

    /// Moves this thread into a new network. The loopback's packets are as large as Ethernet's, so
    /// that little data is many packets.
    pub(crate) fn enter() -> Self {
        let script = "ip link set lo mtu 1500 up && echo ready && exec cat";
        let mut keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was there before");
        let mut ready = String::new();
        let stdout = keeper.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut ready).expect("it says that it is ready");
        assert_eq!(ready, "ready\n", "there is no network");
        let outside = File::open("/proc/thread-self/ns/net").expect("our own network");
        let inside = File::open(format!("/proc/{}/ns/net", keeper.id())).expect("the new network");
        move_here(&inside);
        let network = Self { keeper, outside };
        nft("add table inet t");
        nft("add counter inet t hit");
        nft("add chain inet t i { type filter hook input priority 0 ; }");
        network
    }

    /// What is to happen to packets like these, as `nft` has it. They are counted.
    pub(crate) fn rule(&self, packets: &str, verdict: &str) {
        nft(&format!("add rule inet t i {packets} counter name hit {verdict}"));
    }

    /// Lets all packets through again.
    pub(crate) fn heal(&self) {
        nft("flush chain inet t i");
    }

    /// Waits until the rules were for some packet, or the case proves nothing. How many there were.
    pub(crate) fn hit(&self) -> usize {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let said = nft("list counter inet t hit");
            let (_, rest) = said.split_once("packets ").expect("a counter");
            let hit = rest.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
            if hit > 0 {
                injected(hit);
                return hit;
            }
            assert!(Instant::now() < deadline, "no packet was like that");
        }
    }
}

fn move_here(network: &File) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("a thread of root may change its network");
}

fn nft(command: &str) -> String {
    let output = Command::new("nft").arg(command).output().expect("nft was there before");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Drop for Network {
    fn drop(&mut self) {
        move_here(&self.outside);
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
