//! Every family of addresses, and several in one server.

use super::client::Client;
use super::role::Role;
use super::stage::{Asked, Failure, OrFail, Stage, bind, check};
use crate::net::Addr;
use crate::server::Builder;

/// Echoes over every address that `binds` bind, several clients each.
fn echoes_over(stage: &Stage, binds: &[&str]) -> Result<Vec<Addr>, Failure> {
    let all = |builder: Builder| binds.iter().try_fold(builder, |b, addr| bind(b, addr));
    let server = stage.spawn(stage.ready(all)?, |peer, _| {
        let from = peer.addr().to_string();
        Role::echo().open(move |cx| {
            cx.send(format!("{from} {}\n", cx.local_addr()?));
            Ok(crate::Action::Continue)
        })
    })?;
    let addrs = server.handle().local_addrs().to_vec();
    check!(addrs.len() == binds.len(), "{binds:?} are told to be {addrs:?}");
    let mut clients = Vec::new();
    for addr in addrs.iter().chain(&addrs) {
        let mut client = server.connect_to(addr)?;
        let line = client.read_until(b'\n')?;
        let expected = format!("{} {addr}", client.local_addr()?);
        check!(line == expected.as_bytes(), "`{}`, not `{expected}`", line.escape_ascii());
        clients.push(client);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("{n};").as_bytes())?;
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.expect(format!("{n};").as_bytes())?;
        client.finish()?;
        client.expect_end()?;
    }
    Ok(addrs)
}

pub(super) fn connections_come_over_ipv4(stage: &Stage) -> Asked {
    let addrs = echoes_over(stage, &["127.0.0.1:0"])?;
    check!(addrs[0].as_tcp().is_some_and(|a| a.is_ipv4() && a.port() > 0), "{addrs:?}");
    Ok(())
}

pub(super) fn connections_come_over_ipv6(stage: &Stage) -> Asked {
    if let Err(error) = std::net::TcpListener::bind("[::1]:0") {
        return skip(&format!("this machine has no IPv6: {error}"));
    }
    let addrs = echoes_over(stage, &["[::1]:0"])?;
    check!(addrs[0].as_tcp().is_some_and(|a| a.is_ipv6() && a.port() > 0), "{addrs:?}");
    Ok(())
}

pub(super) fn several_addresses_make_one_server(stage: &Stage) -> Asked {
    let addrs = echoes_over(stage, &["127.0.0.1:0", "127.0.0.1:0", "127.0.0.2:0"])?;
    check!(addrs[0] != addrs[1], "two binds have the address {}", addrs[0]);
    Ok(())
}

pub(super) fn an_existing_listener_is_served(stage: &Stage) -> Asked {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").or_fail("a listener")?;
    let addr = listener.local_addr().or_fail("its address")?;
    let mut early = Client::connect(&addr.into(), None)?;
    let ready = stage.ready(|b| b.listener(listener).or_fail("it is taken"))?;
    let server = stage.spawn(ready, |_, _| Role::echo())?;
    check!(server.addr() == &addr.into(), "it listens on {}, not {addr}", server.addr());
    server.greet(&mut early)?;
    early.send(b"early")?;
    early.expect(b"early")
}

pub(super) fn connections_come_over_unix_sockets(stage: &Stage) -> Asked {
    over_unix(stage)
}

#[cfg(unix)]
fn over_unix(stage: &Stage) -> Asked {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("polyserve-conformance-{}-{number}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let text = format!("unix:{}", path.display());
    let mut binds = vec![text.as_str(), "127.0.0.1:0"];
    let hidden = format!("unix:@polyserve-conformance-{}-{number}", std::process::id());
    if cfg!(target_os = "linux") {
        binds.push(&hidden);
    }
    echoes_over(stage, &binds).map(drop)
}

#[cfg(not(unix))]
fn over_unix(_stage: &Stage) -> Asked {
    skip("this system has no Unix sockets")
}

/// Says that a question could not be asked, which is a failure where all of them must be.
fn skip(reason: &str) -> Asked {
    println!("SKIP: {reason}");
    check!(std::env::var_os("POLYSERVE_REQUIRE").is_none_or(|v| v != "1"), "{reason}");
    Ok(())
}
