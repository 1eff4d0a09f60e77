//! The learner's session: made or found, its time, its end.

use std::cell::{Cell, RefCell};

use serde::Deserialize;
use serde_json::json;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Event, EventSource, MessageEvent};

use crate::{
    api::{self, Failure, Session},
    app::app,
    cover, dialog, dom,
    line::{self, Place},
    live, ports,
    words::{clock_time, minutes_and_seconds},
};

/// Under so many seconds the page warns.
const WARN_SECONDS: f64 = 300.0;

/// Why a session has ended, and when.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Ended {
    /// `learner`, `idle`, `time` or `gone`.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// Seconds since the epoch.
    #[serde(default)]
    pub(crate) time: f64,
}

/// Where the session is in its life.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// Asked for at this time.
    Starting { since_ms: f64 },
    /// There is no room; a place in line is held, once it is known.
    Full { message: String, place: Option<Place> },
    /// The learner left the line.
    Left,
    /// Too much is asked of the server; asked again by itself.
    Busy { message: String },
    /// It could not be made.
    Failed { message: String },
    /// It is there.
    Live,
    /// It was there.
    Ended(Ended),
}

/// The session, as far as the page knows it.
pub(crate) struct SessionPart {
    /// For a page with terminals only: the session it is for.
    given: Option<String>,
    phase: RefCell<Phase>,
    session: RefCell<Option<Session>>,
    /// When its time is over, on the page's own clock.
    ends_ms: Cell<f64>,
    /// When it ends because nobody types, on the same clock.
    idle_ends_ms: Cell<f64>,
    warned: Cell<Warned>,
    events: RefCell<Option<EventSource>>,
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Warned {
    Nothing,
    FiveMinutes,
    OneMinute,
}

impl SessionPart {
    pub(crate) fn new(given: Option<String>) -> SessionPart {
        SessionPart {
            given,
            phase: RefCell::new(Phase::Starting { since_ms: dom::now_ms() }),
            session: RefCell::default(),
            ends_ms: Cell::new(f64::INFINITY),
            idle_ends_ms: Cell::new(f64::INFINITY),
            warned: Cell::new(Warned::Nothing),
            events: RefCell::default(),
        }
    }

    /// Where it is in its life.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// The session, if it is there.
    pub(crate) fn now(&self) -> Option<Session> {
        match *self.phase.borrow() {
            Phase::Live => self.session.borrow().clone(),
            _ => None,
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> Option<String> {
        self.session.borrow().as_ref().map(|session| session.id.clone())
    }

    /// The path of its API, with `rest` behind it.
    pub(crate) fn path(&self, rest: &str) -> Option<String> {
        self.now().map(|session| format!("/api/sessions/{}{rest}", session.id))
    }

    /// Seconds until it ends. That nobody types only counts when it is near:
    /// before, each key moves it.
    pub(crate) fn seconds_left(&self) -> f64 {
        let left = |ends_ms: f64| ((ends_ms - dom::now_ms()) / 1000.0).max(0.0);
        let idle = left(self.idle_ends_ms.get());
        let time = left(self.ends_ms.get());
        if idle < WARN_SECONDS { time.min(idle) } else { time }
    }

    /// Whether it would end because nobody types.
    fn idles(&self) -> bool {
        self.idle_ends_ms.get() < self.ends_ms.get() && self.seconds_left() < WARN_SECONDS
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        *self.phase.borrow_mut() = phase;
        cover::draw();
        self.tick();
    }

    /// Makes or finds the session.
    pub(crate) fn start(&'static self) {
        self.set_phase(Phase::Starting { since_ms: dom::now_ms() });
        app().tabs.expect(&dom::data(&dom::body(), "nodes").unwrap_or_default());
        spawn_local(async move {
            match self.ask().await {
                Ok(session) => self.began(session),
                Err(failure) => self.not_begun(failure),
            }
        });
    }

    async fn ask(&self) -> Result<Session, Failure> {
        match (&app().lab, &self.given) {
            (Some(lab), _) => api::ask("POST", "/api/sessions", Some(&json!({ "lab": lab }))).await,
            (None, Some(id)) => api::get(&format!("/api/sessions/{id}")).await,
            (None, None) => Err(api::broken("the page names no session".into())),
        }
    }

    fn began(&'static self, session: Session) {
        let id = session.id.clone();
        if self.id().is_some_and(|old| old != id) {
            app().runs.forget_all();
            app().tabs.forget_all();
        }
        *self.phase.borrow_mut() = Phase::Live;
        self.update(session);
        self.listen(&id);
        app().steps.opened();
    }

    fn not_begun(&'static self, failure: Failure) {
        app().tabs.forget_all();
        match failure.retry_seconds {
            _ if failure.full => {
                self.set_phase(Phase::Full { message: failure.message, place: None });
                line::wait();
            }
            Some(seconds) => {
                self.set_phase(Phase::Busy { message: failure.message });
                dom::after(dom::jittered(seconds as f64), || {
                    if matches!(app().session.phase(), Phase::Busy { .. }) {
                        app().session.try_again_quietly();
                    }
                });
            }
            None => self.set_phase(Phase::Failed { message: failure.message }),
        }
    }

    /// Asks again while the words on the page stay as they are.
    pub(crate) fn try_again_quietly(&'static self) {
        spawn_local(async move {
            match self.ask().await {
                Ok(session) => self.began(session),
                Err(failure) => self.not_begun(failure),
            }
        });
    }

    /// Takes in what the server says of the session.
    pub(crate) fn update(&self, mut session: Session) {
        let before = self.seconds_left();
        self.keep_health(&mut session);
        self.ends_ms.set(dom::now_ms() + session.seconds_left * 1000.0);
        self.idle_ends_ms.set(session.idle_left.map_or(f64::INFINITY, |left| dom::now_ms() + left * 1000.0));
        if before < self.seconds_left() - 1.0 {
            self.warned.set(Warned::Nothing);
        }
        *self.session.borrow_mut() = Some(session.clone());
        app().tabs.sync(&session.nodes);
        ports::mark_links();
        cover::draw();
        self.tick();
    }

    /// Only events tell how nodes do and what they serve: any other answer leaves it as it was.
    fn keep_health(&self, session: &mut Session) {
        let known = self.session.borrow();
        let Some(known) = known.as_ref().filter(|known| known.id == session.id) else { return };
        for node in session.nodes.iter_mut().filter(|node| node.state == "running") {
            let old = known.nodes.iter().find(|old| old.name == node.name && old.state == "running");
            node.health = node.health.take().or_else(|| old.and_then(|old| old.health.clone()));
            node.ports = node.ports.take().or_else(|| old.and_then(|old| old.ports.clone()));
            ports::announce(old, node);
        }
    }

    /// After a start or a reset, what is known of a node is not true any more.
    fn forget_health(&self, name: &str) {
        if let Some(session) = self.session.borrow_mut().as_mut() {
            for node in session.nodes.iter_mut().filter(|node| node.name == name) {
                node.health = None;
                node.ports = None;
            }
        }
    }

    /// Follows the session's events. The browser reconnects by itself after a
    /// broken connection, but gives up after an error of the server's.
    fn listen(&'static self, id: &str) {
        if let Some(old) = self.events.take() {
            old.close();
        }
        let Ok(events) = EventSource::new(&format!("/api/sessions/{id}/events")) else {
            return self.listen_later(id.to_owned());
        };
        dom::on::<MessageEvent>(&events, "session", |event| {
            if let Ok(session) = serde_json::from_str(&event.data().as_string().unwrap_or_default()) {
                app().session.update(session);
            }
        });
        dom::on::<MessageEvent>(&events, "ended", |event| {
            let text = event.data().as_string().unwrap_or_default();
            let ended = serde_json::from_str(&text)
                .unwrap_or(Ended { reason: None, time: js_sys::Date::now() / 1000.0 });
            app().session.ended(ended);
        });
        let (again, source) = (id.to_owned(), events.clone());
        dom::on::<Event>(&events, "error", move |_| {
            if source.ready_state() == EventSource::CLOSED {
                app().session.listen_later(again.clone());
            }
        });
        *self.events.borrow_mut() = Some(events);
    }

    /// After the server refused: is the session still there?
    fn listen_later(&'static self, id: String) {
        if !matches!(self.phase(), Phase::Live) || self.id().as_deref() != Some(id.as_str()) {
            return;
        }
        dom::after(2000, move || {
            spawn_local(async move {
                match api::get::<Session>(&format!("/api/sessions/{id}")).await {
                    Ok(session) => {
                        self.update(session);
                        self.listen(&id);
                    }
                    Err(Failure { ended: Some((reason, time)), .. }) => {
                        self.ended(Ended { reason: Some(reason), time: time as f64 });
                    }
                    Err(failure) if failure.status == 404 => {
                        self.ended(Ended { reason: None, time: js_sys::Date::now() / 1000.0 });
                    }
                    Err(_) => self.listen_later(id),
                }
            });
        });
    }

    fn ended(&self, ended: Ended) {
        if let Some(events) = self.events.take() {
            events.close();
        }
        app().runs.stop_all();
        live::assertive("This session has ended.");
        self.set_phase(Phase::Ended(ended));
        app().tabs.draw();
    }

    /// Why it ended, in words.
    pub(crate) fn end_words(&self, ended: &Ended) -> String {
        let at = clock_time(ended.time);
        let idle = self.session.borrow().as_ref().map_or(0, |session| session.idle_minutes);
        let why = match ended.reason.as_deref() {
            Some("idle") if idle > 0 => format!("Nobody typed for {idle} minutes, so it ended at {at}."),
            Some("idle") => format!("Nobody typed for a while, so it ended at {at}."),
            Some("time") => format!("Its time was over at {at}."),
            Some("learner") => format!("You ended it at {at}."),
            Some("restart") => format!("The server's machine was started again at {at}."),
            _ => format!("It was ended at {at}."),
        };
        format!("{why} Your nodes and their files are gone. Your progress is kept.")
    }

    /// Gives it more time.
    pub(crate) fn extend(&'static self) {
        let Some(path) = self.path("/extend") else { return };
        spawn_local(async move {
            match api::ask("POST", &path, None::<&()>).await {
                Ok(session) => {
                    self.update(session);
                    live::polite(&format!("{} left.", minutes_and_seconds(self.seconds_left())));
                }
                Err(failure) => app().tabs.complain(&failure.message),
            }
        });
    }

    /// Does something to a node.
    pub(crate) fn verb(&'static self, node: &str, verb: &str) {
        let Some(path) = self.path(&format!("/nodes/{node}/{verb}")) else { return };
        if matches!(verb, "reset" | "stop" | "kill") {
            app().runs.stop_node(node);
        }
        let (node, verb) = (node.to_owned(), verb.to_owned());
        spawn_local(async move {
            match api::ask("POST", &path, None::<&()>).await {
                Ok(session) => {
                    self.forget_health(&node);
                    self.update(session);
                    if verb == "reset" {
                        app().tabs.renew(&node);
                    }
                }
                Err(failure) => app().tabs.complain(&failure.message),
            }
        });
    }

    /// Adds a node and shows it.
    pub(crate) fn add_node(&'static self) {
        let Some(path) = self.path("/nodes") else { return };
        spawn_local(async move {
            match api::ask::<Session>("POST", &path, Some(&json!({}))).await {
                Ok(session) => {
                    let last = session.nodes.last().map(|node| node.name.clone());
                    self.update(session);
                    if let Some(node) = last {
                        app().tabs.select(&node, "1");
                    }
                }
                Err(failure) => app().tabs.complain(&failure.message),
            }
        });
    }

    /// Asks whether the lab should begin anew on new nodes, and does it.
    pub(crate) fn ask_lab_over(&'static self) {
        dialog::question("Start the lab over?", "Start over", true)
            .text("You get new nodes, as they were when the lab began.")
            .deleted_and_kept("Deleted: all nodes, with their containers and files", "Kept: your progress")
            .ask(move || {
                let path = self.path("");
                spawn_local(async move {
                    if let Some(path) = path
                        && let Err(failure) = api::tell("DELETE", &path, None::<&()>).await
                        && failure.status != 404
                    {
                        return app().tabs.complain(&failure.message);
                    }
                    self.start();
                });
            });
    }

    /// Each second: the time that is left.
    pub(crate) fn tick(&self) {
        let live = matches!(*self.phase.borrow(), Phase::Live);
        let seconds = self.seconds_left();
        let idle_minutes = self.session.borrow().as_ref().map_or(0, |session| session.idle_minutes);
        let shown = live && seconds.is_finite();
        if let Some(left) = dom::by_id("time-left") {
            dom::show(&left, shown);
            if shown {
                draw_left(&left, seconds);
                dom::set(&left, "title", &format!("It ends sooner if nobody types for {idle_minutes} min"));
            }
        }
        if let Some(extend) = dom::by_id("extend") {
            dom::show(&extend, shown && self.extend_minutes().is_some());
        }
        if shown {
            self.warn(seconds);
        }
    }

    fn warn(&self, seconds: f64) {
        let due = match seconds {
            left if left <= 60.0 => Warned::OneMinute,
            left if left <= WARN_SECONDS => Warned::FiveMinutes,
            _ => Warned::Nothing,
        };
        if due > self.warned.get() {
            self.warned.set(due);
            app().tabs.time_dismissed(false);
            let left = if due == Warned::OneMinute { "one minute" } else { "five minutes" };
            live::assertive(&format!("Your nodes end in {left}."));
        }
        app().tabs.time((due != Warned::Nothing).then_some(seconds));
    }

    /// Whether others are in line for a place.
    pub(crate) fn others_wait(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(|session| session.others_wait)
    }

    /// By how many minutes Extend moves the end now; `None` when it can't.
    pub(crate) fn extend_minutes(&self) -> Option<u64> {
        let session = self.session.borrow();
        let session = session.as_ref()?;
        match session.extend_by {
            _ if self.idles() => Some(session.idle_minutes),
            by if by >= 60.0 => Some((by / 60.0) as u64),
            _ => None,
        }
    }
}

fn draw_left(left: &web_sys::Element, seconds: f64) {
    let warns = seconds < WARN_SECONDS;
    let text = match warns {
        true => minutes_and_seconds(seconds),
        false => long_time(seconds),
    };
    if dom::data(left, "said").as_deref() == Some(text.as_str()) {
        return;
    }
    dom::set(left, "data-said", &text);
    dom::clear(left);
    dom::class(left, "warn", warns);
    dom::add(left, &dom::icon("clock"));
    let words = dom::make_text("span", "", &text);
    dom::add(&words, &dom::make_text("span", "long", " left"));
    dom::add(left, &words);
}

/// `41 min`, or `3 h 59 min` where minutes alone would be hard to grasp.
fn long_time(seconds: f64) -> String {
    let minutes = (seconds / 60.0) as u64;
    if minutes < 120 { format!("{minutes} min") } else { format!("{} h {} min", minutes / 60, minutes % 60) }
}

/// Connects the top bar's button.
pub(crate) fn start_bar() {
    if let Some(extend) = dom::by_id("extend") {
        dom::on::<Event>(&extend, "click", |_| app().session.extend());
    }
}
