//! The menu of the shown node.

use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Element, Event};

use crate::{
    api::{self, Contents},
    app::app,
    dialog, dom, menu, words,
};

/// Keys that browsers keep for themselves, and what a terminal sends for them.
const KEYS: [(&str, &[u8]); 5] = [
    ("F6", b"\x1b[17~"),
    ("Ctrl+W", b"\x17"),
    ("Ctrl+T", b"\x14"),
    ("Ctrl+N", b"\x0e"),
    ("Ctrl+Shift+Enter", b"\r"),
];

/// Makes the menu, empty.
pub(crate) fn make() -> Element {
    let menu = dom::make("details", "menu");
    dom::set(&menu, "id", "node-menu");
    let button = dom::make("summary", "icon-button");
    dom::set(&button, "aria-label", "Node and terminal");
    dom::set(&button, "title", "Node and terminal");
    dom::add(&button, &dom::icon("dots"));
    let list = dom::make("div", "menu-list");
    dom::add(&menu, &button);
    dom::add(&menu, &list);
    dom::on::<Event>(&menu, "toggle", |_| {
        if let Some(menu) = dom::by_id("node-menu").filter(|menu| menu.has_attribute("open")) {
            fill(&menu);
        }
    });
    menu
}

/// Brings an open menu up to date.
pub(crate) fn draw() {
    let Some(menu) = dom::by_id("node-menu").filter(|menu| menu.has_attribute("open")) else { return };
    // Not while somebody is in it: what they are about to choose would move.
    let inside = dom::document().active_element().is_some_and(|active| menu.contains(Some(&active)));
    if !inside {
        fill(&menu);
    }
}

fn fill(menu: &Element) {
    let Some(list) = dom::find(menu, ".menu-list") else { return };
    dom::clear(&list);
    let Some(pane) = app().tabs.active() else { return };
    let Some(node) = app().tabs.node(&pane.node) else { return };
    let name = node.name.clone();
    let state = match (node.state.as_str(), node.cut) {
        ("running", true) => "cut off from the network",
        ("running", false) => "running",
        (state, _) => state,
    };
    dom::add(&list, &dom::make_text("p", "menu-title", &format!("{name}, {state}")));
    if node.state == "running" {
        match node.cut {
            true => item(&list, "Join the network again", "", verb(&name, "join")),
            false => item(&list, "Cut from the network", "", verb(&name, "cut")),
        };
        item(&list, "Stop", "disk is kept", verb(&name, "stop"));
        item(&list, "Kill", "as if the plug was pulled", verb(&name, "kill"));
    } else if matches!(node.state.as_str(), "stopped" | "failed") {
        item(&list, "Start", "", verb(&name, "start"));
    }
    line(&list);
    let (count, most) = (app().tabs.node_count(), app().session.now().map_or(0, |session| session.nodes_max));
    let add = item(&list, "Add a node", &format!("{count} of {most}"), || app().session.add_node());
    dom::flag(&add, "disabled", count >= most);
    if pane.view().is_some() {
        keys(&list);
    }
    if pane.term != "1" {
        let pane = pane.clone();
        item(&list, "Close this tab", "its programs go on", move || {
            app().tabs.remove(&pane);
            app().tabs.draw();
        });
    }
    line(&list);
    let reset = item(&list, "Reset this node…", "deletes its disk", move || ask_reset(&name));
    dom::class(&reset, "delete", true);
}

/// "Send a key…" opens the list of keys in place.
fn keys(list: &Element) {
    let open = dom::button("menu-item stays", "Send a key…");
    dom::add(&open, &dom::make_text("span", "why", "F6, Ctrl+W"));
    dom::set(&open, "aria-expanded", "false");
    let group = dom::make("div", "keys");
    dom::set(&group, "role", "group");
    dom::set(&group, "aria-label", "Keys");
    dom::show(&group, false);
    for (name, bytes) in KEYS {
        item(&group, name, "", move || {
            if let Some(view) = app().tabs.active().and_then(|pane| pane.view()) {
                view.type_bytes(bytes);
                view.focus();
            }
        });
    }
    let shown = group.clone();
    dom::on::<Event>(&open, "click", move |event| {
        let now = !shown.has_attribute("hidden");
        dom::show(&shown, !now);
        if let Some(open) = event.current_target().and_then(|target| target.dyn_into::<Element>().ok()) {
            dom::set(&open, "aria-expanded", if now { "false" } else { "true" });
        }
        event.stop_propagation();
    });
    dom::add(list, &open);
    dom::add(list, &group);
}

fn verb(node: &str, verb: &'static str) -> impl Fn() + 'static {
    let node = node.to_owned();
    move || app().session.verb(&node, verb)
}

fn item(list: &Element, label: &str, why: &str, act: impl Fn() + 'static) -> Element {
    let item = dom::button("menu-item", label);
    if !why.is_empty() {
        dom::add(&item, &dom::make_text("span", "why", why));
    }
    dom::on::<Event>(&item, "click", move |_| {
        if let Some(menu) = dom::by_id("node-menu") {
            menu::close(&menu);
        }
        act();
    });
    dom::add(list, &item);
    item
}

fn line(list: &Element) {
    dom::add(list, &dom::make("hr", ""));
}

/// Asks back before a node is made anew, and counts meanwhile what is in it.
pub(crate) fn ask_reset(node: &str) {
    let name = node.to_owned();
    let question = dialog::question(&format!("Reset {node}?"), &format!("Reset {node}"), true)
        .text("It starts anew, as it was when the lab began.")
        .deleted_and_kept(
            &format!("Deleted: containers, images and your files on {node}"),
            "Kept: your progress, other nodes, what you pushed",
        );
    if let (Some(path), Some(deleted)) =
        (app().session.path(&format!("/nodes/{node}/contents")), question.deleted())
    {
        let node = name.clone();
        spawn_local(async move {
            // Without an answer the words stay as they are, which is true as well.
            if let Ok(contents) = api::get::<Contents>(&path).await {
                deleted.say(&words::deleted(contents.containers, contents.images, &node));
            }
        });
    }
    question.ask(move || app().session.verb(&name, "reset"));
}
