//! The client on the command line.

use crate::DEFAULT_ADDR;
use crate::client::{RpcClient, RpcError};
use crate::protocol::{Answer, Call, ClientCodec, Method, Value};
use lexopt::prelude::*;
use polyserve::Client;
use polyserve::client::{ClientError, FrameReader, FrameWriter};
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const HELP: &str = "\
usage: rpc call [OPTIONS] METHOD ARGS...
       rpc batch [OPTIONS]

`call` makes one call and prints its result. `batch` reads calls from standard input, one a line, sends
them without waiting in between, and prints the results in their order.

Methods:
  add N...            the sum
  concat WORD...      all words in one
  primes N            how many prime numbers there are below N
  numbers FROM COUNT  so many numbers, a line each

Options:
  --connect ADDR      host:port or unix:PATH (default 127.0.0.1:50037)
  --timeout D         for each answer, such as 500ms or 10s (default 30s)
  --help              this text";

struct Args {
    connect: String,
    timeout: Duration,
    /// The method and its arguments, as they came.
    words: Vec<String>,
}

/// Whoever calls this program has made a mistake.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

type Failure = Box<dyn Error>;

/// Makes one call.
pub(crate) fn call(args: impl Iterator<Item = OsString>) -> ExitCode {
    finish(parse(args).and_then(|args| {
        let Some(Args { connect, timeout, words }) = args else { return Ok(()) };
        let method = method(words.iter().map(String::as_str))?;
        print(method, &RpcClient::new(&*connect, timeout), &mut io::stdout().lock())
    }))
}

fn print(method: Method, client: &RpcClient, out: &mut impl Write) -> Result<(), Failure> {
    match method {
        Method::Add(numbers) => writeln!(out, "{}", client.add(numbers)?)?,
        Method::Concat(texts) => writeln!(out, "{}", client.concat(texts)?)?,
        Method::Primes(below) => writeln!(out, "{}", client.primes(below)?)?,
        Method::Numbers { from, count } => {
            let mut written = Ok(());
            client.numbers(from, count, |number| {
                written = writeln!(out, "{number}");
                if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            written?;
        }
    }
    Ok(())
}

/// Makes the calls that standard input names.
pub(crate) fn batch(args: impl Iterator<Item = OsString>) -> ExitCode {
    finish(parse(args).and_then(|args| {
        let Some(Args { connect, timeout, words }) = args else { return Ok(()) };
        if let Some(word) = words.first() {
            return Err(Usage(format!("unexpected argument {word:?}")).into());
        }
        let calls = calls(&io::read_to_string(io::stdin())?)?;
        let builder = Client::builder().codec(ClientCodec::new()).connect_timeout(timeout);
        let client = builder.read_timeout(timeout).connect(&*connect)?;
        // The server stops reading when nobody takes its answers, so both is done at once.
        let (mut reader, mut writer) = client.into_frames();
        thread::scope(|scope| {
            let sent = scope.spawn(|| send(&calls, &mut writer));
            let mut out = io::stdout().lock();
            calls.iter().try_for_each(|call| receive(call, &mut reader, &mut out))?;
            Ok(sent.join().expect("sending does not panic")?)
        })
    }))
}

fn send(calls: &[Call], writer: &mut FrameWriter<ClientCodec>) -> Result<(), ClientError> {
    calls.iter().try_for_each(|call| writer.send(call))
}

/// Prints the results of one call. One that failed is a line as well.
fn receive(
    call: &Call,
    reader: &mut FrameReader<ClientCodec>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    loop {
        match reader.recv()? {
            Some(Answer { id, result }) if id == call.id => match result {
                Ok(Value::Number(number)) => writeln!(out, "{number}")?,
                Ok(Value::End) => return Ok(()),
                Ok(value) => return Ok(writeln!(out, "{value}")?),
                Err(fault) => return Ok(writeln!(out, "error: {fault}")?),
            },
            answer => return Err(RpcError::Unexpected { id: call.id, answer }.into()),
        }
    }
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Option<Args>, Failure> {
    let mut parsed = Args {
        connect: DEFAULT_ADDR.to_owned(),
        timeout: Duration::from_secs(30),
        words: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_args(args);
    let wrong = |error: lexopt::Error| Usage(error.to_string());
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Long("connect") => {
                parsed.connect = parser.value().and_then(|v| v.string()).map_err(wrong)?;
            }
            Long("timeout") => {
                let value = parser.value().map_err(wrong)?;
                parsed.timeout = value.parse_with(humantime::parse_duration).map_err(wrong)?;
            }
            Long("help") => {
                println!("{HELP}");
                return Ok(None);
            }
            Value(word) => {
                // What follows the method is its own: numbers may begin with a minus.
                parsed.words.push(word.string().map_err(wrong)?);
                for word in parser.raw_args().map_err(wrong)? {
                    parsed.words.push(word.string().map_err(wrong)?);
                }
            }
            other => return Err(Usage(other.unexpected().to_string()).into()),
        }
    }
    Ok(Some(parsed))
}

/// The calls of a text, one a line. Empty lines are left out.
fn calls(text: &str) -> Result<Vec<Call>, Failure> {
    let mut calls = Vec::new();
    for (line, id) in text.lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        let method = method(line.split_whitespace())
            .map_err(|error| Usage(format!("line {id} of the standard input: {error}")))?;
        calls.push(Call { id, method });
    }
    Ok(calls)
}

fn method<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Method, Usage> {
    let name = words.next().ok_or_else(|| Usage("no method is named, see --help".into()))?;
    let args: Vec<&str> = words.collect();
    match (name, &args[..]) {
        ("add", numbers) => {
            Ok(Method::Add(numbers.iter().map(|n| number(n)).collect::<Result<_, _>>()?))
        }
        ("concat", words) => Ok(Method::Concat(words.iter().map(|word| (*word).into()).collect())),
        ("primes", [below]) => Ok(Method::Primes(number(below)?)),
        ("numbers", [from, count]) => {
            Ok(Method::Numbers { from: number(from)?, count: number(count)? })
        }
        ("primes" | "numbers", _) => {
            Err(Usage(format!("{name} got {} arguments, see --help", args.len())))
        }
        _ => Err(Usage(format!("there is no method {name:?}, see --help"))),
    }
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Usage> {
    text.parse().map_err(|error| Usage(format!("{text:?}: {error}")))
}

/// One line, with all causes: 2 for a mistake of the user's, 1 for everything else.
fn finish(result: Result<(), Failure>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let mut line = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        if !line.ends_with(&error.to_string()) {
            line = format!("{line}: {error}");
        }
        cause = error.source();
    }
    eprintln!("{line}");
    if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}
