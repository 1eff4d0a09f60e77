//! The one filled button: the next thing to do.

use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};

use crate::dom;

/// Everything in a step that can be the next thing.
const THINGS: &str = "#step .block.run[data-state=idle], #step .block.file:not([data-saved]), \
                      #step .quiz:not([data-state=right]), #step .checks:not([data-complete]), \
                      #step .block.node-verb:not([data-done])";

/// Fills the next thing's button, and no other.
pub(crate) fn mark() {
    let Some(step) = dom::by_id("step") else { return };
    for old in dom::all(&step, ".block.next") {
        dom::class(&old, "next", false);
    }
    for old in dom::all(&step, ".button.fill") {
        dom::class(&old, "fill", false);
    }
    let next = dom::all(&step, THINGS).into_iter().find(|thing| button(thing).is_some());
    let button = match &next {
        Some(thing) => {
            dom::class(thing, "next", true);
            button(thing)
        }
        None => dom::by_id("next-step"),
    };
    if let Some(button) = button {
        dom::class(&button, "fill", true);
    }
}

fn button(thing: &Element) -> Option<Element> {
    dom::find(thing, ".act:not([disabled]), .save, .answer-button, .check-now")
}

/// Does the next thing, if it is a block to run; else brings it into view.
pub(crate) fn act() {
    let Some(thing) = dom::find(&dom::body(), "#step .block.next") else {
        if let Some(next) = dom::by_id("next-step") {
            dom::focus(&next);
        }
        return;
    };
    thing.scroll_into_view_with_scroll_into_view_options(&nearest());
    let Some(button) = button(&thing) else { return };
    if thing.class_list().contains("run") {
        if let Some(button) = button.dyn_ref::<HtmlElement>() {
            button.click();
        }
    } else {
        dom::focus(&button);
    }
}

fn nearest() -> web_sys::ScrollIntoViewOptions {
    let options = web_sys::ScrollIntoViewOptions::new();
    options.set_block(web_sys::ScrollLogicalPosition::Nearest);
    options
}
