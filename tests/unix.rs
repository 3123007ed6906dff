//! Unix sockets as a server's user meets them: what is in the way, who may connect, and what is
//! left of the file.

#![cfg(unix)]

#[path = "support/life.rs"]
mod life;
#[path = "support/process.rs"]
mod process;

use life::{Echo, PATIENCE, echo};
use polyserve::net::{BindErrorKind, SocketOptions, Stale};
use polyserve::{Server, ServerHandle};
use process::TempDir;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

const REMOVE: SocketOptions = SocketOptions::new().with_unix_stale(Stale::Remove);

fn spawn_at(path: &Path, options: SocketOptions) -> Result<ServerHandle, BindErrorKind> {
    let addr = format!("unix:{}", path.display());
    let bound = Server::builder().socket_options(options).bind(&*addr);
    bound.map(|builder| builder.spawn(|_peer| Echo).unwrap()).map_err(|error| {
        assert!(error.to_string().contains(&addr), "{error}");
        error.kind().clone()
    })
}

fn end(server: &ServerHandle) {
    assert!(server.drain(Duration::ZERO, PATIENCE).finished_all);
}

fn probe(path: &Path) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    echo(&mut stream, b"probe");
}

/// U1: the file is replaced if nobody listens on it, and only if that was asked for.
#[test]
fn a_stale_socket_is_replaced_on_request() {
    let dir = TempDir::new();
    let path = dir.file("s");
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(spawn_at(&path, SocketOptions::new()).unwrap_err(), BindErrorKind::StaleFile);
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    let server = spawn_at(&path, REMOVE).unwrap();
    probe(&path);
    end(&server);
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn a_live_server_keeps_its_socket() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let server = spawn_at(&path, REMOVE).unwrap();
    for options in [SocketOptions::new(), REMOVE] {
        assert_eq!(spawn_at(&path, options).unwrap_err(), BindErrorKind::InUse);
    }
    probe(&path);
    end(&server);
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn what_is_no_socket_is_left_as_it_was() {
    let dir = TempDir::new();
    fs::write(dir.file("file"), "precious").unwrap();
    fs::create_dir(dir.file("dir")).unwrap();
    symlink(dir.file("file"), dir.file("link")).unwrap();
    let before = dir.names();
    for name in ["file", "dir", "link"] {
        let id = fs::symlink_metadata(dir.file(name)).unwrap().ino();
        for options in [SocketOptions::new(), REMOVE] {
            let error = spawn_at(&dir.file(name), options).unwrap_err();
            assert_eq!(error, BindErrorKind::NotASocket, "{name}");
        }
        assert_eq!(fs::symlink_metadata(dir.file(name)).unwrap().ino(), id);
    }
    assert_eq!(fs::read(dir.file("file")).unwrap(), b"precious");
    assert_eq!(dir.names(), before);
}

/// U2.
#[test]
fn only_those_whom_the_mode_lets_may_connect() {
    let dir = TempDir::new();
    for (options, mode) in [
        (SocketOptions::new(), 0o600),
        (SocketOptions::new().with_unix_mode(0o660), 0o660),
        (SocketOptions::new().with_unix_mode(0o666), 0o666),
    ] {
        let server = spawn_at(&dir.file("s"), options).unwrap();
        assert_eq!(fs::metadata(dir.file("s")).unwrap().mode() & 0o777, mode);
        probe(&dir.file("s"));
        end(&server);
    }
}

/// U3.
#[test]
fn a_name_that_is_too_long_is_refused() {
    let dir = TempDir::new();
    let long = dir.file(&"x".repeat(200));
    let error = spawn_at(&long, SocketOptions::new()).unwrap_err();
    let len = long.as_os_str().len();
    assert!(matches!(error, BindErrorKind::NameTooLong { len: l, .. } if l == len), "{error:?}");
    assert_eq!(dir.names(), [""; 0]);
}

/// U4.
#[test]
fn a_file_that_is_another_servers_by_then_is_left() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let first = spawn_at(&path, SocketOptions::new()).unwrap();
    fs::rename(&path, dir.file("moved")).unwrap();
    let second = spawn_at(&path, SocketOptions::new()).unwrap();
    end(&first);
    probe(&path);
    end(&second);
    assert_eq!(dir.names(), ["moved"]);
}
