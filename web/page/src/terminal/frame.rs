//! Draws what changed, once a frame of the browser's at most.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use drydock_terminal::Changes;
use js_sys::Promise;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Event, ResizeObserver};

use super::gutter::{self, Outcome};
use super::painter::{CursorLook, FAMILY, Line};
use super::selection;
use super::{State, TerminalView};
use crate::dom;

/// How long the cursor blinks after something was typed, and how fast.
const BLINK_FOR_MS: f64 = 5000.0;
const BLINK_MS: f64 = 530.0;
/// Output that scrolls is drawn every second frame at most: nobody can read it,
/// and the time is better spent on taking it in.
const SCROLL_MS: f64 = 30.0;
/// How long a program may hold the picture, should it never end its update.
const HOLD_MS: f64 = 150.0;
/// Below this width of the window the text is smaller.
const SMALL_BELOW: f64 = 1280.0;

/// What is to be drawn with the next frame.
#[derive(Default)]
pub(crate) struct FrameState {
    requested: Cell<bool>,
    all: Cell<bool>,
    /// The output scrolled, so that every row is another.
    scrolled: Cell<bool>,
    /// When all was drawn last.
    all_at_ms: Cell<f64>,
    /// Since when the program has been in the middle of an update.
    held_since_ms: Cell<Option<f64>>,
    /// Lines by their numbers.
    dirty: RefCell<BTreeSet<u64>>,
    /// Line, column and look of the cursor as drawn.
    cursor: Cell<Option<(u64, CursorLook)>>,
    blink_from: Cell<f64>,
    ticking: Cell<bool>,
    size: Cell<(u16, u16)>,
}

impl FrameState {
    pub(crate) fn add_dirty(&self, changes: &Changes, screen_line: u64) {
        if changes.scrolled > 0 {
            self.scrolled.set(true);
        }
        self.dirty.borrow_mut().extend(changes.rows.iter().map(|row| screen_line + u64::from(*row)));
    }

    /// Whether drawing can wait for another frame: in the middle of an update
    /// that the program marks, or when output scrolls by.
    fn waits(&self, synchronized: bool, now: f64) -> bool {
        if synchronized {
            let since = self.held_since_ms.get().unwrap_or(now);
            self.held_since_ms.set(Some(since));
            if now - since < HOLD_MS {
                return true;
            }
        }
        self.held_since_ms.set(None);
        self.scrolled.get() && now - self.all_at_ms.get() < SCROLL_MS
    }
}

impl TerminalView {
    /// Draws all with the next frame.
    pub(crate) fn draw_all(&self) {
        self.frame.all.set(true);
        self.request_frame();
    }

    pub(crate) fn request_frame(&self) {
        if self.frame.requested.replace(true) {
            return;
        }
        let me = self.me.clone();
        let callback = Closure::once_into_js(move || {
            if let Some(view) = me.upgrade() {
                view.frame.requested.set(false);
                view.next_frame();
            }
        });
        // It fails only if the callback is none.
        let _ = dom::window().request_animation_frame(callback.unchecked_ref());
    }

    fn next_frame(&self) {
        let done = self.take_in();
        if self.visible.get() {
            self.draw();
        }
        if !done {
            self.request_frame();
        }
    }

    fn draw(&self) {
        let mut painter = self.painter.borrow_mut();
        if painter.metrics.width < 1.0 {
            return;
        }
        let core = self.core.borrow();
        let now = dom::now_ms();
        if !self.frame.all.get() && self.frame.waits(core.modes().synchronized, now) {
            self.request_frame();
            return;
        }
        let scrolled = self.frame.scrolled.take();
        let top = {
            let screen = core.screen_line();
            self.top_line.get().map_or(screen, |line| line.clamp(selection::first_line(&core), screen))
        };
        let rows = usize::from(core.size().1);
        let cursor = self.cursor_look(&core);
        let all = self.frame.all.take() || scrolled;
        let mut dirty = std::mem::take(&mut *self.frame.dirty.borrow_mut());
        let before = self.frame.cursor.replace(cursor);
        if before != cursor {
            dirty.extend([before, cursor].into_iter().flatten().map(|(line, _)| line));
        }
        let commands = if core.is_alternate() { Vec::new() } else { gutter::commands(&core) };
        let times = self.stream.times.borrow();
        if all {
            self.frame.all_at_ms.set(now);
            painter.clear();
        }
        let selected = self.selection.get();
        for y in 0..rows {
            let line = top + y as u64;
            if !all && !dirty.contains(&line) {
                continue;
            }
            let command = commands.iter().rfind(|command| command.line == line);
            painter.line(&Line {
                row: selection::row(&core, line),
                y,
                selected: selected.and_then(|selection| selection.columns(&core, line)),
                cursor: cursor.filter(|(at, _)| *at == line).map(|(_, look)| look),
                command: command
                    .map(|command| (command.outcome, gutter::note(command, times.of(command, now)))),
            });
        }
        if self.top_line.get().is_some() {
            let (first, last) = (selection::first_line(&core), core.screen_line());
            let part = rows as f64 / ((last - first) as f64 + rows as f64);
            painter.scroll_bar((top - first) as f64 / ((last - first) as f64).max(1.0), part);
        }
        let running =
            commands.last().filter(|command| command.outcome == Outcome::Running).map(|command| command.line);
        drop(times);
        self.place_input(&painter, &core, top);
        self.keep_ticking(running);
    }

    /// Where the cursor is and how it looks now; none while it is not seen.
    fn cursor_look(&self, core: &drydock_terminal::Terminal) -> Option<(u64, CursorLook)> {
        let cursor = core.cursor();
        let ended = matches!(self.state(), State::Ended(_) | State::Refused(_));
        if !cursor.visible || ended {
            return None;
        }
        let focused = self.focused.get();
        let since = dom::now_ms() - self.frame.blink_from.get();
        let blinks = focused && cursor.style.blinking && since < BLINK_FOR_MS && !less_motion();
        if blinks && (since / BLINK_MS) as u64 % 2 == 1 {
            return None;
        }
        let look = CursorLook { column: usize::from(cursor.x), shape: cursor.style.shape, focused };
        Some((core.screen_line() + u64::from(cursor.y), look))
    }

    /// The cursor is seen, and blinks for a while.
    pub(crate) fn wake_cursor(&self) {
        self.frame.blink_from.set(dom::now_ms());
        self.request_frame();
    }

    /// Draws again in a while if something changes by itself: the cursor that
    /// blinks, the seconds of a command that runs.
    fn keep_ticking(&self, running: Option<u64>) {
        let blinking =
            self.focused.get() && dom::now_ms() - self.frame.blink_from.get() < BLINK_FOR_MS + BLINK_MS;
        let wait = match (blinking && !less_motion(), running) {
            (true, _) => BLINK_MS,
            (false, Some(_)) => 1000.0,
            (false, None) => return,
        };
        if self.frame.ticking.replace(true) {
            return;
        }
        let me = self.me.clone();
        dom::after(wait as i32, move || {
            if let Some(view) = me.upgrade() {
                view.frame.ticking.set(false);
                if let Some(line) = running {
                    view.frame.dirty.borrow_mut().insert(line);
                }
                view.request_frame();
            }
        });
    }

    /// Keeps the text area under the cursor, where an input method opens its window.
    fn place_input(&self, painter: &super::painter::Painter, core: &drydock_terminal::Terminal, top: u64) {
        let cursor = core.cursor();
        let row = (core.screen_line() + u64::from(cursor.y)).saturating_sub(top);
        let (x, y, w, h) = painter.metrics.css_rect(usize::from(cursor.x), row as usize);
        let height = painter.metrics.height / painter.metrics.ratio - h;
        let style = self.input.style();
        for (property, value) in [("left", x), ("top", y.min(height).max(0.0)), ("width", w), ("height", h)] {
            // The names are plain, so it can't fail.
            let _ = style.set_property(property, &format!("{value}px"));
        }
    }

    /// Watches the room that the terminal has, and the screen's resolution.
    pub(crate) fn watch_size(&self) {
        let me = self.me.clone();
        let callback = Closure::<dyn FnMut()>::new(move || {
            if let Some(view) = me.upgrade() {
                view.fit();
            }
        });
        if let Ok(observer) = ResizeObserver::new(callback.as_ref().unchecked_ref()) {
            observer.observe(&self.parent);
            *self.observer.borrow_mut() = Some(observer);
        }
        callback.into_js_value();
        for (target, kind) in
            [(JsValue::from(dom::window()), "resize"), (JsValue::from(dom::document()), "visibilitychange")]
        {
            let me = self.me.clone();
            self.listeners.on::<Event>(target.unchecked_ref(), kind, move |_| {
                if let Some(view) = me.upgrade() {
                    view.fit();
                    view.take_in_soon();
                }
            });
        }
    }

    /// Measures the room and the font, and tells the size if it is another.
    pub(crate) fn fit(&self) {
        let rect = self.parent.get_bounding_client_rect();
        let (width, height) = (f64::from(self.parent.client_width()), f64::from(self.parent.client_height()));
        if width < 1.0 || height < 1.0 {
            return;
        }
        let small = dom::window()
            .inner_width()
            .ok()
            .and_then(|width| width.as_f64())
            .is_some_and(|w| w < SMALL_BELOW);
        let (font, row) = if small { (12.0, 18.0) } else { (14.0, 20.0) };
        let size = {
            let mut painter = self.painter.borrow_mut();
            painter.fit(width, height, font, row);
            self.align(rect.left(), rect.top(), painter.metrics.ratio);
            painter.metrics.size()
        };
        if self.frame.size.replace(size) != size {
            self.socket.set_size(size.0, size.1);
            (self.callbacks.on_size)(size.0, size.1);
        }
        // Setting a canvas' size clears it: draw before the browser shows that.
        self.frame.all.set(true);
        self.draw();
    }

    /// Puts the canvas on whole pixels of the screen.
    fn align(&self, left: f64, top: f64, ratio: f64) {
        for (property, at) in [("left", left), ("top", top)] {
            let shift = ((at * ratio).round() - at * ratio) / ratio;
            // The names are plain, so it can't fail.
            let _ = self.canvas.style().set_property(property, &format!("{shift}px"));
        }
    }
}

/// Whether the learner asked for less motion.
fn less_motion() -> bool {
    let query = dom::window().match_media("(prefers-reduced-motion: reduce)");
    query.ok().flatten().is_some_and(|query| query.matches())
}

/// Loads the fonts that the canvas draws with.
pub(crate) fn load_fonts() -> Promise {
    let fonts = dom::document().fonts();
    let loads = js_sys::Array::new();
    for weight in [400, 700] {
        loads.push(&fonts.load(&format!("{weight} 14px {FAMILY}")));
    }
    Promise::all(&loads)
}

/// Waits for a promise, or for so many milliseconds.
pub(crate) async fn first_of(promise: Promise, milliseconds: i32) {
    let timer = Promise::new(&mut |resolve, _| {
        // A window has timers.
        let _ = dom::window().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, milliseconds);
    });
    // A font that fails to load is replaced by the next of the family.
    let _ = JsFuture::from(Promise::race(&js_sys::Array::of2(&promise, &timer))).await;
}
