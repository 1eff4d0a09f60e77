//! The phone: guide and terminal as two views, a peek at the output, extra keys.

use std::cell::{Cell, RefCell};

use wasm_bindgen::JsCast;
use web_sys::{Element, Event, FocusEvent, HtmlElement, InputEvent, KeyboardEvent};

use crate::{app::app, dom, pane::Pane, runs::Status};

/// A key of the bar: its label, how it is called, and what it sends.
type Key = (&'static str, &'static str, &'static str);

const KEYS: [Key; 8] = [
    ("|", "Pipe", "|"),
    ("/", "Slash", "/"),
    ("~", "Tilde", "~"),
    ("-", "Hyphen", "-"),
    ("*", "Asterisk", "*"),
    ("&", "Ampersand", "&"),
    ("$", "Dollar", "$"),
    ("{}", "Braces", "{}"),
];

const ARROWS: [(&str, &str, &str); 4] = [
    ("arrow-left", "Left", "D"),
    ("arrow-up", "Up", "A"),
    ("arrow-down", "Down", "B"),
    ("arrow-right", "Right", "C"),
];

thread_local! {
    static CTRL: Cell<bool> = const { Cell::new(false) };
    static ALT: Cell<bool> = const { Cell::new(false) };
    static PEEKED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Whether Ctrl is latched; it counts for one key.
fn take_ctrl() -> bool {
    let on = CTRL.replace(false);
    if on {
        draw_latches();
    }
    on
}

/// Whether Alt is latched; it counts for one key.
fn take_alt() -> bool {
    let on = ALT.replace(false);
    if on {
        draw_latches();
    }
    on
}

/// Connects the views and makes the key bar.
pub(crate) fn start() {
    if let Some(tabs) = dom::by_id("phone-tabs") {
        dom::on::<Event>(&tabs, "click", |event| {
            if let Some(name) = dom::closest(&event, "button").and_then(|button| dom::data(&button, "view")) {
                view(&name);
            }
        });
    }
    if let Some(bar) = dom::by_id("key-bar") {
        fill(&bar);
    }
    // The bar must not take the focus, or the phone's keyboard would fold.
    if let Some(bar) = dom::by_id("key-bar") {
        dom::on::<Event>(&bar, "pointerdown", |event| event.prevent_default());
    }
    latch_typing();
    let terminals = &app().tabs.root;
    let typing = |on: bool| {
        let coarse = dom::window()
            .match_media("(pointer: coarse)")
            .ok()
            .flatten()
            .is_some_and(|query| query.matches());
        dom::class(&dom::body(), "types", on && coarse);
    };
    dom::on::<FocusEvent>(terminals, "focusin", move |event| {
        let text = event.target().and_then(|target| target.dyn_into::<Element>().ok());
        typing(text.is_some_and(|element| element.tag_name() == "TEXTAREA"));
    });
    dom::on::<FocusEvent>(terminals, "focusout", move |_| typing(false));
}

/// A latched Ctrl or Alt counts for the next character of the phone's own
/// keyboard, too, which comes as a key or, on Android, as text.
fn latch_typing() {
    let terminals = &app().tabs.root;
    dom::on_first::<KeyboardEvent>(terminals, "keydown", |event| {
        let key = event.key();
        let plain = key.chars().count() == 1 && !event.ctrl_key() && !event.alt_key() && !event.meta_key();
        take_typed(&event, plain.then_some(key));
    });
    dom::on_first::<InputEvent>(terminals, "beforeinput", |event| take_typed(&event, event.data()));
}

fn take_typed(event: &Event, text: Option<String>) {
    let Some(text) = text.filter(|_| CTRL.get() || ALT.get()) else { return };
    event.prevent_default();
    event.stop_propagation();
    send(&text);
}

/// Shows the guide or the terminal; on a wide page both are there anyway.
pub(crate) fn view(name: &str) {
    dom::class(&dom::body(), "shows-terminal", name == "terminal" || app().lab.is_none());
    if let Some(tabs) = dom::by_id("phone-tabs") {
        for button in dom::all(&tabs, "button") {
            let chosen = dom::data(&button, "view").as_deref() == Some(name);
            dom::set(&button, "aria-pressed", if chosen { "true" } else { "false" });
        }
    }
    draw_peek();
}

fn fill(bar: &Element) {
    dom::set(bar, "role", "toolbar");
    dom::set(bar, "aria-label", "Keys");
    let first = dom::make("div", "keys");
    key(&first, "Esc", "Esc", || send("\x1b"));
    key(&first, "Tab", "Tab", || send("\t"));
    latch(&first, "Ctrl", &CTRL);
    latch(&first, "Alt", &ALT);
    key(&first, "Paste", "Paste", || {
        if let Some(view) = app().tabs.active().and_then(|pane| pane.view()) {
            view.paste_from_clipboard();
        }
    });
    let keyboard = key(&first, "", "Keyboard", toggle_keyboard);
    dom::add(&keyboard, &dom::icon("keyboard"));
    let second = dom::make("div", "keys few");
    for (icon, name, letter) in ARROWS {
        let button = key(&second, "", name, move || arrow(letter));
        dom::add(&button, &dom::icon(icon));
    }
    for (label, name, text) in KEYS {
        key(&second, label, name, move || send(text));
    }
    dom::add(bar, &first);
    dom::add(bar, &second);
}

fn key(row: &Element, label: &str, name: &str, act: impl Fn() + 'static) -> Element {
    let button = dom::button("", label);
    if label != name {
        dom::set(&button, "aria-label", name);
    }
    dom::on::<Event>(&button, "click", move |_| act());
    dom::add(row, &button);
    button
}

fn latch(row: &Element, label: &'static str, on: &'static std::thread::LocalKey<Cell<bool>>) {
    let button = key(row, label, label, move || {
        on.set(!on.get());
        draw_latches();
    });
    dom::set(&button, "data-latch", label);
    dom::set(&button, "aria-pressed", "false");
}

fn draw_latches() {
    for button in dom::all(&dom::body(), "#key-bar [data-latch]") {
        let on = match dom::data(&button, "latch").as_deref() {
            Some("Ctrl") => CTRL.get(),
            _ => ALT.get(),
        };
        dom::set(&button, "aria-pressed", if on { "true" } else { "false" });
    }
}

/// Sends a key's text, with Ctrl and Alt if they are latched.
fn send(text: &str) {
    let Some(view) = app().tabs.active().and_then(|pane| pane.view()) else { return };
    view.type_bytes(&with_latches(text.as_bytes(), take_ctrl(), take_alt()));
}

/// What a terminal sends for a text with Ctrl or Alt held.
fn with_latches(text: &[u8], ctrl: bool, alt: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    if alt {
        bytes.push(0x1b);
    }
    match text {
        [byte] if ctrl && (byte.is_ascii_alphabetic() || b"@[\\]^_?".contains(byte)) => {
            bytes.push(if *byte == b'?' { 0x7f } else { byte.to_ascii_uppercase() & 0x1f });
        }
        [b'/'] if ctrl => bytes.push(0x1f),
        [b' '] if ctrl => bytes.push(0),
        text => bytes.extend_from_slice(text),
    }
    bytes
}

fn arrow(letter: &str) {
    let Some(view) = app().tabs.active().and_then(|pane| pane.view()) else { return };
    let application = view.core().modes().application_cursor;
    let modifier = 1 + if take_alt() { 2 } else { 0 } + if take_ctrl() { 4 } else { 0 };
    let keys = match (modifier, application) {
        (1, true) => format!("\x1bO{letter}"),
        (1, false) => format!("\x1b[{letter}"),
        (modifier, _) => format!("\x1b[1;{modifier}{letter}"),
    };
    view.type_bytes(keys.as_bytes());
}

fn toggle_keyboard() {
    let Some(pane) = app().tabs.active() else { return };
    let active = dom::document().active_element();
    match active
        .filter(|active| pane.root.contains(Some(active)))
        .and_then(|active| active.dyn_into::<HtmlElement>().ok())
    {
        Some(active) => drop(active.blur()),
        None => pane.focus(),
    }
}

/// Draws three lines of the terminal under the guide, when only the guide is shown.
pub(crate) fn draw_peek() {
    let Some(peek) = dom::by_id("peek") else { return };
    let shown = peek.get_bounding_client_rect().height() > 0.0 || peek.has_attribute("hidden");
    let narrow = dom::by_id("phone-tabs").is_some_and(|tabs| tabs.get_bounding_client_rect().height() > 0.0);
    let Some(pane) = app().tabs.active().filter(|pane| narrow && shown && pane.view().is_some()) else {
        return dom::show(&peek, false);
    };
    let lines = last_lines(&pane);
    let said = state_words(&pane);
    let new = format!("{} {said} {lines}", pane.name());
    let unchanged = PEEKED.with_borrow_mut(|old| std::mem::replace(old, new.clone()) == new);
    if unchanged && !peek.has_attribute("hidden") {
        return;
    }
    dom::clear(&peek);
    let head = dom::make("div", "head");
    let (shape, _) = app().tabs.shape(&pane.node);
    let symbol = shape.symbol();
    dom::add(&head, &dom::shape(&format!("icon shape {symbol}"), symbol));
    dom::add(&head, &dom::make_text("span", "", &pane.name()));
    let (class, icon) = match said.as_str() {
        "exit 0" => ("said ok", Some("check")),
        said if said.starts_with("exit") => ("said fail", Some("cross")),
        _ => ("said", None),
    };
    let state = dom::make("span", class);
    if let Some(icon) = icon {
        dom::add(&state, &dom::icon(icon));
    }
    dom::add_text(&state, &said);
    dom::add(&head, &state);
    dom::add(&head, &dom::make("span", "spring"));
    let open = dom::button("link-button", "Open");
    dom::on::<Event>(&open, "click", |_| view("terminal"));
    dom::add(&head, &open);
    dom::add(&peek, &head);
    dom::add(&peek, &dom::make_text("pre", "", &lines));
    dom::show(&peek, true);
}

fn last_lines(pane: &Pane) -> String {
    let Some(view) = pane.view() else { return String::new() };
    let rows = view.text();
    let end = rows.iter().rposition(|row| !row.trim().is_empty()).map_or(0, |last| last + 1);
    rows[end.saturating_sub(3)..end].join("\n")
}

fn state_words(pane: &Pane) -> String {
    let Some(view) = pane.view() else { return String::new() };
    let shell = view.core().shell();
    let running = app().runs.first_running(&pane.node, &pane.term);
    match (running, shell.last_exit) {
        (Some(Status::Running { .. }), _) => "running".to_owned(),
        (_, Some(exit)) => format!("exit {exit}"),
        (_, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::with_latches;

    #[test]
    fn latched_keys_are_those_of_a_terminal() {
        assert_eq!(with_latches(b"c", true, false), [3]);
        assert_eq!(with_latches(b"f", false, true), b"\x1bf");
        assert_eq!(with_latches(b"/", true, false), [0x1f]);
        assert_eq!(with_latches(b"{}", true, false), b"{}");
    }
}
