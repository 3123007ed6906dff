//! Comparisons of real servers under small loads: what is counted, what is checked, what fails.
//!
//! Figures are not judged here but for what cannot be otherwise, whatever else the machine does.
//! `benches/planted.rs` holds the verdict against planted differences.

#[path = "support/process.rs"]
mod process;

use polyserve::codec::{Encoder, Lines};
use polyserve::compare::{
    CaseReport, CodecExchange, CompareError, Comparison, EchoExchange, Exchange, Load, LoadError,
    Metric, Report, benches, exchange,
};
use polyserve::{
    Acceptor, Action, Backend, BoxError, Context, Framed, Handler, Input, Scratch, ServeError,
    Strategy,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One test at a time: the CPU time of a server within this process is what its load has not spent.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

/// Calls its function for each message of 16 bytes, and sends it back.
struct Slow(fn());

impl Handler for Slow {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        while input.len() >= 16 {
            (self.0)();
            cx.send(&input[..16]);
            input.consume(16);
        }
        Ok(Action::Want(16))
    }
}

/// Works for 300 µs of CPU time, however often others run meanwhile.
#[cfg(not(any(not(unix), target_os = "netbsd", target_os = "illumos", target_os = "solaris")))]
fn burn() {
    use rustix::time::{ClockId, clock_gettime};
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let began = now();
    while now() - began < Duration::from_micros(300) {
        std::hint::spin_loop();
    }
}

#[expect(clippy::disallowed_methods, reason = "see below")]
fn block() {
    // The handler that is measured is one that blocks.
    std::thread::sleep(Duration::from_millis(1));
}

/// A exchange that counts what it is asked to send and to check.
struct Counted {
    exchange: EchoExchange,
    sent: Arc<AtomicU64>,
    checked: Arc<AtomicU64>,
}

impl Exchange for Counted {
    fn request(&mut self, number: u64, out: &mut Vec<u8>) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.exchange.request(number, out);
    }

    fn response(&mut self, number: u64, input: &[u8]) -> Result<Option<usize>, BoxError> {
        let length = self.exchange.response(number, input)?;
        self.checked.fetch_add(u64::from(length.is_some()), Ordering::Relaxed);
        Ok(length)
    }
}

fn short(load: Load) -> Load {
    load.warm_up(Duration::from_millis(10)).window(Duration::from_millis(60))
}

/// A strategy of a user's own: a thread for each connection, in one scope.
#[derive(Debug)]
struct Scoped;

impl Backend for Scoped {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        std::thread::scope(|scope| {
            while let Some(session) = acceptor.accept()? {
                scope.spawn(|| session.run(&mut Scratch::new()));
            }
            Ok(())
        })
    }
}

/// This test is started again for each server: its own name is what brings a process to `run`.
#[test]
fn servers_in_processes_of_their_own_are_measured() {
    let _alone = alone();
    let report = Comparison::new()
        .strategies(Strategy::ALL)
        .backend("scoped", || Scoped)
        .case("echo", short(Load::echo(64)).connections([1, 8]).idle(5), |_peer| Echo)
        .case("lines", short(lines()).connections([4]).in_flight(3), |_peer| {
            Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()))
        })
        .rounds(2)
        .seed(5)
        .server_args(["--exact", "servers_in_processes_of_their_own_are_measured"])
        .run()
        .unwrap();
    assert_eq!(report.cases().len(), 2);
    for case in report.cases() {
        assert_eq!(case.contenders(), ["threads", "pool", "event-loop", "scoped"]);
        for contender in 0..4 {
            for point in 0..case.points().len() {
                check_cell(case, contender, point);
            }
        }
        // Two rounds prove nothing, and the verdict knows.
        assert!(!case.verdict().claims_a_difference());
        assert!(case.verdict().to_string().contains("2 rounds are too few"), "{}", case.verdict());
    }
    // A thread for each of 8 + 5 connections.
    #[cfg(target_os = "linux")]
    assert!(report.case("echo").unwrap().cell(0, 1).threads().unwrap() >= 13);
    check_files(&report);
    let again = Comparison::new()
        .strategies([Strategy::Threads])
        .case("echo", Load::echo(1), |_peer| Echo)
        .run();
    assert!(matches!(again, Err(CompareError::Setup { .. })), "{again:?}");
}

/// What holds for each cell, whatever the machine does besides.
fn check_cell(case: &CaseReport, contender: usize, point: usize) {
    let cell = case.cell(contender, point);
    let name = &case.contenders()[contender];
    let context = format!("{name}, {:?}: {cell:?}", case.points()[point]);
    assert_eq!(cell.rounds().len(), 2, "{context}");
    assert!(cell.rounds().iter().all(|round| round.requests > 0), "{context}");
    assert_eq!(cell.requests(), cell.rounds().iter().map(|r| r.requests).sum::<u64>());
    assert!(cell.throughput() > 0.0, "{context}");
    assert!(cell.latency(0.5).unwrap() > Duration::ZERO, "{context}");
    assert!(cell.latency(0.5) <= cell.latency(1.0), "{context}");
    assert!((0.0..=1.0).contains(&cell.load_busy()), "{context}");
    #[cfg(target_os = "linux")]
    {
        assert!(cell.cpu().unwrap() > Duration::ZERO, "{context}");
        assert!(cell.threads().unwrap() >= 2, "{context}");
        assert!(cell.peak_memory().unwrap() > 100_000, "{context}");
        // A request is at least a recv and a send, unless several come in one.
        let least = if case.name() == "echo" { 1.99 } else { 0.3 };
        assert!(cell.syscalls().is_none_or(|n| (least..20.0).contains(&n)), "{context}");
    }
}

fn check_files(report: &Report) {
    let dir = process::TempDir::new();
    let page = report.save(dir.file("report")).unwrap();
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.matches("<svg").count() >= 6, "plots are missing");
    let names = std::fs::read_dir(page.parent().unwrap()).unwrap().count();
    assert_eq!(names, 3, "a page, CSV and JSON");
}

fn lines() -> Load {
    Load::new(|connection| {
        CodecExchange::new(
            Lines::new(),
            move |number, codec, out| codec.encode(&format!("{connection} asks {number}"), out),
            move |number, line: &str| match line == format!("{connection} ASKS {number}") {
                true => Ok(()),
                false => Err(format!("got {line:?} to {number}").into()),
            },
        )
    })
}

#[test]
fn every_response_is_checked_and_counted_on_every_strategy() {
    let _alone = alone();
    let (sent, checked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let load = Load::new({
        let (sent, checked) = (Arc::clone(&sent), Arc::clone(&checked));
        move |connection| Counted {
            exchange: EchoExchange::new(connection, 48),
            sent: Arc::clone(&sent),
            checked: Arc::clone(&checked),
        }
    });
    for mut bench in benches(Strategy::ALL, load.connections([1, 7]).in_flight(2), |_peer| Echo) {
        for requests in [1, 2, 500, 3] {
            let before = [&sent, &checked].map(|n| n.load(Ordering::Relaxed));
            let took = bench.run(requests);
            let after = [&sent, &checked].map(|n| n.load(Ordering::Relaxed));
            assert_eq!([after[0] - before[0], after[1] - before[1]], [requests; 2], "{bench:?}");
            assert!(took > Duration::ZERO);
        }
        #[cfg(not(any(
            not(unix),
            target_os = "netbsd",
            target_os = "illumos",
            target_os = "solaris"
        )))]
        assert!(bench.cpu(200) > Duration::ZERO, "{bench:?}");
    }
}

fn in_process() -> Comparison {
    Comparison::new().in_process().quiet().rounds(1).strategies(Strategy::ALL)
}

#[test]
fn large_messages_and_several_load_threads_come_through() {
    let _alone = alone();
    let load = Load::echo(300_000).connections([5]).threads(2);
    let load = load.window(Duration::from_millis(200));
    let report = in_process().case("large", load, |_peer| Echo).run().unwrap();
    for at in 0..3 {
        assert!(report.cases()[0].cell(at, 0).requests() > 0);
    }
}

#[test]
fn a_wrong_response_ends_the_comparison_and_is_named() {
    let _alone = alone();
    /// Sends everything back, but changes the hundredth byte.
    struct Liar(usize);
    impl Handler for Liar {
        fn on_data(
            &mut self,
            input: &mut Input<'_>,
            cx: &mut Context<'_>,
        ) -> Result<Action, BoxError> {
            let mut bytes = input.take().to_vec();
            for byte in &mut bytes {
                *byte ^= u8::from(self.0 == 100);
                self.0 += 1;
            }
            cx.send(bytes);
            Ok(Action::Continue)
        }
    }
    let load = short(Load::echo(40)).connections([1]);
    let failed = in_process().case("liar", load, |_peer| Liar(0)).run().unwrap_err();
    let CompareError::Load { case, contender, point, source } = failed else {
        panic!("{failed:?}")
    };
    assert_eq!((&*case, &*contender, &*point), ("liar", "threads", "1 connection"));
    // Bytes 80 to 119 are those of request 2.
    assert_eq!(source.to_string(), "the response to request 2 on connection 0 is wrong");
    let LoadError::WrongResponse { number: 2, source, .. } = source else { panic!("{source:?}") };
    assert!(source.to_string().starts_with("byte 20 of 40 is 0x"), "{source}");
}

/// Answers as its function says.
struct Answer(fn(&[u8], &mut Context<'_>) -> Action);

impl Handler for Answer {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        Ok((self.0)(input.take(), cx))
    }
}

fn failure(answer: fn(&[u8], &mut Context<'_>) -> Action) -> LoadError {
    let load = short(Load::fixed("ping", "ping")).connections([1]);
    match in_process().case("x", load, move |_peer| Answer(answer)).run() {
        Err(CompareError::Load { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_nobody_asked_for_and_what_never_comes_are_errors() {
    let _alone = alone();
    let unasked = failure(|bytes, cx| {
        cx.send([bytes, bytes].concat());
        Action::Continue
    });
    assert!(matches!(unasked, LoadError::Unasked { got: 4, .. }), "{unasked:?}");
    let closed = failure(|_, _| Action::Close);
    let is_end = matches!(closed, LoadError::Closed { .. } | LoadError::Socket { .. });
    assert!(is_end, "{closed:?}");
    let silent = failure(|_, _| Action::Continue);
    assert!(matches!(silent, LoadError::Silent { .. }), "{silent:?}");
}

#[test]
fn a_panic_of_the_exchange_is_an_error() {
    let _alone = alone();
    let load = Load::new(|_| {
        exchange(|_, out| out.push(b'x'), |_, _| -> Result<_, BoxError> { panic!("not today") })
    });
    let load = short(load).connections([2]);
    let failed = in_process().case("x", load, |_peer| Echo).run().unwrap_err();
    let CompareError::Load { source: LoadError::Panic { message }, .. } = failed else {
        panic!("{failed:?}")
    };
    assert!(message.contains("not today"), "{message}");
}

#[test]
fn nothing_to_compare_is_an_error() {
    let _alone = alone();
    let none = Comparison::new().in_process().case("x", Load::echo(1), |_peer| Echo).run();
    assert!(none.unwrap_err().to_string().ends_with("no strategy was added"));
    let none = Comparison::new().in_process().strategies(Strategy::ALL).run();
    assert!(none.unwrap_err().to_string().ends_with("no case was added"));
    let load = Load::echo(1).connections([]);
    let none = in_process().case("x", load, |_peer| Echo).run();
    assert!(none.unwrap_err().to_string().ends_with("\"x\" has no connections"));
}

/// What is held here holds on a busy machine as well: a handler can wait longer than it says, and work
/// no less. `benches/planted.rs` shows that the two kinds are told apart.
#[cfg(not(any(not(unix), target_os = "netbsd", target_os = "illumos", target_os = "solaris")))]
#[test]
fn what_a_handler_works_and_what_it_waits_are_told_apart() {
    use polyserve::compare::HandlerKind;
    let _alone = alone();
    let load = short(Load::echo(16)).connections([1]);
    let report = Comparison::new()
        .in_process()
        .quiet()
        .rounds(1)
        .strategies([Strategy::Threads])
        .case("burns", load.clone(), |_peer| Slow(burn))
        .case("blocks", load, |_peer| Slow(block))
        .run()
        .unwrap();
    let [burns, blocks] = report.cases() else { panic!("{report}") };
    assert!(burns.profile().unwrap().cpu >= Duration::from_micros(300), "{burns}");
    assert_ne!(burns.profile().unwrap().kind(), HandlerKind::Quick, "{burns}");
    // A microsecond is what the clocks' readings may differ by.
    assert!(blocks.profile().unwrap().waits >= Duration::from_micros(900), "{blocks}");
    assert_eq!(blocks.profile().unwrap().kind(), HandlerKind::Blocking, "{blocks}");
    // A thread that still runs has not been charged for its last call yet.
    let (burning, blocking) = (burns.cell(0, 0), blocks.cell(0, 0));
    assert!(burning.cpu().unwrap() >= Duration::from_micros(150), "{burns}");
    assert!(blocking.latency(0.5).unwrap() >= Duration::from_millis(1), "{blocks}");
}

#[test]
fn a_server_that_is_too_slow_for_the_window_is_measured_all_the_same() {
    let _alone = alone();
    let load = Load::echo(16).connections([1, 4]).warm_up(Duration::ZERO);
    let load = load.window(Duration::from_micros(100));
    let report = in_process().case("blocks", load, |_peer| Slow(block)).run().unwrap();
    let case = &report.cases()[0];
    for contender in 0..3 {
        for (point, connections) in [(0, 1), (1, 4)] {
            let cell = case.cell(contender, point);
            assert!((1..=connections).contains(&cell.requests()), "{case}");
            assert!(cell.latency(0.5).unwrap() >= Duration::from_millis(1), "{case}");
        }
    }
}

#[test]
fn an_open_loop_counts_from_when_a_request_was_due() {
    let _alone = alone();
    // The handler needs 1 ms and more for each, so of 4,000 a second most wait for those before.
    let load = Load::echo(16)
        .connections([1])
        .rates([100.0, 4_000.0])
        .warm_up(Duration::ZERO)
        .window(Duration::from_millis(200));
    let report = Comparison::new()
        .in_process()
        .quiet()
        .rounds(1)
        .strategies([Strategy::Threads])
        .case("blocks", load, |_peer| Slow(block))
        .run()
        .unwrap();
    let case = &report.cases()[0];
    let (calm, flooded) = (case.cell(0, 0), case.cell(0, 1));
    // No more than are due, and no more than the handler is able to answer.
    assert!((1..=20).contains(&calm.requests()), "{case}");
    assert!(flooded.throughput() <= 1_000.0, "{case}");
    // 800 are due in 200 ms, and take 800 ms at the very least: most of them wait for long. A
    // closed loop would have told of 1 ms each.
    assert!(flooded.latency(0.5).unwrap() > Duration::from_millis(100), "{case}");
    assert!(flooded.latency(0.99).is_some(), "all 800 count, answered or not: {case}");
    assert!(case.to_string().contains("unanswered"), "{case}");
    assert_eq!(case.verdict().outcome(Metric::Cpu, 0, 0, 1), None);
}

#[test]
fn the_example_shows_its_report() {
    let _alone = alone();
    let dir = process::TempDir::new();
    let out = dir.file("report");
    let args = ["--quick", "--rounds", "2", "--case", "blocks", "--out", out.to_str().unwrap()];
    let said = process::run_well(process::example("compare"), &args, b"");
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("\n== blocks\nThe handler blocks: a call waits "), "{said}");
    assert!(said.ends_with("report.html\n"), "{said}");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<h2>blocks</h2>"));
}

#[test]
fn what_the_example_does_not_know_is_a_usage_error() {
    let _alone = alone();
    for args in [&["--case", "nope"][..], &["--strategy", "nope"], &["--nope"], &["--rounds", "x"]]
    {
        let output = process::run(process::example("compare"), args, b"");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
    }
}
