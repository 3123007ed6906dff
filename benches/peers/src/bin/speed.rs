//! How fast each server is, beside a loop over epoll by hand; and whether this crate is as fast as
//! it should be.
//!
//! ```sh
//! cargo run --release --bin speed -- --write ../../docs/benchmarks.md    # all: a bit more than an hour
//! cargo run --release --bin speed -- --figures --write ../../docs/benchmarks.md     # 50 minutes
//! cargo run --release --bin speed -- --cell "echo 32 B x 50" --rounds 5
//! cargo run --release --bin speed -- --short                             # shows that it works
//! ```
//! With `--strict` it fails if the baseline is not what it should be, or the rounds are too few or too
//! short, so that nothing is published that means nothing.

use lexopt::prelude::*;
use peers::servers::BoxError;
use peers::speed::{self, Conditions, Contest, Extent, Page};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
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
    let mut extent = Extent { rounds: 15, time: Duration::from_secs(2), idle_divisor: 1 };
    let (mut names, mut file, mut page, mut is_strict) = (Vec::new(), None, Page::Others, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("rounds") => extent.rounds = parser.value()?.parse()?,
            Long("seconds") => extent.time = Duration::try_from_secs_f64(parser.value()?.parse()?)?,
            Long("short") => {
                extent = Extent { rounds: 1, time: Duration::from_millis(200), idle_divisor: 100 };
            }
            Long("figures") => page = Page::Figures,
            Long("strict") => is_strict = true,
            Long("cell") => names.push(parser.value()?.string()?),
            Long("write") => file = Some(PathBuf::from(parser.value()?)),
            Long("help") => return help(),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let is_wanted =
        |contest: &Contest| names.is_empty() || names.iter().any(|name| name == contest.cell.name);
    let wanted: Vec<_> = contests(page).into_iter().filter(is_wanted).collect();
    if wanted.is_empty() || extent.rounds == 0 || extent.time.is_zero() {
        return Err("nothing is left to measure; --help lists the cells".into());
    }
    let own_network = take_own_network();
    raise_descriptor_limit()?;
    let conditions = conditions(extent, speed::pin_load(), own_network);
    let mut cells = Vec::new();
    for contest in wanted {
        eprintln!("{} ...", contest.cell.name);
        cells.push((contest.cell, contest.measure(extent)?));
    }
    let table = speed::table(page, &conditions, &cells);
    println!("{table}");
    let invalid = speed::invalid(&conditions, &cells);
    invalid.iter().for_each(|why| eprintln!("NOT VALID: {why}"));
    if is_strict && !invalid.is_empty() {
        return Err("nothing is written, and the ratios above mean nothing".into());
    }
    if let Some(file) = file {
        speed::write(&file, page, &table)?;
    }
    Ok(())
}

fn contests(page: Page) -> Vec<Contest> {
    match page {
        Page::Others => speed::beside_others(),
        Page::Figures => speed::figures(),
    }
}

fn help() -> Result<(), BoxError> {
    println!("speed [--figures] [--cell NAME]... [--rounds N] [--seconds S] [--short] [--strict]");
    println!("      [--write FILE]");
    for (page, title) in [(Page::Others, "beside others"), (Page::Figures, "with --figures")] {
        println!("\nCells {title}:");
        contests(page).iter().for_each(|contest| println!("  {}", contest.cell.name));
    }
    Ok(())
}

/// Begins again in a network of its own, if the system lets it have one, and tells whether it is there.
///
/// New connections leave one socket each behind, for a minute: 131,072 of them on a usual machine, which all
/// end within a few seconds then, on the server's core. There are 1,024 in a network of its own.
fn take_own_network() -> bool {
    const HERE: &str = "PEERS_OWN_NETWORK";
    const SET_UP: &str =
        "ip link set lo up && echo 1024 > /proc/sys/net/ipv4/tcp_max_tw_buckets && exec \"$@\"";
    if std::env::var_os(HERE).is_some() {
        return true;
    }
    let inside = |program: &std::ffi::OsStr| {
        let mut command = Command::new("unshare");
        command.args(["-n", "--", "sh", "-c", SET_UP, "sh"]).arg(program).env(HERE, "1");
        command
    };
    let tried = inside("true".as_ref()).stderr(Stdio::null()).status();
    if let (Ok(program), true) = (std::env::current_exe(), tried.is_ok_and(|it| it.success())) {
        // It returns only if it fails.
        let error = inside(program.as_os_str()).args(std::env::args_os().skip(1)).exec();
        eprintln!("no network of its own: {error}");
    }
    false
}

fn conditions(extent: Extent, pinned: bool, own_network: bool) -> Conditions {
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
        own_network,
        rounds: extent.rounds,
        seconds: extent.time.as_secs_f64(),
        idle_divisor: extent.idle_divisor,
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
