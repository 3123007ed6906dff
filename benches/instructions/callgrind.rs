//! A server under valgrind, and what its tool callgrind has counted.

use super::variant::Variant;
use crate::common::load::Load;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SIZE: usize = 64;

/// Instructions of a whole run.
pub(super) struct Counted {
    pub(super) total: u64,
    /// By the function that they are in.
    pub(super) functions: HashMap<String, u64>,
    /// How often each function was called that was not inlined.
    pub(super) calls: HashMap<String, u64>,
}

pub(super) fn is_there() -> bool {
    // Its reader comes with it, and calls it a failure to be asked for its version.
    let mut command = Command::new("valgrind");
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Has a server of its own answer so many requests of one connection.
pub(super) fn count(backend: &str, variant: Variant, requests: u64) -> Counted {
    let out = Out::new();
    let mut server = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--fair-sched=yes"])
        .arg(format!("--callgrind-out-file={}", out.0.display()))
        .arg(std::env::current_exe().expect("a program knows where it is"))
        .args(["--serve", backend, &format!("{variant:?}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("valgrind can be run");
    let mut line = String::new();
    let said = server.stdout.take().expect("it is piped");
    BufReader::new(said).read_line(&mut line).expect("the server says where it listens");
    let addr = line.trim().parse().expect("an address");
    let mut load = Load::connect(addr, 1, SIZE).expect("it listens");
    load.run(requests);
    drop(load);
    drop(server.stdin.take());
    let status = server.wait().expect("a child can be waited for");
    assert!(status.success(), "{backend}, {variant:?}: {status}");
    read(&out.0)
}

/// Reads the report of callgrind's own reader.
fn read(file: &Path) -> Counted {
    let report = Command::new("callgrind_annotate")
        .args(["--threshold=100", "--auto=no", "--show-percs=no"])
        .arg(file)
        .output()
        .expect("callgrind_annotate can be run");
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    let number = |text: &str| text.trim().replace(',', "").parse::<u64>().ok();
    let total = report.lines().find_map(|line| number(line.strip_suffix("PROGRAM TOTALS")?));
    let mut functions = HashMap::new();
    // `1,234  file:function [object]`
    let named = report.lines().filter_map(|line| line.trim().split_once("  "));
    for (count, what) in named {
        let function = what.split(" [").next().unwrap_or(what);
        let function = function.split_once(':').map_or(function, |(_, function)| function);
        if function.trim() == "PROGRAM TOTALS" {
            continue;
        }
        if let Some(n) = number(count) {
            *functions.entry(function.trim().to_owned()).or_default() += n;
        }
    }
    let total = total.unwrap_or_else(|| panic!("no totals in {report}"));
    Counted { total, functions, calls: calls(file) }
}

/// Reads callgrind's own file (its manual, "Callgrind Format Specification"): `cfn=` tells whom the next
/// `calls=` is about. A name stands beside its number once, and then its number alone.
fn calls(file: &Path) -> HashMap<String, u64> {
    let text = std::fs::read_to_string(file).expect("callgrind has written its file");
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut calls: HashMap<String, u64> = HashMap::new();
    let mut called = "";
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "fn" | "cfn" => {
                let (number, name) = value.split_once(' ').unwrap_or((value, ""));
                let name = if name.is_empty() { names[number] } else { name };
                names.insert(number, name);
                if key == "cfn" {
                    called = name;
                }
            }
            "calls" => {
                let n = value.split(' ').next().and_then(|n| n.parse::<u64>().ok());
                *calls.entry(called.to_owned()).or_default() += n.expect("a count");
            }
            _ => (),
        }
    }
    calls
}

/// A file that is gone again afterwards.
struct Out(PathBuf);

impl Out {
    fn new() -> Self {
        let name = format!("polyserve-callgrind-{}.out", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
