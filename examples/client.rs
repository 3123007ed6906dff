//! Connects, sends its arguments or its standard input, and prints what comes back.

use humantime::parse_duration;
use lexopt::prelude::*;
use polyserve::Client;
use polyserve::client::{ConnectError, ReadHalf, WriteHalf};
use std::error::Error;
use std::io::{self, Cursor, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

const HELP: &str = "\
usage: client [OPTIONS] [ADDR [WORDS...]]

Connects to ADDR (default 127.0.0.1:50007; host:port, [ipv6]:port or unix:PATH), sends the words,
joined by spaces and with a newline, or standard input if there are none; ends its own stream
(half-close), so that the server knows that nothing follows; and prints what comes back, until the
server ends its stream too.

  --connect-timeout D  for resolving and connecting, e.g. 500ms, 2s (default 10s)
  --timeout D          for each wait for the server (default 30s)
  --no-newline         sends the words without a newline
  --recv-once          does not half-close, and prints what one recv(1024) returns
  --help               prints this";

/// How long a server that has ended its stream may leave us in doubt whether it took everything.
const LAST_WRITE: Duration = Duration::from_millis(500);

struct Args {
    connect_timeout: Duration,
    timeout: Duration,
    newline: bool,
    recv_once: bool,
    addr: String,
    words: Vec<String>,
}

fn main() -> ExitCode {
    let args = match parse_args() {
        Ok(Some(args)) => args,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error, 2),
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref() {
            Some(ConnectError::BadAddress { .. }) => fail(&*error, 2),
            _ => fail(&*error, 1),
        },
    }
}

/// One line, with all causes; some errors say theirs themselves.
fn fail(error: &dyn Error, code: u8) -> ExitCode {
    let mut line = format!("client: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        if !line.ends_with(&error.to_string()) {
            line = format!("{line}: {error}");
        }
        cause = error.source();
    }
    eprintln!("{line}");
    ExitCode::from(code)
}

fn parse_args() -> Result<Option<Args>, lexopt::Error> {
    let mut args = Args {
        connect_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(30),
        newline: true,
        recv_once: false,
        addr: String::new(),
        words: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("connect-timeout") => {
                args.connect_timeout = parser.value()?.parse_with(parse_duration)?;
            }
            Long("timeout") => args.timeout = parser.value()?.parse_with(parse_duration)?,
            Long("no-newline") => args.newline = false,
            Long("recv-once") => args.recv_once = true,
            Long("help") => return Ok(None),
            Value(addr) if args.addr.is_empty() => args.addr = addr.string()?,
            Value(word) => args.words.push(word.string()?),
            _ => return Err(arg.unexpected()),
        }
    }
    if args.addr.is_empty() {
        args.addr = "127.0.0.1:50007".into();
    }
    Ok(Some(args))
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let mut client = Client::builder()
        .connect_timeout(args.connect_timeout)
        .read_timeout(args.timeout)
        .write_timeout(args.timeout)
        .connect(&args.addr)?;
    let mut input = input(&args);
    if args.recv_once {
        let mut request = Vec::new();
        input.read_to_end(&mut request)?;
        return recv_once(&mut client, &request);
    }
    // Two threads: a server that answers while it reads stops reading when nobody takes its
    // answers, and a user at a terminal wants to see the answer to the first line.
    let (reader, writer) = client.into_split();
    let sent = send_in_background(input, writer);
    print_all(reader)?;
    match sent.recv_timeout(LAST_WRITE) {
        Ok(result) => Ok(result?),
        // It waits for more input. The server has ended the conversation; so do we.
        Err(_) => Ok(()),
    }
}

fn input(args: &Args) -> Box<dyn Read + Send> {
    if args.words.is_empty() {
        return Box::new(io::stdin());
    }
    let mut line = args.words.join(" ");
    if args.newline {
        line.push('\n');
    }
    Box::new(Cursor::new(line))
}

/// What the plainest of clients does: `sendall`, then one `recv`.
fn recv_once(client: &mut Client, request: &[u8]) -> Result<(), Box<dyn Error>> {
    client.send(request)?;
    let mut reply = [0; 1024];
    let n = client.recv(&mut reply)?;
    io::stdout().write_all(&reply[..n])?;
    Ok(())
}

fn send_in_background(
    mut input: Box<dyn Read + Send>,
    mut writer: WriteHalf,
) -> Receiver<io::Result<()>> {
    let (done, is_done) = channel();
    thread::spawn(move || {
        let sent = io::copy(&mut input, &mut writer);
        // Also after input that could not be read, or the server would wait for more of it.
        let ended = writer.shutdown().map_err(io::Error::from);
        // Nobody listens any more when reading has failed.
        let _ = done.send(sent.and(ended));
    });
    is_done
}

fn print_all(mut reader: ReadHalf) -> Result<(), Box<dyn Error>> {
    let mut stdout = io::stdout().lock();
    let mut buf = vec![0; 64 * 1024];
    loop {
        match reader.recv(&mut buf)? {
            0 => return Ok(()),
            n => stdout.write_all(&buf[..n]).and_then(|()| stdout.flush())?,
        }
    }
}
