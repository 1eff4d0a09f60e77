//! Client of `drydock host`: HTTP and JSON on its unix socket.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use drydock_protocol::host::{
    AddNode, CreateSession, Extend, Failure, Full as Lack, Instance, Session, Verb,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::{net::UnixStream, time::timeout};

/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 8 << 20;

/// How long host may take: making a session of many nodes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why host did not do what it was asked.
#[derive(Debug, Error)]
pub enum HostError {
    /// Nobody answers on the socket.
    #[error("drydock host does not answer on {}: {source}", socket.display())]
    Away {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to drydock host broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It took too long.
    #[error("drydock host did not answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// Host said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Host's own sentence.
        message: String,
        /// What does not suffice, when that is why.
        full: Option<Lack>,
    },
    /// The answer is not what the protocol says.
    #[error("drydock host's answer to {request} cannot be read: {reason}")]
    Answer {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An id or name that no session or node can have.
    #[error("{0:?} is not the name of a session or node")]
    Name(String),
}

impl HostError {
    /// Whether host answered that there is no such session or node.
    pub fn is_not_found(&self) -> bool {
        matches!(self, HostError::Name(_))
            || matches!(self, HostError::Refused { status: StatusCode::NOT_FOUND, .. })
    }

    /// Whether trying again later may help.
    pub fn is_away(&self) -> bool {
        matches!(self, HostError::Away { .. } | HostError::Broken(_) | HostError::Slow)
    }
}

/// Whether this can be a session's id: 26 lower-case letters and digits.
pub fn is_session_id(id: &str) -> bool {
    id.len() == 26 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Whether this can be a node's name: a DNS label.
pub fn is_node_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// The word of a verb in a path.
pub fn verb_word(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "start",
        Verb::Stop => "stop",
        Verb::Kill => "kill",
        Verb::Reset => "reset",
        Verb::Cut => "cut",
        Verb::Join => "join",
    }
}

/// Speaks to one host. Cheap to clone; each request has its own connection, so
/// that a restart of host is noticed by nobody but the requests under way.
#[derive(Debug, Clone)]
pub struct HostClient {
    socket: Arc<Path>,
}

impl HostClient {
    /// A client for the host that listens on `socket`.
    pub fn new(socket: &Path) -> HostClient {
        HostClient { socket: socket.into() }
    }

    /// Who answers, and the catalogue's images.
    pub async fn instance(&self) -> Result<Instance, HostError> {
        self.get("/v1".into()).await
    }

    /// All sessions.
    pub async fn sessions(&self) -> Result<Vec<Session>, HostError> {
        self.get("/v1/sessions".into()).await
    }

    /// One session.
    pub async fn session(&self, id: &str) -> Result<Session, HostError> {
        self.get(session_path(id)?).await
    }

    /// Makes a session with running nodes.
    pub async fn create(&self, create: &CreateSession) -> Result<Session, HostError> {
        self.ask(Method::POST, "/v1/sessions".into(), Some(create)).await
    }

    /// Ends a session and removes all of it.
    pub async fn remove(&self, id: &str) -> Result<(), HostError> {
        let path = session_path(id)?;
        self.send::<()>(Method::DELETE, &path, None).await.map(drop)
    }

    /// Moves a session's end to so many seconds from now.
    pub async fn extend(&self, id: &str, seconds: u64) -> Result<Session, HostError> {
        self.ask(Method::POST, session_path(id)? + "/extend", Some(&Extend { seconds })).await
    }

    /// Adds a node to a session.
    pub async fn add_node(&self, id: &str, add: &AddNode) -> Result<Session, HostError> {
        self.ask(Method::POST, session_path(id)? + "/nodes", Some(add)).await
    }

    /// Removes a node and its disk.
    pub async fn remove_node(&self, id: &str, node: &str) -> Result<Session, HostError> {
        self.ask(Method::DELETE, node_path(id, node)?, None::<&()>).await
    }

    /// Does something to a node.
    pub async fn verb(&self, id: &str, node: &str, verb: Verb) -> Result<Session, HostError> {
        let path = format!("{}/{}", node_path(id, node)?, verb_word(verb));
        self.ask(Method::POST, path, None::<&()>).await
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, HostError> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Option<&impl Serialize>,
    ) -> Result<T, HostError> {
        let request = format!("{method} {path}");
        let bytes = self.send(method, &path, body).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| HostError::Answer { request, reason: error.to_string() })
    }

    async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Bytes, HostError> {
        timeout(PATIENCE, self.exchange(method, path, body)).await.map_err(|_| HostError::Slow)?
    }

    async fn exchange<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Bytes, HostError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| HostError::Away { socket: self.socket.to_path_buf(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answer_error = |reason: String| HostError::Answer { request: path.into(), reason };
        let mut builder = Request::builder().method(method).uri(path).header("host", "drydock");
        let body = match body {
            Some(body) => {
                builder = builder.header("content-type", "application/json");
                serde_json::to_vec(body).map_err(|error| answer_error(error.to_string()))?
            }
            None => Vec::new(),
        };
        let request =
            builder.body(Full::new(Bytes::from(body))).map_err(|error| answer_error(error.to_string()))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await
            .map_err(|error| answer_error(error.to_string()))?
            .to_bytes();
        connection.abort();
        if status.is_success() {
            return Ok(bytes);
        }
        let failure = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Failure { message: format!("drydock host answered {status}"), full: None });
        Err(HostError::Refused { status, message: failure.message, full: failure.full })
    }
}

fn session_path(id: &str) -> Result<String, HostError> {
    if is_session_id(id) { Ok(format!("/v1/sessions/{id}")) } else { Err(HostError::Name(id.into())) }
}

fn node_path(id: &str, node: &str) -> Result<String, HostError> {
    if is_node_name(node) {
        Ok(format!("{}/nodes/{node}", session_path(id)?))
    } else {
        Err(HostError::Name(node.into()))
    }
}
