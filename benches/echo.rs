//! Echoes over the loopback interface: servers x payload x connections x what the handler does.
//!
//! ```sh
//! cargo bench --bench echo                          # the list below: two minutes or so
//! cargo bench --bench echo -- '64 B x 50, instant'  # a part of it
//! cargo bench --bench echo -- --full                # every combination: some ten minutes
//! cargo bench --bench echo -- --full --list         # what those are called
//! ```
//! One iteration is one exchange on every connection, and every byte is checked. Client and server
//! share the process, and the cores of the machine; for the cost of the server alone see the bench
//! `cost`.

#[cfg(unix)]
mod common;

#[cfg(unix)]
mod measured {
    use super::common::load::Load;
    use super::common::servers::{Contender, Running, Toll};
    use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, measurement::WallTime};
    use std::net::TcpStream;
    use std::process::{Command, ExitCode};
    use std::time::Duration;

    /// What is exchanged, with whom, and beside how many.
    #[derive(Clone, Copy)]
    struct Row<'a> {
        payload: (&'static str, usize),
        connections: usize,
        is_beside_idle: bool,
        toll: Toll,
        servers: &'a [&'static str],
    }

    const SMALL: (&str, usize) = ("64 B", 64);
    const MEDIUM: (&str, usize) = ("16 KiB", 16 * 1024);
    const LARGE: (&str, usize) = ("1 MiB", 1024 * 1024);

    const ALL: &[&str] = &["threads", "pool:2", "event-loop:1", "std-threads", "epoll"];
    const OURS: &[&str] = &["threads", "pool:2", "pool:8", "event-loop:1", "event-loop:2"];
    const BESIDE_IDLE: &[&str] = &["threads", "pool:2", "event-loop:1", "epoll"];

    const fn row(
        payload: (&'static str, usize),
        connections: usize,
        toll: Toll,
        servers: &'static [&'static str],
    ) -> Row<'static> {
        Row { payload, connections, is_beside_idle: false, toll, servers }
    }

    /// What is worth measuring after each change.
    const LIST: [Row<'static>; 8] = [
        row(SMALL, 1, Toll::None, ALL),
        row(SMALL, 50, Toll::None, ALL),
        Row { is_beside_idle: true, ..row(SMALL, 50, Toll::None, BESIDE_IDLE) },
        row(MEDIUM, 50, Toll::None, ALL),
        row(LARGE, 8, Toll::None, ALL),
        row(SMALL, 50, Toll::Burn, OURS),
        row(SMALL, 50, Toll::Block, OURS),
        row(MEDIUM, 8, Toll::Burn, OURS),
    ];

    const CELLS: usize = {
        let (mut cells, mut at) = (0, 0);
        while at < LIST.len() {
            cells += LIST[at].servers.len();
            at += 1;
        }
        cells
    };
    const _: () = assert!(CELLS <= 40, "a list that takes too long is not run");

    /// Says to this program that all combinations are wanted: criterion takes no options of ours.
    const FULL: &str = "POLYSERVE_ECHO_FULL";

    /// Runs this program again if all combinations are wanted.
    pub(super) fn full() -> Option<ExitCode> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        if !args.iter().any(|arg| arg == "--full") {
            return None;
        }
        let me = std::env::current_exe().expect("a program knows where it is");
        let args = args.iter().filter(|arg| *arg != "--full");
        let ended = Command::new(me).args(args).env(FULL, "1").status();
        let code = ended.expect("this program can be started again").code();
        Some(code.map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)))
    }

    pub(super) fn echo(criterion: &mut Criterion) {
        #[cfg(target_os = "linux")]
        raise_descriptor_limit();
        match std::env::var_os(FULL) {
            None => LIST.iter().for_each(|row| group(criterion, row)),
            Some(_) => combinations(|row| group(criterion, row)),
        }
    }

    fn combinations(mut each: impl FnMut(&Row<'_>)) {
        for toll in [Toll::None, Toll::Burn, Toll::Block] {
            for payload in [SMALL, MEDIUM, LARGE] {
                for (connections, is_beside_idle) in [(1, false), (50, false), (50, true)] {
                    let by_hand = ["std-threads", "epoll"];
                    let by_hand = if toll == Toll::None { &by_hand[..] } else { &[] };
                    let servers = &[OURS, by_hand].concat();
                    each(&Row { payload, connections, is_beside_idle, toll, servers });
                }
            }
        }
    }

    fn group(criterion: &mut Criterion, row: &Row<'_>) {
        let mut group = criterion.benchmark_group(row.name());
        let (elements, bytes) = (row.connections as u64, (row.payload.1 * row.connections) as u64);
        group.throughput(Throughput::ElementsAndBytes { elements, bytes });
        group.sample_size(10);
        group.sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_secs(1));
        for server in row.servers {
            // Not every system has epoll.
            if let Ok(contender) = server.parse() {
                row.measure(&mut group, contender);
            }
        }
        group.finish();
    }

    /// A server, the connections that are idle, and the load, in the order in which they begin.
    type Cell = (Running, Vec<TcpStream>, Load);

    impl Row<'_> {
        fn name(&self) -> String {
            let toll = match self.toll {
                Toll::None => "instant",
                Toll::Burn => "50 µs of CPU",
                Toll::Block => "blocks 1 ms",
            };
            let beside = if self.is_beside_idle { " beside idle ones" } else { "" };
            format!("{} x {}{beside}, {toll}", self.payload.0, self.connections)
        }

        fn measure(&self, group: &mut BenchmarkGroup<'_, WallTime>, contender: Contender) {
            // Started and connected at the first use, so that a filter costs nothing.
            let mut cell = None;
            group.bench_function(self.server_name(contender), |bencher| {
                let (_, _, load) = cell.get_or_insert_with(|| self.start(contender));
                bencher.iter_custom(|messages| load.run(messages));
            });
            // The connections end before their server does.
            if let Some((server, idle, load)) = cell {
                drop((load, idle));
                drop(server);
            }
        }

        fn start(&self, contender: Contender) -> Cell {
            let server = contender.start_with(self.toll, self.payload.1);
            let idle = (0..self.idle(contender)).map(|_| TcpStream::connect(server.addr));
            let idle = idle.collect::<Result<_, _>>().expect("it listens");
            let load = Load::connect(server.addr, self.connections, self.payload.1);
            (server, idle, load.expect("it listens"))
        }

        /// Both ends of each are in this process, which may open 20,000 files on most systems; and each
        /// takes a thread where connections do.
        fn idle(&self, contender: Contender) -> usize {
            let is_test = std::env::args().any(|arg| arg == "--test");
            match (self.is_beside_idle, has_threads(contender)) {
                (false, _) => 0,
                (true, _) if is_test => 100,
                (true, true) => 2_000,
                (true, false) => 9_000,
            }
        }

        fn server_name(&self, contender: Contender) -> String {
            match (self.is_beside_idle, has_threads(contender)) {
                (false, _) => contender.name(),
                (true, true) => format!("{} beside 2000", contender.name()),
                (true, false) => format!("{} beside 9000", contender.name()),
            }
        }
    }

    fn has_threads(contender: Contender) -> bool {
        use polyserve::Strategy;
        matches!(contender, Contender::Polyserve(Strategy::Threads) | Contender::StdThreads)
    }

    #[cfg(target_os = "linux")]
    fn raise_descriptor_limit() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised to the hard one");
    }
}

#[cfg(unix)]
criterion::criterion_group!(benches, measured::echo);

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    if let Some(code) = measured::full() {
        return code;
    }
    benches();
    criterion::Criterion::default().configure_from_args().final_summary();
    std::process::ExitCode::SUCCESS
}

#[cfg(not(unix))]
fn main() {
    println!("SKIP: the load of this bench waits with poll(2)");
}
