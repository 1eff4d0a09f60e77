//! What is said aloud: two live regions, one that waits and one that doesn't.

use std::cell::RefCell;

use crate::dom;

/// Polite messages are gathered this long, so that none cuts off another.
const GATHER_MS: i32 = 2000;

thread_local! {
    static WAITING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Says it when there is a pause: at most one message in two seconds, merged.
pub(crate) fn polite(message: &str) {
    let first = WAITING.with_borrow_mut(|waiting| {
        if !waiting.iter().any(|known| known == message) {
            waiting.push(message.to_owned());
        }
        waiting.len() == 1
    });
    if first {
        dom::after(GATHER_MS, || {
            let text = WAITING.with_borrow_mut(|waiting| std::mem::take(waiting).join(" "));
            put("polite", &text);
        });
    }
}

/// Says it at once: connection lost, five minutes and one minute left.
pub(crate) fn assertive(message: &str) {
    put("assertive", message);
}

fn put(region: &str, text: &str) {
    if let Some(region) = dom::by_id(region) {
        // A message that comes twice is only heard twice if it changes.
        dom::clear(&region);
        region.set_text_content(Some(text));
    }
}
