//! Bodies: JSON as Go reads it, requests that stall, refusals of the HTTP
//! library in Docker's form.

use std::time::Duration;

use axum::{
    Json,
    body::{Body, to_bytes},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use serde_json::{Value, error::Category, json};
use thiserror::Error;

/// A body may pause this long between two pieces; a client that is gone
/// without a word would hold its connection for ever.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// No refusal of the library is longer.
const REFUSAL_MAX: usize = 4096;

/// Why a body is not what it should be, as dockerd says after `invalid JSON: `.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum BodyError {
    /// There is no body.
    #[error("got EOF while reading request body")]
    Empty,
    /// It breaks off.
    #[error("unexpected EOF")]
    Short,
    /// Something stands after the value.
    #[error("unexpected content after JSON")]
    Long,
    /// It is no JSON, or not of the right form.
    #[error("{0}")]
    Form(String),
}

/// Reads a body as Go would: a null is the same as nothing.
pub(crate) fn from_body<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let mut value = match values.next() {
        None => return Err(BodyError::Empty),
        Some(Ok(value)) => value,
        Some(Err(error)) if error.classify() == Category::Eof => return Err(BodyError::Short),
        Some(Err(error)) => return Err(BodyError::Form(error.to_string())),
    };
    if values.next().is_some() {
        return Err(BodyError::Long);
    }
    strip_nulls(&mut value);
    serde_json::from_value(value).map_err(|error| BodyError::Form(error.to_string()))
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// The body, which fails when nothing comes for too long.
pub(crate) fn patient(body: Body) -> Body {
    let pieces = futures_util::stream::unfold(body, |mut body| async move {
        loop {
            let frame = match tokio::time::timeout(PAUSE_MAX, body.frame()).await {
                Ok(frame) => frame?,
                Err(_) => return Some((Err(axum::Error::new("the request's body stalled")), Body::empty())),
            };
            match frame.map(|frame| frame.into_data()) {
                Ok(Ok(bytes)) => return Some((Ok(bytes), body)),
                // Trailers say nothing to us.
                Ok(Err(_)) => {}
                Err(error) => return Some((Err(error), Body::empty())),
            }
        }
    });
    Body::from_stream(pieces)
}

/// A refusal in Docker's form: `{"message": …}`. A path or method that the
/// routes don't know is a page that is not found.
pub(crate) async fn in_docker_s_form(response: Response) -> Response {
    let status = response.status();
    let is_ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !status.is_client_error() || is_ours {
        return response;
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        return (StatusCode::NOT_FOUND, Json(json!({ "message": "page not found" }))).into_response();
    }
    let words = to_bytes(response.into_body(), REFUSAL_MAX).await.unwrap_or_default();
    let words = String::from_utf8_lossy(&words).into_owned();
    (status, Json(json!({ "message": words }))).into_response()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Sample {
        name: String,
        count: i64,
        more: Vec<Sample>,
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said_in_dockerd_s_words() {
        let refused = |text: &str| from_body::<Sample>(text.as_bytes()).unwrap_err();
        assert_eq!(refused(""), BodyError::Empty);
        assert_eq!(refused(r#"{"name":"#), BodyError::Short);
        assert_eq!(refused("{} {}"), BodyError::Long);
        assert!(matches!(refused("[1"), BodyError::Short | BodyError::Form(_)));
        assert!(matches!(refused(r#"{"count":"one"}"#), BodyError::Form(_)));
        let read: Sample = from_body(br#"{"name":null,"count":3,"more":[{"name":"in"}]}"#).unwrap();
        assert_eq!((read.name.as_str(), read.count, read.more[0].name.as_str()), ("", 3, "in"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_body::<Sample>(&bytes);
        }

        #[test]
        fn deep_and_odd_json_is_read_or_refused(depth in 0_usize..600, text in r#"[\[\]{}":,a0.e-]{0,60}"#) {
            let _ = from_body::<Sample>(format!("{}{}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
            let _ = from_body::<Sample>(text.as_bytes());
        }
    }
}
