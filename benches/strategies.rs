//! A handler on every strategy, as a criterion bench of a user's own would have it.
//!
//! ```sh
//! cargo bench --features compare --bench strategies
//! ```

use criterion::{Criterion, criterion_group, criterion_main};
use polyserve::codec::{Encoder, Lines};
use polyserve::compare::{CodecExchange, Load, benches};
use polyserve::{Framed, Strategy};
use std::time::Duration;

/// Requests are lines, and come back in capitals.
fn load() -> Load {
    Load::new(|_connection| {
        CodecExchange::new(
            Lines::new(),
            |number, codec, out| codec.encode(&format!("request {number}"), out),
            |number, line: &str| match line == format!("REQUEST {number}") {
                true => Ok(()),
                false => Err(format!("expected request {number} in capitals, got {line:?}").into()),
            },
        )
    })
}

fn strategies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("capitals");
    for mut bench in benches(Strategy::ALL, load().connections([8]), |_peer| {
        Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()))
    }) {
        group.bench_function(bench.name(), |b| b.iter_custom(|n| bench.run(n)));
    }
    group.finish();
}

/// The same for the CPU time of the server: what a request costs rather than how long it takes.
fn cost(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("capitals, CPU time of the server");
    for mut bench in benches(Strategy::ALL, load().connections([8]), |_peer| {
        Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()))
    }) {
        group.bench_function(bench.name(), |b| b.iter_custom(|n| bench.cpu(n)));
    }
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = all; config = settings(); targets = strategies, cost }
criterion_main!(all);
