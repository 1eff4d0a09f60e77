//! The page's own program: terminals, run blocks, checks, and what goes with them.
//!
//! The server's pages read well without it. Each file is one feature and finds
//! its elements by the classes and `data-` attributes that the templates in
//! `server/templates` give them; [`app`] holds the parts together.

mod api;
mod app;
mod checks;
mod cover;
mod dialog;
mod diff;
mod divider;
mod dom;
mod files;
mod find;
mod foot;
mod guide;
mod hook;
mod line;
mod live;
mod menu;
mod next;
mod node_menu;
mod pane;
mod phone;
mod ports;
mod program;
mod quiz;
mod regions;
mod run_row;
mod runs;
mod session;
mod steps;
mod tabs;
mod terminal;
mod theme;
mod trouble;
mod words;

use wasm_bindgen::prelude::wasm_bindgen;

use app::app;

/// Runs when the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    menu::start();
    if app::make().is_none() {
        return theme::start(|| {});
    }
    theme::start(|| app().tabs.recolour());
    hook::start();
    regions::start();
    phone::start();
    divider::start();
    guide::start();
    session::start_bar();
    app().steps.start();
    app().session.start();
    dom::every(1000, || {
        app().session.tick();
        app().runs.tick();
        app().checks.tick();
    });
    dom::every(250, cover::tick);
}

/// Writes to the browser's log what went wrong and hurts nobody.
pub(crate) fn log(message: &str) {
    web_sys::console::warn_1(&message.into());
}
