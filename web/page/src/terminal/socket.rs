//! The connection to a terminal: opened again and again until it is ended.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use drydock_protocol::terminal::{CLOSE_RESTART, FromViewer, ToViewer, seconds_of};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{BinaryType, CloseEvent, Event, MessageEvent, WebSocket};

use crate::dom;

/// Seconds before the first, second, … new attempt; the last holds on.
const BACK_OFF: [f64; 6] = [0.5, 1.0, 2.0, 4.0, 8.0, 10.0];
/// The close code for a node or session that is not there.
const GONE: u16 = 4404;

/// How a terminal's connection is doing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    /// It is being opened.
    Connecting,
    /// It is open, and the screen was received.
    Open,
    /// It was lost, or never came; the next attempt is this many seconds away.
    Lost {
        /// Seconds.
        retry_in: f64,
        /// The server said goodbye: it is started again.
        restarts: bool,
    },
    /// The terminal's program ended with this status.
    Ended(i32),
    /// There is no terminal to be had, and why.
    Refused(String),
}

/// What a socket tells its owner.
pub(crate) enum News {
    State(State),
    Frame(ToViewer),
}

/// A connection that comes back.
pub(crate) struct Socket {
    url: String,
    /// Columns and rows for which there is room.
    size: Cell<(u16, u16)>,
    socket: RefCell<Option<WebSocket>>,
    state: RefCell<State>,
    attempt: Cell<usize>,
    /// Grows with every attempt, so that late events of an old one are known.
    generation: Cell<u64>,
    retry_at: Cell<f64>,
    restarts: Cell<bool>,
    news: Box<dyn Fn(News)>,
    listeners: super::listen::Listeners,
}

impl Socket {
    /// A socket that is not yet opened. `news` hears of all that happens.
    pub(crate) fn new(url: &str, news: Box<dyn Fn(News)>) -> Rc<Socket> {
        let socket = Rc::new(Socket {
            url: absolute(url),
            size: Cell::new((80, 24)),
            socket: RefCell::default(),
            state: RefCell::new(State::Connecting),
            attempt: Cell::new(0),
            generation: Cell::new(0),
            retry_at: Cell::new(0.0),
            restarts: Cell::new(false),
            news,
            listeners: Default::default(),
        });
        socket.watch_the_network();
        socket.watch_for_sleep();
        socket
    }

    /// When the network or the learner comes back, there is no reason to wait.
    /// What looks open may be dead after a sleep, and opening it anew shows
    /// the same screen.
    fn watch_the_network(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        self.listeners.on::<Event>(&dom::window(), "online", move |_| {
            if let Some(socket) = weak.upgrade() {
                socket.renew();
            }
        });
        let weak = Rc::downgrade(self);
        self.listeners.on::<Event>(&dom::document(), "visibilitychange", move |_| {
            if let Some(socket) = weak.upgrade()
                && !dom::document().hidden()
            {
                socket.try_now();
            }
        });
    }

    fn renew(self: &Rc<Self>) {
        match self.state() {
            State::Ended(_) | State::Refused(_) => {}
            _ => self.connect(),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    fn set_state(&self, state: State) {
        *self.state.borrow_mut() = state.clone();
        (self.news)(News::State(state));
    }

    /// Tells the size for which there is room, now or with the next opening.
    pub(crate) fn set_size(&self, cols: u16, rows: u16) {
        if self.size.replace((cols, rows)) != (cols, rows) {
            let size = drydock_protocol::terminal::Size { cols, rows };
            self.send(&FromViewer::Resize(size));
        }
    }

    /// Opens the connection; one that is open is given up.
    pub(crate) fn connect(self: &Rc<Self>) {
        self.drop_socket();
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        let (cols, rows) = self.size.get();
        let joint = if self.url.contains('?') { '&' } else { '?' };
        let socket = match WebSocket::new(&format!("{}{joint}cols={cols}&rows={rows}", self.url)) {
            Ok(socket) => socket,
            Err(error) => return self.set_state(State::Refused(dom::words(&error))),
        };
        socket.set_binary_type(BinaryType::Arraybuffer);
        self.hear(&socket, generation);
        *self.socket.borrow_mut() = Some(socket);
        self.set_state(State::Connecting);
    }

    fn hear(self: &Rc<Self>, socket: &WebSocket, generation: u64) {
        let weak = Rc::downgrade(self);
        let current =
            move |weak: &Weak<Socket>| weak.upgrade().filter(|socket| socket.generation.get() == generation);
        let on_message = {
            let weak = weak.clone();
            Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
                if let Some(socket) = current(&weak) {
                    socket.received(&event.data());
                }
            })
        };
        socket.set_onmessage(Some(on_message.into_js_value().unchecked_ref()));
        let on_close = Closure::<dyn FnMut(CloseEvent)>::new(move |event: CloseEvent| {
            if let Some(socket) = current(&weak) {
                socket.closed(event.code(), &event.reason());
            }
        });
        socket.set_onclose(Some(on_close.into_js_value().unchecked_ref()));
    }

    fn received(&self, data: &JsValue) {
        let Some(buffer) = data.dyn_ref::<js_sys::ArrayBuffer>() else { return };
        let bytes = js_sys::Uint8Array::new(buffer).to_vec();
        let Some((kind, payload)) = bytes.split_first() else { return };
        match ToViewer::decode(*kind, payload) {
            Ok(frame) => {
                if matches!(frame, ToViewer::Snapshot { .. }) {
                    self.attempt.set(0);
                    self.set_state(State::Open);
                }
                match frame {
                    ToViewer::Ended(status) => self.set_state(State::Ended(status)),
                    ToViewer::Refused(why) => self.set_state(State::Refused(why)),
                    frame => (self.news)(News::Frame(frame)),
                }
            }
            Err(error) => {
                // A server of another version: say so rather than show half.
                self.drop_socket();
                self.set_state(State::Refused(error.to_string()));
            }
        }
    }

    fn closed(self: &Rc<Self>, code: u16, reason: &str) {
        self.drop_socket();
        if matches!(self.state(), State::Ended(_) | State::Refused(_)) {
            return;
        }
        if code == GONE {
            return self.set_state(State::Refused("this node is not running".into()));
        }
        let hint = (code == CLOSE_RESTART).then(|| seconds_of(reason)).flatten();
        // One that was told stays told until it is back.
        self.restarts.set(hint.is_some() || (self.restarts.get() && self.attempt.get() > 0));
        let back_off = BACK_OFF[self.attempt.get().min(BACK_OFF.len() - 1)];
        self.attempt.set(self.attempt.get() + 1);
        let wait = dom::jittered(hint.map_or(back_off, |seconds| f64::from(seconds.min(60))));
        self.retry_at.set(dom::now_ms() + f64::from(wait));
        self.wait(self.generation.get());
    }

    /// Counts down to the next attempt.
    fn wait(self: &Rc<Self>, generation: u64) {
        let left = (self.retry_at.get() - dom::now_ms()).max(0.0);
        if left <= 0.0 {
            return self.connect();
        }
        self.set_state(State::Lost { retry_in: left / 1000.0, restarts: self.restarts.get() });
        let weak = Rc::downgrade(self);
        dom::after(left.min(1000.0).ceil() as i32, move || {
            if let Some(socket) = weak.upgrade()
                && socket.generation.get() == generation
                && matches!(socket.state(), State::Lost { .. })
            {
                socket.wait(generation);
            }
        });
    }

    /// Tries at once if the connection is lost or was refused.
    pub(crate) fn try_now(self: &Rc<Self>) {
        if matches!(self.state(), State::Lost { .. } | State::Refused(_)) {
            self.connect();
        }
    }

    /// Sends a frame, if the connection is open.
    pub(crate) fn send(&self, frame: &FromViewer) -> bool {
        let socket = self.socket.borrow();
        let Some(socket) = socket.as_ref().filter(|socket| socket.ready_state() == WebSocket::OPEN) else {
            return false;
        };
        let (kind, payload) = frame.encode();
        let message = [&[kind], payload.as_slice()].concat();
        socket.send_with_u8_array(&message).is_ok()
    }

    fn drop_socket(&self) {
        if let Some(socket) = self.socket.borrow_mut().take() {
            socket.set_onmessage(None);
            socket.set_onclose(None);
            // It may be closed already.
            let _ = socket.close();
        }
    }

    /// Gives the connection up for good.
    pub(crate) fn close(&self) {
        self.generation.set(self.generation.get() + 1);
        self.drop_socket();
        self.listeners.remove_all();
    }

    /// Looks at the clock now and then: if it jumped, the machine slept, and
    /// the connection is dead without knowing it.
    fn watch_for_sleep(self: &Rc<Self>) {
        const LOOK_MS: f64 = 5_000.0;
        const SLEPT_MS: f64 = 30_000.0;
        let (weak, before) = (Rc::downgrade(self), js_sys::Date::now());
        dom::after(LOOK_MS as i32, move || {
            let Some(socket) = weak.upgrade() else { return };
            let slept = js_sys::Date::now() - before > SLEPT_MS;
            // A page in the background is woken rarely; it is looked at later.
            if slept && !dom::document().hidden() && socket.state() == State::Open {
                socket.connect();
            }
            socket.watch_for_sleep();
        });
    }
}

/// The address with its scheme: paths are on this page's server.
fn absolute(url: &str) -> String {
    if !url.starts_with('/') {
        return url.to_owned();
    }
    let location = dom::window().location();
    let secure = location.protocol().is_ok_and(|protocol| protocol == "https:");
    let host = location.host().unwrap_or_default();
    format!("{}://{host}{url}", if secure { "wss" } else { "ws" })
}
