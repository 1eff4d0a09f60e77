//! The server's API.

use js_sys::Uint8Array;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, RequestInit, Response};

use crate::dom;

/// Why a request did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The HTTP status; 0 when no answer came.
    pub(crate) status: u16,
    /// A sentence for a person.
    pub(crate) message: String,
    /// All nodes are in use.
    pub(crate) full: bool,
    /// With status 410: why the session has ended, and when in seconds since
    /// the epoch.
    pub(crate) ended: Option<(String, u64)>,
    /// Seconds after which trying again may help.
    pub(crate) retry_seconds: Option<u64>,
}

/// A session as the page knows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) seconds_left: f64,
    /// Seconds until it ends because nobody types.
    #[serde(default)]
    pub(crate) idle_left: Option<f64>,
    /// Seconds that Extend adds now; 0 when it can't be extended.
    pub(crate) extend_by: f64,
    /// Others are in line, so Extend adds less.
    #[serde(default)]
    pub(crate) others_wait: bool,
    /// Minutes without typing after which it ends.
    pub(crate) idle_minutes: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) nodes_max: usize,
}

/// A node of the session.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) address: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) cut: bool,
    #[serde(default)]
    pub(crate) error: Option<String>,
    /// How it does; the server tells now and then.
    #[serde(default)]
    pub(crate) health: Option<Health>,
    /// The ports that it serves; the server tells when that changes.
    #[serde(default)]
    pub(crate) ports: Option<Vec<Port>>,
}

/// A port that a node serves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Port {
    pub(crate) port: u16,
    /// The container that it leads to, if any.
    pub(crate) container: Option<String>,
    /// Where a browser finds it.
    pub(crate) url: Option<String>,
}

/// How a node does.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Health {
    /// Whether it answered when it was asked last.
    pub(crate) answers: bool,
    /// Memory in use, in MiB.
    pub(crate) memory_mb: Option<u64>,
    /// The most it may have.
    pub(crate) memory_limit_mb: Option<u64>,
    /// How often the kernel ended a program of it for want of memory.
    pub(crate) oom_kills: u64,
    /// The name of the last of those.
    pub(crate) oom_name: Option<String>,
}

/// What a reset would delete.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Contents {
    pub(crate) containers: u64,
    pub(crate) images: u64,
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct CheckResult {
    pub(crate) check: usize,
    pub(crate) passed: bool,
    #[serde(default)]
    pub(crate) message: String,
}

/// What the server says to an answer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) right: bool,
    #[serde(default)]
    pub(crate) replies: Vec<Reply>,
}

/// What is said to one answer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Reply {
    pub(crate) answer: usize,
    pub(crate) right: bool,
    #[serde(default)]
    pub(crate) reply_html: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
    full: bool,
    reason: String,
    time: u64,
}

/// Asks, and reads the answer's JSON.
pub(crate) async fn ask<T: DeserializeOwned>(
    method: &str,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<T, Failure> {
    let text = text(method, path, body).await?;
    let text = if text.is_empty() { "null" } else { &text };
    serde_json::from_str(text)
        .map_err(|error| broken(format!("the server's answer is not understood: {error}")))
}

/// Asks for JSON without sending any.
pub(crate) async fn get<T: DeserializeOwned>(path: &str) -> Result<T, Failure> {
    ask("GET", path, None::<&()>).await
}

/// Does something, whatever it answers.
pub(crate) async fn tell(method: &str, path: &str, body: Option<&impl Serialize>) -> Result<(), Failure> {
    text(method, path, body).await.map(drop)
}

/// Asks, and reads the answer's text.
pub(crate) async fn text(method: &str, path: &str, body: Option<&impl Serialize>) -> Result<String, Failure> {
    let json = body
        .map(|body| serde_json::to_string(body).map_err(|error| broken(error.to_string())))
        .transpose()?;
    let body = json.as_deref().map(|json| (JsValue::from_str(json), "application/json"));
    answer_text(&send(method, path, body).await?).await
}

/// Sends bytes, as a file's content.
pub(crate) async fn put_bytes(path: &str, bytes: &[u8]) -> Result<(), Failure> {
    let body = JsValue::from(Uint8Array::from(bytes));
    send("PUT", path, Some((body, "application/octet-stream"))).await.map(drop)
}

/// Reads a file's text; `None` when there is none.
pub(crate) async fn get_text(path: &str) -> Result<Option<String>, Failure> {
    match send("GET", path, None).await {
        Ok(response) if response.status() == 204 => Ok(None),
        Ok(response) => answer_text(&response).await.map(Some),
        Err(failure) => Err(failure),
    }
}

async fn send(method: &str, path: &str, body: Option<(JsValue, &str)>) -> Result<Response, Failure> {
    let init = RequestInit::new();
    init.set_method(method);
    if let Some((body, kind)) = body {
        let headers = Headers::new().map_err(|error| broken(dom::words(&error)))?;
        headers.set("Content-Type", kind).map_err(|error| broken(dom::words(&error)))?;
        init.set_headers(&headers);
        init.set_body(&body);
    }
    let sent = JsFuture::from(dom::window().fetch_with_str_and_init(path, &init)).await;
    let response: Response = sent.map_err(|error| broken(dom::words(&error)))?.unchecked_into();
    if response.ok() { Ok(response) } else { Err(refusal(&response).await) }
}

async fn refusal(response: &Response) -> Failure {
    let status = response.status();
    let retry_seconds =
        response.headers().get("Retry-After").ok().flatten().and_then(|seconds| seconds.parse().ok());
    let text = answer_text(response).await.unwrap_or_default();
    let said: Refusal = serde_json::from_str(&text).unwrap_or_default();
    let message =
        if said.message.is_empty() { format!("the server answered {status}") } else { said.message };
    let ended = (status == 410).then_some((said.reason, said.time));
    Failure { status, message, full: said.full, ended, retry_seconds }
}

async fn answer_text(response: &Response) -> Result<String, Failure> {
    let promise = response.text().map_err(|error| broken(dom::words(&error)))?;
    let text = JsFuture::from(promise).await.map_err(|error| broken(dom::words(&error)))?;
    Ok(text.as_string().unwrap_or_default())
}

/// A failure that is not the server's.
pub(crate) fn broken(message: String) -> Failure {
    Failure { status: 0, message, full: false, ended: None, retry_seconds: None }
}

/// A value as a part of an address.
pub(crate) fn escaped(value: &str) -> String {
    String::from(js_sys::encode_uri_component(value))
}
