//! File blocks: saved into a node, compared with what is there.

use wasm_bindgen_futures::spawn_local;
use web_sys::{Element, Event};

use crate::{
    api,
    app::app,
    diff::{self, Line},
    dom, live, next, words,
};

/// The step's file blocks.
#[derive(Default)]
pub(crate) struct Files;

impl Files {
    /// Compares each file with what is in its node.
    pub(crate) fn compare(&'static self) {
        for block in dom::all(&dom::body(), "#step .block.file") {
            spawn_local(async move { compare(&block).await });
        }
    }
}

fn path(block: &Element) -> Option<String> {
    let (node, path) = (dom::data(block, "node")?, dom::data(block, "path")?);
    app().session.path(&format!("/nodes/{node}/files?path={}", api::escaped(&path)))
}

async fn compare(block: &Element) {
    let (Some(path), Some(text)) = (path(block), dom::data(block, "text")) else { return };
    // Without an answer the block stays as it is: it can still be saved.
    let Ok(there) = api::get_text(&path).await else { return };
    match there {
        Some(there) if there == text => saved(block, false),
        Some(there) => {
            dom::set(block, "data-there", &there);
            let found = diff::lines(&there, &text);
            let count = |wanted: fn(&Line<'_>) -> bool| found.iter().filter(|line| wanted(line)).count();
            let (added, removed) = (
                count(|line| matches!(line, Line::Added(_))),
                count(|line| matches!(line, Line::Removed(_))),
            );
            say(block, &words::changes(added, removed));
            if let Some(choice) = dom::find(block, ".segments") {
                dom::show(&choice, true);
            }
            draw(block, true);
        }
        None => {}
    }
    next::mark();
}

fn say(block: &Element, words: &str) {
    if let Some(changes) = dom::find(block, ".changes") {
        changes.set_text_content(Some(words));
    }
}

fn saved(block: &Element, now: bool) {
    dom::set(block, "data-saved", "");
    say(block, "Saved");
    if let Some(choice) = dom::find(block, ".segments") {
        dom::show(&choice, false);
    }
    dom::flag(block, "data-there", false);
    draw(block, false);
    if now {
        live::polite(&format!("{} saved.", dom::data(block, "path").unwrap_or_default()));
        app().checks.try_soon();
    }
    next::mark();
}

/// Draws the lines, as a difference or as they will be.
fn draw(block: &Element, as_diff: bool) {
    let (Some(lines), Some(text)) = (dom::find(block, ".lines"), dom::data(block, "text")) else { return };
    let there = dom::data(block, "there").filter(|_| as_diff);
    for button in dom::all(block, ".segments button") {
        let chosen = (dom::data(&button, "show").as_deref() == Some("diff")) == as_diff;
        dom::set(&button, "aria-pressed", if chosen { "true" } else { "false" });
    }
    dom::clear(&lines);
    let found = diff::lines(there.as_deref().unwrap_or(&text), &text);
    let (mut old, mut new) = (0, 0);
    for line in found {
        let (class, sign, number, text) = match line {
            Line::Same(text) => {
                (old, new) = (old + 1, new + 1);
                ("line", "", new, text)
            }
            Line::Removed(text) => {
                old += 1;
                ("line removed", "-", old, text)
            }
            Line::Added(text) => {
                new += 1;
                ("line added", "+", new, text)
            }
        };
        let row = dom::make("span", class);
        let count = dom::make_text("span", "number", &number.to_string());
        dom::set(&count, "aria-hidden", "true");
        dom::add(&row, &count);
        dom::add(&row, &dom::make_text("span", "sign", sign));
        dom::add(&row, &dom::make_text("span", "", text));
        dom::add(&lines, &row);
    }
}

/// Handles a click in the guide, if it is on a file block.
pub(crate) fn clicked(event: &Event) -> bool {
    let Some(block) = dom::closest(event, ".block.file") else { return false };
    if let Some(choice) = dom::closest(event, ".segments button") {
        draw(&block, dom::data(&choice, "show").as_deref() == Some("diff"));
        return true;
    }
    if dom::closest(event, ".save").is_none() {
        return false;
    }
    let (Some(path), Some(text)) = (path(&block), dom::data(&block, "text")) else { return true };
    spawn_local(async move {
        match api::put_bytes(&path, text.as_bytes()).await {
            Ok(()) => saved(&block, true),
            Err(failure) => {
                app().tabs.complain(&format!("the file could not be saved: {}", failure.message));
            }
        }
    });
    true
}
