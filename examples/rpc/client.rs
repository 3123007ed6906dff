//! The client's side: methods instead of messages.

use crate::protocol::{Answer, Call, ClientCodec, Fault, Method, Value};
use polyserve::Client;
use polyserve::client::{ClientError, Endpoint, Pool, Retry};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Calls a server. Any number of threads may share it: each call takes a connection of a pool.
pub(crate) struct RpcClient {
    pool: Pool<ClientCodec>,
    next_id: AtomicU64,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// The server said so.
    #[error("the call failed: {0}")]
    Fault(Fault),
    /// It did not come to that.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server answered something else than was asked.
    #[error("the server answered call {id} by {answer:?}")]
    Unexpected { id: u64, answer: Option<Answer> },
}

impl RpcClient {
    /// Connects when it is needed, and waits for at most `timeout` for each answer; a server that
    /// is not up yet is waited for as well.
    pub(crate) fn new(server: impl Into<Endpoint>, timeout: Duration) -> Self {
        let retry = Retry::new().first_delay(Duration::from_millis(100)).within(timeout);
        let client = Client::builder().codec(ClientCodec::new()).connect_timeout(timeout);
        let pool = client.read_timeout(timeout).pool(server).retry(retry).build();
        Self { pool, next_id: AtomicU64::new(1) }
    }

    pub(crate) fn add(&self, numbers: Vec<i64>) -> Result<i64, RpcError> {
        self.call(Method::Add(numbers), |value| match value {
            Value::Sum(n) => Some(n),
            _ => None,
        })
    }

    pub(crate) fn concat(&self, texts: Vec<String>) -> Result<String, RpcError> {
        self.call(Method::Concat(texts), |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    pub(crate) fn primes(&self, below: u32) -> Result<u64, RpcError> {
        self.call(Method::Primes(below), |value| match value {
            Value::Primes(n) => Some(n),
            _ => None,
        })
    }

    /// Hands each number to `take` as it comes, until that has enough; then the connection is closed.
    /// A `take` that is slow holds up the server's stream and nothing else.
    pub(crate) fn numbers(
        &self,
        from: u64,
        count: u64,
        mut take: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), RpcError> {
        let call = self.number(Method::Numbers { from, count });
        let mut client = self.pool.get()?;
        client.send(&call)?;
        loop {
            match self.value(&call, client.recv()?)? {
                Value::Number(n) if take(n).is_continue() => (),
                Value::Number(_) => {
                    client.discard();
                    return Ok(());
                }
                Value::End => return Ok(()),
                other => return Err(unexpected(&call, other)),
            }
        }
    }

    /// No method changes anything, so each call may be made twice.
    fn call<T>(
        &self,
        method: Method,
        of_value: impl FnOnce(Value) -> Option<T>,
    ) -> Result<T, RpcError> {
        let call = self.number(method);
        let value = self.value(&call, Some(self.pool.call_idempotent(&call)?))?;
        of_value(value.clone()).ok_or_else(|| unexpected(&call, value))
    }

    fn number(&self, method: Method) -> Call {
        Call { id: self.next_id.fetch_add(1, Ordering::Relaxed), method }
    }

    fn value(&self, call: &Call, answer: Option<Answer>) -> Result<Value, RpcError> {
        match answer {
            Some(Answer { id, result }) if id == call.id => result.map_err(RpcError::Fault),
            answer => Err(RpcError::Unexpected { id: call.id, answer }),
        }
    }
}

fn unexpected(call: &Call, value: Value) -> RpcError {
    let id = call.id;
    RpcError::Unexpected { id, answer: Some(Answer { id, result: Ok(value) }) }
}
