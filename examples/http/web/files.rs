//! The files that are served: which there are, and what is told of each.

use super::date::clamp;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The directory below which files are served.
///
/// A path of a request leads to what it names below the root, and nowhere else. Symbolic links are
/// followed as long as they stay below the root; one that leads out of it leads to nothing. (Whoever
/// can change the directory while it is served could swap a link between the check and the opening;
/// such people are trusted.) Names that begin with a dot are not served, because what is hidden
/// there is rarely meant for the world, but for `.well-known` (RFC 8615).
#[derive(Debug)]
pub(crate) struct Site {
    /// Without symbolic links.
    root: PathBuf,
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Found {
    File(SiteFile),
    /// A directory with an index, to be asked for with a slash at the end: without it, the links
    /// of the page would lead elsewhere.
    Directory,
    Nothing,
}

/// A file that is open.
#[derive(Debug)]
pub(crate) struct SiteFile {
    pub(crate) file: File,
    pub(crate) facts: Facts,
    pub(crate) content_type: &'static str,
}

/// What the validators are made of.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) len: u64,
    pub(crate) modified: SystemTime,
    /// A strong one: a system changes the time of a file, to the nanosecond or so, when it changes
    /// the file.
    pub(crate) etag: String,
}

const INDEX: &str = "index.html";

impl Site {
    /// # Errors
    /// The root is no directory, or can not be looked at.
    pub(crate) fn new(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        match root.is_dir() {
            true => Ok(Self { root }),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Looks for what a decoded path names.
    ///
    /// # Errors
    /// It is there, and can not be read.
    pub(crate) fn find(&self, path: &str) -> io::Result<Found> {
        let Some(below) = below(path) else { return Ok(Found::Nothing) };
        let Some(mut place) = resolve(&self.root.join(below))? else { return Ok(Found::Nothing) };
        let as_directory = path.ends_with('/');
        if place.is_dir() {
            let Some(index) = resolve(&place.join(INDEX))? else { return Ok(Found::Nothing) };
            if !as_directory {
                return Ok(self.if_below(&index, Found::Directory));
            }
            place = index;
        } else if as_directory {
            return Ok(Found::Nothing);
        }
        // Before it is opened: opening a pipe waits for its other end.
        if !place.starts_with(&self.root) || !place.metadata()?.is_file() {
            return Ok(Found::Nothing);
        }
        SiteFile::open(&place).map(Found::File)
    }

    fn if_below(&self, place: &Path, found: Found) -> Found {
        if place.starts_with(&self.root) { found } else { Found::Nothing }
    }
}

/// The path below the root, if each segment is a plain name that may be served.
fn below(path: &str) -> Option<PathBuf> {
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let mut below = PathBuf::new();
    if inner.is_empty() {
        return (path == "/").then_some(below);
    }
    for segment in inner.split('/') {
        let is_hidden = segment.starts_with('.') && segment != ".well-known";
        let mut components = Path::new(segment).components();
        // On some systems `C:` is no plain name.
        let is_plain =
            matches!(components.next(), Some(Component::Normal(name)) if name == segment);
        if is_hidden || !is_plain || components.next().is_some() {
            return None;
        }
        below.push(segment);
    }
    Some(below)
}

/// The place without symbolic links, if there is one. A name that the system can make nothing of
/// (too long, a loop of links) is the name of nothing.
fn resolve(place: &Path) -> io::Result<Option<PathBuf>> {
    match place.canonicalize() {
        Ok(place) => Ok(Some(place)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Err(_) => Ok(None),
    }
}

impl SiteFile {
    fn open(place: &Path) -> io::Result<Self> {
        let file = File::open(place)?;
        let metadata = file.metadata()?;
        Ok(Self {
            file,
            facts: Facts::of(&metadata)?,
            content_type: mime_guess::from_path(place).first_raw().unwrap_or(UNKNOWN_TYPE),
        })
    }
}

/// RFC 9110, 8.3: what nothing is known about.
pub(crate) const UNKNOWN_TYPE: &str = "application/octet-stream";

impl Facts {
    fn of(metadata: &fs::Metadata) -> io::Result<Self> {
        let modified = clamp(metadata.modified()?);
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let len = metadata.len();
        Ok(Self { len, modified, etag: format!("\"{:x}-{len:x}\"", since.as_nanos()) })
    }
}
