//! What the commands have left behind.

use crate::servers::BoxError;
use crate::survive::Record;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with `steps.tsv`, `machine.tsv`, `NAME.log` for each step, and `*.jsonl`.
pub struct Logs {
    pub steps: Vec<Step>,
    /// What it ran on: name and value.
    pub machine: Vec<(String, String)>,
    /// What the cases of the suites have written, the last of each.
    pub records: Vec<Record>,
    /// The sources of the crate.
    pub root: PathBuf,
    logs: HashMap<String, String>,
}

/// A command that ran.
pub struct Step {
    pub name: String,
    pub command: String,
    pub code: i32,
    pub seconds: u64,
    pub date: String,
    pub commit: String,
}

impl Logs {
    /// # Errors
    /// There is no such folder, or a line in it is malformed.
    pub fn read(folder: &Path) -> Result<Self, BoxError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let steps: Vec<Step> =
            read("steps.tsv")?.lines().map(Step::parse).collect::<Result<_, _>>()?;
        let pair = |line: &str| {
            let (name, value) = line.split_once('\t').unwrap_or((line, ""));
            (name.to_owned(), value.to_owned())
        };
        let machine = read("machine.tsv")?.lines().map(pair).collect();
        let mut logs = HashMap::new();
        for step in &steps {
            // A step that failed early may have none. Colours, if any, are not text.
            let bytes = fs::read(folder.join(format!("{}.log", step.name))).unwrap_or_default();
            logs.insert(step.name.clone(), String::from_utf8_lossy(&bytes).into_owned());
        }
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        Ok(Self { steps, machine, records: records(folder)?, root, logs })
    }

    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// What a step has printed; none if it did not run.
    pub fn log(&self, name: &str) -> Option<&str> {
        self.logs.get(name).map(String::as_str)
    }
}

impl Step {
    fn parse(line: &str) -> Result<Self, BoxError> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, code, seconds, date, commit, command] = fields[..] else {
            return Err(format!("steps.tsv: no step is {line:?}").into());
        };
        let [name, date, commit, command] = [name, date, commit, command].map(str::to_owned);
        Ok(Self { name, command, code: code.parse()?, seconds: seconds.parse()?, date, commit })
    }
}

/// Of a case that ran several times, the last counts.
fn records(folder: &Path) -> Result<Vec<Record>, BoxError> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|f| f.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "jsonl"));
    files.sort();
    let mut records: Vec<Record> = Vec::new();
    let mut places: HashMap<[String; 4], usize> = HashMap::new();
    for file in files {
        for line in fs::read_to_string(&file)?.lines().filter(|line| !line.is_empty()) {
            let record: Record = serde_json::from_str(line)
                .map_err(|error| format!("{}: {error} in {line}", file.display()))?;
            let Record { suite, row, case, backend, .. } = record.clone();
            match places.get(&[suite.clone(), row.clone(), case.clone(), backend.clone()]) {
                Some(&place) => records[place] = record,
                None => {
                    places.insert([suite, row, case, backend], records.len());
                    records.push(record);
                }
            }
        }
    }
    Ok(records)
}
