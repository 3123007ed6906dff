//! How long a connection that was closed waits for its peer's end.

use super::client::Client;
use super::role::Role;
use super::stage::{Asked, Failure, OrFail, PATIENCE, Running, Stage, check, wait_until};
use crate::connection::{Limits, Timeouts};
use crate::handler::Action;
use std::sync::Arc;
use std::time::Duration;

/// Far longer than any question may take.
const FOREVER: Duration = Duration::from_secs(3600);

/// A server that says goodbye to the first byte.
fn serve(
    stage: &Stage,
    change: impl FnOnce(&mut Limits, &mut Timeouts),
) -> Result<Arc<Running>, Failure> {
    let (mut limits, mut timeouts) = (Limits::default(), Timeouts::default());
    (timeouts.lingering_idle, timeouts.lingering_total) = (FOREVER, FOREVER);
    limits.lingering = usize::MAX;
    change(&mut limits, &mut timeouts);
    stage.serve_with(
        |b| b.limits(limits).timeouts(timeouts),
        |_, _| {
            Role::echo().data(|_, cx| {
                cx.send("goodbye");
                Ok(Action::Close)
            })
        },
    )
}

/// A client that has seen the server's end, and keeps its own open.
fn dismissed(server: &Running) -> Result<Client, Failure> {
    let mut client = server.connect()?;
    client.send(b"x")?;
    client.expect(b"goodbye")?;
    client.expect_end()?;
    Ok(client)
}

fn wait_for_its_place(server: &Running) -> Asked {
    wait_until("its place to be free", || server.control().stats().live() == 0)
}

pub(super) fn lingering_ends_when_nothing_comes(stage: &Stage) -> Asked {
    let server = serve(stage, |_, t| t.lingering_idle = Duration::from_millis(100))?;
    let _client = dismissed(&server)?;
    wait_for_its_place(&server)
}

pub(super) fn lingering_ends_even_while_something_comes(stage: &Stage) -> Asked {
    let server = serve(stage, |_, t| t.lingering_total = Duration::from_millis(200))?;
    let mut client = dismissed(&server)?;
    let drips = || {
        // It fails in the end.
        let _ = client.try_send(b"x");
        server.control().stats().live() == 0
    };
    wait_until("its place to be free", drips)
}

pub(super) fn lingering_throws_away_no_more_than_its_limit(stage: &Stage) -> Asked {
    let server = serve(stage, |l, _| l.lingering = 64 * 1024)?;
    let client = dismissed(&server)?;
    let socket = client.socket();
    socket.set_write_timeout(Some(PATIENCE)).or_fail("SO_SNDTIMEO")?;
    let chunk = [7; 16 * 1024];
    // What is not read any more is refused by a reset.
    let mut sent = 0;
    while let Ok(n) = socket.send(&chunk) {
        sent += n;
        check!(sent < 64 * 1024 * 1024, "{sent} bytes were taken after the end");
    }
    wait_for_its_place(&server)
}

pub(super) fn a_peer_that_leaves_ends_the_lingering(stage: &Stage) -> Asked {
    let server = serve(stage, |_, _| ())?;
    drop(dismissed(&server)?);
    wait_for_its_place(&server)
}
