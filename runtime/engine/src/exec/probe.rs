//! A command in a container for the engine itself: what it printed, and how it
//! ended. Health checks are that.

use std::{sync::Arc, time::Duration};

use super::{Exec, ExecBody, session};
use crate::{engine::Shared, error::ApiError};

/// Runs a command to its end; `None` when it took longer and was killed.
pub(crate) async fn run(
    engine: &Shared,
    container: &str,
    argv: Vec<String>,
    timeout: Duration,
) -> Result<Option<(i32, String)>, ApiError> {
    let body = ExecBody { cmd: argv, attach_stdout: true, attach_stderr: true, ..ExecBody::default() };
    let words = body.cmd.join(" ");
    let exec = engine.execs.add(container, body)?;
    let record = engine.containers.find(container)?.record();
    crate::containers::tell(engine, &record, &format!("exec_create: {words}"), None);
    exec.progress().started = true;
    // In a task of its own: it is looked after to its end, also when the
    // container's run ends first and nobody asks any more.
    let ended = tokio::spawn(to_its_end(engine.clone(), exec.clone()));
    match tokio::time::timeout(timeout, ended).await {
        Ok(Ok(ended)) => ended.map(Some),
        Ok(Err(panic)) => Err(ApiError::Failed(format!("a probe failed: {panic}"))),
        Err(_) => {
            session::kill(&exec);
            Ok(None)
        }
    }
}

async fn to_its_end(engine: Shared, exec: Arc<Exec>) -> Result<(i32, String), ApiError> {
    match session::begin(&engine, &exec, None, false).await {
        Ok(running) => Ok(session::collect(engine, exec, running).await),
        // A program that can't be run is a probe that fails.
        Err(ApiError::Invalid(text)) => Ok((exec.progress().exit_code.unwrap_or(127), text)),
        Err(error) => Err(error),
    }
}
