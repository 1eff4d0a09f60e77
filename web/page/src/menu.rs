//! Menus: `details` elements that close as menus do, and move with arrows.

use wasm_bindgen::JsCast;
use web_sys::{Element, Event, FocusEvent, KeyboardEvent, Node};

use crate::dom;

/// Makes every menu of the page, now and later, close and move as it should.
pub(crate) fn start() {
    dom::on_first::<Event>(&dom::document(), "click", |event| {
        let inside = dom::closest(&event, "details.menu");
        let item = dom::closest(&event, ".menu-item").is_some();
        for menu in open_menus() {
            if inside.as_ref() != Some(&menu) {
                dom::flag(&menu, "open", false);
            } else if item {
                // After the item's own handler has run.
                dom::after(0, move || close(&menu));
            }
        }
    });
    dom::on::<KeyboardEvent>(&dom::document(), "keydown", |event| {
        let Some(menu) = dom::closest(&event, "details.menu[open]") else { return };
        match event.key().as_str() {
            "Escape" => {
                close(&menu);
                event.prevent_default();
            }
            "ArrowDown" => step(&menu, &event, 1),
            "ArrowUp" => step(&menu, &event, -1),
            "Home" => end(&menu, &event, true),
            "End" => end(&menu, &event, false),
            _ => {}
        }
    });
    dom::on::<FocusEvent>(&dom::document(), "focusout", |event| {
        let Some(menu) = dom::closest(&event, "details.menu[open]") else { return };
        let to = event.related_target().and_then(|target| target.dyn_into::<Node>().ok());
        if to.is_some_and(|to| !menu.contains(Some(&to))) {
            dom::flag(&menu, "open", false);
        }
    });
}

/// Closes a menu and gives the focus back to its button.
pub(crate) fn close(menu: &Element) {
    let had_focus = dom::document().active_element().is_some_and(|active| menu.contains(Some(&active)));
    dom::flag(menu, "open", false);
    if had_focus && let Some(summary) = dom::find(menu, "summary") {
        dom::focus(&summary);
    }
}

fn open_menus() -> Vec<Element> {
    dom::all(&dom::body(), "details.menu[open]")
}

fn items(menu: &Element) -> Vec<Element> {
    dom::all(menu, ".menu-item:not([disabled]):not([hidden])")
}

fn step(menu: &Element, event: &KeyboardEvent, by: isize) {
    let items = items(menu);
    if items.is_empty() {
        return;
    }
    event.prevent_default();
    let here = dom::document().active_element();
    let at = items.iter().position(|item| Some(item) == here.as_ref());
    let count = items.len() as isize;
    let next = match at {
        Some(at) => (at as isize + by).rem_euclid(count),
        None if by > 0 => 0,
        None => count - 1,
    };
    dom::focus(&items[next as usize]);
}

fn end(menu: &Element, event: &KeyboardEvent, first: bool) {
    let items = items(menu);
    if let Some(item) = if first { items.first() } else { items.last() } {
        event.prevent_default();
        dom::focus(item);
    }
}
