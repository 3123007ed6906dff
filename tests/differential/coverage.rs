//! What the scripts have come by: each callback, each way in which it can end, each reason.

use polyserve::CloseKind;
use std::collections::BTreeMap;

/// The callbacks of a handler. [`check_lists`] holds the list against the trait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Callback {
    Open,
    Data,
    Eof,
    Writable,
    Wake,
    Timer,
    Shutdown,
    Close,
}

impl Callback {
    const ALL: [Callback; 8] = [
        Callback::Open,
        Callback::Data,
        Callback::Eof,
        Callback::Writable,
        Callback::Wake,
        Callback::Timer,
        Callback::Shutdown,
        Callback::Close,
    ];

    fn name(self) -> String {
        format!("on_{}", format!("{self:?}").to_lowercase())
    }
}

/// The ways in which a callback can end, besides returning an action.
const OTHER_ENDS: [&str; 5] =
    ["an error", "DecodeError", "DecodeError::Truncated", "a panic", "into_stream"];

/// Why some reasons come up in no script that is played through a socket.
fn cannot_come(kind: CloseKind) -> Option<&'static str> {
    match kind {
        CloseKind::Backend => {
            Some("only a backend that drops its sessions has it, and those of the crate do not")
        }
        _ => None,
    }
}

/// How often what happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coverage {
    callbacks: BTreeMap<(Callback, String), u64>,
    reasons: BTreeMap<CloseKind, u64>,
}

impl Coverage {
    pub(crate) fn count(&mut self, callback: Callback, how: &str) {
        *self.callbacks.entry((callback, how.to_owned())).or_default() += 1;
    }

    pub(crate) fn count_reason(&mut self, kind: CloseKind) {
        *self.reasons.entry(kind).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Coverage) {
        for (key, n) in &other.callbacks {
            *self.callbacks.entry(key.clone()).or_default() += n;
        }
        for (kind, n) in &other.reasons {
            *self.reasons.entry(*kind).or_default() += n;
        }
    }

    fn of_callback(&self, callback: Callback) -> u64 {
        self.callbacks.iter().filter(|((of, _), _)| *of == callback).map(|(_, n)| n).sum()
    }

    fn of_end(&self, how: &str) -> u64 {
        self.callbacks.iter().filter(|((_, end), _)| end == how).map(|(_, n)| n).sum()
    }

    fn of_reason(&self, kind: CloseKind) -> u64 {
        self.reasons.get(&kind).copied().unwrap_or(0)
    }
}

/// The rows of the table: each callback, each end of one, each reason.
fn rows(all: &[(String, Coverage)]) -> Vec<(String, Vec<u64>)> {
    let of = |count: &dyn Fn(&Coverage) -> u64| all.iter().map(|(_, c)| count(c)).collect();
    let mut rows = Vec::new();
    for callback in Callback::ALL {
        rows.push((format!("`{}`", callback.name()), of(&|c| c.of_callback(callback))));
    }
    for action in actions() {
        rows.push((format!("`Action::{action}`"), of(&|c| c.of_end(&action))));
    }
    for end in OTHER_ENDS {
        rows.push((end.to_owned(), of(&|c| c.of_end(end))));
    }
    for kind in CloseKind::ALL.into_iter().filter(|kind| cannot_come(*kind).is_none()) {
        rows.push((format!("`CloseReason::{kind:?}`"), of(&|c| c.of_reason(kind))));
    }
    rows
}

/// Prints how often each thing came up on each backend, and fails for what never did.
pub(crate) fn report(all: &[(String, Coverage)]) {
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    println!("\n| | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(all.len()));
    let mut never = Vec::new();
    for (name, counts) in rows(all) {
        let cells: Vec<String> = counts.iter().map(u64::to_string).collect();
        println!("| {name} | {} |", cells.join(" | "));
        if counts.contains(&0) {
            never.push(name);
        }
    }
    for kind in CloseKind::ALL {
        if let Some(why) = cannot_come(kind) {
            println!("\n`CloseReason::{kind:?}` is not among them: {why}.");
        }
    }
    println!("\nWhat each callback of the scripts has ended with:\n");
    for callback in Callback::ALL {
        let of = all[0].1.callbacks.iter().filter(|((of, _), _)| *of == callback);
        let ends: Vec<String> = of.map(|((_, how), n)| format!("{how} {n}")).collect();
        println!("- `{}`: {}", callback.name(), ends.join(", "));
    }
    assert!(never.is_empty(), "no script came by {never:?}");
}

/// The actions, as the source lists them: other crates cannot match a non-exhaustive enumeration
/// exhaustively, and a new one must not be forgotten here.
fn actions() -> Vec<String> {
    let source = include_str!("../../src/handler/action.rs");
    let (_, body) = source.split_once("pub enum Action {").expect("the enumeration is there");
    let (body, _) = body.split_once("\n}").expect("it ends");
    let starts = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = starts.filter(|line| line.starts_with(char::is_uppercase));
    names.map(|line| line.split(['(', ',', ' ']).next().unwrap_or_default().to_owned()).collect()
}

/// The callbacks that are counted are those of the trait, and the actions are found.
#[test]
fn nothing_is_missing_from_the_lists() {
    let source = include_str!("../../src/handler/mod.rs");
    let (_, body) = source.split_once("pub trait Handler").expect("the trait is there");
    let (body, _) = body.split_once("\n}").expect("it ends");
    let found: Vec<&str> =
        body.lines().filter_map(|line| line.strip_prefix("    fn ")?.split('(').next()).collect();
    let listed: Vec<String> = Callback::ALL.into_iter().map(Callback::name).collect();
    assert_eq!(found, listed);
    let actions = actions();
    assert!(actions.len() >= 6 && actions.contains(&"Want".to_owned()), "{actions:?}");
}
