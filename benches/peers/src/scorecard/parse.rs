//! Reading what test programs and tools print.

use std::time::Duration;

/// What a run of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
    /// The names of those that failed.
    pub(super) failures: Vec<String>,
    pub(super) skips: Vec<String>,
}

/// Sums up the `test result:` lines of all test programs in a log.
pub(super) fn counts(log: &str) -> Counts {
    let mut counts = Counts::default();
    for line in log.lines() {
        if let Some(result) = line.trim_start().strip_prefix("test result: ") {
            let count = |what| before(result, what).map_or(0, |n| n as u64);
            counts.passed += count(" passed");
            counts.failed += count(" failed");
            counts.ignored += count(" ignored");
        } else if let Some((name, _)) = line
            .strip_prefix("test ")
            .and_then(|line| line.rsplit_once(" ... "))
            .filter(|(_, result)| *result == "FAILED")
        {
            counts.failures.push(name.to_owned());
        } else if let Some((_, reason)) = line.split_once("SKIP: ") {
            counts.skips.push(reason.to_owned());
        }
    }
    counts
}

/// The names of the tests that passed.
pub(super) fn passed(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"))
}

/// The number that ends where `what` begins: `before("of 1,234 requests", " requests")`.
pub(super) fn before(line: &str, what: &str) -> Option<f64> {
    let (head, _) = line.split_once(what)?;
    let digits = |c: char| c.is_ascii_digit() || c == ',' || c == '.';
    let start = head.rfind(|c: char| !digits(c)).map_or(0, |at| at + 1);
    head[start..].replace(',', "").parse().ok()
}

/// The cells of the rows of a table in Markdown, without the head of it.
pub(super) fn rows(log: &str) -> impl Iterator<Item = Vec<&str>> {
    log.lines().filter_map(|line| {
        let line = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        Some(line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
    })
}

/// A duration as `{:?}` prints it.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let seconds = match &text[unit..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Some(Duration::from_secs_f64(text[..unit].parse::<f64>().ok()? * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_over_all_programs() {
        let log = "test a::b ... ok\nSKIP: c: no tool\ntest d ... FAILED\n\
            test result: FAILED. 2 passed; 1 failed; 3 ignored; 0 measured\n\
            test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured\n";
        let expected = Counts {
            passed: 12,
            failed: 1,
            ignored: 3,
            failures: vec!["d".to_owned()],
            skips: vec!["c: no tool".to_owned()],
        };
        assert_eq!(counts(log), expected);
        assert_eq!(passed(log).collect::<Vec<_>>(), ["a::b"]);
    }

    #[test]
    fn numbers_are_found_by_what_follows() {
        assert_eq!(before("x: 3 drains: 12,345 requests on 2", " requests"), Some(12_345.0));
        assert_eq!(before("no requests", " requests"), None);
    }

    #[test]
    fn durations_are_read_as_they_are_printed() {
        for printed in
            [Duration::from_nanos(5), Duration::from_micros(1_500), Duration::from_secs(2)]
        {
            assert_eq!(duration(&format!("{printed:?}")), Some(printed));
        }
        assert_eq!(duration("soon"), None);
    }
}
