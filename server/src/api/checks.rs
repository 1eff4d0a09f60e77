//! `/api/sessions/{id}/setup` and `/checks`: the lab's scripts, run in nodes.

use std::time::Duration;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use drydock_agent::Agent;
use drydock_lab::CheckScript;
use drydock_protocol::{agent::Exec, host::Session};
use serde::{Deserialize, Serialize};

use super::{Json, progress};
use crate::{
    db::Mark,
    error::AppError,
    learner::Learner,
    sessions::{find_node, within},
    state::AppState,
};

/// How long a script may take, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;

/// How long a node may take for a script that it should have ended by then.
const PATIENCE: Duration = Duration::from_millis(TIMEOUT_MS + 5000);

/// How much of a script's output is read, in bytes.
const OUTPUT_MAX: usize = 64 * 1024;

/// The longest message that is shown, in characters.
const MESSAGE_MAX: usize = 500;

/// The body of both requests: which step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    lab: String,
    step: usize,
}

/// What came of one check.
#[derive(Debug, Serialize)]
pub struct CheckResult {
    check: usize,
    passed: bool,
    /// The last line it printed, when it failed.
    message: String,
}

/// What came of a script.
struct Ran {
    status: i32,
    last_line: String,
}

/// `POST /api/sessions/{id}/setup`: runs a step's setup scripts, in order.
pub async fn setup(
    State(app): State<AppState>,
    learner: Learner,
    Path(id): Path<String>,
    Json(which): Json<Which>,
) -> Result<Answer<serde_json::Value>, AppError> {
    let session = session_of_lab(&app, &learner, &id, &which.lab).await?;
    let (_, step) = progress::step(&app, &which.lab, which.step).await?;
    for script in step.setups() {
        let ran = run(&session, script).await?;
        if ran.status != 0 {
            return Err(AppError::Conflict(format!(
                "what prepares this step on {} failed with exit {}: {}",
                script.node, ran.status, ran.last_line
            )));
        }
    }
    app.sessions.touch(&id);
    Ok(Answer(serde_json::json!({})))
}

/// `POST /api/sessions/{id}/checks`: tries all checks of a step.
pub async fn checks(
    State(app): State<AppState>,
    learner: Learner,
    Path(id): Path<String>,
    Json(which): Json<Which>,
) -> Result<Answer<Vec<CheckResult>>, AppError> {
    let session = session_of_lab(&app, &learner, &id, &which.lab).await?;
    let (lab, step) = progress::step(&app, &which.lab, which.step).await?;
    let mut results = Vec::new();
    for check in step.checks() {
        let ran = run(&session, &check.script).await?;
        let passed = ran.status == 0;
        let message = match (passed, ran.last_line.as_str(), ran.status) {
            (true, _, _) => String::new(),
            (false, "", 124) => format!("it did not end within {} s", TIMEOUT_MS / 1000),
            (false, "", status) => format!("exit {status}"),
            (false, line, _) => line.into(),
        };
        results.push(CheckResult { check: check.index, passed, message });
    }
    let passed = results.iter().filter(|result| result.passed);
    let marks: Vec<_> = passed.map(|result| Mark::Check(result.check as u32)).collect();
    progress::note(&app, &learner, &lab, &step, marks).await?;
    Ok(Answer(results))
}

/// The learner's session, which must be one for this lab.
async fn session_of_lab(app: &AppState, learner: &Learner, id: &str, lab: &str) -> Result<Session, AppError> {
    let session = app.sessions.get(learner, id).await?;
    if session.purpose == lab { Ok(session) } else { Err(AppError::NotFound) }
}

async fn run(session: &Session, script: &CheckScript) -> Result<Ran, AppError> {
    let node = find_node(session, &script.node)?;
    let run = async { Agent::connect(&node.agent).await?.run(exec_of(script, 1), b"", OUTPUT_MAX).await };
    let output = within(PATIENCE, run).await?;
    Ok(Ran { status: output.status, last_line: last_line(&output.stdout) })
}

/// How a setup or check script is run, by the page and by `lab test` alike; it
/// may take `slow` times as long as the page allows.
pub(crate) fn exec_of(script: &CheckScript, slow: u32) -> Exec {
    Exec {
        argv: vec![script.shell.clone(), "-c".into(), script.text.clone()],
        merge: true,
        timeout_ms: Some(TIMEOUT_MS * u64::from(slow)),
        ..Exec::default()
    }
}

/// The last line that says something, as one is shown to the learner.
pub(crate) fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let last_line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let printable = |c: &char| !c.is_control();
    last_line.chars().filter(printable).take(MESSAGE_MAX).collect()
}
