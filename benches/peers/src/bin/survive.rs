//! What each server survives.
//!
//! ```sh
//! cargo run --release --bin survive                           # all faults on all servers
//! cargo run --release --bin survive -- --server tokio --case A1
//! cargo run --release --bin survive -- --command "target/release/peers echo tokio"
//! ```
//! Prints a table in Markdown; `--results FILE`, or POLYSERVE_RESULTS=FILE in the environment, also
//! appends a line of JSON for each case. Exit code 1 if this crate fails one.

use lexopt::prelude::*;
use peers::servers::{BoxError, Kind, Speaks};
use peers::survive::{self, Case, Outcome, Record, Subject};
use peers::{table, versions};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

struct Options {
    servers: Vec<String>,
    cases: Vec<String>,
    commands: Vec<String>,
    speaks: Speaks,
    results: Option<PathBuf>,
    jobs: usize,
    spare_waits: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, BoxError> {
    let Some(options) = parse()? else { return Ok(ExitCode::SUCCESS) };
    if !survive::can_inject() {
        let why = "strace is missing, or may not trace: nothing can be injected";
        if std::env::var_os("POLYSERVE_REQUIRE").is_some_and(|value| value == "1") {
            return Err(why.into());
        }
        eprintln!("SKIP: {why}");
    }
    let subjects = subjects(&options)?;
    let cases = survive::cases();
    let cases: Vec<&Case> = cases.iter().filter(|case| is_wanted(case, &options)).collect();
    let records = run_all(&subjects, &cases, &options);
    print!("{}", table::rivals(&records));
    let ours = |record: &&Record| record.backend.starts_with("polyserve");
    let failed = records.iter().filter(ours).any(|record| record.outcome == Outcome::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn parse() -> Result<Option<Options>, BoxError> {
    let mut parser = lexopt::Parser::from_env();
    let mut options = Options {
        servers: Vec::new(),
        cases: Vec::new(),
        commands: Vec::new(),
        speaks: Speaks::Echo,
        results: std::env::var_os("POLYSERVE_RESULTS").map(PathBuf::from),
        jobs: 3,
        spare_waits: false,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("server") => options.servers.push(parser.value()?.string()?),
            Long("case") => options.cases.push(parser.value()?.string()?),
            Long("command") => options.commands.push(parser.value()?.string()?),
            Long("spare-waits") => options.spare_waits = true,
            Long("http") => options.speaks = Speaks::Http,
            Long("results") => options.results = Some(parser.value()?.into()),
            Long("jobs") => options.jobs = parser.value()?.parse()?,
            Long("list") => return Ok(list()),
            Long("help") => return Ok(help()),
            _ => return Err(arg.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn help<T>() -> Option<T> {
    println!(
        "survive [--server NAME]... [--case ROW|NAME|ROW/NAME]... [--results FILE] [--jobs N]"
    );
    println!("survive --command \"WORDS OF A COMMAND\" [--http] [--spare-waits] ...");
    println!("        any server: --listen 127.0.0.1:0 is added, it says `listening on ADDR`");
    println!("survive --list");
    None
}

fn list<T>() -> Option<T> {
    for case in survive::cases() {
        println!("{:<6}{:<22}{}", case.row, case.name, case.about);
    }
    None
}

fn is_wanted(case: &Case, options: &Options) -> bool {
    let full = format!("{}/{}", case.row, case.name);
    options.cases.is_empty()
        || options.cases.iter().any(|name| *name == case.row || *name == case.name || *name == full)
}

/// This crate's backends and its rivals, or the commands that were given.
fn subjects(options: &Options) -> Result<Vec<Subject>, BoxError> {
    if !options.commands.is_empty() {
        let subject = |command: &String| {
            let words = command.split_whitespace().map(str::to_owned);
            let listen = ["--listen", "127.0.0.1:0"].map(str::to_owned);
            let (name, speaks) = (command.clone(), options.speaks);
            let command = words.chain(listen).collect();
            Subject { name, speaks, command, spare_waits: options.spare_waits }
        };
        return Ok(options.commands.iter().map(subject).collect());
    }
    let mut all = Vec::new();
    for backend in ["threads", "pool:4", "event-loop:2"] {
        all.push(subject(
            Kind::Polyserve,
            &format!("polyserve {backend}"),
            &["--backend", backend],
        )?);
    }
    for kind in [
        Kind::StdThreads,
        Kind::BookPool,
        Kind::Mio,
        Kind::Tokio,
        Kind::TokioBackOff,
        Kind::MessageIo,
        Kind::MillNet,
        Kind::TinyHttp,
    ] {
        let name = match kind {
            Kind::StdThreads | Kind::BookPool => kind.name().to_owned(),
            Kind::TokioBackOff => format!("{} {}", kind.name(), versions::of("tokio")),
            _ => format!("{} {}", kind.name(), versions::of(kind.name())),
        };
        all.push(subject(kind, &name, &[])?);
    }
    if !options.servers.is_empty() {
        all.retain(|subject| options.servers.iter().any(|name| subject.name.starts_with(name)));
    }
    if all.is_empty() { Err("no such server".into()) } else { Ok(all) }
}

fn subject(kind: Kind, name: &str, more: &[&str]) -> Result<Subject, BoxError> {
    let peers = std::env::current_exe()?.with_file_name("peers");
    let speaks = if kind.speaks(Speaks::Echo) { Speaks::Echo } else { Speaks::Http };
    let word = if speaks == Speaks::Echo { "echo" } else { "http" };
    let mut command = vec![peers.to_str().ok_or("a path of UTF-8")?.to_owned()];
    command.extend([word, kind.name(), "--listen", "127.0.0.1:0"].map(str::to_owned));
    command.extend(more.iter().map(|&word| word.to_owned()));
    // Its loop ends when its wait is interrupted: a case of its own shows that.
    let spare_waits = kind == Kind::MillNet;
    Ok(Subject { name: name.to_owned(), speaks, command, spare_waits })
}

/// Several servers at the same time; the cases of one after the other.
fn run_all(subjects: &[Subject], cases: &[&Case], options: &Options) -> Vec<Record> {
    let waiting: Mutex<VecDeque<&Subject>> = Mutex::new(subjects.iter().collect());
    let records = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no panic").pop_front();
                    let Some(subject) = next else { break };
                    for case in cases {
                        let record = case.run(subject);
                        say(&record);
                        if let Some(file) = &options.results {
                            record.append(file).expect("the results can be written");
                        }
                        records.lock().expect("no panic").push(record);
                    }
                }
            });
        }
    });
    let mut records = records.into_inner().expect("no panic");
    let place = |name: &str| subjects.iter().position(|subject| subject.name == name);
    records.sort_by_key(|record| place(&record.backend));
    records
}

fn say(record: &Record) {
    let Record { row, case, backend, outcome, ms, reason, .. } = record;
    let reason = reason.as_deref().unwrap_or_default();
    eprintln!("{backend:<24}{row:<6}{case:<22}{outcome:?} in {ms} ms {reason}");
}
