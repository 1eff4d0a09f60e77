//! The engine's own part, asked by its API and without the CLI.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use crate::unix_http::{ask, hijack, object};

/// Makes, starts, waits for and removes a container of `true`.
pub(crate) fn run(socket: &Path, network: &str) -> Result<Duration> {
    let begin = Instant::now();
    let id = create(socket, network, &["true"])?;
    ask(socket, "POST", &format!("/v1.41/containers/{id}/start"), "")?;
    ask(socket, "POST", &format!("/v1.41/containers/{id}/wait"), "")?;
    ask(socket, "DELETE", &format!("/v1.41/containers/{id}"), "")?;
    Ok(begin.elapsed())
}

/// Starts a container that sleeps, and gives its id.
pub(crate) fn sleeper(socket: &Path, network: &str) -> Result<String> {
    let id = create(socket, network, &["sleep", "100000"])?;
    ask(socket, "POST", &format!("/v1.41/containers/{id}/start"), "")?;
    Ok(id)
}

/// Removes a container, running or not.
pub(crate) fn remove(socket: &Path, id: &str) -> Result<()> {
    ask(socket, "DELETE", &format!("/v1.41/containers/{id}?force=1"), "").map(drop)
}

/// Pulls an image into a node.
pub(crate) fn pull(socket: &Path, image: &str) -> Result<()> {
    ask(socket, "POST", &format!("/v1.41/images/create?fromImage={image}&tag=latest"), "").map(drop)
}

/// Runs `true` in a running container.
pub(crate) fn exec(socket: &Path, container: &str) -> Result<Duration> {
    let begin = Instant::now();
    let body = json!({"Cmd": ["true"], "AttachStdout": true, "AttachStderr": true}).to_string();
    let made = object(&ask(socket, "POST", &format!("/v1.41/containers/{container}/exec"), &body)?)?;
    let id = made["Id"].as_str().context("an exec has an id")?;
    // The answer's end is the command's end.
    hijack(socket, &format!("/v1.41/exec/{id}/start"), r#"{"Detach":false,"Tty":false}"#)?;
    Ok(begin.elapsed())
}

fn create(socket: &Path, network: &str, command: &[&str]) -> Result<String> {
    let body = json!({"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": network}});
    let made = object(&ask(socket, "POST", "/v1.41/containers/create", &body.to_string())?)?;
    Ok(made["Id"].as_str().context("a container has an id")?.to_owned())
}
