//! The keyboard and the clipboard, through a text area that can't be seen.

use wasm_bindgen::JsCast;
use web_sys::{
    ClipboardEvent, CompositionEvent, Event, HtmlDocument, HtmlTextAreaElement, InputEvent, KeyboardEvent,
};

use super::keys::{self, Action, Key, Scroll};
use super::{TerminalView, paste};
use crate::dom;

/// Makes a text area what a terminal types through.
pub(crate) fn prepare(input: &HtmlTextAreaElement, name: &str) {
    for (attribute, value) in [
        ("aria-label", format!("Terminal, {name}. F6 leaves.").as_str()),
        ("autocomplete", "off"),
        ("autocorrect", "off"),
        ("autocapitalize", "off"),
        ("spellcheck", "false"),
        ("rows", "1"),
    ] {
        dom::set(input, attribute, value);
    }
}

impl TerminalView {
    pub(crate) fn hear_keys(&self) {
        let me = self.me.clone();
        self.listeners.on::<KeyboardEvent>(&self.input, "keydown", move |event| {
            if let Some(view) = me.upgrade() {
                view.key_down(&event);
            }
        });
        let me = self.me.clone();
        self.listeners.on::<InputEvent>(&self.input, "input", move |event| {
            if let Some(view) = me.upgrade()
                && !event.is_composing()
            {
                view.take_typed_text();
            }
        });
        let me = self.me.clone();
        self.listeners.on::<CompositionEvent>(&self.input, "compositionend", move |_| {
            if let Some(view) = me.upgrade() {
                view.take_typed_text();
            }
        });
        let me = self.me.clone();
        self.listeners.on::<ClipboardEvent>(&self.input, "paste", move |event| {
            if let Some(view) = me.upgrade() {
                event.prevent_default();
                let text = event.clipboard_data().and_then(|data| data.get_data("text/plain").ok());
                view.paste(&text.unwrap_or_default());
            }
        });
        for (kind, focused) in [("focus", true), ("blur", false)] {
            let me = self.me.clone();
            self.listeners.on::<Event>(&self.input, kind, move |_| {
                if let Some(view) = me.upgrade() {
                    view.focus_changed(focused);
                }
            });
        }
    }

    fn focus_changed(&self, focused: bool) {
        self.focused.set(focused);
        self.wake_cursor();
        if self.core.borrow().modes().focus_reports {
            self.send_if_open(if focused { b"\x1b[I" } else { b"\x1b[O" });
        }
    }

    /// Sends what nobody would miss later.
    pub(crate) fn send_if_open(&self, bytes: &[u8]) {
        if self.state() == super::State::Open {
            self.send(bytes);
        }
    }

    fn key_down(&self, event: &KeyboardEvent) {
        if event.is_composing() || event.key_code() == 229 {
            return;
        }
        let (key, code) = (event.key(), event.code());
        let key = Key {
            key: &key,
            code: &code,
            ctrl: event.ctrl_key(),
            alt: event.alt_key(),
            shift: event.shift_key(),
            meta: event.meta_key(),
            alt_graph: event.get_modifier_state("AltGraph"),
            mac: is_mac(),
        };
        let modes = self.core.borrow().modes();
        let selected = self.selection.get().is_some();
        match keys::action(&key, &modes, selected) {
            Action::Browser => return,
            Action::Send(bytes) => self.typed(&bytes),
            Action::Leave(leave) => (self.callbacks.on_leave)(leave),
            Action::Copy => self.copy(),
            Action::Scroll(scroll) => self.scroll(scroll),
            Action::Shortcut => {
                (self.callbacks.on_shortcut)(event);
            }
        }
        event.prevent_default();
        event.stop_propagation();
    }

    /// Sends what the text area has got, be it by a key, an input method, a
    /// phone's keyboard or dictation.
    fn take_typed_text(&self) {
        let text = self.input.value();
        self.input.set_value("");
        self.typed(paste::cleaned(&text).as_bytes());
    }

    fn scroll(&self, scroll: Scroll) {
        let page = u64::from(self.core.borrow().size().1.saturating_sub(1).max(1));
        let top = self.view_top();
        match scroll {
            Scroll::PageUp => self.scroll_to_line(top.saturating_sub(page)),
            Scroll::PageDown => self.scroll_to_line(top.saturating_add(page)),
            Scroll::Top => self.scroll_to_line(0),
            Scroll::Bottom => self.scroll_to_line(u64::MAX),
            Scroll::PreviousCommand => self.previous_command(),
            Scroll::NextCommand => self.next_command(),
        }
    }

    /// Copies what is selected. The text goes through the text area, which
    /// works without a permission and on plain HTTP too.
    pub(crate) fn copy(&self) {
        let Some(selection) = self.selection.get() else { return };
        let text = selection.text(&self.core.borrow());
        if text.is_empty() {
            return;
        }
        self.input.set_value(&text);
        self.input.select();
        // A browser that refuses leaves the clipboard as it was; the
        // selection stays, so that the learner sees that it may be tried again.
        let copied = dom::document().unchecked_into::<HtmlDocument>().exec_command("copy");
        self.input.set_value("");
        if copied.unwrap_or(false) {
            self.select(None);
        }
    }
}

fn is_mac() -> bool {
    dom::window().navigator().user_agent().is_ok_and(|agent| agent.contains("Mac OS"))
}
