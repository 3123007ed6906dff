//! The file of a Unix socket: made with its mode, and removed only as long as it is ours.

use super::bind_error::{BindErrorKind, Failed};
use super::options::{SocketOptions, Stale};
use rustix::fs::{FlockOperation, OFlags};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Removes the file of a bound socket when dropped, unless it is another's by then.
///
/// It must go before its socket is closed: until then the inode cannot be given to a new file.
#[derive(Debug)]
pub(super) struct SocketFile {
    /// Absolute, so that it stays the same file when the process changes its directory.
    path: PathBuf,
    id: FileId,
    /// The socket was handed on, and the file with it.
    left: AtomicBool,
    /// Held to the end: it goes after the file it stands for.
    _lock: Option<LockFile>,
}

impl SocketFile {
    /// Binds the socket, which must not listen before this returns.
    pub(super) fn bind(
        socket: &Socket,
        path: &Path,
        addr: &SockAddr,
        options: &SocketOptions,
    ) -> Result<Self, Failed> {
        let path = std::path::absolute(path).map_err(Failed::at(BindErrorKind::Bind))?;
        let mode = options.unix_mode & 0o777;
        let lock = match options.unix_stale {
            Stale::Fail => None,
            Stale::Remove => Some(LockFile::take(&path)?),
        };
        narrow_mode(socket, mode);
        if let Err(error) = socket.bind(addr) {
            expect_stale(error, &path, addr, options.unix_stale)?;
            let again = socket.bind(addr);
            again.map_err(Failed::at_or_in_use(BindErrorKind::Bind))?;
        }
        let meta = fs::symlink_metadata(&path).map_err(Failed::at(BindErrorKind::Bind))?;
        let file = Self { path, id: FileId::of(&meta), left: AtomicBool::new(false), _lock: lock };
        file.set_mode(&meta, mode)?;
        Ok(file)
    }

    /// The file is somebody else's from now on, who has the socket as well.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Sets the mode that the umask may have narrowed. Nobody can connect before listen, which
    /// comes later.
    fn set_mode(&self, meta: &Metadata, mode: u32) -> Result<(), Failed> {
        if meta.mode() & 0o777 == mode {
            return Ok(());
        }
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
            .map_err(Failed::at(BindErrorKind::Option("unix_mode")))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !*self.left.get_mut() && FileId::at(&self.path) == Some(self.id) {
            // A file that cannot be removed is what the next start calls stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Linux makes the file with the mode of the socket's own inode, less the umask, so that it is
/// not even visible with a wider one. Other systems ignore or refuse this, and have the mode set
/// between bind and listen.
fn narrow_mode(socket: &Socket, mode: u32) {
    let _ = rustix::fs::fchmod(socket, rustix::fs::Mode::from_bits_truncate(mode as _));
}

/// Judges why bind has failed. It returns if the path is free now and bind is worth a second try.
fn expect_stale(
    error: io::Error,
    path: &Path,
    addr: &SockAddr,
    stale: Stale,
) -> Result<(), Failed> {
    if error.kind() != io::ErrorKind::AddrInUse {
        return Err(Failed::at(BindErrorKind::Bind)(error));
    }
    let Some(before) = socket_at(path)? else {
        return Ok(());
    };
    match try_connect(addr) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => (),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Only a refusal says that nobody listens (unix(7)). Any other error may be a server that
        // is busy, that is not ours to talk to, or that takes datagrams.
        _ => return Err(Failed::at(BindErrorKind::InUse)(error)),
    }
    if stale == Stale::Fail {
        return Err(Failed::at(BindErrorKind::StaleFile)(error));
    }
    // What was refused a moment ago is what is removed now.
    if FileId::at(path) == Some(before) {
        fs::remove_file(path).map_err(Failed::at(BindErrorKind::RemoveStale))?;
    }
    Ok(())
}

/// The socket of this path, not followed through a symbolic link; `None` if nothing is there.
fn socket_at(path: &Path) -> Result<Option<FileId>, Failed> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => Ok(Some(FileId::of(&meta))),
        Ok(_) => Err(BindErrorKind::NotASocket.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failed::at(BindErrorKind::RemoveStale)(e)),
    }
}

fn try_connect(addr: &SockAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server whose backlog is full would let a blocking connect wait.
    socket.set_nonblocking(true)?;
    socket.connect(addr)
}

/// An empty file beside the socket, locked with flock(2) by the one server that may look at the
/// socket's file and remove it. The system takes the lock back however the process ends.
#[derive(Debug)]
struct LockFile {
    path: PathBuf,
    file: File,
}

/// Each further try means that another server has stopped between two calls of this one.
const LOCK_TRIES: usize = 100;

impl LockFile {
    fn take(socket: &Path) -> Result<Self, Failed> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        for _ in 0..LOCK_TRIES {
            let file = open_lock(&path).map_err(Failed::at(BindErrorKind::Lock))?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => (),
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) if e == rustix::io::Errno::WOULDBLOCK => {
                    return Err(BindErrorKind::InUse.into());
                }
                Err(e) => return Err(Failed::at(BindErrorKind::Lock)(e.into())),
            }
            // A server that has just ended may have removed the file between the two calls. Then
            // the lock is that of a file without a name, and would keep nobody out.
            let meta = file.metadata().map_err(Failed::at(BindErrorKind::Lock))?;
            if FileId::at(&path) == Some(FileId::of(&meta)) {
                return Ok(Self { path, file });
            }
        }
        Err(BindErrorKind::InUse.into())
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // It is locked until the descriptor closes, which comes after this.
        let ours = self.file.metadata().map(|meta| FileId::of(&meta)).ok();
        if ours.is_some() && FileId::at(&self.path) == ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // Where others may write to the directory, a link could lead us to a file of our own.
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)?;
    let meta = file.metadata()?;
    // It is removed in the end, so that it must not be anything that somebody else has made.
    if !meta.is_file() || meta.len() > 0 {
        return Err(io::Error::other("expected an empty regular file"));
    }
    Ok(file)
}

/// What tells one file from another, as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(meta: &Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino() }
    }

    fn at(path: &Path) -> Option<Self> {
        let meta = fs::symlink_metadata(path).ok()?;
        Some(Self::of(&meta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::BindError;
    use crate::net::listener::{Listener, tests::accept};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::sync::Barrier;
    use std::sync::atomic::AtomicU32;

    /// A directory of one test, removed at its end.
    struct TestDir(PathBuf);

    impl TestDir {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("polyserve-{}-{count}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("s")
        }

        fn entries(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
            let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
            names.sort();
            names
        }
    }

    impl Drop for TestDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn bind(path: &Path, stale: Stale) -> Result<Listener, BindError> {
        Listener::bind(path, &SocketOptions::new().with_unix_stale(stale))
    }

    fn bind_error(path: &Path, stale: Stale) -> BindErrorKind {
        let error = bind(path, stale).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()));
        error.kind().clone()
    }

    fn leave_stale(path: &Path) {
        drop(UnixListener::bind(path).unwrap());
        assert!(path.exists());
    }

    fn serves(listener: &Listener, path: &Path) {
        let _client = UnixStream::connect(path).unwrap();
        let (_, peer) = accept(listener);
        assert_eq!(peer.to_string(), "unix:");
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        for stale in [Stale::Fail, Stale::Remove] {
            let dir = TestDir::new();
            let path = dir.socket();

            fs::write(&path, "precious").unwrap();
            assert_eq!(bind_error(&path, stale), BindErrorKind::NotASocket);
            assert_eq!(fs::read(&path).unwrap(), b"precious");
            fs::remove_file(&path).unwrap();

            fs::create_dir(&path).unwrap();
            assert_eq!(bind_error(&path, stale), BindErrorKind::NotASocket);
            fs::remove_dir(&path).unwrap();

            let target = dir.0.join("target");
            leave_stale(&target);
            symlink(&target, &path).unwrap();
            assert_eq!(bind_error(&path, stale), BindErrorKind::NotASocket);
            assert_eq!(dir.entries(), ["s", "target"]);

            fs::remove_file(&target).unwrap();
            assert_eq!(bind_error(&path, stale), BindErrorKind::NotASocket);
            assert_eq!(dir.entries(), ["s"]);
        }
    }

    #[test]
    fn a_live_server_keeps_its_socket() {
        let dir = TestDir::new();
        let path = dir.socket();
        for stale in [Stale::Fail, Stale::Remove] {
            let theirs = UnixListener::bind(&path).unwrap();
            assert_eq!(bind_error(&path, stale), BindErrorKind::InUse);
            // The test of it is one connection that says nothing.
            theirs.accept().unwrap();
            UnixStream::connect(&path).unwrap();
            drop(theirs);
            fs::remove_file(&path).unwrap();

            let ours = bind(&path, stale).unwrap();
            assert_eq!(bind_error(&path, Stale::Fail), BindErrorKind::InUse);
            assert_eq!(bind_error(&path, stale), BindErrorKind::InUse);
            drop(ours);
        }
        assert!(dir.entries().is_empty());
    }

    #[test]
    fn a_server_whose_backlog_is_full_or_that_takes_datagrams_lives() {
        let dir = TestDir::new();
        let path = dir.socket();
        let options = SocketOptions::new().with_backlog(0);
        let busy = Listener::bind(path.as_path(), &options).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(bind_error(&path, Stale::Remove), BindErrorKind::InUse);
        drop(busy);

        let _datagrams = UnixDatagram::bind(&path).unwrap();
        assert_eq!(bind_error(&path, Stale::Remove), BindErrorKind::InUse);
        assert!(path.exists());
    }

    #[test]
    fn a_stale_socket_is_told_or_removed() {
        let dir = TestDir::new();
        let path = dir.socket();
        leave_stale(&path);
        assert_eq!(bind_error(&path, Stale::Fail), BindErrorKind::StaleFile);
        assert!(path.exists());

        let listener = bind(&path, Stale::Remove).unwrap();
        assert_eq!(listener.local_addr().as_path(), Some(path.as_path()));
        serves(&listener, &path);
        assert_eq!(dir.entries(), ["s", "s.lock"]);
        drop(listener);
        assert!(dir.entries().is_empty());
    }

    #[test]
    fn of_two_that_start_at_once_exactly_one_wins() {
        let dir = TestDir::new();
        let path = dir.socket();
        for _ in 0..200 {
            leave_stale(&path);
            let start = Barrier::new(2);
            let race = || {
                start.wait();
                bind(&path, Stale::Remove)
            };
            let results = std::thread::scope(|scope| {
                let racers = [scope.spawn(race), scope.spawn(race)];
                racers.map(|racer| racer.join().unwrap())
            });
            let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
            assert_eq!((won.len(), lost.len()), (1, 1), "{lost:?}");
            assert!(lost[0].as_ref().unwrap_err().is_addr_in_use());
            serves(won[0].as_ref().unwrap(), &path);
        }
        assert!(dir.entries().is_empty());
    }

    #[test]
    fn a_server_that_stops_while_another_starts_takes_nothing_from_it() {
        let dir = TestDir::new();
        let path = dir.socket();
        let mut running = bind(&path, Stale::Remove).unwrap();
        for _ in 0..200 {
            let next = std::thread::scope(|scope| {
                let next = scope.spawn(|| {
                    loop {
                        match bind(&path, Stale::Remove) {
                            Ok(listener) => break listener,
                            Err(error) => assert!(error.is_addr_in_use(), "{error:?}"),
                        }
                    }
                });
                drop(running);
                next.join().unwrap()
            });
            serves(&next, &path);
            assert_eq!(dir.entries(), ["s", "s.lock"]);
            running = next;
        }
    }

    #[test]
    fn the_mode_is_what_was_asked_for_whatever_the_umask() {
        let dir = TestDir::new();
        let path = dir.socket();
        let mode = || fs::metadata(dir.socket()).unwrap().mode() & 0o7777;
        let listener = bind(&path, Stale::Fail).unwrap();
        assert_eq!(mode(), 0o600);
        drop(listener);
        for asked in [0o600, 0o660, 0o666, 0o777, 0o000] {
            let options = SocketOptions::new().with_unix_mode(asked);
            let _listener = Listener::bind(path.as_path(), &options).unwrap();
            assert_eq!(mode(), asked);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_file_is_never_visible_with_a_wider_mode() {
        let dir = TestDir::new();
        let path = dir.socket();
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        narrow_mode(&socket, 0o600);
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_our_own_file_is_removed_at_the_end() {
        let dir = TestDir::new();
        let path = dir.socket();
        let old = bind(&path, Stale::Fail).unwrap();
        fs::remove_file(&path).unwrap();
        let new = bind(&path, Stale::Fail).unwrap();
        drop(old);
        serves(&new, &path);

        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(new);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_listener_that_was_handed_in_keeps_its_file() {
        let dir = TestDir::new();
        let path = dir.socket();
        let theirs = UnixListener::bind(&path).unwrap();
        let listener = Listener::try_from(theirs).unwrap();
        assert_eq!(listener.local_addr().as_path(), Some(path.as_path()));
        serves(&listener, &path);
        drop(listener);
        assert_eq!(dir.entries(), ["s"]);
    }

    #[test]
    fn a_lock_file_that_is_somebody_elses_is_left_alone() {
        let dir = TestDir::new();
        let lock = dir.0.join("s.lock");
        fs::write(&lock, "precious").unwrap();
        assert_eq!(bind_error(&dir.socket(), Stale::Remove), BindErrorKind::Lock);
        assert_eq!(fs::read(&lock).unwrap(), b"precious");
        fs::remove_file(&lock).unwrap();

        let target = dir.0.join("target");
        symlink(&target, &lock).unwrap();
        assert_eq!(bind_error(&dir.socket(), Stale::Remove), BindErrorKind::Lock);
        assert!(!target.exists());
        fs::remove_file(&lock).unwrap();

        // One that a killed server has left is nobody's.
        File::create(&lock).unwrap();
        drop(bind(&dir.socket(), Stale::Remove).unwrap());
        assert!(dir.entries().is_empty());
    }

    #[test]
    fn a_failed_start_leaves_nothing_behind() {
        let dir = TestDir::new();
        for stale in [Stale::Fail, Stale::Remove] {
            let missing = dir.0.join("missing/s");
            let kind = bind_error(&missing, stale);
            assert!(matches!(kind, BindErrorKind::Bind | BindErrorKind::Lock));
            assert!(dir.entries().is_empty());
        }
    }
}
