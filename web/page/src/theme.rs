//! Light and dark: the system's setting, or the learner's own choice.

use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlDocument};

use crate::dom;

const DARK: &str = "(prefers-color-scheme: dark)";

/// Whether the page is dark now.
pub(crate) fn is_dark() -> bool {
    let chosen = dom::document().document_element().and_then(|root| dom::data(&root, "theme"));
    match chosen.as_deref() {
        Some("dark") => true,
        Some("light") => false,
        _ => dom::window().match_media(DARK).ok().flatten().is_some_and(|query| query.matches()),
    }
}

/// Makes the menu's choices work at once, and calls `changed` after a change.
pub(crate) fn start(changed: impl Fn() + Clone + 'static) {
    if let Ok(Some(query)) = dom::window().match_media(DARK) {
        let changed = changed.clone();
        dom::on::<Event>(&query, "change", move |_| changed());
    }
    let Some(form) = dom::by_id("theme-form") else { return };
    dom::on::<Event>(&form, "click", move |event| {
        let Some(choice) = dom::closest(&event, "button[name=theme]") else { return };
        event.prevent_default();
        choose(&choice.get_attribute("value").unwrap_or_default());
        changed();
    });
}

fn choose(theme: &str) {
    if let Some(root) = dom::document().document_element() {
        match theme {
            "light" | "dark" => dom::set(&root, "data-theme", theme),
            _ => dom::flag(&root, "data-theme", false),
        }
    }
    if let Some(form) = dom::by_id("theme-form") {
        for choice in dom::all(&form, "button[name=theme]") {
            let chosen = choice.get_attribute("value").as_deref() == Some(theme);
            dom::set(&choice, "aria-pressed", if chosen { "true" } else { "false" });
        }
    }
    let cookie = format!("theme={theme}; Path=/; Max-Age=34560000; SameSite=Lax");
    // A browser without cookies keeps the choice for this page only.
    let _ = dom::document().unchecked_into::<HtmlDocument>().set_cookie(&cookie);
}
