//! What a request can fail with, and how Docker says it.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use thiserror::Error;

/// A request that failed: each kind has a status code, the text is the
/// `message` that the CLI prints after "Error response from daemon: ".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApiError {
    /// What was asked for is so already.
    #[error("not modified")]
    NotModified,
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The request is not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It can't be done in the present state.
    #[error("{0}")]
    Conflict(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// This engine doesn't do that.
    #[error("{0}")]
    NotImplemented(String),
    /// Only a swarm manager does that.
    #[error("{0}")]
    Unavailable(String),
}

impl ApiError {
    /// The same failure with words before its text.
    pub fn context(self, before: &str) -> ApiError {
        let with = |text: String| format!("{before}{text}");
        match self {
            ApiError::NotModified => ApiError::NotModified,
            ApiError::Invalid(text) => ApiError::Invalid(with(text)),
            ApiError::Forbidden(text) => ApiError::Forbidden(with(text)),
            ApiError::NotFound(text) => ApiError::NotFound(with(text)),
            ApiError::Conflict(text) => ApiError::Conflict(with(text)),
            ApiError::Failed(text) => ApiError::Failed(with(text)),
            ApiError::NotImplemented(text) => ApiError::NotImplemented(with(text)),
            ApiError::Unavailable(text) => ApiError::Unavailable(with(text)),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            ApiError::NotModified => StatusCode::NOT_MODIFIED,
            ApiError::Invalid(_) => StatusCode::BAD_REQUEST,
            ApiError::Forbidden(_) => StatusCode::FORBIDDEN,
            ApiError::NotFound(_) => StatusCode::NOT_FOUND,
            ApiError::Conflict(_) => StatusCode::CONFLICT,
            ApiError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            ApiError::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            ApiError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self == ApiError::NotModified {
            return self.status().into_response();
        }
        (self.status(), Json(json!({ "message": self.to_string() }))).into_response()
    }
}

/// Words before the text of any error, for `map_err`.
pub(crate) fn failed<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> ApiError {
    move |error| ApiError::Failed(format!("{what}: {error}"))
}
