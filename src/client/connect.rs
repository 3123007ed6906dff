//! From an endpoint to a connected socket, within one deadline.

use super::builder::Settings;
use super::deadline::Deadline;
use super::endpoint::{Endpoint, Route};
use super::error::{Attempt, ConnectError};
use super::resolve::resolve;
use crate::addr::Addr;
use crate::net::Stream;

/// Connects to the first address that answers.
pub(super) fn connect(
    endpoint: &Endpoint,
    config: &Settings,
) -> Result<(Stream, Addr), ConnectError> {
    let deadline = Deadline::start(config.connect_timeout);
    let addrs = addresses(endpoint, config, &deadline)?;
    let mut attempts = Vec::new();
    for (i, addr) in addrs.iter().enumerate() {
        let timeout = deadline.share(addrs.len() - i);
        match crate::net::connect(addr, timeout, config.nodelay) {
            Ok(stream) => return Ok((stream, addr.clone())),
            Err(error) => attempts.push(Attempt { addr: addr.clone(), timeout, error }),
        }
    }
    Err(ConnectError::Unreachable {
        target: endpoint.to_string().into(),
        attempts: attempts.into(),
    })
}

fn addresses(
    endpoint: &Endpoint,
    config: &Settings,
    deadline: &Deadline,
) -> Result<Vec<Addr>, ConnectError> {
    Ok(match endpoint.route()? {
        Route::Direct(addr) => vec![addr.clone()],
        Route::Lookup { host, port } => {
            let deadline = deadline.within(config.resolve_timeout);
            resolve(&config.resolver, host, port, &deadline)?.into_iter().map(Addr::from).collect()
        }
    })
}
