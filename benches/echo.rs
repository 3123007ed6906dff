//! Echoes over the loopback interface: backend x payload x connections, beside the servers that
//! one would write by hand.
//!
//! ```sh
//! cargo bench --bench echo                       # all of it: a few minutes
//! cargo bench --bench echo -- '64 B x 50'        # one group
//! ```
//! One iteration is one exchange on every connection. Client and server share the process, and the
//! cores of the machine; for the cost of the server alone see the bench `cost`.

#[cfg(unix)]
mod common;

#[cfg(unix)]
mod measured {
    use super::common::load::Load;
    use super::common::servers::Contender;
    use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
    use polyserve::Strategy;
    use std::time::Duration;

    const PAYLOADS: [(&str, usize); 3] =
        [("64 B", 64), ("16 KiB", 16 * 1024), ("1 MiB", 1024 * 1024)];
    const CONNECTIONS: [usize; 3] = [1, 8, 50];

    pub(super) fn echo(criterion: &mut Criterion) {
        for (label, size) in PAYLOADS {
            for connections in CONNECTIONS {
                let mut group = criterion.benchmark_group(format!("{label} x {connections}"));
                group.throughput(Throughput::Bytes((size * connections) as u64));
                group.sample_size(10);
                group.warm_up_time(Duration::from_millis(200));
                group.measurement_time(Duration::from_secs(1));
                for contender in contenders() {
                    measure(&mut group, contender, connections, size);
                }
                group.finish();
            }
        }
    }

    fn contenders() -> Vec<Contender> {
        let mut all: Vec<_> = Strategy::ALL.map(Contender::Polyserve).to_vec();
        all.push(Contender::StdThreads);
        #[cfg(target_os = "linux")]
        all.push(Contender::Epoll);
        all
    }

    fn measure(
        group: &mut BenchmarkGroup<'_, WallTime>,
        contender: Contender,
        connections: usize,
        size: usize,
    ) {
        // Started and connected at the first use, so that a filter costs nothing.
        let mut cell = None;
        group.bench_function(contender.name(), |bencher| {
            let (_, load) = cell.get_or_insert_with(|| {
                let server = contender.start();
                let load = Load::connect(server.addr, connections, size).expect("it listens");
                (server, load)
            });
            bencher.iter_custom(|messages| load.run(messages));
        });
        // The connections end before their server does.
        if let Some((server, load)) = cell {
            drop(load);
            drop(server);
        }
    }
}

#[cfg(unix)]
criterion::criterion_group!(benches, measured::echo);
#[cfg(unix)]
criterion::criterion_main!(benches);

#[cfg(not(unix))]
fn main() {
    println!("SKIP: the load of this bench waits with poll(2)");
}
