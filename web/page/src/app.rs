//! The page's parts, in one place that every handler reaches.

use std::cell::OnceCell;

use crate::{checks::Checks, dom, files::Files, runs::Runs, session::SessionPart, steps::Steps, tabs::Tabs};

/// The parts. They live as long as the page.
pub(crate) struct App {
    /// The lab's name; `None` on a page with terminals only.
    pub(crate) lab: Option<String>,
    pub(crate) session: SessionPart,
    pub(crate) tabs: Tabs,
    pub(crate) runs: Runs,
    pub(crate) steps: Steps,
    pub(crate) checks: Checks,
    pub(crate) files: Files,
}

thread_local! {
    static APP: OnceCell<&'static App> = const { OnceCell::new() };
}

/// Makes the parts, once, on a page that has terminals.
pub(crate) fn make() -> Option<&'static App> {
    let terminals = dom::by_id("terminals")?;
    let body = dom::body();
    let app = App {
        lab: dom::data(&body, "lab"),
        session: SessionPart::new(dom::data(&body, "session")),
        tabs: Tabs::new(terminals),
        runs: Runs::default(),
        steps: Steps::default(),
        checks: Checks::default(),
        files: Files,
    };
    let app: &'static App = Box::leak(Box::new(app));
    APP.with(|cell| {
        cell.get_or_init(|| app);
    });
    Some(app)
}

/// The parts.
///
/// # Panics
/// On a page without terminals; nothing that asks runs there.
pub(crate) fn app() -> &'static App {
    APP.with(|cell| *cell.get().expect("the page's parts were made at its start"))
}
