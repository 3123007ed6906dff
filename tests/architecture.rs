//! The rules of `docs/architecture.md`, held against the sources.
//!
//! It reads text, not types: what stands outside of comments and outside of the `mod tests` and
//! `mod model` at the end of a file. Each rule names its exceptions, with a reason; an exception that nothing needs
//! any more fails as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules, lowest layer first. A module uses those of earlier lines and its own line only.
const LAYERS: [&[&str]; 11] = [
    &["addr", "buffer", "codec", "limit", "sync"],
    &["handler"],
    &["layer"],
    &["connection", "framed"],
    &["shutdown", "observe"],
    &["net", "serve_error"],
    &["session"],
    &["acceptor"],
    &["backend"],
    &["server", "client", "signals"],
    &["testing", "compare", "_documentation"],
];

/// What uses a higher layer all the same: the module, the path that it names, and why.
const UPWARDS: [(&str, &str, &str); 2] = [
    ("handler", "net::TakenStream", "the socket that `into_stream` gives away, never looked into"),
    ("handler", "observe::Snapshot", "what `Control::stats` hands on"),
];

/// Modules of one line that must not know each other.
const STRANGERS: [(&str, &str); 6] = [
    ("client", "server"),
    ("server", "client"),
    ("signals", "server"),
    ("signals", "client"),
    ("testing", "compare"),
    ("compare", "testing"),
];

/// The sans-IO core: bytes and instants in, wants out.
const CORE: [&str; 8] =
    ["addr", "buffer", "codec", "limit", "handler", "layer", "connection", "framed"];

/// Who may see sockets and systems: the socket layer, the kits that play the peer, and the load with
/// its clocks.
const OUTSIDE: [&str; 3] = ["net", "testing", "compare"];

/// A source file below `src`, `tests`, `examples` or `benches`.
struct Source {
    /// From the crate's root, with forward slashes.
    path: String,
    /// Its lines, with their numbers from 1.
    lines: Vec<String>,
}

impl Source {
    /// The module of `src` that it belongs to.
    fn module(&self) -> &str {
        let path = self.path.strip_prefix("src/").expect("only called for files in src");
        path.split(['/', '.']).next().expect("split gives at least one part")
    }

    /// The lines that are code and no test, without their comments.
    fn code(&self) -> Vec<(usize, &str)> {
        let numbered = (1..).zip(self.lines.iter().map(String::as_str));
        let tests = self.lines.windows(2).position(|pair| {
            let is_test =
                ["#[cfg(test)]", "#[cfg(all(test, not(loom)))]", "#[cfg(all(test, loom))]"]
                    .contains(&pair[0].trim());
            is_test && ["mod tests", "mod model"].iter().any(|name| pair[1].contains(name))
        });
        numbered
            .take(tests.unwrap_or(usize::MAX))
            .map(|(number, line)| (number, without_comment(line)))
            .collect()
    }
}

fn without_comment(line: &str) -> &str {
    // Two slashes within a text, as in a URL, follow a colon.
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in folders {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    let source = |file: PathBuf| Source {
        path: file.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"),
        lines: fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect(),
    };
    files.into_iter().map(source).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    // A folder such as `benches` need not be there.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            // benches/peers is a package of its own, and has a folder for what is built.
            if !path.ends_with("target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

fn library() -> Vec<Source> {
    let sources = sources(&["src"]);
    assert!(sources.len() > 40, "only {} files were found in src", sources.len());
    sources
}

/// The words of a line: names, numbers and keywords.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Fails with one line for each breach.
#[track_caller]
fn check(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// As `check`, where files may be excepted: each exception must be there for something.
#[track_caller]
fn check_but(rule: &str, breaches: &[(String, String)], exceptions: &[(&str, &str)]) {
    let is_excepted = |path: &str| exceptions.iter().any(|(except, _)| path == *except);
    let others = breaches.iter().filter(|(path, _)| !is_excepted(path));
    check(rule, &others.map(|(_, breach)| breach.clone()).collect::<Vec<_>>());
    for (path, reason) in exceptions {
        assert!(
            breaches.iter().any(|(breaking, _)| breaking == path),
            "{rule}: the exception for {path} ({reason}) is not needed any more"
        );
    }
}

/// The lines of the library in which `is_breach` finds something, by file.
fn lines_where(
    is_breach: impl Fn(&Source, &str) -> bool,
    sources: &[Source],
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            if is_breach(source, line) {
                let place = format!("{}:{number}: {}", source.path, line.trim());
                found.push((source.path.clone(), place));
            }
        }
    }
    found
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The paths within the crate that a line names, such as `net::Addr`.
fn paths(line: &str) -> Vec<String> {
    let named = |(at, _): (usize, &str)| {
        let rest = &line[at + "crate::".len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
        rest[..end.unwrap_or(rest.len())].trim_end_matches(':').to_owned()
    };
    line.match_indices("crate::").map(named).collect()
}

#[test]
fn every_module_has_a_layer() {
    let modules: BTreeSet<String> = library()
        .iter()
        .filter(|source| source.path != "src/lib.rs")
        .map(|source| source.module().to_owned())
        .collect();
    let strangers: Vec<_> =
        modules.into_iter().filter(|module| layer_of(module).is_none()).collect();
    check("modules that the table of layers does not know", &strangers);
}

#[test]
fn the_code_map_names_every_module() {
    let map =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md"));
    let map = map.unwrap();
    // `_documentation` is the texts themselves.
    let modules = LAYERS.iter().flat_map(|layer| layer.iter()).filter(|m| !m.starts_with('_'));
    let is_named =
        |module: &&&str| ["`", "/`"].iter().any(|end| map.contains(&format!("`{module}{end}")));
    let missing: Vec<_> =
        modules.filter(|module| !is_named(module)).map(|m| m.to_string()).collect();
    check("modules that docs/architecture.md does not name", &missing);
}

#[test]
fn a_module_uses_only_the_layers_below_it() {
    let mut breaches = Vec::new();
    let mut excepted = BTreeSet::new();
    for source in library().iter().filter(|source| source.path != "src/lib.rs") {
        let module = source.module();
        let Some(layer) = layer_of(module) else { continue };
        for (number, line) in source.code() {
            let place = format!("{}:{number}: {}", source.path, line.trim());
            assert!(!line.contains("use crate::{"), "{place}: write one `use` for each module");
            for path in paths(line) {
                let used = path.split("::").next().unwrap_or_default();
                let is_stranger = STRANGERS.contains(&(module, used));
                // The kits are on top of all, and their macros name what users see.
                let is_above = match layer_of(used) {
                    Some(used) => used > layer,
                    None => module != "testing",
                };
                if used == module || !(is_above || is_stranger) {
                    continue;
                }
                match UPWARDS.iter().find(|(from, to, _)| *from == module && *to == path) {
                    Some(exception) => drop(excepted.insert(exception)),
                    None => breaches.push(place.clone()),
                }
            }
        }
    }
    check("modules that use a higher layer", &breaches);
    for exception in &UPWARDS {
        assert!(excepted.contains(exception), "{exception:?} is not needed any more");
    }
}

#[test]
fn only_the_registration_is_unsafe() {
    let is_breach = |_: &Source, line: &str| {
        words(line).any(|word| word == "unsafe") || line.contains("allow(unsafe_code)")
    };
    let exceptions = [
        ("src/net/registration.rs", "a source in a poller"),
        ("benches/peers/src/scorecard/figures.rs", "counts the word, for the scorecard"),
        ("tests/codec_memory.rs", "an allocator that keeps account"),
        ("tests/soak/account.rs", "an allocator that keeps account"),
        ("tests/support/counting.rs", "an allocator that counts"),
    ];
    let all = sources(&["src", "examples", "tests", "benches"]);
    let all: Vec<_> =
        all.into_iter().filter(|source| source.path != "tests/architecture.rs").collect();
    check_but("unsafe code", &lines_where(is_breach, &all), &exceptions);
}

#[test]
fn the_core_does_not_look_at_a_clock() {
    let is_breach = |source: &Source, line: &str| {
        CORE.contains(&source.module()) && (line.contains("now()") || line.contains("elapsed()"))
    };
    check_but("clocks in the sans-IO core", &lines_where(is_breach, &library()), &[]);
}

#[test]
fn the_core_does_not_see_a_socket_or_a_thread() {
    let forbidden =
        ["socket2", "rustix", "polling", "crossbeam_channel", "TcpStream", "UnixStream", "thread"];
    let is_breach = |source: &Source, line: &str| {
        CORE.contains(&source.module()) && words(line).any(|word| forbidden.contains(&word))
    };
    check_but("sockets and threads in the core", &lines_where(is_breach, &library()), &[]);
}

#[test]
fn only_net_makes_socket_calls() {
    let forbidden = ["socket2", "rustix", "polling", "TcpListener", "TcpStream", "UdpSocket"];
    let is_breach = |source: &Source, line: &str| {
        !OUTSIDE.contains(&source.module()) && words(line).any(|word| forbidden.contains(&word))
    };
    let exceptions = [("src/client/os.rs", "hands sockets of the standard library in and out")];
    check_but("sockets outside of net", &lines_where(is_breach, &library()), &exceptions);
}

#[test]
fn only_net_knows_an_operating_system() {
    let systems = ["unix", "windows", "target_os", "target_vendor"];
    let is_breach = |source: &Source, line: &str| {
        let condition = line.contains("cfg(") || line.contains("cfg!(");
        !OUTSIDE.contains(&source.module())
            && condition
            && words(line).any(|word| systems.contains(&word))
    };
    let exceptions = [
        ("src/session/mod.rs", "AsFd and AsSocket of a session"),
        ("src/client/os.rs", "AsFd and AsSocket of a client, and its standard streams"),
        ("src/signals.rs", "there are no signals elsewhere"),
    ];
    check_but(
        "conditions on the system outside of net",
        &lines_where(is_breach, &library()),
        &exceptions,
    );
}

#[test]
fn nothing_sleeps_without_a_reason() {
    let mut breaches = Vec::new();
    let all = sources(&["src", "examples", "tests", "benches"]);
    for source in all.iter().filter(|source| source.path != "tests/architecture.rs") {
        for (number, line) in (1..).zip(&source.lines) {
            let sleeps = words(without_comment(line)).any(|word| word == "sleep");
            let before = source.lines.get(number.max(2) - 2).map_or("", String::as_str);
            let has_reason = line.contains("//") || before.trim_start().starts_with("//");
            if sleeps && !has_reason {
                breaches.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    check("sleeps without a reason on the line or the one above", &breaches);
}

#[test]
fn every_example_in_the_docs_runs() {
    let mut breaches = Vec::new();
    let mut texts = sources(&["src", "examples", "tests", "benches"]);
    texts.retain(|source| source.path != "tests/architecture.rs");
    texts.extend(markdown());
    for source in &texts {
        for (number, line) in (1..).zip(&source.lines) {
            let line = line.trim_start().trim_start_matches(['/', '!']).trim_start();
            let Some(tags) = line.strip_prefix("```") else { continue };
            let is_left_out = words(tags).any(|tag| tag == "ignore" || tag == "no_run");
            let next = source
                .lines
                .get(number)
                .map_or("", |next| next.trim_start().trim_start_matches(['/', '!']).trim_start());
            // The reason is a comment in the block's first line, or, unseen, in the line before it.
            let before = source.lines.get(number.max(2) - 2).map_or("", String::as_str);
            let has_reason = next.contains("//") || before.contains("<!-- no_run: ");
            if is_left_out && !has_reason {
                breaches.push(format!("{}:{number}: {}", source.path, line));
            }
        }
    }
    check("examples that do not run, without a reason beside it", &breaches);
}

fn markdown() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = vec![root.join("README.md")];
    files.extend(fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    files.retain(|file| file.extension().is_some_and(|end| end == "md"));
    let source = |file: PathBuf| Source {
        path: file.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"),
        lines: fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect(),
    };
    files.into_iter().map(source).collect()
}

/// The crates that do their work out of sight: their types are no part of what users rely on.
const PRIVATE: [&str; 9] = [
    "polling",
    "socket2",
    "rustix",
    "crossbeam_channel",
    "signal_hook",
    "memchr",
    "hdrhistogram",
    "plotters",
    "serde_json",
];

#[test]
fn private_dependencies_do_not_show() {
    let mut breaches = Vec::new();
    for source in library() {
        let code: Vec<_> = source.code();
        let names = private_names(&code);
        for (number, signature) in signatures(&code) {
            if words(&signature).any(|word| PRIVATE.contains(&word) || names.contains_key(word)) {
                breaches.push(format!("{}:{number}: {signature}", source.path));
            }
        }
    }
    check("types of private dependencies in the public API", &breaches);
}

/// The names that a file imports from the private crates.
fn private_names(code: &[(usize, &str)]) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for (_, line) in code {
        let Some(path) = line.trim_start().strip_prefix("use ") else { continue };
        let Some(from) = PRIVATE.iter().find(|from| path.starts_with(&format!("{from}::"))) else {
            continue;
        };
        let imported = words(path).skip(1).filter(|word| word.starts_with(char::is_uppercase));
        names.extend(imported.map(|word| (word.to_owned(), (*from).to_owned())));
    }
    names
}

/// What begins with `pub` (functions up to their body, fields, uses), and conversions.
fn signatures(code: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, (number, line)) in code.iter().enumerate() {
        let start = line.trim_start();
        let is_conversion = start.starts_with("impl From<") || start.starts_with("impl TryFrom<");
        if !start.starts_with("pub ") && !is_conversion {
            continue;
        }
        let mut signature = String::new();
        for (_, line) in &code[at..] {
            signature += line.trim();
            signature.push(' ');
            if line.contains(['{', ';']) || line.trim_end().ends_with(',') && !start.contains("fn ")
            {
                break;
            }
        }
        let end = signature.find('{').unwrap_or(signature.len());
        let head =
            if start.starts_with("pub use") { signature.as_str() } else { &signature[..end] };
        found.push((*number, head.trim().to_owned()));
    }
    found
}

#[test]
fn the_reader_of_sources_is_not_blind() {
    assert_eq!(without_comment("let a = 1; // unsafe"), "let a = 1; ");
    assert_eq!(without_comment("\"https://x\""), "\"https://x\"");
    assert_eq!(paths("use crate::net::{Addr, Stream};"), ["net"]);
    assert_eq!(
        paths("fn f(_: crate::net::Addr) -> crate::limit::Limit<u8>"),
        ["net::Addr", "limit::Limit"]
    );
    let code = [
        (1, "use socket2::{Domain, Socket};"),
        (2, "pub fn f("),
        (3, "    s: Socket,"),
        (4, ") {"),
    ];
    assert!(private_names(&code).contains_key("Socket"));
    assert_eq!(signatures(&code), [(2, "pub fn f( s: Socket, )".to_owned())]);
}
