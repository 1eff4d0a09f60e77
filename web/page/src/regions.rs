//! F6 goes round the regions: guide, terminals, top bar.

use web_sys::{Element, KeyboardEvent};

use crate::{app::app, dom, phone};

/// Makes F6, Shift+F6 and Ctrl+Shift+Enter work everywhere, the terminal too.
pub(crate) fn start() {
    dom::on_first::<KeyboardEvent>(&dom::window(), "keydown", |event| {
        let f6 = event.key() == "F6" && !event.ctrl_key() && !event.alt_key() && !event.meta_key();
        let chord = event.key() == "Enter" && event.ctrl_key() && event.shift_key();
        if f6 || chord {
            event.prevent_default();
            event.stop_propagation();
            go(if f6 && event.shift_key() { -1 } else { 1 });
        }
    });
}

/// Goes to the next region, or with -1 to the one before.
pub(crate) fn go(by: isize) {
    let regions: Vec<Element> = ["main.guide", ".terminals", ".top"]
        .iter()
        .filter_map(|region| dom::find(&dom::body(), region))
        .collect();
    if regions.is_empty() {
        return;
    }
    let active = dom::document().active_element();
    let here = regions.iter().position(|region| {
        active.as_ref().is_some_and(|active| *active != *dom::body() && region.contains(Some(active)))
    });
    let count = regions.len() as isize;
    let next = match here {
        Some(here) => (here as isize + by).rem_euclid(count),
        None => 0,
    };
    enter(&regions[next as usize]);
}

fn enter(region: &Element) {
    match region.class_name().as_str() {
        "terminals" => {
            phone::view("terminal");
            app().tabs.focus();
        }
        "guide" => {
            phone::view("guide");
            dom::focus(region);
        }
        _ => {
            // Some are for other widths, and not there now.
            let there = |element: &Element| element.get_bounding_client_rect().width() > 0.0;
            if let Some(first) = dom::all(region, "a, button, summary").into_iter().find(there) {
                dom::focus(&first);
            }
        }
    }
}
