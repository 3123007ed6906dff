//! Instructions in user space for each 64-byte echo of one connection, of each server on one thread,
//! as callgrind counts them: the difference of two runs, of which one has 10,000 requests more.
//!
//! ```sh
//! cargo build --release --bins && cargo run --release --bin instructions
//! ```
//! Without valgrind it says SKIP; with `POLYSERVE_REQUIRE=1` it fails.

use peers::child::Child;
use peers::servers::BoxError;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const SIZE: usize = 64;
const BEFORE: u64 = 500;
const REQUESTS: u64 = 10_000;
/// How long one answer, and the end of a server, may take: valgrind is slow, and the machine may be.
const PATIENCE: Duration = Duration::from_secs(30);

/// The arguments of `peers echo`.
const SERVERS: [&[&str]; 4] =
    [&["epoll"], &["mio"], &["tokio-current-thread"], &["polyserve", "--backend", "event-loop:1"]];

fn main() -> Result<(), BoxError> {
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !valgrind.is_ok_and(|status| status.success()) {
        let required = std::env::var_os("POLYSERVE_REQUIRE").is_some_and(|value| value == "1");
        assert!(!required, "required, but valgrind cannot be run");
        println!("SKIP: valgrind cannot be run");
        return Ok(());
    }
    println!("\n#### Instructions for each {SIZE}-byte echo, in user space\n");
    println!("| server | instructions | ratio to `polyserve` |");
    println!("|---|---:|---:|");
    let each = SERVERS.map(|server| -> Result<f64, BoxError> {
        let (before, after) = (count(server, BEFORE)?, count(server, BEFORE + REQUESTS)?);
        Ok((after - before) as f64 / REQUESTS as f64)
    });
    let each: Vec<f64> = each.into_iter().collect::<Result<_, _>>()?;
    let ours = each[SERVERS.len() - 1];
    for (server, n) in SERVERS.iter().zip(&each) {
        println!("| {} | {n:.0} | {:.2} |", server.join(" "), n / ours);
    }
    Ok(())
}

/// Instructions of a whole run with so many requests.
fn count(server: &[&str], requests: u64) -> Result<u64, BoxError> {
    let out = Out::new();
    let peers = std::env::current_exe()?.with_file_name("peers");
    let mut command = ["valgrind", "--tool=callgrind", "--quiet"].map(str::to_owned).to_vec();
    command.push(format!("--callgrind-out-file={}", out.0.display()));
    command.push(peers.to_str().ok_or("a path of UTF-8")?.to_owned());
    command.push("echo".to_owned());
    command.extend(server.iter().map(|&arg| arg.to_owned()));
    let child = Child::start(&command)?;
    exchange(&child, requests)?;
    let pid = i32::try_from(child.pid()).ok().and_then(Pid::from_raw).ok_or("a process")?;
    kill_process(pid, Signal::TERM)?;
    child.exited(PATIENCE).ok_or("SIGTERM does not end it")?;
    total(&out.0)
}

/// Exchanges messages on one connection, one at a time, and checks what comes back.
fn exchange(child: &Child, messages: u64) -> Result<(), BoxError> {
    let mut stream = TcpStream::connect(child.addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut sent, mut got) = ([0; SIZE], [0; SIZE]);
    for number in 0..messages {
        sent[..8].copy_from_slice(&number.to_be_bytes());
        stream.write_all(&sent)?;
        stream.read_exact(&mut got)?;
        if got != sent {
            return Err("other bytes came back".into());
        }
    }
    Ok(())
}

/// The sum that callgrind has written at the end of its file.
fn total(file: &Path) -> Result<u64, BoxError> {
    let text = std::fs::read_to_string(file)?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals:"));
    Ok(total.ok_or("callgrind wrote no totals")?.trim().parse()?)
}

/// A file that is gone again afterwards.
struct Out(PathBuf);

impl Out {
    fn new() -> Self {
        let name = format!("peers-callgrind-{}.out", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
