//! The same bytes in, the same bytes out.

use crate::on_each_backend;
use crate::process::{PATIENCE, run};
use crate::script::{BYTES, SCRIPT};
use crate::servers::{Redis, kv};
use crate::wire::{Connection, Place, elements, integer, request, show, words};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

on_each_backend! {
    the_script_over_a_socket
    the_script_by_redis_cli
    whatever_else_is_sent
    large_values
    what_expires
    a_scan_of_many_keys
}

/// A line of the script.
struct Step {
    line: &'static str,
    words: Vec<Vec<u8>>,
    compare: Compare,
    n_replies: usize,
    for_cli: bool,
}

/// How the two replies are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Compare {
    Bytes,
    Set,
    Pairs,
    Scan,
    /// A time that is left, and its unit in milliseconds.
    Time(i64),
    Form,
}

fn steps() -> Vec<Step> {
    SCRIPT.lines().filter(|line| !line.is_empty()).map(step).collect()
}

fn step(line: &'static str) -> Step {
    let (how, rest) = line.split_once('|').unwrap_or(("", line));
    let (compare, n_replies) = match how {
        "set" => (Compare::Set, None),
        "pairs" => (Compare::Pairs, None),
        "scan" => (Compare::Scan, None),
        "s" => (Compare::Time(1000), None),
        "ms" => (Compare::Time(1), None),
        "form" => (Compare::Form, None),
        _ => (Compare::Bytes, how.parse::<usize>().ok()),
    };
    let line = if compare == Compare::Bytes && n_replies.is_none() { line } else { rest };
    let for_cli = n_replies.is_none();
    Step { line, words: words(line), compare, n_replies: n_replies.unwrap_or(1), for_cli }
}

impl Step {
    /// Compares what the real server answered with what we did. `slack` is what the two runs may
    /// differ by in time.
    fn check(&self, theirs: &[u8], ours: &[u8], slack: Duration) {
        let fine = match self.compare {
            Compare::Bytes => theirs == ours,
            Compare::Set => sorted(elements(theirs)) == sorted(elements(ours)),
            Compare::Pairs => pairs(theirs) == pairs(ours),
            Compare::Scan => {
                let (theirs, ours) = (elements(theirs), elements(ours));
                theirs[0] == ours[0] && sorted(elements(theirs[1])) == sorted(elements(ours[1]))
            }
            Compare::Time(unit) => near(integer(theirs), integer(ours), unit, slack),
            // Each was a whole reply, or it would not be here.
            Compare::Form => theirs[0] == ours[0] && ours[0] != b'-',
        };
        let (line, theirs, ours) = (self.line, show(theirs), show(ours));
        assert!(fine, "{line}\n  redis: {theirs}\n  kv:    {ours}");
    }

    /// As [`check`](Self::check), for what redis-cli printed.
    fn check_text(&self, theirs: &str, ours: &str, slack: Duration) {
        let number = |text: &str| text.trim().parse().unwrap_or_else(|_| panic!("{text:?}"));
        let fine = match self.compare {
            Compare::Bytes => theirs == ours,
            Compare::Set | Compare::Pairs | Compare::Scan => {
                sorted(theirs.lines().collect()) == sorted(ours.lines().collect())
            }
            Compare::Time(unit) => near(number(theirs), number(ours), unit, slack),
            Compare::Form => !ours.is_empty() && !ours.starts_with("ERR"),
        };
        let line = self.line;
        assert!(fine, "{line}\n  redis: {theirs:?}\n  kv:    {ours:?}");
    }
}

fn sorted<T: Ord>(mut elements: Vec<T>) -> Vec<T> {
    elements.sort();
    elements
}

fn pairs(reply: &[u8]) -> BTreeMap<&[u8], &[u8]> {
    let elements = elements(reply);
    assert_eq!(elements.len() % 2, 0, "not every field has a value: {:?}", show(reply));
    elements.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

/// Whether two times are the same: within 100 ms, what the runs took, and the rounding. The numbers
/// that stand for no time are themselves.
fn near(theirs: i64, ours: i64, unit: i64, slack: Duration) -> bool {
    if theirs < 0 || ours < 0 {
        return theirs == ours;
    }
    let slack = 100 + i64::try_from(slack.as_millis()).unwrap();
    (theirs - ours).abs() <= (slack + unit - 1) / unit
}

/// What the real server answers to each line, and how long it took.
fn told(place: &Place, steps: &[Step]) -> (Vec<Vec<Vec<u8>>>, Duration) {
    let began = Instant::now();
    let mut connection = place.connect();
    let replies = steps.iter().map(|step| {
        connection.send(&request(&step.words));
        connection.replies(step.n_replies)
    });
    (replies.collect(), began.elapsed())
}

fn the_script_over_a_socket(backend: &str) {
    let Some(redis) = Redis::start() else { return };
    let (_server, place) = kv(backend, &[]);
    let steps = steps();
    let (expected, took) = told(&redis.place, &steps);
    let bytes: Vec<u8> = steps.iter().flat_map(|step| request(&step.words)).collect();
    // One by one, then all in one write, in pieces, and byte by byte.
    for size in [0, bytes.len(), 1000, 7, 1] {
        println!("pieces of {size} bytes");
        let began = Instant::now();
        let mut connection = place.connect();
        let writer = (size > 0).then(|| connection.send_meanwhile(&bytes, size));
        for (step, theirs) in steps.iter().zip(&expected) {
            if size == 0 {
                connection.send(&request(&step.words));
            }
            let ours = connection.replies(step.n_replies);
            let slack = took + began.elapsed();
            theirs.iter().zip(&ours).for_each(|(theirs, ours)| step.check(theirs, ours, slack));
        }
        let (rest, in_order) = connection.rest();
        assert_eq!((show(&rest), in_order), (show(b""), true), "after QUIT");
        writer.into_iter().for_each(|writer| writer.join().unwrap());
    }
}

/// What separates the outputs of the commands.
const MARK: &str = "=-=-=-=-=";

/// What redis-cli prints for each of these lines.
fn printed(place: &Place, steps: &[Step]) -> Vec<String> {
    let script: String = steps.iter().map(|step| format!("{}\necho {MARK}\n", step.line)).collect();
    let output = run("redis-cli", &place.options(), script.as_bytes());
    assert!(output.status.success(), "{output:?}");
    // What is in no UTF-8 is the same on both sides, or it is compared over the socket.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let parts: Vec<String> = text.split(&format!("{MARK}\n")).map(str::to_owned).collect();
    assert_eq!(parts.len(), steps.len() + 1, "{text}");
    parts
}

fn the_script_by_redis_cli(backend: &str) {
    let Some(redis) = Redis::start() else { return };
    let (_server, place) = kv(backend, &[]);
    // Within a transaction the marks would be queued.
    let (mut steps, mut in_multi) = (steps(), false);
    steps.retain(|step| {
        let is = |name: &str| step.line.eq_ignore_ascii_case(name);
        let ends = in_multi && (is("EXEC") || is("DISCARD") || is("EXEC x"));
        in_multi = (in_multi || is("MULTI")) && !ends;
        step.for_cli && !in_multi && !ends
    });
    assert!(steps.len() > 300, "{} lines are left", steps.len());
    let began = Instant::now();
    let (theirs, ours) = (printed(&redis.place, &steps), printed(&place, &steps));
    let slack = began.elapsed();
    for ((step, theirs), ours) in steps.iter().zip(&theirs).zip(&ours) {
        step.check_text(theirs, ours, slack);
    }
    let transaction = "MULTI\nSET a 1\nINCR a\nLPUSH a x\nGET a\nEXEC\nMULTI\nGET\nEXEC\nEXEC\n";
    let print = |place: &Place| run("redis-cli", &place.options(), transaction.as_bytes()).stdout;
    assert_eq!(show(&print(&redis.place)), show(&print(&place)));
}

/// All that a server answers to these bytes, sent in pieces of this size.
fn answer(place: &Place, bytes: &[u8], size: usize) -> (Vec<u8>, bool) {
    let connection = place.connect();
    let writer = connection.send_meanwhile(bytes, size);
    let answer = connection.rest();
    writer.join().unwrap();
    answer
}

fn whatever_else_is_sent(backend: &str) {
    let Some(redis) = Redis::start() else { return };
    let (_server, place) = kv(backend, &[]);
    let long = |start: &str, n: usize| [start.as_bytes(), &vec![b'1'; n]].concat();
    let mut all: Vec<Vec<u8>> = BYTES.iter().map(|bytes| bytes.to_vec()).collect();
    // Still short enough.
    all.push([&long("ECHO ", 65_000)[..], b"\r\n"].concat());
    all.iter_mut().for_each(|bytes| bytes.extend(b"*1\r\n$4\r\nQUIT\r\n"));
    // Too long, whatever follows.
    all.extend([long("x", 70_000), long("*", 70_000), long("*1\r\n$", 70_000)]);
    for bytes in all {
        let (theirs, _) = answer(&redis.place, &bytes, bytes.len());
        for size in [bytes.len(), 1] {
            if size == 1 && bytes.len() > 1000 {
                continue; // the codec's own tests do that
            }
            let (ours, in_order) = answer(&place, &bytes, size);
            let asked = show(&bytes);
            assert_eq!(show(&theirs), show(&ours), "{asked} in pieces of {size}");
            assert!(in_order, "{asked} in pieces of {size} ended in a reset");
        }
    }
}

fn large_values(backend: &str) {
    let Some(redis) = Redis::start() else { return };
    let (_server, place) = kv(backend, &[]);
    let large = vec![b'x'; 1024 * 1024];
    let words = |words: &[&[u8]]| request(&words.iter().map(|w| w.to_vec()).collect::<Vec<_>>());
    let mut requests = vec![words(&[b"FLUSHALL"]), words(&[b"SET", b"large", &large])];
    requests.extend((0..3).map(|_| words(&[b"APPEND", b"large", &large[..500_000]])));
    requests.push(words(&[b"STRLEN", b"large"]));
    requests.extend((0..4).map(|_| words(&[b"GET", b"large"])));
    for n in 0..100 {
        let elements: Vec<String> = (0..100).map(|m| format!("element {n} {m}")).collect();
        let mut push: Vec<&[u8]> = vec![b"RPUSH", b"list"];
        push.extend(elements.iter().map(|element| element.as_bytes()));
        requests.push(words(&push));
    }
    requests.extend((0..4).map(|_| words(&[b"LRANGE", b"list", b"0", b"-1"])));
    requests.push(words(&[b"MGET", b"large", b"large", b"list"]));
    requests.push(words(&[b"QUIT"]));
    let bytes = requests.concat();
    let (theirs, _) = answer(&redis.place, &bytes, bytes.len());
    for size in [bytes.len(), 10_000] {
        let (ours, in_order) = answer(&place, &bytes, size);
        let same = theirs.iter().zip(&ours).take_while(|(theirs, ours)| theirs == ours).count();
        let (left, right) = (show(&theirs[same..]), show(&ours[same..]));
        assert!(theirs == ours, "after {same} bytes: {left} against {right}");
        assert!(in_order);
    }
}

/// Asks again and again until this is the reply.
fn until(connection: &mut Connection, line: &str, expected: &[u8]) {
    let began = Instant::now();
    loop {
        let reply = connection.ask(line);
        if reply == expected {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{line} still gets {:?}", show(&reply));
    }
}

fn what_expires(backend: &str) {
    let Some(redis) = Redis::start() else { return };
    let (_server, place) = kv(backend, &[]);
    let after: Vec<Vec<Vec<u8>>> = [&redis.place, &place]
        .map(|place| {
            let mut connection = place.connect();
            for n in 0..100 {
                connection.ask(&format!("SET many:{n} v PX {}", 1 + n % 5));
            }
            connection.ask("RPUSH list a");
            connection.ask("PEXPIRE list 20");
            connection.ask("SET stays v PX 100000");
            connection.ask("PERSIST stays");
            connection.ask("SET goes v PX 30");
            until(&mut connection, "GET goes", b"$-1\r\n");
            until(&mut connection, "LLEN list", b":0\r\n");
            until(&mut connection, "EXISTS many:0 many:1 many:2 many:3 many:4", b":0\r\n");
            // Redis counts what has expired until it has removed it, which we do not.
            until(&mut connection, "DBSIZE", b":1\r\n");
            [
                "TTL goes",
                "PTTL goes",
                "EXISTS goes",
                "TYPE list",
                "PERSIST goes",
                "DEL goes",
                "EXPIRE goes 10",
                "SET goes v XX",
                "SET goes w KEEPTTL",
                "TTL goes",
                "INCR many:1",
                "TTL many:1",
                "APPEND many:2 x",
                "RPUSH list b",
                "LRANGE list 0 -1",
                "TTL list",
                "KEYS s*",
                "MULTI",
                "SET now v PX 1",
                "GET now",
                "PEXPIRE now 0",
                "GET now",
                "EXEC",
            ]
            .map(|line| connection.ask(line))
            .to_vec()
        })
        .to_vec();
    assert_eq!(after[0], after[1]);
}

fn a_scan_of_many_keys(backend: &str) {
    let Some(redis) = Redis::start() else { return };
    let (_server, place) = kv(backend, &[]);
    let mut found = Vec::new();
    for place in [&redis.place, &place] {
        let mut connection = place.connect();
        for n in 0..1000 {
            connection.ask(&format!("SET key:{n} v"));
        }
        let options = place.options();
        let mut args: Vec<&str> = options.iter().map(String::as_str).collect();
        args.extend(["--scan", "--pattern", "key:*[1-3]"]);
        let output = run("redis-cli", &args, b"");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut keys: Vec<String> = text.lines().map(str::to_owned).collect();
        keys.sort();
        keys.dedup(); // a SCAN may show a key twice
        found.push(keys);
    }
    assert_eq!(found[0].len(), 300);
    assert_eq!(found[0], found[1]);
}
