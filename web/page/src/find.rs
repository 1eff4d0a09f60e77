//! Find in the terminal: the lines that have the words, one after another.

use std::cell::Cell;

use wasm_bindgen::JsCast;
use web_sys::{Element, Event, HtmlInputElement, KeyboardEvent};

use crate::{app::app, dom, tabs::icon_button};

thread_local! {
    /// The line that was found last.
    static AT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Opens the bar over the shown terminal.
pub(crate) fn open() {
    let Some(pane) = app().tabs.active().filter(|pane| pane.view().is_some()) else { return };
    close();
    AT.set(None);
    let bar = dom::make("div", "find-bar");
    dom::set(&bar, "role", "search");
    let input = dom::make("input", "").unchecked_into::<HtmlInputElement>();
    dom::set(&input, "type", "search");
    dom::set(&input, "aria-label", "Find in the terminal");
    let said = dom::make("span", "found");
    dom::set(&said, "aria-live", "polite");
    let up = icon_button("arrow-up", "The one before");
    let down = icon_button("arrow-down", "The next one");
    let shut = icon_button("cross", "Close");
    for element in [&*input, &said, &up, &down, &shut] {
        dom::add(&bar, element);
    }
    dom::add(&pane.root, &bar);
    let (field, words) = (input.clone(), said.clone());
    dom::on::<KeyboardEvent>(&bar, "keydown", move |event| match event.key().as_str() {
        "Enter" => {
            event.prevent_default();
            go(&field, &words, if event.shift_key() { 1 } else { -1 });
        }
        "Escape" => {
            event.prevent_default();
            close();
            app().tabs.focus();
        }
        _ => {}
    });
    for (button, by) in [(up, -1), (down, 1)] {
        let (field, words) = (input.clone(), said.clone());
        dom::on::<Event>(&button, "click", move |_| go(&field, &words, by));
    }
    dom::on::<Event>(&shut, "click", |_| {
        close();
        app().tabs.focus();
    });
    dom::focus(&input);
}

/// Closes the bar.
pub(crate) fn close() {
    for bar in dom::all(&app().tabs.root, ".find-bar") {
        bar.remove();
    }
}

/// Goes to the next line (1) or the one before (-1) that has the words.
fn go(input: &HtmlInputElement, said: &Element, by: i64) {
    let Some(view) = app().tabs.active().and_then(|pane| pane.view()) else { return };
    let words = input.value().to_lowercase();
    if words.is_empty() {
        return;
    }
    let lines = lines_with(&view.core(), &words);
    let at = AT.get();
    let next = match by {
        1 => lines.iter().find(|line| at.is_none_or(|at| **line > at)).or(lines.first()),
        _ => lines.iter().rev().find(|line| at.is_none_or(|at| **line < at)).or(lines.last()),
    };
    let Some(&line) = next else {
        said.set_text_content(Some("not there"));
        return;
    };
    AT.set(Some(line));
    let number = lines.iter().position(|other| *other == line).map_or(0, |index| index + 1);
    said.set_text_content(Some(&format!("{number} of {}", lines.len())));
    view.scroll_to_line(line);
}

fn lines_with(terminal: &drydock_terminal::Terminal, words: &str) -> Vec<u64> {
    let end = terminal.screen_line() + u64::from(terminal.size().1);
    let mut found = Vec::new();
    let mut line = terminal.first_line();
    while line < end {
        let Some((first, text)) = terminal.logical_line(line) else {
            line += 1;
            continue;
        };
        if first == line && text.to_lowercase().contains(words) {
            found.push(line);
        }
        line += 1;
    }
    found
}
