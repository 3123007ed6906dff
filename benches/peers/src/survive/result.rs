//! What came out of a case, as a line of JSON: the form is that of tests/support/results.rs, with
//! one outcome more.

use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub suite: String,
    pub row: String,
    pub case: String,
    /// The server.
    pub backend: String,
    pub outcome: Outcome,
    /// How often the fault was seen to happen.
    pub injected: Option<u64>,
    #[serde(default)]
    pub figures: Vec<Figure>,
    pub ms: u64,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
    /// The server never makes the call that was to fail: neither passed nor failed.
    NotInjected,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: String,
}

impl Record {
    /// Appends it to a file, as a whole line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&self, file: &Path) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        OpenOptions::new().create(true).append(true).open(file)?.write_all(&line)
    }
}
