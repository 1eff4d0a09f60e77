//! The divider between guide and terminals: drag it, or use its keys.

use std::{cell::Cell, rc::Rc};

use wasm_bindgen::JsCast;
use web_sys::{Element, Event, HtmlElement, KeyboardEvent, PointerEvent};

use crate::dom;

/// The guide is never narrower.
const GUIDE_LEAST: f64 = 360.0;
/// The terminal keeps this many columns.
const COLUMNS_LEAST: f64 = 60.0;
/// A column's width in pixels, with text of 14 pixels and of 12.
const COLUMN: f64 = 8.4;
const COLUMN_SMALL: f64 = 7.2;
/// What the terminal leaves free at its sides.
const TERMINAL_EDGES: f64 = 40.0;
/// The divider's own width.
const WIDTH: f64 = 9.0;
/// Arrow keys move so far.
const STEP: f64 = 16.0;
/// Where this browser keeps the place, in pixels.
const KEPT: &str = "drydock-divider";

struct Divider {
    grid: HtmlElement,
    handle: Element,
    guide: Element,
    dragged: Cell<Option<f64>>,
}

/// Puts the divider where this browser had it, and lets it move.
pub(crate) fn start() {
    let (Some(grid), Some(handle), Some(guide)) =
        (dom::by_id("lab-grid"), dom::by_id("divider"), dom::by_id("guide"))
    else {
        return;
    };
    let grid = grid.unchecked_into();
    let divider = Rc::new(Divider { grid, handle, guide, dragged: Cell::new(None) });
    if let Some(width) = dom::kept(KEPT).and_then(|width| width.parse().ok()) {
        divider.place(width);
    }
    divider.say();
    listen(&divider);
}

fn listen(divider: &Rc<Divider>) {
    let this = divider.clone();
    dom::on::<PointerEvent>(&divider.handle, "pointerdown", move |event| {
        if event.button() == 0 && this.handle.set_pointer_capture(event.pointer_id()).is_ok() {
            this.dragged.set(Some(f64::from(event.client_x()) - this.width()));
            dom::class(&this.handle, "dragged", true);
            event.prevent_default();
            dom::focus(&this.handle);
        }
    });
    let this = divider.clone();
    dom::on::<PointerEvent>(&divider.handle, "pointermove", move |event| {
        if let Some(offset) = this.dragged.get() {
            this.fold(false);
            this.place(f64::from(event.client_x()) - offset);
        }
    });
    for kind in ["pointerup", "pointercancel"] {
        let this = divider.clone();
        dom::on::<PointerEvent>(&divider.handle, kind, move |_| {
            if this.dragged.take().is_some() {
                dom::class(&this.handle, "dragged", false);
                this.keep();
            }
        });
    }
    let this = divider.clone();
    dom::on::<KeyboardEvent>(&divider.handle, "keydown", move |event| this.key(&event));
    let this = divider.clone();
    dom::on::<Event>(&dom::window(), "resize", move |_| this.say());
}

impl Divider {
    fn width(&self) -> f64 {
        self.guide.get_bounding_client_rect().width()
    }

    /// The least and the most the guide may have now.
    fn bounds(&self) -> (f64, f64) {
        let left = self.guide.get_bounding_client_rect().left();
        let right = self.grid.get_bounding_client_rect().right();
        let wide = dom::window()
            .inner_width()
            .ok()
            .and_then(|width| width.as_f64())
            .is_none_or(|width| width >= 1280.0);
        let terminal = if wide { COLUMN } else { COLUMN_SMALL } * COLUMNS_LEAST + TERMINAL_EDGES;
        (GUIDE_LEAST, (right - left - WIDTH - terminal).max(GUIDE_LEAST))
    }

    fn place(&self, width: f64) {
        let (least, most) = self.bounds();
        let width = width.clamp(least, most).round();
        // The policy forbids style attributes, not the style object.
        let _ = self.grid.style().set_property("--guide", &format!("{width}px"));
        self.say();
    }

    fn folded(&self) -> bool {
        self.grid.class_list().contains("folded")
    }

    fn fold(&self, folded: bool) {
        dom::class(&self.grid, "folded", folded);
        self.say();
    }

    fn key(&self, event: &KeyboardEvent) {
        let (least, most) = self.bounds();
        match event.key().as_str() {
            "ArrowLeft" => self.move_to(self.width() - STEP),
            "ArrowRight" => self.move_to(self.width() + STEP),
            "Home" => self.move_to(least),
            "End" => self.move_to(most),
            "Enter" => self.fold(!self.folded()),
            _ => return,
        }
        event.prevent_default();
    }

    fn move_to(&self, width: f64) {
        self.fold(false);
        self.place(width);
        self.keep();
    }

    fn keep(&self) {
        dom::keep(KEPT, &self.width().round().to_string());
    }

    /// Tells those who listen where it stands.
    fn say(&self) {
        let (least, most) = self.bounds();
        let share = match self.folded() {
            true => 0.0,
            false if most > least => ((self.width() - least) / (most - least) * 100.0).clamp(0.0, 100.0),
            false => 100.0,
        };
        dom::set(&self.handle, "aria-valuenow", &format!("{share:.0}"));
        let words = if self.folded() { "folded".to_owned() } else { format!("{:.0} pixels", self.width()) };
        dom::set(&self.handle, "aria-valuetext", &words);
    }
}
