//! Large messages: one loop of this crate beside the loop by hand.

use super::child::Child;
use super::perf::Perf;
use super::{Extent, contender, quartiles};
use crate::common::load::Load;

const KIB: usize = 1024;

/// Sizes, and over how many connections at once.
const LOADS: [(usize, usize); 5] =
    [(16 * KIB, 8), (16 * KIB, 50), (1024 * KIB, 1), (1024 * KIB, 8), (1024 * KIB, 50)];

/// How many bytes each server echoes in a round, for so many exchanges of a full run.
const BYTES_PER_EXCHANGE: usize = 5 * KIB;

pub(super) fn compare(extent: &Extent) {
    println!(
        "\n#### Echoes of large messages: ratios to epoll by hand ({} rounds)\n",
        extent.rounds
    );
    println!("| server | bytes | connections | time | CPU time | wait | recv | send | epoll_ctl |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (size, connections) in LOADS {
        for name in ["epoll", "event-loop:1", "pool:2"] {
            Pair::start(name, size, connections).measure(extent);
        }
    }
    println!("\nRatios as above. System calls are those for each message.");
}

/// A server and the one by hand, with a load for each.
struct Pair {
    name: &'static str,
    size: usize,
    servers: [Child; 2],
    loads: [Load; 2],
}

impl Pair {
    fn start(name: &'static str, size: usize, connections: usize) -> Self {
        let servers = [name, "epoll"].map(|name| Child::start(contender(name)));
        let loads = [0, 1].map(|at: usize| {
            Load::connect(servers[at].addr, connections, size).expect("it listens")
        });
        Self { name, size, servers, loads }
    }

    fn measure(mut self, extent: &Extent) {
        let connections = self.loads[0].connections();
        let bytes = extent.exchanges as usize * BYTES_PER_EXCHANGE;
        let messages = (bytes / self.size / connections).max(2) as u64;
        self.loads.iter_mut().for_each(|load| _ = load.run(messages / 4 + 1));
        let (mut time, mut cpu) = (Vec::new(), Vec::new());
        for round in 0..extent.rounds {
            let mut spent = [(0.0, 0.0); 2];
            // Who is first alternates.
            for at in [round % 2, 1 - round % 2] {
                let before = self.servers[at].cpu_time();
                let took = self.loads[at].run(messages);
                let cpu = self.servers[at].cpu_time() - before;
                spent[at] = (took.as_secs_f64(), cpu.as_secs_f64());
            }
            time.push(spent[0].0 / spent[1].0);
            cpu.push(spent[0].1 / spent[1].1);
        }
        let [time, cpu] = [time, cpu]
            .map(|mut ratios| quartiles(&mut ratios).map(|r| format!("{r:.2}")).join(" / "));
        let calls = self.calls(messages);
        println!("| {} | {} | {connections} | {time} | {cpu} | {calls} |", self.name, self.size);
    }

    /// System calls for each message.
    fn calls(&mut self, messages: u64) -> String {
        let Some(perf) = Perf::attach(self.servers[0].pid()) else {
            return "SKIP: no `perf stat` | | |".to_owned();
        };
        let counts = perf.count(|| _ = self.loads[0].run(messages));
        let all = (messages as usize * self.loads[0].connections()) as f64;
        [counts.wait, counts.recv, counts.send, counts.epoll_ctl]
            .map(|n| format!("{:.2}", n as f64 / all))
            .join(" | ")
    }
}
