//! What can go wrong in host.

use std::{io, path::PathBuf};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use drydock_protocol::host::{Failure, Full};
use drydock_sandbox::{
    cgroup::CgroupError, disk::DiskError, id_map::IdMapError, link::LinkError, loop_device::LoopError,
    mount::MountError, namespaces::NamespaceError, nft::NftError, spawn::SpawnError,
};
use thiserror::Error;

use crate::admission;

/// Why host could not do something.
#[derive(Debug, Error)]
pub enum HostError {
    /// The caller asked for something that can't be.
    #[error("{0}")]
    Invalid(String),
    /// There is no such session or node.
    #[error("there is no {0}")]
    NotFound(String),
    /// It does not fit what is there.
    #[error("{0}")]
    Conflict(String),
    /// A limit of this host is reached.
    #[error("{}", admission::words(.0))]
    Full(Full),
    /// This machine lacks something that host needs.
    #[error("this machine can't run nodes: {0}")]
    Machine(String),
    /// Another host runs with this state directory.
    #[error("another drydock host runs with the state directory {0}")]
    Taken(PathBuf),
    /// A session's file could not be read or written.
    #[error("cannot use session file {path}: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file, directory or socket did not do.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was to be done.
        what: &'static str,
        /// With which.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something without a path did not do.
    #[error("cannot {what}: {source}")]
    Call {
        /// What was to be done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The stage ended or said why it failed.
    #[error("{0}")]
    Stage(String),
    /// There is no root for nodes.
    #[error("{0}")]
    Store(#[from] drydock_image::store::StoreError),
    /// See [`CgroupError`].
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// See [`DiskError`].
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// See [`IdMapError`].
    #[error(transparent)]
    IdMap(#[from] IdMapError),
    /// See [`LinkError`].
    #[error(transparent)]
    Link(#[from] LinkError),
    /// See [`LoopError`].
    #[error(transparent)]
    Loop(#[from] LoopError),
    /// See [`MountError`].
    #[error(transparent)]
    Mount(#[from] MountError),
    /// See [`NamespaceError`].
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// See [`NftError`].
    #[error(transparent)]
    Nft(#[from] NftError),
    /// See [`SpawnError`].
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl HostError {
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> HostError {
        let path = path.into();
        move |source| HostError::File { what, path, source }
    }

    pub(crate) fn call(what: &'static str) -> impl FnOnce(io::Error) -> HostError {
        move |source| HostError::Call { what, source }
    }

    fn status(&self) -> StatusCode {
        match self {
            HostError::Invalid(_) => StatusCode::BAD_REQUEST,
            HostError::NotFound(_) => StatusCode::NOT_FOUND,
            HostError::Conflict(_) => StatusCode::CONFLICT,
            HostError::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            HostError::Record { source, .. } | HostError::File { source, .. } if is_full(source) => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl IntoResponse for HostError {
    fn into_response(self) -> Response {
        let status = self.status();
        let full = match &self {
            HostError::Full(full) => Some(*full),
            _ => None,
        };
        match &full {
            Some(_) => tracing::debug!("refused: {self}"),
            None if status.is_server_error() => tracing::error!("{self}"),
            None => {}
        }
        (status, Json(Failure { message: self.to_string(), full })).into_response()
    }
}
