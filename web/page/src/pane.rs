//! One terminal: its tab, its screen, what lies over it, and the foot.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use wasm_bindgen::JsCast;
use web_sys::{Element, Event, HtmlElement, KeyboardEvent};

use crate::{
    app::app,
    checks, cover, dialog, dom, find, foot, live, phone, regions,
    session::Phase,
    terminal::{Callbacks, Leave, State, TerminalView, Theme},
    theme,
    trouble::Trouble,
};

/// The shape on a tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Running,
    Stopped,
    Failed,
    Cut,
    Starting,
}

impl Shape {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Shape::Running => "running",
            Shape::Stopped => "stopped",
            Shape::Failed => "failed",
            Shape::Cut => "cut",
            Shape::Starting => "starting",
        }
    }
}

/// A terminal of a node, on the page.
pub(crate) struct Pane {
    pub(crate) node: String,
    pub(crate) term: String,
    pub(crate) tab: Element,
    pub(crate) root: Element,
    pub(crate) screen: HtmlElement,
    banner: Element,
    trouble: Trouble,
    pub(crate) foot: Element,
    view: RefCell<Option<Rc<TerminalView>>>,
    /// The terminal is being made, and may call back already.
    connecting: Cell<bool>,
    /// It was connected before, so that being lost is news.
    was_open: Cell<bool>,
    /// What was typed and not sent, in words.
    unsent: RefCell<String>,
    /// Drawn last, so that what has not changed is left alone.
    drawn: RefCell<String>,
}

impl Pane {
    pub(crate) fn new(node: &str, term: &str) -> Rc<Pane> {
        let id = format!("{node}-{term}");
        let tab = dom::button("tab", "");
        dom::set(&tab, "role", "tab");
        dom::set(&tab, "id", &format!("tab-{id}"));
        dom::set(&tab, "aria-controls", &format!("pane-{id}"));
        let root = dom::make("div", "pane");
        dom::set(&root, "role", "tabpanel");
        dom::set(&root, "id", &format!("pane-{id}"));
        dom::set(&root, "aria-labelledby", &format!("tab-{id}"));
        let banner = dom::make("div", "banner");
        dom::show(&banner, false);
        let screen = dom::make("div", "screen").unchecked_into::<HtmlElement>();
        let foot = dom::make("div", "foot");
        let trouble = Trouble::new();
        dom::add(&root, &banner);
        dom::add(&root, &trouble.banner);
        dom::add(&root, &screen);
        dom::add(&root, &foot);
        let pane = Rc::new(Pane {
            node: node.to_owned(),
            term: term.to_owned(),
            tab,
            root,
            screen,
            banner,
            trouble,
            foot,
            view: RefCell::default(),
            connecting: Cell::new(false),
            was_open: Cell::new(false),
            unsent: RefCell::default(),
            drawn: RefCell::default(),
        });
        let this = Rc::downgrade(&pane);
        dom::on::<Event>(&pane.root, "focusin", move |_| {
            if let Some(pane) = this.upgrade()
                && app().tabs.active().is_none_or(|active| !Rc::ptr_eq(&active, &pane))
            {
                app().tabs.activate(&pane);
            }
        });
        pane
    }

    /// Whether it is this terminal.
    pub(crate) fn is(&self, node: &str, term: &str) -> bool {
        self.node == node && self.term == term
    }

    /// `node1`, or `node1 · 2` for a further terminal.
    pub(crate) fn name(&self) -> String {
        if self.term == "1" { self.node.clone() } else { format!("{} · {}", self.node, self.term) }
    }

    /// The terminal, once it was connected.
    pub(crate) fn view(&self) -> Option<Rc<TerminalView>> {
        self.view.borrow().clone()
    }

    /// Draws the tab, what lies over the screen, and the foot.
    pub(crate) fn draw(self: &Rc<Pane>, shown: bool) {
        dom::show(&self.root, shown);
        if shown {
            self.connect();
        }
        if let Some(view) = self.view() {
            view.set_visible(shown);
        }
        let (shape, word) = self.shape();
        let state = self.view().map(|view| view.state());
        let unsent = self.unsent.borrow().clone();
        let mut node = app().tabs.node(&self.node);
        // How the node does is drawn in place: it changes all the time.
        let health = node.as_mut().and_then(|node| node.health.take());
        let drawn = format!("{shape:?} {word} {state:?} {unsent} {node:?} {:?}", app().session.phase());
        if self.drawn.replace(drawn.clone()) != drawn {
            self.draw_tab(shape, word);
            cover::draw_banner(self, &self.banner, state.as_ref());
            cover::draw_over(self, state.as_ref());
            foot::draw(self, &unsent);
        }
        foot::draw_memory(self, health.as_ref());
        self.trouble.draw(self, health.as_ref());
    }

    fn shape(&self) -> (Shape, &'static str) {
        match app().session.phase() {
            Phase::Ended(_) => (Shape::Stopped, "ended"),
            _ => app().tabs.shape(&self.node),
        }
    }

    fn draw_tab(&self, shape: Shape, word: &str) {
        dom::clear(&self.tab);
        let symbol = shape.symbol();
        dom::add(&self.tab, &dom::shape(&format!("icon shape {symbol}"), symbol));
        dom::add(&self.tab, &dom::make_text("span", "", &self.name()));
        if !word.is_empty() {
            dom::add(&self.tab, &dom::make_text("span", "word", word));
        }
    }

    /// Connects the terminal if its node runs and nothing is connected yet.
    pub(crate) fn connect(self: &Rc<Pane>) {
        let running = app().tabs.node(&self.node).is_some_and(|node| node.state == "running");
        if !running || self.view.borrow().is_some() {
            return;
        }
        let Some(path) = app().session.path(&format!("/nodes/{}/terminals/{}", self.node, self.term)) else {
            return;
        };
        let theme = colours(theme::is_dark());
        if self.connecting.replace(true) {
            return;
        }
        let view = TerminalView::new(&self.screen, &self.name(), &path, theme, self.callbacks());
        *self.view.borrow_mut() = Some(view);
        self.connecting.set(false);
        self.was_open.set(false);
    }

    fn callbacks(self: &Rc<Pane>) -> Callbacks {
        let key = (self.node.clone(), self.term.clone());
        let this = Rc::downgrade(self);
        let with = move |act: fn(&Rc<Pane>)| {
            if let Some(pane) = this.upgrade() {
                act(&pane);
            }
        };
        let (state_pane, pending_pane, paste_pane, marks_pane) =
            (Rc::downgrade(self), Rc::downgrade(self), Rc::downgrade(self), Rc::downgrade(self));
        let (output_key, marks_key) = (key.clone(), key.clone());
        let size = with.clone();
        Callbacks {
            on_state: Box::new(move |state| {
                if let Some(pane) = state_pane.upgrade() {
                    pane.changed(state);
                }
            }),
            on_size: Box::new(move |_, _| size(|_| phone::draw_peek())),
            on_leave: Box::new(|leave| match leave {
                Leave::Next => regions::go(1),
                Leave::Previous => regions::go(-1),
                Leave::Guide => regions::go(1),
            }),
            on_shortcut: Box::new(shortcut),
            on_marks: Box::new(move |marks| {
                // The shell may tell what was killed after the node told that something was.
                if let Some(pane) = marks_pane.upgrade()
                    && pane.trouble.lacks_name()
                {
                    app().tabs.draw();
                }
                app().runs.pump(&marks_key.0, &marks_key.1);
                checks::after_marks(marks);
            }),
            on_output: Box::new(move || {
                app().runs.pump(&output_key.0, &output_key.1);
                phone::draw_peek();
            }),
            on_typed: Box::new(|| {}),
            on_title: Box::new(|_| {}),
            on_paste: Box::new(move |text, lines| {
                if let Some(pane) = paste_pane.upgrade() {
                    pane.ask_paste(text, lines);
                }
            }),
            on_pending: Box::new(move |words| {
                if let Some(pane) = pending_pane.upgrade() {
                    *pane.unsent.borrow_mut() = words.to_owned();
                    app().tabs.draw();
                }
            }),
            on_paste_refused: Box::new(|| {
                live::polite(
                    "This browser keeps its clipboard to itself: press Ctrl+Shift+V in the terminal.",
                )
            }),
        }
    }

    fn changed(self: &Rc<Pane>, state: &State) {
        match state {
            State::Open if !self.was_open.replace(true) => {}
            State::Open => live::polite("Connected again."),
            State::Lost { .. } if self.was_open.get() && !self.drawn.borrow().contains("Lost") => {
                live::assertive("Connection lost. Your node keeps running.");
            }
            State::Ended(_) => app().runs.stop_terminal(&self.node, &self.term),
            _ => {}
        }
        app().tabs.draw();
        if *state == State::Open {
            app().runs.pump(&self.node, &self.term);
        }
    }

    /// A paste of several lines runs them at once, so it is asked back.
    fn ask_paste(self: &Rc<Pane>, text: &str, lines: usize) {
        let (pane, text) = (self.clone(), text.to_owned());
        dialog::question(&format!("Paste {lines} lines?"), "Paste", false)
            .text("They run at once.")
            .verbatim(&text.clone())
            .ask(move || {
                if let Some(view) = pane.view() {
                    view.paste_now(&text);
                    view.focus();
                }
            });
    }

    /// Gives the focus to the terminal, or to the first button over it.
    pub(crate) fn focus(&self) {
        if let Some(over) = dom::find(&self.root, ".cover button")
            .or_else(|| dom::find(&app().tabs.panes_box, ":scope > .cover button"))
        {
            return dom::focus(&over);
        }
        match self.view() {
            Some(view) => view.focus(),
            None => dom::focus(&self.tab),
        }
    }

    /// Connects anew: another shell, or another node of the same name.
    pub(crate) fn renew(self: &Rc<Pane>) {
        self.close();
        self.connect();
        app().tabs.draw();
    }

    /// Lets the connection go.
    pub(crate) fn close(&self) {
        if let Some(view) = self.view.take() {
            view.close();
        }
        dom::clear(&self.screen);
        self.unsent.borrow_mut().clear();
        self.drawn.borrow_mut().clear();
    }

    /// The learner knows of the node's trouble.
    pub(crate) fn trouble_seen(&self) {
        self.trouble.seen();
        app().tabs.draw();
    }

    /// Draws in other colours.
    pub(crate) fn recolour(&self, dark: bool) {
        if let Some(view) = self.view() {
            view.set_theme(colours(dark));
        }
    }
}

fn colours(dark: bool) -> Theme {
    if dark { Theme::Dark } else { Theme::Light }
}

/// Ctrl+Shift with an arrow, or F: taken from the program.
fn shortcut(event: &KeyboardEvent) -> bool {
    let view = || app().tabs.active().and_then(|pane| pane.view());
    match event.key().as_str() {
        "ArrowUp" => {
            if let Some(view) = view() {
                view.previous_command();
            }
        }
        "ArrowDown" => {
            if let Some(view) = view() {
                view.next_command();
            }
        }
        "ArrowLeft" => {
            app().tabs.turn(-1);
            app().tabs.focus();
        }
        "ArrowRight" => {
            app().tabs.turn(1);
            app().tabs.focus();
        }
        "f" | "F" => find::open(),
        _ => return false,
    }
    true
}
