//! Questions that must be answered first.

use wasm_bindgen::JsCast;
use web_sys::{Element, Event, HtmlDialogElement};

use crate::dom;

/// A question with two answers, Cancel and the deed.
pub(crate) struct Question {
    dialog: HtmlDialogElement,
    deed: Element,
}

/// A sentence in a question that may yet become more exact.
pub(crate) struct Sentence(Element);

impl Sentence {
    /// Says it in other words.
    pub(crate) fn say(&self, text: &str) {
        self.0.set_text_content(Some(text));
    }
}

/// Begins a question. Cancel has the focus when it opens.
pub(crate) fn question(title: &str, deed: &str, deletes: bool) -> Question {
    let dialog = dom::make("dialog", "").unchecked_into::<HtmlDialogElement>();
    let heading = dom::make_text("h2", "", title);
    dom::set(&heading, "id", "dialog-title");
    dom::set(&dialog, "aria-labelledby", "dialog-title");
    dom::add(&dialog, &heading);
    let deed = dom::button(if deletes { "button delete" } else { "button fill" }, deed);
    Question { dialog, deed }
}

impl Question {
    /// Adds a sentence.
    pub(crate) fn text(self, text: &str) -> Question {
        dom::add(&self.dialog, &dom::make_text("p", "", text));
        self
    }

    /// Adds a text as it is, such as what would be pasted.
    pub(crate) fn verbatim(self, text: &str) -> Question {
        let block = dom::make_text("pre", "", text);
        dom::set(&block, "tabindex", "0");
        dom::add(&self.dialog, &block);
        self
    }

    /// What [`Question::deleted_and_kept`] says is deleted.
    pub(crate) fn deleted(&self) -> Option<Sentence> {
        dom::find(&self.dialog, "li > span:last-child").map(Sentence)
    }

    /// Adds what is deleted and what is kept.
    pub(crate) fn deleted_and_kept(self, deleted: &str, kept: &str) -> Question {
        let list = dom::make("ul", "");
        for (icon, class, text) in [("cross", "fail", deleted), ("check", "ok", kept)] {
            let item = dom::make("li", "");
            let mark = dom::make("span", class);
            dom::add(&mark, &dom::icon(icon));
            dom::add(&item, &mark);
            dom::add(&item, &dom::make_text("span", "", text));
            dom::add(&list, &item);
        }
        dom::add(&self.dialog, &list);
        self
    }

    /// Asks; `then` is called if the deed is chosen.
    pub(crate) fn ask(self, then: impl FnOnce() + 'static) {
        let row = dom::make("div", "dialog-row");
        let cancel = dom::button("button", "Cancel");
        dom::set(&cancel, "autofocus", "");
        dom::add(&row, &cancel);
        dom::add(&row, &self.deed);
        dom::add(&self.dialog, &row);
        dom::add(&dom::body(), &self.dialog);
        let before = dom::document().active_element();
        let dialog = self.dialog.clone();
        dom::on::<Event>(&cancel, "click", move |_| dialog.close());
        let dialog = self.dialog.clone();
        let mut then = Some(then);
        dom::on::<Event>(&self.deed, "click", move |_| {
            dialog.close();
            if let Some(then) = then.take() {
                then();
            }
        });
        let dialog = self.dialog.clone();
        dom::on::<Event>(&self.dialog, "close", move |_| {
            dialog.remove();
            if let Some(before) = &before {
                dom::focus(before);
            }
        });
        if self.dialog.show_modal().is_ok() {
            dom::focus(&cancel);
        }
    }
}
