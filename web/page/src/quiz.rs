//! Questions: the server judges, the page shows what it says.

use serde_json::json;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Element, Event, HtmlInputElement};

use crate::{
    api::{self, Verdict},
    app::app,
    dom, live, next,
};

/// Another step is shown.
pub(crate) fn opened() {
    for form in dom::all(&dom::body(), "#step .quiz") {
        dom::set(&form, "data-state", if form.has_attribute("data-done") { "right" } else { "open" });
    }
}

fn inputs(form: &Element) -> Vec<HtmlInputElement> {
    dom::all(form, ".answer input").into_iter().filter_map(|input| input.dyn_into().ok()).collect()
}

/// Handles an answer that was sent.
pub(crate) fn submitted(event: &Event) {
    let Some(form) = dom::closest(event, ".quiz") else { return };
    event.prevent_default();
    let answered = dom::data(&form, "judged").is_some();
    if answered {
        return again(&form);
    }
    let (Some(lab), Some(step), Some(quiz)) =
        (&app().lab, app().steps.number(), dom::data_number(&form, "quiz"))
    else {
        return;
    };
    let chosen: Vec<usize> = inputs(&form)
        .iter()
        .enumerate()
        .filter(|(_, input)| input.checked())
        .map(|(index, _)| index)
        .collect();
    if chosen.is_empty() {
        return hint(&form, "Choose an answer first.");
    }
    let path = format!("/api/labs/{lab}/steps/{step}/quiz");
    spawn_local(async move {
        let body = json!({ "quiz": quiz, "answers": chosen });
        match api::ask::<Verdict>("POST", &path, Some(&body)).await {
            Ok(verdict) => show(&form, &verdict),
            Err(failure) => hint(&form, &format!("That could not be judged: {}.", failure.message)),
        }
    });
}

fn show(form: &Element, verdict: &Verdict) {
    dom::set(form, "data-judged", "");
    dom::set(form, "data-state", if verdict.right { "right" } else { "wrong" });
    let rows = dom::all(form, ".answer");
    for reply in &verdict.replies {
        let Some(row) = rows.get(reply.answer) else { continue };
        dom::class(row, if reply.right { "right" } else { "wrong" }, true);
        let said = dom::make("span", "reply");
        dom::add(&said, &dom::make_text("b", "", if reply.right { "This one." } else { "Not this one." }));
        dom::add_text(&said, " ");
        let why = dom::make("span", "");
        // The server made this HTML from the guide; raw HTML was dropped there.
        why.set_inner_html(&reply.reply_html);
        dom::add(&said, &why);
        dom::add(row, &said);
    }
    for input in inputs(form) {
        input.set_disabled(true);
    }
    if let Some(button) = dom::find(form, ".answer-button") {
        button.set_text_content(Some("Try again"));
    }
    if let Some(foot) = dom::find(form, ".foot") {
        dom::show(&foot, !verdict.right);
    }
    hint(form, if verdict.right { "" } else { "Counts as done when right." });
    let spoken: Vec<String> =
        dom::all(form, ".reply").iter().filter_map(|reply| reply.text_content()).collect();
    live::polite(&spoken.join(" "));
    if verdict.right {
        app().steps.refresh();
    }
    next::mark();
}

fn again(form: &Element) {
    dom::flag(form, "data-judged", false);
    dom::set(form, "data-state", "open");
    for reply in dom::all(form, ".reply") {
        reply.remove();
    }
    for row in dom::all(form, ".answer") {
        dom::class(&row, "right", false);
        dom::class(&row, "wrong", false);
    }
    for input in inputs(form) {
        input.set_disabled(false);
        input.set_checked(false);
    }
    if let Some(button) = dom::find(form, ".answer-button") {
        button.set_text_content(Some("Answer"));
    }
    if let Some(first) = inputs(form).first() {
        dom::focus(first);
    }
    next::mark();
}

fn hint(form: &Element, words: &str) {
    if let Some(hint) = dom::find(form, ".hint") {
        hint.set_text_content(Some(words));
    }
}
