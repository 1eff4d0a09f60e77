//! The terminals' side: a tab for each terminal, one or two of them shown.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use web_sys::{Element, Event, KeyboardEvent};

use crate::{
    api::Node,
    app::app,
    cover, dom, find, node_menu,
    pane::{Pane, Shape},
    phone, theme, words,
};

/// A node has this many terminals at most.
const TERMINALS_MAX: usize = 8;

/// The tab bar and the panes under it.
pub(crate) struct Tabs {
    pub(crate) root: Element,
    list: Element,
    add: Element,
    split: Element,
    /// A complaint or a notice above the panes.
    notices: Element,
    pub(crate) panes_box: Element,
    panes: RefCell<Vec<Rc<Pane>>>,
    nodes: RefCell<Vec<Node>>,
    /// The pane that keys and the menu mean.
    active: RefCell<Option<Rc<Pane>>>,
    /// The pane shown below it (or above), when two are shown.
    beside: RefCell<Option<Rc<Pane>>>,
    /// The learner said "Not now" to the warning about time.
    time_dismissed: Cell<bool>,
}

impl Tabs {
    pub(crate) fn new(root: Element) -> Tabs {
        let bar = dom::make("div", "tab-bar");
        let list = dom::make("div", "tab-list");
        dom::set(&list, "role", "tablist");
        dom::set(&list, "aria-label", "Terminals");
        let add = icon_button("plus", "New terminal");
        let find = icon_button("search", "Find in the terminal");
        let split = icon_button("split", "Show two terminals");
        dom::set(&split, "aria-pressed", "false");
        dom::add(&bar, &list);
        dom::add(&bar, &add);
        dom::add(&bar, &dom::make("span", "spring"));
        dom::add(&bar, &find);
        dom::add(&bar, &split);
        dom::add(&bar, &node_menu::make());
        let notices = dom::make("div", "notices");
        let panes_box = dom::make("div", "panes");
        dom::add(&root, &bar);
        dom::add(&root, &notices);
        dom::add(&root, &panes_box);
        dom::on::<Event>(&add, "click", |_| app().tabs.add_terminal());
        dom::on::<Event>(&find, "click", |_| find::open());
        dom::on::<Event>(&split, "click", |_| app().tabs.toggle_split());
        dom::on::<Event>(&list, "click", |event| {
            if let Some(tab) = dom::closest(&event, ".tab") {
                app().tabs.choose(&tab);
                app().tabs.focus();
            }
        });
        dom::on::<KeyboardEvent>(&list, "keydown", |event| app().tabs.tab_key(&event));
        Tabs {
            root,
            list,
            add,
            split,
            notices,
            panes_box,
            panes: RefCell::default(),
            nodes: RefCell::default(),
            active: RefCell::default(),
            beside: RefCell::default(),
            time_dismissed: Cell::new(false),
        }
    }

    /// All panes, in the tabs' order.
    pub(crate) fn panes(&self) -> Vec<Rc<Pane>> {
        self.panes.borrow().clone()
    }

    /// The pane that keys and the menu mean.
    pub(crate) fn active(&self) -> Option<Rc<Pane>> {
        self.active.borrow().clone()
    }

    /// What is known of a node.
    pub(crate) fn node(&self, name: &str) -> Option<Node> {
        self.nodes.borrow().iter().find(|node| node.name == name).cloned()
    }

    /// How many nodes there are.
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.borrow().len()
    }

    /// The pane of a terminal, made if it is not there.
    pub(crate) fn pane(&self, node: &str, term: &str) -> Rc<Pane> {
        let found = self.panes.borrow().iter().find(|pane| pane.is(node, term)).cloned();
        if let Some(pane) = found {
            return pane;
        }
        let pane = Pane::new(node, term);
        let mut panes = self.panes.borrow_mut();
        // After the node's other terminals, nodes in their order.
        let rank = |pane: &Pane| {
            let nodes = self.nodes.borrow();
            let node = nodes.iter().position(|node| node.name == pane.node).unwrap_or(usize::MAX);
            (node, pane.term.clone())
        };
        let at = panes.iter().position(|other| rank(other) > rank(&pane)).unwrap_or(panes.len());
        let before = panes.get(at).map(|other| other.tab.clone());
        // Inserting before nothing is appending, so this can't fail.
        let _ = self.list.insert_before(&pane.tab, before.as_deref());
        dom::add(&self.panes_box, &pane.root);
        panes.insert(at, pane.clone());
        drop(panes);
        pane
    }

    /// Shows tabs for nodes that are being made; names with spaces between.
    pub(crate) fn expect(&self, names: &str) {
        for name in names.split_whitespace() {
            self.pane(name, "1");
        }
        if self.active().is_none()
            && let Some(first) = self.panes().first()
        {
            self.activate(first);
        }
    }

    /// Takes in the session's nodes.
    pub(crate) fn sync(&self, nodes: &[Node]) {
        let before = self.nodes.replace(nodes.to_vec());
        for node in nodes {
            self.pane(&node.name, "1");
        }
        let stood = |name: &str| before.iter().any(|node| node.name == name && node.state != "running");
        for node in nodes.iter().filter(|node| node.state == "running" && stood(&node.name)) {
            self.renew(&node.name);
        }
        let gone: Vec<Rc<Pane>> = self
            .panes()
            .into_iter()
            .filter(|pane| !nodes.iter().any(|node| node.name == pane.node))
            .collect();
        for pane in gone {
            self.remove(&pane);
        }
        if self.active().is_none()
            && let Some(first) = self.panes().first()
        {
            self.activate(first);
        }
        self.draw();
    }

    /// Draws tabs and panes as nodes and connections stand.
    pub(crate) fn draw(&self) {
        let (active, beside) = (self.active(), self.beside.borrow().clone());
        for pane in self.panes() {
            let is_active = active.as_ref().is_some_and(|active| Rc::ptr_eq(active, &pane));
            let is_beside = beside.as_ref().is_some_and(|beside| Rc::ptr_eq(beside, &pane));
            dom::set(&pane.tab, "aria-selected", if is_active { "true" } else { "false" });
            dom::set(&pane.tab, "tabindex", if is_active { "0" } else { "-1" });
            dom::class(&pane.tab, "beside", is_beside);
            dom::class(&pane.root, "active", is_active);
            pane.draw(is_active || is_beside);
        }
        dom::class(&self.panes_box, "two", beside.is_some());
        dom::set(&self.split, "aria-pressed", if beside.is_some() { "true" } else { "false" });
        let full = active.is_none_or(|active| self.free_term(&active.node).is_none());
        dom::flag(&self.add, "disabled", full);
        node_menu::draw();
        phone::draw_peek();
    }

    /// Shows this terminal, and makes it the one that keys mean.
    pub(crate) fn activate(&self, pane: &Rc<Pane>) {
        let beside = self.beside.borrow().clone();
        let old = self.active.replace(Some(pane.clone()));
        if beside.is_some_and(|beside| Rc::ptr_eq(&beside, pane)) {
            *self.beside.borrow_mut() = old;
        }
        find::close();
        self.draw();
        dom::set(&pane.tab, "data-shown", "");
        // Only the tab list itself scrolls, and only as far as it must.
        pane.tab.scroll_into_view_with_scroll_into_view_options(&nearest());
    }

    /// Shows a node's terminal.
    pub(crate) fn select(&self, node: &str, term: &str) -> Rc<Pane> {
        let pane = self.pane(node, term);
        self.activate(&pane);
        pane
    }

    fn choose(&self, tab: &Element) {
        let pane = self.panes().into_iter().find(|pane| pane.tab == *tab);
        if let Some(pane) = pane {
            self.activate(&pane);
        }
    }

    /// Gives the focus to the shown terminal, or to what lies over it.
    pub(crate) fn focus(&self) {
        match self.active() {
            Some(pane) => pane.focus(),
            None => dom::focus(&self.root),
        }
    }

    /// The tab `by` places further, round the end.
    pub(crate) fn turn(&self, by: isize) {
        let panes = self.panes();
        let Some(active) = self.active() else { return };
        let Some(at) = panes.iter().position(|pane| Rc::ptr_eq(pane, &active)) else { return };
        let next = (at as isize + by).rem_euclid(panes.len() as isize);
        self.activate(&panes[next as usize]);
    }

    fn tab_key(&self, event: &KeyboardEvent) {
        match event.key().as_str() {
            "ArrowLeft" => self.turn(-1),
            "ArrowRight" => self.turn(1),
            _ => return,
        }
        event.prevent_default();
        if let Some(active) = self.active() {
            dom::focus(&active.tab);
        }
    }

    /// The first free terminal of a node.
    pub(crate) fn free_term(&self, node: &str) -> Option<String> {
        (1..=TERMINALS_MAX)
            .map(|number| number.to_string())
            .find(|term| !self.panes.borrow().iter().any(|pane| pane.is(node, term)))
    }

    fn add_terminal(&self) {
        let Some(active) = self.active() else { return };
        if let Some(term) = self.free_term(&active.node) {
            self.select(&active.node, &term).focus();
        }
    }

    fn toggle_split(&self) {
        if self.beside.take().is_none() {
            let Some(active) = self.active() else { return };
            let other = self.panes().into_iter().find(|pane| !Rc::ptr_eq(pane, &active));
            let other = match other {
                Some(other) => other,
                None => match self.free_term(&active.node) {
                    Some(term) => self.pane(&active.node, &term),
                    None => return,
                },
            };
            *self.beside.borrow_mut() = Some(other);
        }
        self.draw();
    }

    /// Takes a terminal's tab away.
    pub(crate) fn remove(&self, pane: &Rc<Pane>) {
        pane.close();
        pane.tab.remove();
        pane.root.remove();
        self.panes.borrow_mut().retain(|other| !Rc::ptr_eq(other, pane));
        self.beside.borrow_mut().take_if(|beside| Rc::ptr_eq(beside, pane));
        let was_active = self.active.borrow_mut().take_if(|active| Rc::ptr_eq(active, pane)).is_some();
        if was_active && let Some(next) = self.panes().first() {
            self.activate(next);
        }
    }

    /// Takes all tabs away: another session begins.
    pub(crate) fn forget_all(&self) {
        for pane in self.panes() {
            self.remove(&pane);
        }
        self.nodes.borrow_mut().clear();
    }

    /// Connects a node's terminals anew, after a reset.
    pub(crate) fn renew(&self, node: &str) {
        for pane in self.panes().into_iter().filter(|pane| pane.node == node) {
            if pane.term == "1" { pane.renew() } else { self.remove(&pane) }
        }
        self.draw();
    }

    /// Draws in other colours.
    pub(crate) fn recolour(&self) {
        let theme = theme::is_dark();
        for pane in self.panes() {
            pane.recolour(theme);
        }
    }

    /// Says above the panes that something did not work.
    pub(crate) fn complain(&self, message: &str) {
        dom::clear(&self.notices);
        let banner = dom::make("div", "banner");
        dom::set(&banner, "role", "alert");
        dom::add(&banner, &dom::icon("careful"));
        dom::add(&banner, &dom::make_text("span", "", &words::sentence(message)));
        dom::add(&banner, &dom::make("span", "spring"));
        let close = dom::button("button", "Close");
        dom::add(&banner, &close);
        dom::add(&self.notices, &banner);
        dom::on::<Event>(&close, "click", move |_| banner.remove());
    }

    /// Shows or hides the warning that time is nearly up.
    pub(crate) fn time(&self, seconds: Option<f64>) {
        let shown = dom::find(&self.notices, ".time");
        let Some(seconds) = seconds.filter(|_| !self.time_dismissed.get()) else {
            if let Some(shown) = shown {
                shown.remove();
            }
            return;
        };
        match shown {
            Some(banner) => cover::time_words(&banner, seconds),
            None => dom::add(&self.notices, &cover::time_banner(seconds)),
        }
    }

    /// Whether "Not now" was said to the warning.
    pub(crate) fn time_dismissed(&self, dismissed: bool) {
        self.time_dismissed.set(dismissed);
    }

    /// What the tab of a node shows.
    pub(crate) fn shape(&self, node: &str) -> (Shape, &'static str) {
        match self.node(node) {
            None => (Shape::Starting, "starting"),
            Some(node) => match (node.state.as_str(), node.cut) {
                ("running", false) => (Shape::Running, ""),
                ("running", true) => (Shape::Cut, "cut off"),
                ("creating", _) => (Shape::Starting, "starting"),
                ("failed", _) => (Shape::Failed, "failed"),
                ("foreign", _) => (Shape::Failed, "too old"),
                _ => (Shape::Stopped, "stopped"),
            },
        }
    }
}

fn nearest() -> web_sys::ScrollIntoViewOptions {
    let options = web_sys::ScrollIntoViewOptions::new();
    options.set_block(web_sys::ScrollLogicalPosition::Nearest);
    options.set_inline(web_sys::ScrollLogicalPosition::Nearest);
    options
}

/// A button that is only an icon, with its name for those who listen or hover.
pub(crate) fn icon_button(icon: &str, name: &str) -> Element {
    let button = dom::button("icon-button", "");
    dom::set(&button, "aria-label", name);
    dom::set(&button, "title", name);
    dom::add(&button, &dom::icon(icon));
    button
}
