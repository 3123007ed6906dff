//! How fast each server is, beside a loop over epoll by hand.
//!
//! ```sh
//! cargo run --release --bin speed -- --write ../../docs/benchmarks.md    # all: a bit more than an hour
//! cargo run --release --bin speed -- --cell "echo 32 B x 50" --rounds 5
//! cargo run --release --bin speed -- --short                             # shows that it works
//! ```

use lexopt::prelude::*;
use peers::servers::BoxError;
use peers::speed::{self, CELLS, Conditions, Extent};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), BoxError> {
    let mut parser = lexopt::Parser::from_env();
    let mut extent = Extent { rounds: 15, time: Duration::from_secs(2) };
    let (mut names, mut file) = (Vec::new(), None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("rounds") => extent.rounds = parser.value()?.parse()?,
            Long("seconds") => extent.time = Duration::try_from_secs_f64(parser.value()?.parse()?)?,
            Long("short") => extent = Extent { rounds: 1, time: Duration::from_millis(200) },
            Long("cell") => names.push(parser.value()?.string()?),
            Long("write") => file = Some(PathBuf::from(parser.value()?)),
            Long("help") => {
                println!(
                    "speed [--cell NAME]... [--rounds N] [--seconds S] [--short] [--write FILE]"
                );
                CELLS.iter().for_each(|cell| println!("  {}", cell.name));
                return Ok(());
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    let wanted: Vec<_> = CELLS
        .into_iter()
        .filter(|c| names.is_empty() || names.iter().any(|n| n == c.name))
        .collect();
    if wanted.is_empty() || extent.rounds == 0 || extent.time.is_zero() {
        return Err("nothing is left to measure; --help lists the cells".into());
    }
    raise_descriptor_limit()?;
    let conditions = conditions(extent, speed::pin_load());
    let mut cells = Vec::new();
    for cell in wanted {
        eprintln!("{} ...", cell.name);
        cells.push((cell, cell.measure(extent)?));
    }
    let table = speed::table(&conditions, &cells);
    println!("{table}");
    if let Some(file) = file {
        speed::write(&file, &table)?;
    }
    Ok(())
}

fn conditions(extent: Extent, pinned: bool) -> Conditions {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.is_empty()).collect();
    let quoted = |arg: &String| if arg.contains(' ') { format!("\"{arg}\"") } else { arg.clone() };
    let args: Vec<String> = args.iter().map(quoted).collect();
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::fs::read_dir("/sys/devices/system/cpu").map_or(0, |entries| {
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|n| n.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok())).count()
    });
    let machine = format!(
        "{}, {}, on {cores} cores of {}, load average {}",
        said("rustc", &["--version"]),
        said("uname", &["-sr"]),
        model.map_or("an unknown processor", |(_, name)| name),
        std::fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .split(' ')
            .next()
            .unwrap_or_default(),
    );
    Conditions {
        date: said("date", &["-u", "+%F"]),
        commit: said("git", &["rev-parse", "--short", "HEAD"]),
        command: format!(
            "cd benches/peers && cargo run --release --bin speed -- {}",
            args.join(" ")
        ),
        machine,
        pinned,
        rounds: extent.rounds,
        seconds: extent.time.as_secs_f64(),
    }
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or("unknown".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// Lets this process open as many sockets as the system allows it to.
fn raise_descriptor_limit() -> Result<(), BoxError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}
