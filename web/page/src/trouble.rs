//! The banner of a node in trouble: out of memory, or silent.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use drydock_terminal::ShellPhase;
use web_sys::{Element, Event};

use crate::{api::Health, app::app, dom, live, node_menu, pane::Pane, program, terminal::State};

/// Types this to show what uses the memory.
const WHAT_USES_IT: &[u8] = b"ps -eo pid,rss,args --sort=-rss | head\r";

/// The exit status of a program that the kernel ended.
const KILLED: i32 = 137;

/// How often, and how many times, it is looked whether a new shell is ready.
const LOOK_MS: i32 = 100;
const LOOKS: u32 = 100;

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    OutOfMemory(Option<String>),
    Silent,
}

/// What a pane says of its node's trouble.
pub(crate) struct Trouble {
    pub(crate) banner: Element,
    /// So often memory had run out when the learner last knew.
    known_kills: Cell<Option<u64>>,
    /// The learner waits for a silent node.
    waits: Cell<bool>,
    drawn: RefCell<Option<Kind>>,
}

impl Trouble {
    pub(crate) fn new() -> Trouble {
        let banner = dom::make("div", "banner trouble");
        dom::show(&banner, false);
        Trouble { banner, known_kills: Cell::default(), waits: Cell::default(), drawn: RefCell::default() }
    }

    /// Shows or hides the banner.
    pub(crate) fn draw(&self, pane: &Rc<Pane>, health: Option<&Health>) {
        let kind = health.and_then(|health| self.kind(pane, health));
        // Another node, or the same one anew, begins to count again.
        if health.is_none() {
            self.known_kills.set(None);
            self.waits.set(false);
        }
        if *self.drawn.borrow() == kind {
            return;
        }
        dom::show(&self.banner, kind.is_some());
        dom::clear(&self.banner);
        match &kind {
            Some(Kind::OutOfMemory(name)) => self.out_of_memory(pane, name.as_deref()),
            Some(Kind::Silent) => self.silent(pane),
            None => {}
        }
        *self.drawn.borrow_mut() = kind;
    }

    /// Whether it says that memory ran out, but not for which program.
    pub(crate) fn lacks_name(&self) -> bool {
        *self.drawn.borrow() == Some(Kind::OutOfMemory(None))
    }

    fn kind(&self, pane: &Pane, health: &Health) -> Option<Kind> {
        if !health.answers {
            return (!self.waits.get()).then_some(Kind::Silent);
        }
        self.waits.set(false);
        let known = self.known_kills.get().unwrap_or(health.oom_kills).min(health.oom_kills);
        self.known_kills.set(Some(known));
        if health.oom_kills == known {
            return None;
        }
        // A name once shown stays: later commands don't change what happened.
        if let Some(Kind::OutOfMemory(Some(name))) = &*self.drawn.borrow() {
            return Some(Kind::OutOfMemory(Some(name.clone())));
        }
        // What was in a container is known better inside than by its `docker run`.
        let typed = killed(&pane.node).filter(|name| !name.starts_with("docker"));
        Some(Kind::OutOfMemory(typed.or_else(|| health.oom_name.clone())))
    }

    fn out_of_memory(&self, pane: &Rc<Pane>, name: Option<&str>) {
        let node = &pane.node;
        let words = self.begin(&format!("{node} ran out of memory."));
        match name {
            Some(name) => {
                dom::add_text(&words, " The kernel ended ");
                dom::add(&words, &dom::make_text("code", "", name));
                dom::add_text(&words, ".");
            }
            None => dom::add_text(&words, " The kernel ended a program."),
        }
        let (uses, this) = (pane.node.clone(), pane.clone());
        self.button("button", "What uses it", move || {
            this.trouble_seen();
            what_uses_it(&uses);
        });
        self.reset_button(node);
        let this = pane.clone();
        self.button("button plain", "Close", move || this.trouble_seen());
    }

    fn silent(&self, pane: &Rc<Pane>) {
        let words = self.begin(&format!("{} does not answer.", pane.node));
        dom::add_text(&words, " It may have too many processes.");
        let this = pane.clone();
        self.button("button", "Wait", move || this.trouble_seen());
        self.reset_button(&pane.node);
    }

    fn begin(&self, what: &str) -> Element {
        dom::add(&self.banner, &dom::icon("careful"));
        let words = dom::make("span", "");
        dom::add(&words, &dom::make_text("b", "", what));
        dom::add(&self.banner, &words);
        dom::add(&self.banner, &dom::make("span", "spring"));
        live::polite(what);
        words
    }

    fn reset_button(&self, node: &str) {
        let name = node.to_owned();
        self.button("button", &format!("Reset {node}…"), move || node_menu::ask_reset(&name));
    }

    fn button(&self, class: &str, label: &str, act: impl Fn() + 'static) {
        let button = dom::button(class, label);
        dom::on::<Event>(&button, "click", move |_| act());
        dom::add(&self.banner, &button);
    }

    /// The learner knows: the banner goes until there is other trouble.
    pub(crate) fn seen(&self) {
        self.known_kills.set(None);
        self.waits.set(true);
    }
}

/// The last command of a terminal of this node, if the kernel ended it.
fn killed(node: &str) -> Option<String> {
    let panes = app().tabs.panes();
    panes.iter().filter(|pane| pane.node == node).find_map(|pane| {
        let view = pane.view()?;
        let core = view.core();
        let shell = core.shell();
        (shell.phase != ShellPhase::Running && shell.last_exit == Some(KILLED)).then(|| program::name(&core))
    })
}

/// Runs the list in a terminal that waits for a command, or in a new one.
fn what_uses_it(node: &str) {
    let ready = app().tabs.panes().into_iter().find(|pane| pane.node == node && is_ready(pane));
    let pane = match ready {
        Some(pane) => app().tabs.select(node, &pane.term),
        None => match app().tabs.free_term(node) {
            Some(term) => app().tabs.select(node, &term),
            None => return app().tabs.complain("all terminals of this node are in use"),
        },
    };
    pane.focus();
    type_when_ready(pane, LOOKS);
}

fn is_ready(pane: &Pane) -> bool {
    pane.view().is_some_and(|view| {
        let core = view.core();
        view.state() == State::Open
            && core.shell().phase == ShellPhase::Typing
            && core.prompt_end() == Some(core.position())
    })
}

fn type_when_ready(pane: Rc<Pane>, looks: u32) {
    if is_ready(&pane) {
        if let Some(view) = pane.view() {
            view.type_bytes(WHAT_USES_IT);
        }
    } else if looks > 0 {
        dom::after(LOOK_MS, move || type_when_ready(pane, looks - 1));
    }
}
