//! Writes docs/scorecard.md from logs.
//!
//! ```sh
//! scorecard LOGS OUT       # LOGS is a folder that .ci/scorecard has filled
//! ```
//! A figure that no log holds is "not measured": nothing here is typed by hand.

use peers::scorecard::{self, Logs};
use peers::servers::BoxError;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [logs, out] = &args[..] else {
        eprintln!("usage: scorecard LOGS OUT");
        return ExitCode::from(2);
    };
    match write(Path::new(logs), Path::new(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(logs: &Path, out: &Path) -> Result<(), BoxError> {
    let text = scorecard::text(&Logs::read(logs)?);
    std::fs::write(out, text).map_err(|error| format!("{}: {error}", out.display()))?;
    println!("{} is written", out.display());
    Ok(())
}
