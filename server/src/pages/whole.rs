//! `GET /labs/LAB/print`: all steps of a lab on one page, to print or to read.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::{Html, IntoResponse, Response},
};
use drydock_lab::{Lab, Step};

use super::{blocks::Body, error_page, frame::Frame, lab::unknown};
use crate::{db::Progress, error::AppError, learner::Learner, state::AppState};

#[derive(Template)]
#[template(path = "whole.html")]
struct WholePage<'a> {
    frame: Frame,
    slug: &'a str,
    title: &'a str,
    summary: &'a str,
    minutes: u32,
    intro: &'a str,
    steps: Vec<WholeStep<'a>>,
}

struct WholeStep<'a> {
    number: usize,
    title_html: &'a str,
    body: String,
}

/// `GET /labs/LAB/print`
pub(super) async fn show(
    State(app): State<AppState>,
    learner: Learner,
    frame: Frame,
    Path(slug): Path<String>,
) -> Response {
    let Some(lab) = app.labs.get(&slug).await else { return unknown(&app, frame, &slug).await };
    let page = match app.db.progress(&learner, &slug).await {
        Ok(progress) => page(frame, &lab, &progress),
        Err(error) => Err(error.into()),
    };
    match page {
        Ok(page) => page.into_response(),
        Err(error) => error_page(&error),
    }
}

fn page(frame: Frame, lab: &Lab, progress: &Progress) -> Result<Html<String>, AppError> {
    let steps = lab.steps.iter().map(|step| whole_step(lab, step, progress));
    let page = WholePage {
        frame,
        slug: &lab.slug,
        title: &lab.front.title,
        summary: &lab.front.summary,
        minutes: lab.front.minutes,
        intro: &lab.intro_html,
        steps: steps.collect::<askama::Result<_>>().map_err(AppError::internal)?,
    };
    page.render().map(Html).map_err(AppError::internal)
}

fn whole_step<'a>(lab: &Lab, step: &'a Step, progress: &Progress) -> askama::Result<WholeStep<'a>> {
    let key = u32::try_from(step.number).unwrap_or(u32::MAX);
    let mine = progress.steps.get(&key).cloned().unwrap_or_default();
    let body = Body { step, progress: &mine, many_nodes: lab.front.nodes.len() > 1, whole: true };
    Ok(WholeStep { number: step.number, title_html: &step.title_html, body: body.html()? })
}
