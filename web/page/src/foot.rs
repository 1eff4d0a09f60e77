//! The foot of a terminal: its node's name, address and memory, and what to press.

use std::rc::Rc;

use web_sys::{Element, Event};

use crate::{api::Health, app::app, dom, pane::Pane, ports, terminal::State};

/// Draws the foot of a pane.
pub(crate) fn draw(pane: &Rc<Pane>, unsent: &str) {
    let foot = &pane.foot;
    dom::clear(foot);
    let open = pane.view().is_some_and(|view| view.state() == State::Open);
    if !unsent.is_empty() {
        return draw_unsent(pane, unsent, open);
    }
    let node = app().tabs.node(&pane.node);
    match node.as_ref().filter(|node| node.cut) {
        Some(node) => {
            dom::add(foot, &dom::make_text("b", "warn", &format!("{} cut off", node.name)));
            dom::add(foot, &dom::make_text("span", "mono", &node.address));
            let join = dom::button("link-button", "Join again");
            let name = node.name.clone();
            dom::on::<Event>(&join, "click", move |_| app().session.verb(&name, "join"));
            dom::add(foot, &join);
        }
        None => {
            let name = dom::make_text("span", "", &pane.name());
            if let Some(node) = &node {
                dom::add_text(&name, " ");
                dom::add(&name, &dom::make_text("span", "mono", &node.address));
            }
            dom::add(foot, &name);
            dom::add(foot, &memory());
            if let Some(ports) = node.as_ref().and_then(ports::foot) {
                dom::add(foot, &ports);
            }
        }
    }
    dom::add(foot, &dom::make("span", "spring"));
    if !open {
        return;
    }
    let hint = dom::make("span", "keys-hint");
    dom::add(&hint, &dom::make_text("kbd", "", if is_mac() { "fn F6" } else { "F6" }));
    dom::add_text(&hint, " leaves the terminal");
    dom::add(foot, &hint);
    let paste = dom::button("link-button", "Paste");
    let pane = pane.clone();
    dom::on::<Event>(&paste, "click", move |_| {
        if let Some(view) = pane.view() {
            view.paste_from_clipboard();
            view.focus();
        }
    });
    dom::add(foot, &paste);
}

fn draw_unsent(pane: &Rc<Pane>, unsent: &str, open: bool) {
    let foot = &pane.foot;
    let words = dom::make("span", "unsent");
    dom::add_text(&words, if open { "Connected again. Typed, not sent: " } else { "Typed, not sent: " });
    dom::add(&words, &dom::make_text("span", "mono", unsent));
    dom::add(foot, &words);
    dom::add(foot, &dom::make("span", "spring"));
    if open {
        let send = dom::button("link-button", "Send");
        let pane = pane.clone();
        dom::on::<Event>(&send, "click", move |_| {
            if let Some(view) = pane.view() {
                view.send_pending();
                view.focus();
            }
        });
        dom::add(foot, &send);
    }
    let discard = dom::button("link-button", "Discard");
    let pane = pane.clone();
    dom::on::<Event>(&discard, "click", move |_| {
        if let Some(view) = pane.view() {
            view.discard_pending();
            view.focus();
        }
    });
    dom::add(foot, &discard);
}

fn is_mac() -> bool {
    dom::window().navigator().platform().is_ok_and(|platform| platform.starts_with("Mac"))
}

/// Room for how much memory the node uses.
fn memory() -> Element {
    let memory = dom::make("span", "memory");
    dom::show(&memory, false);
    dom::add(&memory, &dom::make("span", "words"));
    let meter = dom::make("meter", "");
    // The words beside it say the same.
    dom::set(&meter, "aria-hidden", "true");
    dom::add(&memory, &meter);
    memory
}

/// Brings the foot's memory up to date.
pub(crate) fn draw_memory(pane: &Pane, health: Option<&Health>) {
    let Some(memory) = dom::find(&pane.foot, ".memory") else { return };
    let known = health.and_then(|health| Some((health.memory_mb?, health.memory_limit_mb?)));
    dom::show(&memory, known.is_some());
    let Some((used, limit)) = known else { return };
    dom::class(&memory, "warn", used * 10 > limit * 9);
    if let Some(words) = dom::find(&memory, ".words") {
        words.set_text_content(Some(&format!("Memory {used} of {limit} MB")));
    }
    if let Some(meter) = dom::find(&memory, "meter") {
        dom::set(&meter, "max", &limit.to_string());
        dom::set(&meter, "high", &(limit * 9 / 10).to_string());
        dom::set(&meter, "value", &used.to_string());
    }
}
