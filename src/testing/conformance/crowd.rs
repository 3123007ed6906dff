//! What can go wrong only among several connections: whose wake is whose.

use super::client::Client;
use super::role::Role;
use super::stage::{Asked, OrFail, PATIENCE, Running, Stage};
use crate::handler::{Action, Sender};
use std::sync::{Arc, Mutex, mpsc};

/// A client, and a sender of its connection.
type Member = (Client, Sender);

/// Connects one after the other, so that each sender is that of its client.
fn gather(
    server: &Running,
    take: &mpsc::Receiver<Sender>,
    n: u8,
) -> Result<Vec<Member>, super::Failure> {
    let join = |number: u8| {
        let mut client = server.connect()?;
        client.send(&[number])?;
        client.expect(&[number])?;
        Ok((client, take.recv_timeout(PATIENCE).or_fail("a handler gives its sender")?))
    };
    (0..n).map(join).collect()
}

pub(super) fn a_push_finds_its_connection_after_others_have_left(stage: &Stage) -> Asked {
    let (give, take) = mpsc::channel();
    let give = Mutex::new(give);
    let server = stage.serve(move |_, _| {
        let give = give.lock().unwrap().clone();
        Role::echo().data(move |input, cx| {
            cx.send(input.take());
            let _ = give.send(cx.sender());
            Ok(Action::Continue)
        })
    })?;
    let mut members = gather(&server, &take, 8)?;
    for left in 1..members.len() {
        // The first, the middle and the last leave in turn, and those who stay are all pushed to.
        let who = [0, members.len() / 2, members.len() - 1][left % 3];
        let (mut client, _) = members.remove(who);
        client.finish()?;
        client.expect_end()?;
        server.log.wait(&format!("{left} ends"), |seen| seen.closed.len() == left)?;
        for (number, (client, sender)) in members.iter_mut().enumerate() {
            sender.send(vec![number as u8]).or_fail("a push is taken")?;
            client.expect(&[number as u8])?;
        }
    }
    Ok(())
}

pub(super) fn a_push_to_all_from_a_callback_reaches_all(stage: &Stage) -> Asked {
    let all = Arc::new(Mutex::new(Vec::<Sender>::new()));
    let server = stage.serve(move |_, _| {
        let all = Arc::clone(&all);
        Role::echo().data(move |input, cx| {
            let mut all = all.lock().unwrap();
            match input.take() {
                b"!" => all.iter().for_each(|sender| drop(sender.send("to all"))),
                other => {
                    cx.send(other);
                    all.push(cx.sender());
                }
            }
            Ok(Action::Continue)
        })
    })?;
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut client = server.connect()?;
        client.send(&[number])?;
        client.expect(&[number])?;
        clients.push(client);
    }
    for speaker in 0..clients.len() {
        clients[speaker].send(b"!")?;
        clients.iter_mut().try_for_each(|client| client.expect(b"to all"))?;
    }
    Ok(())
}
