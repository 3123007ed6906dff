//! Where a client is told to connect to.

use super::error::ConnectError;
use crate::net::{Addr, UnixName};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Where to connect to: what [`Client::connect`] takes in place of an address.
///
/// Text is `host:port`, `[ipv6]:port`, `unix:/path/of/socket`, or `unix:@name` for a name in
/// Linux' abstract namespace. Text that is none of these becomes an endpoint too, and
/// [`ConnectError::BadAddress`] says so when it is used.
///
/// ```
/// use polyserve::client::Endpoint;
///
/// assert_eq!(Endpoint::from("localhost:50007").to_string(), "localhost:50007");
/// assert_eq!(Endpoint::from(("::1", 80)).to_string(), "[::1]:80");
/// ```
///
/// [`Client::connect`]: super::Client::connect
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Place);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Addr(Addr),
    Name { host: String, port: u16 },
    Bad { given: String, problem: &'static str },
}

/// What is to be done to reach an endpoint.
pub(super) enum Route<'a> {
    Direct(&'a Addr),
    Lookup { host: &'a str, port: u16 },
}

impl Endpoint {
    pub(super) fn route(&self) -> Result<Route<'_>, ConnectError> {
        match &self.0 {
            Place::Addr(addr) => Ok(Route::Direct(addr)),
            Place::Name { host, port } => Ok(Route::Lookup { host, port: *port }),
            Place::Bad { given, problem } => {
                Err(ConnectError::BadAddress { given: given.as_str().into(), problem })
            }
        }
    }

    fn parse(text: &str) -> Result<Place, &'static str> {
        if let Some(name) = text.strip_prefix("unix:") {
            return unix(name);
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Place::Addr(addr.into()));
        }
        let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
        if host.is_empty() {
            return Err("the host is missing");
        }
        if host.contains([':', '[', ']']) {
            return Err("the IPv6 address is not in brackets or not a valid one");
        }
        let port = port.parse().map_err(|_| "the port is not a number up to 65535")?;
        Ok(named(host, port))
    }
}

/// A literal address needs no lookup.
fn named(host: &str, port: u16) -> Place {
    match host.parse::<IpAddr>() {
        Ok(ip) => Place::Addr(SocketAddr::new(ip, port).into()),
        Err(_) => Place::Name { host: host.to_owned(), port },
    }
}

fn unix(name: &str) -> Result<Place, &'static str> {
    // The system would silently take the part before the zero byte.
    if name.contains('\0') {
        return Err("the path holds a zero byte");
    }
    let name = match name.strip_prefix('@') {
        Some("") => return Err("the abstract name is empty"),
        Some(name) => UnixName::Abstract(name.as_bytes().into()),
        None if name.is_empty() => return Err("the path is missing"),
        None => UnixName::Path(PathBuf::from(name)),
    };
    Ok(Place::Addr(Addr::Unix(name)))
}

impl From<&str> for Endpoint {
    fn from(text: &str) -> Self {
        Endpoint(
            Endpoint::parse(text)
                .unwrap_or_else(|problem| Place::Bad { given: text.to_owned(), problem }),
        )
    }
}

impl From<&String> for Endpoint {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Endpoint {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Addr> for Endpoint {
    fn from(addr: Addr) -> Self {
        Endpoint(Place::Addr(addr))
    }
}

impl From<&Addr> for Endpoint {
    fn from(addr: &Addr) -> Self {
        addr.clone().into()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Endpoint(Place::Addr(addr.into()))
    }
}

impl From<(IpAddr, u16)> for Endpoint {
    fn from((ip, port): (IpAddr, u16)) -> Self {
        SocketAddr::new(ip, port).into()
    }
}

impl From<(&str, u16)> for Endpoint {
    fn from((host, port): (&str, u16)) -> Self {
        Endpoint(named(host, port))
    }
}

/// As it was given.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Addr(addr) => addr.fmt(f),
            Place::Name { host, port } => write!(f, "{host}:{port}"),
            Place::Bad { given, .. } => f.write_str(given),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn bad(text: &str) -> &'static str {
        Endpoint::parse(text).expect_err(text)
    }

    #[test]
    fn text_that_is_an_address_prints_as_it_was_given() {
        for text in [
            "127.0.0.1:50007",
            "[::1]:80",
            "[fe80::1%3]:80",
            "localhost:0",
            "unix:/run/app.sock",
            "unix:relative",
            "unix:@abstract",
        ] {
            let endpoint = Endpoint::from(text);
            assert!(endpoint.route().is_ok(), "{text}");
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn a_literal_needs_no_lookup() {
        for endpoint in [Endpoint::from("127.0.0.1:7"), ("127.0.0.1", 7).into(), ("::1", 7).into()]
        {
            assert!(matches!(endpoint.route(), Ok(Route::Direct(_))));
        }
        assert!(matches!(
            Endpoint::from("localhost:7").route(),
            Ok(Route::Lookup { host: "localhost", port: 7 })
        ));
    }

    #[test]
    fn text_that_is_no_address_says_what_is_wrong() {
        for (text, problem) in [
            ("", "the port is missing"),
            ("localhost", "the port is missing"),
            (":80", "the host is missing"),
            ("::1:80", "brackets"),
            ("[::g]:80", "brackets"),
            ("localhost:", "not a number"),
            ("localhost:65536", "not a number"),
            ("localhost:-1", "not a number"),
            ("unix:", "the path is missing"),
            ("unix:@", "the abstract name is empty"),
            ("unix:/a\0b", "zero byte"),
        ] {
            assert!(bad(text).contains(problem), "{text:?}: {}", bad(text));
        }
    }
}
