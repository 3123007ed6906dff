//! What a server can be told to listen on.

use crate::addr::{Addr, UnixName};
use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An address to listen on: an IP address or a host name with a port, or a Unix-domain name.
///
/// It is parsed from, and prints as, the form that [`Addr`] has:
///
/// | text | listens on |
/// |---|---|
/// | `127.0.0.1:50007`, `[::1]:50007` | that address; port 0 lets the system choose one |
/// | `localhost:50007` | the first address of that name that can be bound |
/// | `unix:/run/app.sock`, `unix:./app.sock` | the socket file of that path |
/// | `unix:@app` | a name in Linux' abstract namespace, with `\xNN` for bytes that do not print |
///
/// There is no default address: a lone port does not say who may connect. `0.0.0.0:50007` and
/// `[::]:50007` mean everybody.
///
/// ```
/// use polyserve::net::BindAddr;
///
/// let addr: BindAddr = "localhost:50007".parse()?;
/// assert_eq!(addr.to_string(), "localhost:50007");
///
/// let error = "50007".parse::<BindAddr>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "invalid address `50007`: expected a port after a colon, as in `127.0.0.1:50007`"
/// );
/// # Ok::<(), polyserve::net::ParseBindAddrError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BindAddr(pub(super) Target);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Tcp(SocketAddr),
    /// A name that needs resolving, checked to be one that prints unambiguously.
    Host(String, u16),
    Path(PathBuf),
    /// Without its leading zero byte, and not empty.
    Abstract(Vec<u8>),
}

/// A text, or a pair of host and port, that names no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid address `{}`: expected {expected}", given.escape_debug())]
pub struct ParseBindAddrError {
    given: String,
    expected: &'static str,
}

const A_PORT: &str = "a port after a colon, as in `127.0.0.1:50007`";
const A_PORT_NUMBER: &str = "a port from 0 to 65535";
const A_HOST: &str = "an IP address, an IPv6 address in brackets, or a host name";
const A_PATH: &str = "a path after `unix:`, or `@` and a name";
const A_NAME: &str = "a name after `unix:@`, with `\\\\` and `\\xNN` as its only escapes";

impl ParseBindAddrError {
    fn new(given: impl fmt::Display, expected: &'static str) -> Self {
        Self { given: given.to_string(), expected }
    }

    /// The text as it was given.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// What would have been an address, to follow "expected".
    pub fn expected(&self) -> &str {
        self.expected
    }
}

impl From<Infallible> for ParseBindAddrError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl FromStr for BindAddr {
    type Err = ParseBindAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix("unix:") {
            return parse_unix(name).map_err(|expected| ParseBindAddrError::new(text, expected));
        }
        if let Ok(addr) = text.parse() {
            return Ok(Self(Target::Tcp(addr)));
        }
        parse_host(text).map_err(|expected| ParseBindAddrError::new(text, expected))
    }
}

fn parse_unix(name: &str) -> Result<BindAddr, &'static str> {
    let target = match name.strip_prefix('@') {
        Some(name) => Target::Abstract(unescape(name).ok_or(A_NAME)?),
        None if name.is_empty() => return Err(A_PATH),
        None => Target::Path(name.into()),
    };
    Ok(BindAddr(target))
}

fn parse_host(text: &str) -> Result<BindAddr, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or(A_PORT)?;
    if !is_host_name(host) {
        return Err(A_HOST);
    }
    // `u16::from_str` would take a sign.
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(A_PORT_NUMBER);
    }
    let port = port.parse().map_err(|_| A_PORT_NUMBER)?;
    Ok(BindAddr(Target::Host(host.to_owned(), port)))
}

/// Whether a text can stand before the port without being taken for something else. Whether the
/// name exists is the resolver's business.
fn is_host_name(host: &str) -> bool {
    let ambiguous = |c: char| c.is_control() || c.is_whitespace() || ":/[]@".contains(c);
    !host.is_empty() && host != "unix" && !host.contains(ambiguous)
}

/// Undoes `escape_ascii`, by which [`Addr`] prints an abstract name. `None` is a bad escape or
/// nothing at all.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            name.push(byte);
            continue;
        }
        let (byte, len) = match *rest.first()? {
            b'x' => (hex_byte(rest.get(1..3)?)?, 3),
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            quoted @ (b'\\' | b'\'' | b'"') => (quoted, 1),
            _ => return None,
        };
        name.push(byte);
        rest = &rest[len..];
    }
    (!name.is_empty()).then_some(name)
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let value = digit(digits[0])? * 16 + digit(digits[1])?;
    u8::try_from(value).ok()
}

impl fmt::Display for BindAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Tcp(addr) => addr.fmt(f),
            Target::Host(host, port) => write!(f, "{host}:{port}"),
            // A path that begins like an abstract name must not be read back as one.
            Target::Path(path) if path.as_os_str().as_encoded_bytes().starts_with(b"@") => {
                write!(f, "unix:./{}", path.display())
            }
            Target::Path(path) => write!(f, "unix:{}", path.display()),
            Target::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
        }
    }
}

impl From<SocketAddr> for BindAddr {
    fn from(addr: SocketAddr) -> Self {
        Self(Target::Tcp(addr))
    }
}

impl From<SocketAddrV4> for BindAddr {
    fn from(addr: SocketAddrV4) -> Self {
        SocketAddr::from(addr).into()
    }
}

impl From<SocketAddrV6> for BindAddr {
    fn from(addr: SocketAddrV6) -> Self {
        SocketAddr::from(addr).into()
    }
}

impl From<(IpAddr, u16)> for BindAddr {
    fn from(addr: (IpAddr, u16)) -> Self {
        SocketAddr::from(addr).into()
    }
}

impl From<(Ipv4Addr, u16)> for BindAddr {
    fn from(addr: (Ipv4Addr, u16)) -> Self {
        SocketAddr::from(addr).into()
    }
}

impl From<(Ipv6Addr, u16)> for BindAddr {
    fn from(addr: (Ipv6Addr, u16)) -> Self {
        SocketAddr::from(addr).into()
    }
}

/// A Unix socket's file. Whether the path is fit for one is found when it is bound.
impl From<PathBuf> for BindAddr {
    fn from(path: PathBuf) -> Self {
        Self(Target::Path(path))
    }
}

/// A Unix socket's file. Whether the path is fit for one is found when it is bound.
impl From<&Path> for BindAddr {
    fn from(path: &Path) -> Self {
        path.to_path_buf().into()
    }
}

impl TryFrom<&str> for BindAddr {
    type Error = ParseBindAddrError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<&String> for BindAddr {
    type Error = ParseBindAddrError;

    fn try_from(text: &String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for BindAddr {
    type Error = ParseBindAddrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A host, as an IP address (IPv6 without brackets) or a name, and a port.
impl TryFrom<(&str, u16)> for BindAddr {
    type Error = ParseBindAddrError;

    fn try_from((host, port): (&str, u16)) -> Result<Self, Self::Error> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok((ip, port).into());
        }
        if !is_host_name(host) {
            return Err(ParseBindAddrError::new(host, A_HOST));
        }
        Ok(Self(Target::Host(host.to_owned(), port)))
    }
}

/// A host and a port, as the pair with a borrowed host.
impl TryFrom<(String, u16)> for BindAddr {
    type Error = ParseBindAddrError;

    fn try_from((host, port): (String, u16)) -> Result<Self, Self::Error> {
        (host.as_str(), port).try_into()
    }
}

/// The address of another socket. One without a name has none to bind.
impl TryFrom<Addr> for BindAddr {
    type Error = ParseBindAddrError;

    fn try_from(addr: Addr) -> Result<Self, Self::Error> {
        match addr {
            Addr::Tcp(addr) => Ok(addr.into()),
            Addr::Unix(UnixName::Path(path)) => Ok(path.into()),
            Addr::Unix(UnixName::Abstract(name)) if !name.is_empty() => {
                Ok(Self(Target::Abstract(name.into_vec())))
            }
            Addr::Unix(_) => Err(ParseBindAddrError::new(addr, A_PATH)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_read_and_printed_back() {
        for text in [
            "127.0.0.1:50007",
            "0.0.0.0:0",
            "[::1]:65535",
            "[fe80::1%3]:80",
            "localhost:0",
            "db.example.org:1",
            "unix:/run/app.sock",
            "unix:relative.sock",
            "unix:./@file",
            "unix:@app",
            "unix:@a\\x00b\\\\c",
        ] {
            let addr: BindAddr = text.parse().expect(text);
            assert_eq!(addr.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_says_what_was_expected() {
        for (text, expected) in [
            ("", A_PORT),
            ("50007", A_PORT),
            ("localhost", A_PORT),
            (":50007", A_HOST),
            ("::1:50007", A_HOST),
            ("[::1]", A_HOST),
            ("[localhost]:1", A_HOST),
            ("a b:1", A_HOST),
            ("http://localhost:1", A_HOST),
            ("nul\0:1", A_HOST),
            ("localhost:", A_PORT_NUMBER),
            ("localhost:http", A_PORT_NUMBER),
            ("localhost:65536", A_PORT_NUMBER),
            ("localhost:+1", A_PORT_NUMBER),
            ("127.0.0.1:-1", A_PORT_NUMBER),
            ("unix:", A_PATH),
            ("unix:@", A_NAME),
            ("unix:@a\\", A_NAME),
            ("unix:@a\\q", A_NAME),
            ("unix:@a\\x0", A_NAME),
            ("unix:@a\\xg0", A_NAME),
        ] {
            let error = text.parse::<BindAddr>().expect_err(text);
            assert_eq!(error, ParseBindAddrError::new(text, expected));
        }
    }

    #[test]
    fn values_that_name_an_address_are_taken_too() {
        let same = |addr: BindAddr, text: &str| assert_eq!(addr, text.parse().unwrap());
        same((Ipv4Addr::LOCALHOST, 1).into(), "127.0.0.1:1");
        same((Ipv6Addr::LOCALHOST, 1).into(), "[::1]:1");
        same(("::1", 1).try_into().unwrap(), "[::1]:1");
        same(("localhost", 1).try_into().unwrap(), "localhost:1");
        same(Path::new("/a").into(), "unix:/a");
        assert!(BindAddr::try_from(("unix", 1)).is_err());
        assert!(BindAddr::try_from(("", 1)).is_err());
        assert!(BindAddr::try_from(Addr::Unix(UnixName::Unnamed)).is_err());
    }

    #[test]
    fn a_path_is_not_read_back_as_an_abstract_name() {
        let addr = BindAddr::from(Path::new("@file"));
        assert_eq!(addr.to_string().parse::<BindAddr>().unwrap(), Path::new("./@file").into());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_printed_to_be_read_again(text in "(unix:@?|)[ -~\\PC]{0,24}(:[0-9]{1,6})?") {
            if let Ok(addr) = text.parse::<BindAddr>() {
                prop_assert_eq!(addr.to_string().parse(), Ok(addr));
            }
        }

        #[test]
        fn any_abstract_name_survives_being_printed(name in proptest::collection::vec(any::<u8>(), 1..108)) {
            let addr = BindAddr(Target::Abstract(name));
            prop_assert_eq!(addr.to_string().parse(), Ok(addr));
        }
    }
}
