//! The tools that come with Redis, as they are used every day.

use crate::on_each_backend;
use crate::process::{PATIENCE, has, run, run_well};
use crate::servers::kv;
use crate::wire::Place;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

on_each_backend! {
    redis_benchmark_finds_no_fault
    subscribers_get_what_others_publish
    silent_subscribers_stay_connected
    clients_may_introduce_themselves
}

/// Requests of each test: a few, in a debug build, on a machine that has other work as well.
const N: u32 = 2000;

fn redis_benchmark_finds_no_fault(backend: &str) {
    if !(has("redis-benchmark") && has("redis-cli")) {
        return;
    }
    for pipeline in ["1", "16"] {
        let (server, place) = kv(backend, &[]);
        let [option, port] = place.options();
        let n = N.to_string();
        let tests = "ping,set,get,incr,lpush,lrange_100,mset";
        let args = [&option, &port, "-t", tests, "-c", "50", "-n", &n, "-P", pipeline, "--csv"];
        let output = run("redis-benchmark", &args, b"");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{}: {stdout}{stderr}", output.status);
        let said = format!("{stdout}{stderr}").to_lowercase();
        assert!(!said.contains("err") && !said.contains("warn"), "{stdout}{stderr}");
        for name in
            ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "LRANGE_100", "MSET"]
        {
            let line = stdout.lines().find(|line| line.starts_with(&format!("\"{name}")));
            let line = line.unwrap_or_else(|| panic!("no {name}: {stdout}"));
            let rate = line.split(',').nth(1).unwrap().trim_matches('"');
            assert!(rate.parse::<f64>().unwrap() > 0.0, "{line}");
        }
        // And what it asked for was done, once each.
        assert_eq!(cli(&place, &["get", "counter:__rand_int__"]), format!("{n}\n"));
        let ended = server.terminate();
        let complaints = ended.stderr.iter().filter(|line| !line.contains("draining"));
        assert_eq!((ended.code, complaints.count()), (Some(0), 0), "{:?}", ended.stderr);
    }
}

/// What redis-cli prints for one command.
fn cli(place: &Place, command: &[&str]) -> String {
    let options = place.options();
    let mut args: Vec<&str> = options.iter().map(String::as_str).collect();
    args.extend(command);
    String::from_utf8(run_well("redis-cli", &args, b"")).unwrap()
}

/// A redis-cli that prints messages. It is killed when this is dropped.
struct Subscriber {
    child: Child,
    lines: Receiver<String>,
}

impl Subscriber {
    fn start(place: &Place, channels: &[&str]) -> Self {
        let mut child = Command::new("redis-cli")
            .args(place.options())
            .arg("subscribe")
            .args(channels)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It complains when the server ends before it.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(send.send(line)));
        });
        let this = Self { child, lines };
        for (n, channel) in (1..).zip(channels) {
            this.expect(&["subscribe", channel, &n.to_string()]);
        }
        this
    }

    /// Waits for these lines, and no others.
    fn expect(&self, lines: &[&str]) {
        for expected in lines {
            let line = self.lines.recv_timeout(PATIENCE);
            let line =
                line.unwrap_or_else(|e| panic!("waiting for {expected:?} of {lines:?}: {e}"));
            assert_eq!(line, *expected);
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn subscribers_get_what_others_publish(backend: &str) {
    if !has("redis-cli") {
        return;
    }
    let (_server, place) = kv(backend, &[]);
    let both = Subscriber::start(&place, &["news", "weather"]);
    let one = Subscriber::start(&place, &["news"]);
    assert_eq!(cli(&place, &["publish", "news", "hello, all"]), "2\n");
    assert_eq!(cli(&place, &["publish", "weather", "rain"]), "1\n");
    assert_eq!(cli(&place, &["publish", "nobody", "listens"]), "0\n");
    assert_eq!(cli(&place, &["publish", "news", ""]), "2\n");
    both.expect(&["message", "news", "hello, all", "message", "weather", "rain"]);
    both.expect(&["message", "news", ""]);
    one.expect(&["message", "news", "hello, all", "message", "news", ""]);
    drop(one);
    // Its end is noticed when its connection is, and then it is counted no more.
    let began = Instant::now();
    while cli(&place, &["publish", "news", "bye"]) != "1\n" {
        assert!(began.elapsed() < PATIENCE, "whoever has left is still counted");
    }
}

fn silent_subscribers_stay_connected(backend: &str) {
    if !has("redis-cli") {
        return;
    }
    let (server, place) = kv(backend, &["--idle-timeout", "1s"]);
    let subscriber = Subscriber::start(&place, &["news"]);
    let mut former = place.connect();
    former.ask("SUBSCRIBE news");
    // Three time-outs, each seen by somebody who had subscribed to nothing.
    for _ in 0..3 {
        let mut idle = place.connect();
        let began = Instant::now();
        idle.ask("PING");
        let (rest, in_order) = idle.rest();
        assert_eq!((rest.len(), in_order), (0, true));
        assert!(began.elapsed() >= Duration::from_millis(900), "idle after {:?}", began.elapsed());
    }
    assert_eq!(cli(&place, &["publish", "news", "still there?"]), "2\n");
    subscriber.expect(&["message", "news", "still there?"]);
    assert_eq!(former.reply(), b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$12\r\nstill there?\r\n");
    // Whoever leaves the last channel has the usual time-out again.
    let began = Instant::now();
    former.ask("UNSUBSCRIBE news");
    assert_eq!(former.rest(), (Vec::new(), true));
    assert!(began.elapsed() >= Duration::from_millis(900), "idle after {:?}", began.elapsed());
    assert_eq!(cli(&place, &["publish", "news", "and now?"]), "1\n");
    subscriber.expect(&["message", "news", "and now?"]);
    assert_eq!(server.terminate().code, Some(0));
}

/// By what Redis 7.0 does not have yet, so that there is nothing to compare it with.
fn clients_may_introduce_themselves(backend: &str) {
    let (_server, place) = kv(backend, &[]);
    let mut connection = place.connect();
    for (line, reply) in [
        ("CLIENT SETINFO LIB-NAME some-library", "+OK\r\n"),
        ("client setinfo lib-ver 1.2.3", "+OK\r\n"),
        ("CLIENT SETINFO", "-ERR wrong number of arguments for 'client|setinfo' command\r\n"),
        ("CLIENT SETINFO nonsense x", "-ERR Unrecognized option 'nonsense'\r\n"),
        // They fall back to what they are answered in then.
        ("HELLO 3", "-ERR unknown command 'HELLO', with args beginning with: '3' \r\n"),
    ] {
        assert_eq!(connection.ask(line), reply.as_bytes(), "{line}");
    }
}
