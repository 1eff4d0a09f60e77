//! A terminal on the page: what a program prints, drawn on a canvas; what is
//! typed, sent to it.
//!
//! `socket` keeps the connection, `stream` takes in what comes over it a slice
//! at a time, `frame` draws what changed, `input` and `mouse` hear the learner.

mod boxes;
mod frame;
mod gutter;
mod input;
mod keys;
mod listen;
mod mouse;
mod painter;
mod palette;
mod paste;
mod selection;
mod socket;
mod stream;

use std::cell::{Cell, Ref, RefCell};
use std::rc::{Rc, Weak};

use drydock_protocol::terminal::FromViewer;
use drydock_terminal::{Mark, MarkKind, Terminal};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{HtmlCanvasElement, HtmlElement, HtmlTextAreaElement, KeyboardEvent, ResizeObserver};

pub(crate) use self::keys::Leave;
pub(crate) use self::palette::Theme;
pub(crate) use self::socket::State;

use self::painter::Painter;
use self::selection::Selection;
use self::socket::{News, Socket};
use crate::dom;

/// The lines of scrollback, here as in PID 1.
pub(crate) const SCROLLBACK_LINES: usize = 1000;
/// The most bytes that are kept of what is typed without a connection.
const PENDING_MAX: usize = 4096;

/// Hears of new marks.
type OnMarks = Box<dyn Fn(&[Mark])>;
/// Hears of a text and how many lines it has.
type OnPaste = Box<dyn Fn(&str, usize)>;

/// Whom a terminal tells what.
pub(crate) struct Callbacks {
    /// The connection's state changed; once a second while it is lost.
    pub(crate) on_state: Box<dyn Fn(&State)>,
    /// The number of columns and rows for which there is room changed.
    pub(crate) on_size: Box<dyn Fn(u16, u16)>,
    /// The learner wants out of the terminal.
    pub(crate) on_leave: Box<dyn Fn(Leave)>,
    /// A key that is not the program's; true if it was a shortcut.
    pub(crate) on_shortcut: Box<dyn Fn(&KeyboardEvent) -> bool>,
    /// The shell printed marks that were not told before.
    pub(crate) on_marks: OnMarks,
    /// Something was taken in.
    pub(crate) on_output: Box<dyn Fn()>,
    /// The learner typed.
    pub(crate) on_typed: Box<dyn Fn()>,
    /// The title changed.
    pub(crate) on_title: Box<dyn Fn(&str)>,
    /// Text of so many lines would run at once; `paste_now` if that is meant.
    pub(crate) on_paste: OnPaste,
    /// The browser doesn't let the page read the clipboard: the learner has
    /// to press Ctrl+Shift+V.
    pub(crate) on_paste_refused: Box<dyn Fn()>,
    /// What was typed without a connection, in words; empty when it is gone.
    pub(crate) on_pending: Box<dyn Fn(&str)>,
}

impl Default for Callbacks {
    fn default() -> Callbacks {
        Callbacks {
            on_state: Box::new(|_| {}),
            on_size: Box::new(|_, _| {}),
            on_leave: Box::new(|_| {}),
            on_shortcut: Box::new(|_| false),
            on_marks: Box::new(|_| {}),
            on_output: Box::new(|| {}),
            on_typed: Box::new(|| {}),
            on_title: Box::new(|_| {}),
            on_paste: Box::new(|_, _| {}),
            on_paste_refused: Box::new(|| {}),
            on_pending: Box::new(|_| {}),
        }
    }
}

/// A terminal on the page.
pub(crate) struct TerminalView {
    name: String,
    parent: HtmlElement,
    canvas: HtmlCanvasElement,
    input: HtmlTextAreaElement,
    callbacks: Callbacks,
    core: RefCell<Terminal>,
    painter: RefCell<Painter>,
    socket: Rc<Socket>,
    stream: stream::Stream,
    frame: frame::FrameState,
    mouse: mouse::MouseState,
    selection: Cell<Option<Selection>>,
    /// The line at the top of the view; none while it follows the output.
    top_line: Cell<Option<u64>>,
    /// Typed without a connection, not sent.
    pending: RefCell<Vec<u8>>,
    visible: Cell<bool>,
    focused: Cell<bool>,
    listeners: listen::Listeners,
    observer: RefCell<Option<ResizeObserver>>,
    /// Where the view is known by what outlives it.
    me: Weak<TerminalView>,
}

impl TerminalView {
    /// Puts a terminal into `parent` and connects it to `url`, a WebSocket's
    /// address or a path on this page's server.
    ///
    /// # Errors
    /// If the browser has no 2d canvas.
    pub(crate) fn try_new(
        parent: &HtmlElement,
        name: &str,
        url: &str,
        theme: Theme,
        callbacks: Callbacks,
    ) -> Result<Rc<TerminalView>, JsValue> {
        let canvas: HtmlCanvasElement = dom::make("canvas", "terminal-canvas").unchecked_into();
        dom::set(&canvas, "aria-hidden", "true");
        let input: HtmlTextAreaElement = dom::make("textarea", "terminal-input").unchecked_into();
        input::prepare(&input, name);
        style_parts(&canvas, &input);
        dom::add(parent, &canvas);
        dom::add(parent, &input);
        let painter = Painter::new(&canvas, theme)?;
        let view = Rc::new_cyclic(|me: &Weak<TerminalView>| {
            let weak = me.clone();
            let news = move |news| {
                if let Some(view) = weak.upgrade() {
                    view.hear(news);
                }
            };
            TerminalView {
                name: name.to_owned(),
                parent: parent.clone(),
                canvas,
                input,
                callbacks,
                core: RefCell::new(Terminal::new(80, 24, SCROLLBACK_LINES)),
                painter: RefCell::new(painter),
                socket: Socket::new(url, Box::new(news)),
                stream: Default::default(),
                frame: Default::default(),
                mouse: Default::default(),
                selection: Cell::new(None),
                top_line: Cell::new(None),
                pending: RefCell::default(),
                visible: Cell::new(true),
                focused: Cell::new(false),
                listeners: Default::default(),
                observer: RefCell::default(),
                me: me.clone(),
            }
        });
        view.listen();
        view.start();
        Ok(view)
    }

    /// As [`TerminalView::try_new`].
    ///
    /// # Panics
    /// If the browser has no 2d canvas: there is none without it.
    pub(crate) fn new(
        parent: &HtmlElement,
        name: &str,
        url: &str,
        theme: Theme,
        callbacks: Callbacks,
    ) -> Rc<TerminalView> {
        TerminalView::try_new(parent, name, url, theme, callbacks)
            .expect("every browser with wasm has a 2d canvas")
    }

    fn listen(self: &Rc<Self>) {
        self.hear_keys();
        self.hear_mouse();
        self.watch_size();
    }

    /// Waits for the font, a second at most, then measures and connects.
    fn start(self: &Rc<Self>) {
        let weak = self.me.clone();
        spawn_local(async move {
            let fonts = frame::load_fonts();
            let late = fonts.clone();
            frame::first_of(fonts, 1000).await;
            let Some(view) = weak.upgrade() else { return };
            view.fit();
            view.socket.connect();
            drop(view);
            // A font that comes late has other widths.
            if JsFuture::from(late).await.is_ok()
                && let Some(view) = weak.upgrade()
            {
                view.fit();
            }
        });
    }

    fn hear(&self, news: News) {
        match news {
            News::Frame(frame) => self.receive(frame),
            News::State(state) => {
                self.request_frame();
                (self.callbacks.on_state)(&state);
            }
        }
    }

    /// Gives the keyboard to the terminal.
    pub(crate) fn focus(&self) {
        // An element in the page can be focused.
        let options = web_sys::FocusOptions::new();
        options.set_prevent_scroll(true);
        let _ = self.input.focus_with_options(&options);
    }

    /// Sends bytes as if they had been typed.
    pub(crate) fn type_bytes(&self, bytes: &[u8]) {
        self.send(bytes);
    }

    /// Pastes text, after asking if it would run at once.
    pub(crate) fn paste(&self, text: &str) {
        let bracketed = self.core.borrow().modes().bracketed_paste;
        if paste::runs_at_once(text, bracketed) && paste::lines(text) > 1 {
            (self.callbacks.on_paste)(text, paste::lines(text));
        } else {
            self.paste_now(text);
        }
    }

    /// Pastes text.
    pub(crate) fn paste_now(&self, text: &str) {
        let bracketed = self.core.borrow().modes().bracketed_paste;
        self.typed(&paste::bytes(text, bracketed));
    }

    /// Pastes what the clipboard has, where the browser lets the page read it;
    /// else tells how to paste.
    pub(crate) fn paste_from_clipboard(&self) {
        let clipboard = dom::window().navigator().clipboard();
        if clipboard.is_undefined() {
            return (self.callbacks.on_paste_refused)();
        }
        let (reading, me) = (clipboard.read_text(), self.me.clone());
        spawn_local(async move {
            let text = JsFuture::from(reading).await;
            let Some(view) = me.upgrade() else { return };
            match text {
                Ok(text) => view.paste(&text.as_string().unwrap_or_default()),
                Err(_) => (view.callbacks.on_paste_refused)(),
            }
        });
    }

    /// Changes to the light or the dark palette.
    pub(crate) fn set_theme(&self, theme: Theme) {
        self.painter.borrow_mut().palette = palette::Palette::new(theme);
        self.draw_all();
    }

    /// Tells whether the terminal can be seen. One that can't takes in what
    /// comes and draws nothing.
    pub(crate) fn set_visible(&self, visible: bool) {
        if self.visible.replace(visible) != visible && visible {
            self.fit();
        }
    }

    /// The connection's state.
    pub(crate) fn state(&self) -> State {
        self.socket.state()
    }

    /// The terminal itself.
    pub(crate) fn core(&self) -> Ref<'_, Terminal> {
        self.core.borrow()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connects at once if the connection is lost.
    pub(crate) fn try_now(&self) {
        self.socket.try_now();
    }

    /// Takes in bytes as if the program had printed them, and gives the
    /// answers to what they ask. The program hears nothing of it.
    pub(crate) fn write(&self, bytes: &[u8]) -> Vec<u8> {
        self.core.borrow_mut().feed(bytes);
        let replies = self.core.borrow_mut().take_replies();
        self.after_output();
        replies
    }

    /// The rows of the screen.
    pub(crate) fn text(&self) -> Vec<String> {
        self.core.borrow().text()
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (u16, u16) {
        self.core.borrow().size()
    }

    /// Sends what was typed while the connection was lost.
    pub(crate) fn send_pending(&self) {
        let pending = std::mem::take(&mut *self.pending.borrow_mut());
        (self.callbacks.on_pending)("");
        self.send(&pending);
    }

    /// Forgets what was typed while the connection was lost.
    pub(crate) fn discard_pending(&self) {
        self.pending.borrow_mut().clear();
        (self.callbacks.on_pending)("");
    }

    /// Takes the terminal off the page and gives its connection up.
    pub(crate) fn close(&self) {
        self.socket.close();
        self.listeners.remove_all();
        if let Some(observer) = self.observer.borrow_mut().take() {
            observer.disconnect();
        }
        self.canvas.remove();
        self.input.remove();
    }

    /// What the learner typed: it ends the selection and brings the view to
    /// the cursor.
    fn typed(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.select(None);
        self.follow();
        self.wake_cursor();
        if self.state() == State::Open {
            self.send(bytes);
        } else {
            self.keep_pending(bytes);
        }
        (self.callbacks.on_typed)();
    }

    fn send(&self, bytes: &[u8]) {
        for chunk in bytes.chunks(drydock_protocol::terminal::CHUNK) {
            if !self.socket.send(&FromViewer::Input(chunk.to_vec())) {
                self.keep_pending(chunk);
            }
        }
    }

    /// Keeps what can't be sent. It is not sent by itself later: who knows
    /// what the terminal shows then.
    fn keep_pending(&self, bytes: &[u8]) {
        if matches!(self.state(), State::Ended(_) | State::Refused(_)) {
            return;
        }
        let mut pending = self.pending.borrow_mut();
        let room = PENDING_MAX.saturating_sub(pending.len());
        pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let words = in_words(&pending);
        drop(pending);
        (self.callbacks.on_pending)(&words);
    }

    /// Moves the view so that a line is at its top.
    pub(crate) fn scroll_to_line(&self, line: u64) {
        let core = self.core.borrow();
        let screen = core.screen_line();
        let top = line.clamp(selection::first_line(&core), screen);
        drop(core);
        self.top_line.set((top < screen).then_some(top));
        self.draw_all();
    }

    /// Moves the view to the prompt before the top of the view.
    pub(crate) fn previous_command(&self) {
        let top = self.view_top();
        let line = self.prompts().into_iter().rfind(|line| *line < top);
        self.scroll_to_line(line.unwrap_or(0));
    }

    /// Moves the view to the next prompt below the top of the view.
    pub(crate) fn next_command(&self) {
        let top = self.view_top();
        let line = self.prompts().into_iter().find(|line| *line > top);
        self.scroll_to_line(line.unwrap_or(u64::MAX));
    }

    fn prompts(&self) -> Vec<u64> {
        let core = self.core.borrow();
        core.marks().filter(|mark| mark.kind == MarkKind::PromptStart).map(|mark| mark.at.line).collect()
    }

    /// The line at the top of the view.
    fn view_top(&self) -> u64 {
        let core = self.core.borrow();
        let screen = core.screen_line();
        self.top_line.get().map_or(screen, |line| line.clamp(selection::first_line(&core), screen))
    }

    /// Brings the view back to the screen.
    fn follow(&self) {
        if self.top_line.take().is_some() {
            self.draw_all();
        }
    }

    fn select(&self, selection: Option<Selection>) {
        if self.selection.replace(selection) != selection {
            self.draw_all();
        }
    }
}

/// Typed bytes as a learner would write them down.
fn in_words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|character| match character {
            '\r' | '\n' => '⏎',
            '\t' => '⇥',
            '\x7f' => '⌫',
            control if control.is_control() => '·',
            other => other,
        })
        .collect()
}

/// Places canvas and text area. The page's policy forbids style attributes,
/// not this.
fn style_parts(canvas: &HtmlCanvasElement, input: &HtmlTextAreaElement) {
    let set = |element: &HtmlElement, properties: &[(&str, &str)]| {
        for (property, value) in properties {
            // The names are plain, so it can't fail.
            let _ = element.style().set_property(property, value);
        }
    };
    set(
        canvas,
        &[("position", "absolute"), ("left", "0"), ("top", "0"), ("display", "block"), ("cursor", "text")],
    );
    set(
        input,
        &[
            ("position", "absolute"),
            ("left", "0"),
            ("top", "0"),
            ("width", "1px"),
            ("height", "1px"),
            ("padding", "0"),
            ("margin", "0"),
            ("border", "0"),
            ("outline", "none"),
            ("opacity", "0"),
            ("resize", "none"),
            ("overflow", "hidden"),
            ("white-space", "pre"),
            ("pointer-events", "none"),
            ("caret-color", "transparent"),
        ],
    );
}
