//! "Done when": checks that tick themselves.

use std::cell::Cell;

use drydock_terminal::{Mark, MarkKind};
use serde_json::json;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Element, Event};

use crate::{
    api::{self, CheckResult},
    app::app,
    dom, live, next,
    run_row::RunBlock,
};

/// After a command, checks are tried this much later: the next one may follow.
const SOON_MS: i32 = 300;
/// A check that is tried shows it after this time; most are quicker.
const TRYING_MS: i32 = 400;

/// The step's checks.
#[derive(Default)]
pub(crate) struct Checks {
    /// Grows with each try, so that a late answer is known as such.
    round: Cell<u32>,
    trying: Cell<bool>,
    /// Somebody asked while a try was under way.
    again: Cell<bool>,
    /// A try is due.
    due: Cell<bool>,
    since_ms: Cell<f64>,
}

/// Tries the checks after a command has ended.
pub(crate) fn after_marks(marks: &[Mark]) {
    if marks.iter().any(|mark| matches!(mark.kind, MarkKind::CommandEnd { .. })) {
        app().checks.try_soon();
    }
}

fn rows() -> Vec<Element> {
    dom::all(&dom::body(), "#checks [data-check]")
}

fn state(row: &Element) -> String {
    dom::data(row, "state").unwrap_or_default()
}

impl Checks {
    /// Another step is shown.
    pub(crate) fn opened(&self) {
        self.round.set(self.round.get() + 1);
        self.trying.set(false);
        for row in rows() {
            let passed = row.class_list().contains("passed");
            dom::set(&row, "data-state", if passed { "passed" } else { "open" });
        }
        self.count();
    }

    /// Tries them in a moment, if one is still open.
    pub(crate) fn try_soon(&self) {
        if !rows().iter().any(|row| state(row) != "passed") || self.due.replace(true) {
            return;
        }
        dom::after(SOON_MS, || {
            app().checks.due.set(false);
            app().checks.try_all(false);
        });
    }

    /// Tries them. Only who asked is told what failed.
    pub(crate) fn try_all(&'static self, asked: bool) {
        if self.trying.get() {
            return self.again.set(self.again.get() || asked);
        }
        let (Some(lab), Some(step), Some(path)) =
            (&app().lab, app().steps.number(), app().session.path("/checks"))
        else {
            return;
        };
        if rows().is_empty() {
            return;
        }
        self.trying.set(true);
        self.since_ms.set(dom::now_ms());
        let round = self.round.get();
        dom::after(TRYING_MS, move || app().checks.show_trying(round, asked));
        spawn_local(async move {
            let body = json!({ "lab": lab, "step": step });
            let result = api::ask::<Vec<CheckResult>>("POST", &path, Some(&body)).await;
            if self.round.get() != round {
                return;
            }
            self.trying.set(false);
            match result {
                Ok(results) => self.show(&results, asked),
                Err(failure) => {
                    for row in rows().iter().filter(|row| state(row) == "trying") {
                        draw(row, "open", "");
                    }
                    if asked {
                        app().tabs.complain(&failure.message);
                    }
                }
            }
            if self.again.replace(false) {
                self.try_all(true);
            }
        });
    }

    fn show_trying(&self, round: u32, asked: bool) {
        if !self.trying.get() || self.round.get() != round {
            return;
        }
        for row in rows().iter().filter(|row| state(row) == "open" || (asked && state(row) == "failed")) {
            draw(row, "trying", "");
        }
        self.tick();
    }

    /// Each second: how long a try takes.
    pub(crate) fn tick(&self) {
        if !self.trying.get() {
            return;
        }
        let seconds = ((dom::now_ms() - self.since_ms.get()) / 1000.0).floor();
        for row in rows().iter().filter(|row| state(row) == "trying") {
            if let Some(time) = dom::find(row, ".trying-time") {
                time.set_text_content(Some(&format!("trying, {seconds:.0} s")));
            }
        }
    }

    fn show(&self, results: &[CheckResult], asked: bool) {
        let mut news = Vec::new();
        for row in rows() {
            let Some(result) =
                results.iter().find(|result| Some(result.check) == dom::data_number(&row, "check"))
            else {
                continue;
            };
            let before = state(&row);
            // What was done once stays done: undoing it is often the next step.
            if before == "passed" {
                continue;
            }
            if result.passed {
                draw(&row, "passed", "");
                news.push(row.text_content().unwrap_or_default());
            } else if asked || before == "failed" {
                draw(&row, "failed", &result.message);
            } else {
                draw(&row, "open", "");
            }
        }
        self.count();
        if !news.is_empty() {
            live::polite(&format!("{} of {} done.", self.passed(), rows().len()));
            app().steps.refresh();
        } else if asked {
            live::polite("Not done yet.");
        }
        if let Some(show) = dom::find(&dom::body(), "#checks .show-me") {
            let failed = rows().iter().any(|row| state(row) == "failed");
            let solvable = dom::find(&dom::body(), "#checks .solve").is_some();
            dom::show(&show, failed && solvable);
        }
        next::mark();
    }

    fn passed(&self) -> usize {
        rows().iter().filter(|row| state(row) == "passed").count()
    }

    fn count(&self) {
        let Some(checks) = dom::by_id("checks") else { return };
        let (passed, all) = (self.passed(), rows().len());
        if let Some(count) = dom::find(&checks, ".count") {
            count.set_text_content(Some(&format!("{passed} of {all}")));
        }
        dom::flag(&checks, "data-complete", passed == all);
    }
}

fn draw(row: &Element, state: &str, why: &str) {
    dom::set(row, "data-state", state);
    for name in ["passed", "failed", "trying"] {
        dom::class(row, name, name == state);
    }
    if let Some(square) = dom::find(row, ".box") {
        dom::clear(&square);
        match state {
            "passed" => dom::add(&square, &dom::icon("check")),
            "failed" => dom::add(&square, &dom::icon("cross")),
            "trying" => dom::add(&square, &dom::shape("icon spin", "spin")),
            _ => {}
        }
    }
    if let Some(said) = dom::find(row, ".unseen") {
        said.set_text_content(Some(match state {
            "passed" => ": done",
            "failed" => ": not done",
            "trying" => ": being tried",
            _ => ": not done yet",
        }));
    }
    if let Some(time) = dom::find(row, ".trying-time") {
        dom::clear(&time);
    }
    if let Some(old) = dom::find(row, ".why") {
        old.remove();
    }
    if !why.is_empty() {
        dom::add(row, &dom::make_text("span", "why", why));
    }
}

/// Handles a click in the guide, if it is on the checks.
pub(crate) fn clicked(event: &Event) -> bool {
    if dom::closest(event, ".check-now").is_some() {
        app().checks.try_all(true);
    } else if dom::closest(event, ".show-me").is_some() {
        for solve in dom::all(&dom::body(), "#checks .solve").iter().filter_map(RunBlock::of) {
            solve.run_in(&solve.node, &solve.term);
        }
    } else {
        return false;
    }
    true
}
