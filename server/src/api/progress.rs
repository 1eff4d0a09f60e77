//! `/api/labs`: quizzes, runs, and how far a learner is.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Path, State},
    http::StatusCode,
};
use drydock_lab::{Lab, Step, Verdict};
use serde::Deserialize;

use super::Json;
use crate::{
    db::{Mark, Progress, StepProgress},
    error::AppError,
    learner::Learner,
    state::AppState,
};

/// The body of a quiz's answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuizAnswer {
    quiz: usize,
    answers: Vec<usize>,
}

/// The body of a note that a block was run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    block: usize,
    exit: i32,
}

/// `GET /api/labs/{lab}/progress`
pub async fn get(
    State(app): State<AppState>,
    learner: Learner,
    Path(lab): Path<String>,
) -> Result<Answer<Progress>, AppError> {
    let lab = app.labs.get(&lab).await.ok_or(AppError::NotFound)?;
    Ok(Answer(app.db.progress(&learner, &lab.slug).await?))
}

/// `POST /api/labs/{lab}/steps/{step}/quiz`: judges an answer.
pub async fn quiz(
    State(app): State<AppState>,
    learner: Learner,
    Path((lab, number)): Path<(String, usize)>,
    Json(body): Json<QuizAnswer>,
) -> Result<Answer<Verdict>, AppError> {
    let (lab, step) = step(&app, &lab, number).await?;
    let quiz = step.quizzes().find(|quiz| quiz.index == body.quiz).ok_or(AppError::NotFound)?;
    if body.answers.len() > quiz.answers.len() {
        return Err(AppError::Bad(format!("the question has {} answers", quiz.answers.len())));
    }
    let verdict = quiz.judge(&body.answers);
    if verdict.right {
        note(&app, &learner, &lab, &step, vec![Mark::Quiz(body.quiz as u32)]).await?;
    }
    Ok(Answer(verdict))
}

/// `POST /api/labs/{lab}/steps/{step}/runs`: notes how a block ended.
pub async fn run(
    State(app): State<AppState>,
    learner: Learner,
    Path((lab, number)): Path<(String, usize)>,
    Json(body): Json<Run>,
) -> Result<StatusCode, AppError> {
    let (lab, step) = step(&app, &lab, number).await?;
    let block = step.blocks().find(|block| block.index == body.block).ok_or(AppError::NotFound)?;
    let mark = Mark::Run { block: block.index as u32, exit: body.exit };
    note(&app, &learner, &lab, &step, vec![mark]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/labs/{lab}/steps/{step}/progress`: the step is started over.
pub async fn forget(
    State(app): State<AppState>,
    learner: Learner,
    Path((lab, number)): Path<(String, usize)>,
) -> Result<StatusCode, AppError> {
    let (lab, step) = step(&app, &lab, number).await?;
    app.db.forget_step(&learner, &lab.slug, step.number as u32).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A lab and one of its steps.
pub(super) async fn step(app: &AppState, lab: &str, number: usize) -> Result<(Arc<Lab>, Step), AppError> {
    let lab = app.labs.get(lab).await.ok_or(AppError::NotFound)?;
    let step = lab.step(number).cloned().ok_or(AppError::NotFound)?;
    Ok((lab, step))
}

/// Notes marks, and that the step or the lab is done when they make it so.
pub(super) async fn note(
    app: &AppState,
    learner: &Learner,
    lab: &Lab,
    step: &Step,
    marks: Vec<Mark>,
) -> Result<(), AppError> {
    if marks.is_empty() {
        return Ok(());
    }
    app.db.mark(learner, &lab.slug, step.number as u32, marks).await?;
    let progress = app.db.progress(learner, &lab.slug).await?;
    let done = progress.steps.get(&(step.number as u32)).is_some_and(|so_far| is_done(step, so_far));
    if done {
        app.db.mark(learner, &lab.slug, step.number as u32, vec![Mark::Step]).await?;
    }
    let finished = |other: &Step| {
        (done && other.number == step.number)
            || progress.steps.get(&(other.number as u32)).is_some_and(|so_far| so_far.done.is_some())
            || (other.checks().next().is_none() && other.quizzes().next().is_none())
    };
    if lab.steps.iter().all(finished) {
        app.db.mark_done(learner, &lab.slug).await?;
    }
    Ok(())
}

/// A step is done when each check has passed and each question was answered.
fn is_done(step: &Step, so_far: &StepProgress) -> bool {
    step.checks().all(|check| so_far.checks.contains(&(check.index as u32)))
        && step.quizzes().all(|quiz| so_far.quizzes.contains(&(quiz.index as u32)))
}
