//! Why a request is not served.

use http::StatusCode;
use polyserve::codec::DecodeError;

/// Why a request is not served: what the client is told, and in words for whoever reads the log.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{status}: {problem}")]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    problem: &'static str,
}

impl Refusal {
    pub(crate) const fn new(status: StatusCode, problem: &'static str) -> Self {
        Self { status, problem }
    }

    pub(crate) const fn bad_request(problem: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, problem)
    }

    /// What the client is told of bytes that are no request, or no whole one.
    pub(crate) fn status_of(error: &DecodeError) -> StatusCode {
        match error {
            DecodeError::Other(error) => error
                .downcast_ref::<Refusal>()
                .map_or(StatusCode::BAD_REQUEST, |refusal| refusal.status),
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<Refusal> for DecodeError {
    fn from(refusal: Refusal) -> Self {
        DecodeError::other(refusal)
    }
}
