//! `GET /`: the list of labs, in teaching order.

use askama::Template;
use axum::{
    extract::{Query, State},
    response::{Html, IntoResponse, Response},
};
use drydock_lab::{Lab, Level};
use serde::Deserialize;

use super::{
    error_page,
    frame::Frame,
    steps::{Plan, picture},
};
use crate::{
    db::Progress,
    error::AppError,
    learner::Learner,
    sessions::{running, seconds_left},
    state::AppState,
};

#[derive(Template)]
#[template(path = "catalogue.html")]
struct Catalogue {
    frame: Frame,
    going_on: Option<GoingOn>,
    levels: Vec<LevelChoice>,
    level: Option<&'static str>,
    query: String,
    labs: Vec<LabLine>,
    /// There are labs at all.
    any: bool,
    free_nodes: Option<u32>,
}

/// The lab the learner was in last.
struct GoingOn {
    slug: String,
    title: String,
    step: usize,
    steps: usize,
    step_title: String,
    done: Vec<bool>,
    minutes_to_go: Option<u64>,
    running: Option<String>,
}

struct LevelChoice {
    label: &'static str,
    href: String,
    chosen: bool,
}

struct LabLine {
    number: usize,
    slug: String,
    title: String,
    summary: String,
    level: &'static str,
    bars: u8,
    minutes: u64,
    nodes: usize,
    started: bool,
    step: usize,
    steps: usize,
    done: Vec<bool>,
    done_on: Option<String>,
}

/// What the list is narrowed to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Narrow {
    level: String,
    q: String,
}

const LEVELS: [(Level, &str, &str); 3] = [
    (Level::Beginner, "beginner", "Beginner"),
    (Level::Intermediate, "intermediate", "Intermediate"),
    (Level::Advanced, "advanced", "Advanced"),
];

impl GoingOn {
    fn progress_picture(&self, width: usize) -> String {
        picture(&self.done, Some(self.step), width)
    }
}

impl LabLine {
    fn progress_picture(&self, width: usize) -> String {
        picture(&self.done, self.done_on.is_none().then_some(self.step), width)
    }

    fn level_picture(&self) -> String {
        let bar = |index: u8, x: u8, y: u8, height: u8| {
            let on = if index <= self.bars { r#" class="on""# } else { "" };
            format!(r#"<rect{on} x="{x}.5" y="{y}.5" width="3" height="{height}"/>"#)
        };
        let bars = [bar(1, 0, 7, 4), bar(2, 5, 4, 7), bar(3, 10, 1, 10)].concat();
        format!(r#"<svg viewBox="0 0 16 12" aria-hidden="true">{bars}</svg>"#)
    }
}

/// Shows the list.
pub(super) async fn show(
    State(app): State<AppState>,
    learner: Learner,
    frame: Frame,
    Query(narrow): Query<Narrow>,
) -> Response {
    match page(&app, &learner, frame, &narrow).await {
        Ok(page) => page.into_response(),
        Err(error) => error_page(&error),
    }
}

async fn page(
    app: &AppState,
    learner: &Learner,
    frame: Frame,
    narrow: &Narrow,
) -> Result<Html<String>, AppError> {
    let labs = app.labs.all().await;
    let mut lines = Vec::new();
    let mut last: Option<(i64, &Lab, Progress)> = None;
    let level = LEVELS.iter().find(|(_, word, _)| *word == narrow.level);
    for (index, lab) in labs.iter().enumerate() {
        let progress = app.db.progress(learner, &lab.slug).await?;
        if level.is_none_or(|(level, ..)| *level == lab.front.level) && fits(lab, &narrow.q) {
            lines.push(line(index + 1, lab, &progress));
        }
        if let (Some(seen), None) = (progress.seen, progress.done)
            && last.as_ref().is_none_or(|(at, ..)| seen > *at)
        {
            last = Some((seen, lab, progress));
        }
    }
    let going_on = match last {
        Some((_, lab, progress)) => Some(going_on(app, learner, lab, &progress).await),
        None => None,
    };
    let page = Catalogue {
        frame,
        going_on,
        levels: level_choices(level.map_or("", |(_, word, _)| word), &narrow.q),
        level: level.map(|(_, word, _)| *word),
        query: narrow.q.chars().take(100).collect(),
        labs: lines,
        any: !labs.is_empty(),
        free_nodes: Some(app.sessions.free_nodes()),
    };
    page.render().map(Html).map_err(AppError::internal)
}

/// Whether the title, the sentence below it or a tag has all the words.
fn fits(lab: &Lab, words: &str) -> bool {
    let text =
        format!("{} {} {}", lab.front.title, lab.front.summary, lab.front.tags.join(" ")).to_lowercase();
    words.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

fn line(number: usize, lab: &Lab, progress: &Progress) -> LabLine {
    let (_, _, level) = LEVELS.iter().find(|(level, ..)| *level == lab.front.level).unwrap_or(&LEVELS[0]);
    let plan = Plan::new(lab, progress);
    LabLine {
        number,
        slug: lab.slug.clone(),
        title: lab.front.title.clone(),
        summary: lab.front.summary.clone(),
        level,
        bars: match lab.front.level {
            Level::Beginner => 1,
            Level::Intermediate => 2,
            Level::Advanced => 3,
        },
        minutes: u64::from(lab.front.minutes),
        nodes: lab.front.nodes.len(),
        started: progress.started.is_some(),
        step: plan.here,
        steps: lab.steps.len(),
        done: plan.done(),
        done_on: progress.done.and_then(day),
    }
}

async fn going_on(app: &AppState, learner: &Learner, lab: &Lab, progress: &Progress) -> GoingOn {
    let plan = Plan::new(lab, progress);
    // Without host the list is still of use: only the line about nodes is left out.
    let session = match app.sessions.of(learner, &lab.slug).await {
        Ok(session) => session,
        Err(error) => {
            tracing::warn!(%error, "cannot tell whether the learner's nodes run");
            None
        }
    };
    let running = session.and_then(|session| {
        let names: Vec<&str> = running(&session).map(|node| node.name.as_str()).collect();
        let left = time(seconds_left(&session) / 60);
        match names.as_slice() {
            [] => None,
            [one] => Some(format!("{one} is still running, {left} left")),
            [firsts @ .., last] => {
                Some(format!("{} and {last} are still running, {left} left", firsts.join(", ")))
            }
        }
    });
    GoingOn {
        slug: lab.slug.clone(),
        title: lab.front.title.clone(),
        step: plan.here,
        steps: lab.steps.len(),
        step_title: lab.step(plan.here).map(|step| step.short.clone()).unwrap_or_default(),
        minutes_to_go: plan.minutes_to_go(),
        done: plan.done(),
        running,
    }
}

fn level_choices(chosen: &str, query: &str) -> Vec<LevelChoice> {
    let query: String = query.bytes().flat_map(percent).collect();
    let href = |word: &str| match (word, query.as_str()) {
        ("", "") => "/".to_owned(),
        ("", query) => format!("/?q={query}"),
        (word, "") => format!("/?level={word}"),
        (word, query) => format!("/?level={word}&q={query}"),
    };
    let all = LevelChoice { label: "All", href: href(""), chosen: chosen.is_empty() };
    let levels = LEVELS.iter().map(|(_, word, label)| LevelChoice {
        label,
        href: href(word),
        chosen: chosen == *word,
    });
    std::iter::once(all).chain(levels).collect()
}

fn percent(byte: u8) -> Vec<char> {
    if byte.is_ascii_alphanumeric() {
        vec![char::from(byte)]
    } else {
        format!("%{byte:02X}").chars().collect()
    }
}

/// `41 min`, or `3 h 59 min` where minutes alone would be hard to grasp.
fn time(minutes: u64) -> String {
    if minutes < 120 { format!("{minutes} min") } else { format!("{} h {} min", minutes / 60, minutes % 60) }
}

/// The day of a time, such as "12 November".
fn day(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?.to_zoned_datetime(jiff::tz::TimeZone::UTC);
    Some(time.strftime("%-d %B").to_string())
}

#[cfg(test)]
mod tests {
    use super::{day, level_choices};

    #[test]
    fn a_level_keeps_the_words_that_are_searched() {
        let choices = level_choices("beginner", "a b&c");
        assert_eq!(choices[0].href, "/?q=a%20b%26c");
        assert_eq!(choices[1].href, "/?level=beginner&q=a%20b%26c");
        assert!(choices[1].chosen && !choices[0].chosen);
    }

    #[test]
    fn a_day_is_said_in_words() {
        assert_eq!(day(1_794_441_600).as_deref(), Some("12 November"));
    }
}
