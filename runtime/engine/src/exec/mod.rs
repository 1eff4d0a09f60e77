//! Processes in running containers: `/containers/{ref}/exec`, `/exec/…`.

pub(crate) mod probe;
mod session;

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::{
    containers::{
        attach::{ResizeQuery, set_size},
        config::from_body,
        record::Status,
    },
    engine::Shared,
    error::{ApiError, failed},
    hijack::{self, DetachKeys},
    random,
};

/// The most that are remembered; the oldest that ended are forgotten first.
const EXECS_MAX: usize = 512;

/// What a client asks to run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ExecBody {
    user: String,
    privileged: bool,
    tty: bool,
    console_size: Option<[u16; 2]>,
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    detach_keys: String,
    env: Vec<String>,
    working_dir: String,
    cmd: Vec<String>,
}

/// How far one is.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    started: bool,
    running: bool,
    exit_code: Option<i32>,
    pid: i32,
}

/// A process in a container.
pub(crate) struct Exec {
    id: String,
    number: u64,
    container: String,
    body: ExecBody,
    progress: Mutex<Progress>,
    console: Mutex<Option<Arc<OwnedFd>>>,
}

impl Exec {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn console(&self) -> MutexGuard<'_, Option<Arc<OwnedFd>>> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that are remembered.
#[derive(Default)]
pub(crate) struct Execs(Mutex<(u64, HashMap<String, Arc<Exec>>)>);

impl Execs {
    fn add(&self, container: &str, body: ExecBody) -> Result<Arc<Exec>, ApiError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, all) = &mut *held;
        if all.len() >= EXECS_MAX {
            let ended = all.values().filter(|exec| !exec.progress().running).min_by_key(|exec| exec.number);
            let Some(oldest) = ended.map(|exec| exec.id.clone()) else {
                return Err(ApiError::Conflict(format!("{EXECS_MAX} processes run by exec already")));
            };
            all.remove(&oldest);
        }
        *number += 1;
        let exec = Arc::new(Exec {
            id: random::id(),
            number: *number,
            container: container.to_owned(),
            body,
            progress: Mutex::default(),
            console: Mutex::default(),
        });
        all.insert(exec.id.clone(), exec.clone());
        Ok(exec)
    }

    fn find(&self, id: &str) -> Result<Arc<Exec>, ApiError> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.1.get(id).cloned().ok_or_else(|| ApiError::NotFound(format!("No such exec instance: {id}")))
    }

    /// The ids of those that run in a container.
    pub(crate) fn running_in(&self, container: &str) -> Vec<String> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.1.values().filter(|exec| exec.container == container && exec.progress().running);
        own.map(|exec| exec.id.clone()).collect()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Created {
    id: String,
}

/// `POST /containers/{ref}/exec`
pub(crate) async fn create(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let body: ExecBody =
        from_body(&body).map_err(|error| ApiError::Invalid(format!("invalid JSON: {error}")))?;
    if body.cmd.is_empty() {
        return Err(ApiError::Invalid("No exec command specified".to_owned()));
    }
    DetachKeys::parse(&body.detach_keys)?;
    let container = engine.containers.find(&reference)?;
    let record = container.running()?;
    if record.state.status == Status::Paused {
        let text = format!("Container {reference} is paused, unpause the container before exec");
        return Err(ApiError::Conflict(text));
    }
    let exec = engine.execs.add(&container.id, body)?;
    crate::containers::tell(&engine, &record, &format!("exec_create: {}", exec.body.cmd.join(" ")), None);
    Ok((StatusCode::CREATED, Json(Created { id: exec.id.clone() })))
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StartBody {
    detach: bool,
    tty: bool,
    console_size: Option<[u16; 2]>,
}

/// The most bytes of a start's body.
const BODY_MAX: usize = 64 * 1024;

/// `POST /exec/{id}/start`
pub(crate) async fn start(
    State(engine): State<Shared>,
    Path(id): Path<String>,
    mut request: Request<Body>,
) -> Result<Response, ApiError> {
    let exec = engine.execs.find(&id)?;
    let body = std::mem::take(request.body_mut());
    let bytes = axum::body::to_bytes(body, BODY_MAX).await.map_err(failed("reading the request failed"))?;
    let body: StartBody = if bytes.is_empty() {
        StartBody::default()
    } else {
        from_body(&bytes).map_err(|error| ApiError::Invalid(format!("invalid JSON: {error}")))?
    };
    {
        let mut progress = exec.progress();
        if progress.exit_code.is_some() {
            return Err(ApiError::Conflict(format!("exec {id} has already run")));
        }
        if progress.started {
            return Err(ApiError::Conflict(format!("exec {id} is already running")));
        }
        progress.started = true;
    }
    let size = body.console_size.or(exec.body.console_size);
    if body.detach {
        let running = session::begin(&engine, &exec, size, true).await?;
        tokio::spawn(session::finish(engine, exec, running));
        return Ok(StatusCode::OK.into_response());
    }
    if body.tty != exec.body.tty {
        tracing::debug!(id, "the client's terminal is not the process's");
    }
    let (response, connection) = hijack::upgrade(&mut request, !exec.body.tty)?;
    tokio::spawn(async move {
        match connection.await {
            Ok(connection) => session::run(engine, exec, size, connection).await,
            Err(error) => tracing::debug!(%error, "a client that wanted to exec went away"),
        }
    });
    Ok(response)
}

/// `POST /exec/{id}/resize`
pub(crate) async fn resize(
    State(engine): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<ResizeQuery>,
) -> Result<StatusCode, ApiError> {
    let exec = engine.execs.find(&id)?;
    let console = exec.console().clone();
    if let Some(console) = console {
        set_size(&console, &query)?;
    }
    Ok(StatusCode::OK)
}

#[derive(Debug, Serialize)]
pub(crate) struct Inspect {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Running")]
    running: bool,
    #[serde(rename = "ExitCode")]
    exit_code: Option<i32>,
    #[serde(rename = "ProcessConfig")]
    process_config: ProcessConfig,
    #[serde(rename = "OpenStdin")]
    open_stdin: bool,
    #[serde(rename = "OpenStderr")]
    open_stderr: bool,
    #[serde(rename = "OpenStdout")]
    open_stdout: bool,
    #[serde(rename = "CanRemove")]
    can_remove: bool,
    #[serde(rename = "ContainerID")]
    container_id: String,
    #[serde(rename = "DetachKeys")]
    detach_keys: String,
    #[serde(rename = "Pid")]
    pid: i32,
}

#[derive(Debug, Serialize)]
struct ProcessConfig {
    tty: bool,
    entrypoint: String,
    arguments: Vec<String>,
    privileged: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
}

/// `GET /exec/{id}/json`
pub(crate) async fn inspect(
    State(engine): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Inspect>, ApiError> {
    let exec = engine.execs.find(&id)?;
    let progress = *exec.progress();
    let mut words = exec.body.cmd.iter().cloned();
    Ok(Json(Inspect {
        id: exec.id.clone(),
        running: progress.running,
        exit_code: progress.exit_code,
        process_config: ProcessConfig {
            tty: exec.body.tty,
            entrypoint: words.next().unwrap_or_default(),
            arguments: words.collect(),
            privileged: exec.body.privileged,
            user: exec.body.user.clone(),
        },
        open_stdin: exec.body.attach_stdin,
        open_stderr: exec.body.attach_stderr,
        open_stdout: exec.body.attach_stdout,
        can_remove: false,
        container_id: exec.container.clone(),
        detach_keys: exec.body.detach_keys.clone(),
        pid: progress.pid,
    }))
}

/// A copy of a descriptor, for `map_err`-free use.
fn copy(fd: &OwnedFd) -> Result<OwnedFd, ApiError> {
    fd.as_fd().try_clone_to_owned().map_err(failed("copying a descriptor failed"))
}
