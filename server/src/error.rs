//! What a person reads when a request can't be served.

use std::fmt;

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use drydock_agent::AgentError;
use drydock_protocol::host::Full;
use serde_json::json;

use crate::{
    db::{DbError, EndReason},
    host::HostError,
    sessions::room,
};

/// Why a request is not served. As a response it is JSON; pages turn it into a
/// page of their own.
#[derive(Debug)]
pub enum AppError {
    /// There is no such thing, or it is somebody else's: the two look the same.
    NotFound,
    /// A session of this learner has ended.
    Ended {
        /// Why.
        reason: EndReason,
        /// When, in seconds since the epoch.
        time: i64,
    },
    /// The browser has no cookie of ours.
    NoLearner,
    /// The request came from another site.
    OtherSite,
    /// The request makes no sense, in words.
    Bad(String),
    /// It can't be done as things are, in words.
    Conflict(String),
    /// The body is over this many bytes.
    TooLarge(usize),
    /// There is no room. Try again after so many seconds.
    Full {
        /// What does not suffice.
        full: Full,
        /// Seconds until a session's time is over.
        retry_seconds: u64,
    },
    /// Somebody asks for too much; in words. Try again after so many seconds.
    TooMany {
        /// What there is too much of.
        message: String,
        /// Seconds until it may work.
        retry_seconds: u64,
    },
    /// The server can't do it right now, in words.
    Busy(String),
    /// Something broke on our side. The code is in the log too.
    Internal {
        /// Eight letters and digits for the instructor.
        code: String,
    },
}

impl AppError {
    /// An error of ours: logged here, shown as a code.
    pub fn internal(error: impl fmt::Display) -> AppError {
        let code = incident_code();
        tracing::error!(code, %error, "request failed");
        AppError::Internal { code }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            AppError::NotFound => StatusCode::NOT_FOUND,
            AppError::Ended { .. } => StatusCode::GONE,
            AppError::NoLearner => StatusCode::UNAUTHORIZED,
            AppError::OtherSite => StatusCode::FORBIDDEN,
            AppError::Bad(_) => StatusCode::BAD_REQUEST,
            AppError::Conflict(_) => StatusCode::CONFLICT,
            AppError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            AppError::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            AppError::Full { .. } | AppError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            AppError::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds after which trying again may help.
    pub fn retry_seconds(&self) -> Option<u64> {
        match self {
            AppError::Full { retry_seconds, .. } | AppError::TooMany { retry_seconds, .. } => {
                Some(*retry_seconds)
            }
            AppError::Busy(_) => Some(2),
            _ => None,
        }
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppError::NotFound => f.write_str("there is no such thing here"),
            AppError::Ended { .. } => f.write_str("this session has ended"),
            AppError::NoLearner => {
                f.write_str("open a page of this server first: this browser has no cookie of it")
            }
            AppError::OtherSite => f.write_str("this request came from another site, so it was not done"),
            AppError::Bad(words) | AppError::Conflict(words) | AppError::Busy(words) => f.write_str(words),
            AppError::TooLarge(limit) => write!(f, "the request is over {limit} bytes"),
            AppError::Full { full, .. } => f.write_str(&room::words(full)),
            AppError::TooMany { message, .. } => f.write_str(message),
            AppError::Internal { code } => {
                write!(f, "something broke on the server, not on your side; its code is {code}")
            }
        }
    }
}

impl std::error::Error for AppError {}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let body = match &self {
            AppError::Internal { code } => json!({ "message": self.to_string(), "code": code }),
            AppError::Ended { reason, time } => {
                json!({ "message": self.to_string(), "reason": reason, "time": time })
            }
            AppError::Full { full, .. } => {
                json!({ "message": self.to_string(), "full": true, "resource": full.resource })
            }
            _ => json!({ "message": self.to_string() }),
        };
        let mut response = (self.status(), Json(body)).into_response();
        if let Some(seconds) = self.retry_seconds() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<HostError> for AppError {
    fn from(error: HostError) -> AppError {
        match error {
            error if error.is_not_found() => AppError::NotFound,
            error if error.is_away() => {
                tracing::warn!(%error, "host is away");
                AppError::Busy(
                    "the part of the server that makes nodes does not answer; it is being restarted".into(),
                )
            }
            HostError::Refused { full: Some(full), .. } => {
                let now = crate::db::now() as u64;
                let soonest = full.soonest_deadline.map_or(60, |deadline| deadline.saturating_sub(now));
                AppError::Full { full, retry_seconds: soonest.clamp(5, 300) }
            }
            HostError::Refused { status: StatusCode::CONFLICT, message, .. } => AppError::Conflict(message),
            HostError::Refused { status: StatusCode::BAD_REQUEST, message, .. } => AppError::Bad(message),
            HostError::Refused {
                status: StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE,
                message,
                ..
            } => AppError::Busy(message),
            error => AppError::internal(error),
        }
    }
}

impl From<DbError> for AppError {
    fn from(error: DbError) -> AppError {
        AppError::internal(error)
    }
}

impl From<AgentError> for AppError {
    fn from(error: AgentError) -> AppError {
        match error {
            AgentError::Refused(words) => AppError::Conflict(words),
            AgentError::NoSuchFile => AppError::NotFound,
            AgentError::TooLong { limit } => {
                AppError::Conflict(format!("the file is longer than {limit} bytes"))
            }
            error => {
                tracing::warn!(%error, "node does not answer");
                AppError::Busy("the node does not answer".into())
            }
        }
    }
}

fn incident_code() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let millis = jiff::Timestamp::now().as_millisecond() as u64;
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}", (millis.wrapping_mul(0x9e37_79b9) ^ count) as u32)
}
