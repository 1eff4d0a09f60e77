//! The mouse: selecting and scrolling.

use std::cell::Cell;

use drydock_terminal::Position;
use web_sys::{Event, MouseEvent, WheelEvent};

use super::TerminalView;
use super::selection::{Selection, Unit};
use crate::dom;

/// The button in the middle and the others in a mouse event.
const LEFT_BUTTON: i16 = 0;
/// Lines that a notch of the wheel scrolls, where the browser counts lines.
const WHEEL_LINES: f64 = 1.0;
/// Milliseconds between two steps of scrolling while dragging outside.
const DRAG_STEP_MS: i32 = 50;

/// What the mouse is doing.
#[derive(Default)]
pub(crate) struct MouseState {
    /// Where a drag began.
    drag: Cell<Option<(Position, Unit)>>,
    /// The last place of the mouse, in CSS pixels from the canvas.
    at: Cell<(f64, f64)>,
    /// Parts of a line that the wheel has turned.
    wheel: Cell<f64>,
    scrolling: Cell<bool>,
}

impl TerminalView {
    pub(crate) fn hear_mouse(&self) {
        let me = self.me.clone();
        self.listeners.on::<MouseEvent>(&self.canvas, "mousedown", move |event| {
            if let Some(view) = me.upgrade() {
                view.mouse_down(&event);
            }
        });
        let window = dom::window();
        let me = self.me.clone();
        self.listeners.on::<MouseEvent>(&window, "mousemove", move |event| {
            if let Some(view) = me.upgrade() {
                view.mouse_moved(&event);
            }
        });
        let me = self.me.clone();
        self.listeners.on::<MouseEvent>(&window, "mouseup", move |_| {
            if let Some(view) = me.upgrade() {
                view.mouse.drag.set(None);
            }
        });
        let me = self.me.clone();
        self.listeners.on_cancelable::<WheelEvent>(&self.canvas, "wheel", move |event| {
            if let Some(view) = me.upgrade() {
                view.wheel(&event);
            }
        });
        let me = self.me.clone();
        // A tap opens a phone's keyboard.
        self.listeners.on::<Event>(&self.canvas, "click", move |_| {
            if let Some(view) = me.upgrade()
                && view.selection.get().is_none()
            {
                view.focus();
            }
        });
    }

    /// The place in the text at a point, and the same between two cells.
    fn position_at(&self, x: f64, y: f64, between: bool) -> Position {
        let (column, row) = self.painter.borrow().metrics.cell_at(x, y);
        let (cols, rows) = self.core.borrow().size();
        let row = row.clamp(0.0, f64::from(rows - 1));
        let column = if between { column.round() } else { column.floor() };
        let last = if between { cols } else { cols - 1 };
        let line = self.view_top() + row as u64;
        Position { line, col: column.clamp(0.0, f64::from(last)) as u16 }
    }

    fn point(&self, event: &MouseEvent) -> (f64, f64) {
        let rect = self.canvas.get_bounding_client_rect();
        (f64::from(event.client_x()) - rect.left(), f64::from(event.client_y()) - rect.top())
    }

    fn mouse_down(&self, event: &MouseEvent) {
        if event.button() != LEFT_BUTTON {
            return;
        }
        event.prevent_default();
        self.focus();
        let (x, y) = self.point(event);
        self.mouse.at.set((x, y));
        let unit = match event.detail() {
            2 => Unit::Word,
            n if n >= 3 => Unit::Line,
            _ => Unit::Character,
        };
        if event.shift_key()
            && let Some(selection) = self.selection.get()
        {
            self.mouse.drag.set(Some((selection.anchor, selection.unit)));
            return self.drag_to(x, y);
        }
        let anchor = self.position_at(x, y, unit == Unit::Character);
        self.mouse.drag.set(Some((anchor, unit)));
        match unit {
            Unit::Character => self.select(None),
            _ => self.select(Some(Selection { anchor, head: anchor, unit })),
        }
    }

    fn mouse_moved(&self, event: &MouseEvent) {
        if self.mouse.drag.get().is_none() {
            return;
        }
        // The button may have been let go outside the window.
        if event.buttons() & 1 == 0 {
            self.mouse.drag.set(None);
            return;
        }
        let (x, y) = self.point(event);
        self.mouse.at.set((x, y));
        self.drag_to(x, y);
        self.scroll_while_outside();
    }

    fn drag_to(&self, x: f64, y: f64) {
        let Some((anchor, unit)) = self.mouse.drag.get() else { return };
        let head = self.position_at(x, y, unit == Unit::Character);
        let nothing = unit == Unit::Character && head == anchor;
        self.select((!nothing).then_some(Selection { anchor, head, unit }));
    }

    /// Scrolls for as long as a drag is above or below the terminal.
    fn scroll_while_outside(&self) {
        let (_, y) = self.mouse.at.get();
        let height = f64::from(self.canvas.client_height());
        let lines = if y < 0.0 {
            -1
        } else if y > height {
            1
        } else {
            0
        };
        if lines == 0 || self.mouse.drag.get().is_none() || self.mouse.scrolling.replace(true) {
            return;
        }
        self.scroll_by(lines);
        let me = self.me.clone();
        dom::after(DRAG_STEP_MS, move || {
            if let Some(view) = me.upgrade() {
                view.mouse.scrolling.set(false);
                let (x, y) = view.mouse.at.get();
                view.drag_to(x, y);
                view.scroll_while_outside();
            }
        });
    }

    pub(crate) fn scroll_by(&self, lines: i64) {
        self.scroll_to_line(self.view_top().saturating_add_signed(lines));
    }

    /// The wheel scrolls; in a program that has the whole screen it sends
    /// arrow keys, as other terminals do.
    fn wheel(&self, event: &WheelEvent) {
        if event.ctrl_key() || event.delta_y() == 0.0 {
            return;
        }
        event.prevent_default();
        let row = {
            let metrics = self.painter.borrow().metrics;
            metrics.row / metrics.ratio
        };
        let lines = match event.delta_mode() {
            WheelEvent::DOM_DELTA_PIXEL => event.delta_y() / row,
            WheelEvent::DOM_DELTA_LINE => event.delta_y() * WHEEL_LINES,
            _ => event.delta_y() * f64::from(self.core.borrow().size().1),
        };
        let turned = self.mouse.wheel.get() + lines;
        let whole = turned.trunc();
        self.mouse.wheel.set(turned - whole);
        if whole == 0.0 {
            return;
        }
        let (alternate, application) = {
            let core = self.core.borrow();
            (core.is_alternate(), core.modes().application_cursor)
        };
        if alternate {
            let key = match (whole > 0.0, application) {
                (false, false) => b"\x1b[A",
                (false, true) => b"\x1bOA",
                (true, false) => b"\x1b[B",
                (true, true) => b"\x1bOB",
            };
            self.send_if_open(&key.repeat(whole.abs().min(100.0) as usize));
        } else {
            self.scroll_by(whole as i64);
        }
    }
}
