//! Which versions are compared, as the lock file pins them.

const LOCK: &str = include_str!("../Cargo.lock");

/// The crates that a server is built on; what else each needs is in the lock file.
const NAMED: [&str; 8] =
    ["polyserve", "message-io", "mill-io", "mill-net", "mio", "rustix", "tiny_http", "tokio"];

/// Crates with their versions. Where several versions are locked (for somebody's dependency), the
/// newest is the one that a server here is built on.
pub fn all() -> Vec<(&'static str, &'static str)> {
    NAMED.iter().map(|name| (*name, of(name))).collect()
}

/// # Panics
/// If no such crate is locked.
pub fn of(name: &str) -> &'static str {
    let entries = LOCK.split("[[package]]").filter_map(|entry| {
        let field = |key: &str| {
            let line = entry.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim_matches('"'))
        };
        (field("name = ")? == name).then(|| field("version = "))?
    });
    entries.last().unwrap_or_else(|| panic!("{name} is not in the lock file"))
}
