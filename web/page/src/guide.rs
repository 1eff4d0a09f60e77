//! Clicks and keys in the guide. Steps come and go, so the guide itself listens.

use wasm_bindgen::JsCast;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Event, HtmlElement, KeyboardEvent};

use crate::{app::app, checks, dom, files, live, next, node_menu, quiz, run_row};

/// Makes the guide's buttons and its key work.
pub(crate) fn start() {
    let Some(guide) = dom::by_id("guide") else { return };
    dom::on::<Event>(&guide, "click", |event| {
        let _handled = copy(&event)
            || run_row::clicked(&event)
            || checks::clicked(&event)
            || files::clicked(&event)
            || node_verb(&event);
    });
    dom::on::<Event>(&guide, "submit", |event| quiz::submitted(&event));
    dom::on::<KeyboardEvent>(&guide, "keydown", |event| {
        let plain = !event.shift_key() && !event.alt_key() && !event.meta_key();
        if event.key() == "Enter" && event.ctrl_key() && plain {
            event.prevent_default();
            next::act();
        }
    });
}

/// Copies a block's text, its prompts left out.
fn copy(event: &Event) -> bool {
    let Some(button) = dom::closest(event, ".copy") else { return false };
    let Some(block) = dom::closest(event, ".block") else { return true };
    let Some(code) = dom::find(&block, ".command code") else { return true };
    let text = match code.clone_node_with_deep(true).ok().and_then(|code| code.dyn_into::<HtmlElement>().ok())
    {
        Some(code) => {
            for prompt in dom::all(&code, ".prompt") {
                prompt.remove();
            }
            code.text_content().unwrap_or_default()
        }
        None => return true,
    };
    spawn_local(async move {
        let clipboard = dom::window().navigator().clipboard();
        let copied = match js_sys::Reflect::has(&dom::window().navigator(), &"clipboard".into()) {
            Ok(true) if !clipboard.is_undefined() => {
                JsFuture::from(clipboard.write_text(&text)).await.is_ok()
            }
            _ => false,
        };
        match copied {
            true => {
                live::polite("Copied.");
                dom::clear(&button);
                dom::add(&button, &dom::icon("check"));
                dom::after(2000, move || {
                    dom::clear(&button);
                    dom::add(&button, &dom::icon("copy"));
                });
            }
            // Plain HTTP has no clipboard: the text is selected, Ctrl+C takes it.
            false => {
                if let Ok(Some(selection)) = dom::window().get_selection() {
                    let _ = selection.select_all_children(&code);
                }
                live::polite("Selected. Press Ctrl+C to copy.");
            }
        }
    });
    true
}

/// A button that does something to a node.
fn node_verb(event: &Event) -> bool {
    let Some(block) = dom::closest(event, ".block.node-verb") else { return false };
    if dom::closest(event, ".act").is_none() {
        return false;
    }
    let node = dom::data(&block, "node").unwrap_or_default();
    match dom::data(&block, "verb").unwrap_or_default().as_str() {
        "reset" => node_menu::ask_reset(&node),
        "add" => app().session.add_node(),
        verb => app().session.verb(&node, verb),
    }
    dom::set(&block, "data-done", "");
    next::mark();
    true
}
