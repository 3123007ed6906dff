//! The server's side.

use crate::protocol::{Answer, Call, Fault, Method, ServerCodec, Value};
use crate::workers::Workers;
use polyserve::codec::EncodeError;
use polyserve::{Action, BoxError, Framed, Replies, Service};
use std::ops::ControlFlow;

/// The most that is looked through for prime numbers: it takes a byte of memory for each.
const MOST_PRIMES: u32 = 10_000_000;

/// One connection. The workers are shared by all.
pub(crate) struct Rpc {
    workers: Workers,
}

impl Rpc {
    pub(crate) fn framed(workers: &Workers) -> Framed<ServerCodec, Rpc> {
        Framed::service(ServerCodec::new(), Rpc { workers: workers.clone() })
    }

    /// Counts on another thread, so that an event loop is not held up meanwhile. The replies to
    /// the calls behind this one wait for it.
    fn primes(&self, id: u64, below: u32, replies: &mut Replies<'_, ServerCodec>) -> Sent {
        if below > MOST_PRIMES {
            let (asked, most) = (below.into(), MOST_PRIMES.into());
            return replies.send(&Answer { id, result: Err(Fault::TooMuch { asked, most }) });
        }
        let reply = replies.defer();
        let count = move |accepted: bool| {
            let result =
                if accepted { Ok(Value::Primes(count_primes(below))) } else { Err(Fault::Busy) };
            // A client that is gone needs no answer.
            let _ = reply.send(&Answer { id, result });
        };
        self.workers.run(count);
        Ok(())
    }
}

type Sent = Result<(), EncodeError>;

impl Service<ServerCodec> for Rpc {
    fn call(
        &mut self,
        Call { id, method }: Call,
        replies: &mut Replies<'_, ServerCodec>,
    ) -> Result<Action, BoxError> {
        match method {
            Method::Add(numbers) => {
                let sum = numbers.iter().try_fold(0_i64, |sum, n| sum.checked_add(*n));
                let result = sum.map(Value::Sum).ok_or(Fault::Overflow);
                replies.send(&Answer { id, result })?;
            }
            Method::Concat(texts) => {
                replies.send(&Answer { id, result: Ok(Value::Text(texts.concat())) })?;
            }
            Method::Primes(below) => self.primes(id, below, replies)?,
            Method::Numbers { from, count } => numbers(id, from, count, replies)?,
        }
        Ok(Action::Continue)
    }
}

/// Streams: never more is made than the client's system takes and the output may hold.
fn numbers(id: u64, from: u64, count: u64, replies: &mut Replies<'_, ServerCodec>) -> Sent {
    let Some(end) = from.checked_add(count) else {
        return replies.send(&Answer { id, result: Err(Fault::Overflow) });
    };
    let mut numbers = (from..end).map(Value::Number).chain([Value::End]);
    replies.stream(move |replies| {
        let Some(value) = numbers.next() else { return Ok(ControlFlow::Break(())) };
        replies.send(&Answer { id, result: Ok(value) })?;
        Ok(ControlFlow::Continue(()))
    });
    Ok(())
}

/// By the sieve of Eratosthenes.
fn count_primes(below: u32) -> u64 {
    let below = below as usize;
    let mut is_composite = vec![false; below];
    let mut count = 0;
    for n in 2..below {
        if is_composite[n] {
            continue;
        }
        count += 1;
        (n.saturating_mul(n)..below).step_by(n).for_each(|multiple| is_composite[multiple] = true);
    }
    count
}
