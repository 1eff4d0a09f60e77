//! `GET /labs/LAB/STEP`: a step to read and run.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use drydock_lab::Lab;

use super::{
    blocks::Body,
    error_page,
    frame::Frame,
    message::{Near, no_lab, not_found},
    steps::{Plan, Planned},
};
use crate::{error::AppError, learner::Learner, state::AppState};

#[derive(Template)]
#[template(path = "step.html")]
struct StepPage<'a> {
    frame: Frame,
    lab: LabHead<'a>,
    steps: &'a [Planned],
    step: StepText<'a>,
}

struct LabHead<'a> {
    slug: &'a str,
    title: &'a str,
    /// The names of its nodes, with spaces between.
    nodes: String,
}

struct StepText<'a> {
    number: usize,
    title: &'a str,
    title_html: &'a str,
    short: &'a str,
    minutes: u64,
    done: bool,
    has_setup: bool,
    body: String,
    before: Option<&'a Planned>,
    after: Option<&'a Planned>,
}

/// `GET /labs/LAB`: the step the learner is at.
pub(super) async fn go_on(
    State(app): State<AppState>,
    learner: Learner,
    frame: Frame,
    Path(slug): Path<String>,
) -> Response {
    let Some(lab) = app.labs.get(&slug).await else { return unknown(&app, frame, &slug).await };
    match app.db.progress(&learner, &slug).await {
        Ok(progress) => {
            let step = Plan::new(&lab, &progress).here;
            Redirect::to(&format!("/labs/{slug}/{step}")).into_response()
        }
        Err(error) => error_page(&AppError::from(error)),
    }
}

/// `GET /labs/LAB/STEP`
pub(super) async fn show(
    State(app): State<AppState>,
    learner: Learner,
    frame: Frame,
    Path((slug, number)): Path<(String, String)>,
) -> Response {
    let Some(lab) = app.labs.get(&slug).await else { return unknown(&app, frame, &slug).await };
    let Some(number) = number.parse().ok().filter(|number| lab.step(*number).is_some()) else {
        return not_found(frame).await;
    };
    match page(&app, &learner, frame, &lab, number).await {
        Ok(page) => page.into_response(),
        Err(error) => error_page(&error),
    }
}

async fn page(
    app: &AppState,
    learner: &Learner,
    frame: Frame,
    lab: &Lab,
    number: usize,
) -> Result<Html<String>, AppError> {
    let key = u32::try_from(number).map_err(|_| AppError::NotFound)?;
    app.db.visit(learner, &lab.slug, key).await?;
    let progress = app.db.progress(learner, &lab.slug).await?;
    let plan = Plan::new(lab, &progress);
    let step = lab.step(number).ok_or(AppError::NotFound)?;
    let mine = progress.steps.get(&key).cloned().unwrap_or_default();
    let body = Body { step, progress: &mine, many_nodes: lab.front.nodes.len() > 1, whole: false };
    let mut html = body.html().map_err(AppError::internal)?;
    if number == 1 && !lab.intro_html.is_empty() {
        html.insert_str(0, &lab.intro_html);
    }
    let page = StepPage {
        frame,
        lab: LabHead { slug: &lab.slug, title: &lab.front.title, nodes: lab.front.nodes.join(" ") },
        steps: &plan.steps,
        step: StepText {
            number,
            title: &step.title,
            title_html: &step.title_html,
            short: &step.short,
            minutes: plan.steps[number - 1].minutes,
            done: mine.done.is_some(),
            has_setup: step.setups().next().is_some(),
            body: html,
            before: number.checked_sub(2).and_then(|index| plan.steps.get(index)),
            after: plan.steps.get(number),
        },
    };
    page.render().map(Html).map_err(AppError::internal)
}

pub(super) async fn unknown(app: &AppState, frame: Frame, slug: &str) -> Response {
    let labs = app.labs.all().await;
    let slugs: Vec<&str> = labs.iter().map(|lab| lab.slug.as_str()).collect();
    let near = nearest(slug, &slugs).and_then(|near| labs.iter().find(|lab| lab.slug == near));
    no_lab(frame, slug, near.map(|lab| Near { slug: &lab.slug, title: &lab.front.title }))
}

/// The name that is closest, if it is close enough to be meant.
fn nearest<'a>(asked: &str, names: &[&'a str]) -> Option<&'a str> {
    let asked: Vec<char> = asked.chars().take(100).collect();
    let (distance, name) =
        names.iter().map(|name| (distance(&asked, &name.chars().collect::<Vec<_>>()), *name)).min()?;
    (distance <= (name.len() / 3).max(2)).then_some(name)
}

/// How many letters must be put in, taken out or changed.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_keyboard_finds_the_lab() {
        let names = ["namespaces", "images", "swarm"];
        assert_eq!(nearest("namespces", &names), Some("namespaces"));
        assert_eq!(nearest("swarms", &names), Some("swarm"));
        assert_eq!(nearest("kubernetes", &names), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
