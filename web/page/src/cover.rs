//! What lies over a terminal or above it: all its states in words.

use std::rc::Rc;

use web_sys::{Element, Event};

use crate::{
    app::app,
    dom, line, node_menu,
    pane::Pane,
    session::{Ended, Phase},
    terminal::State,
    words::{self, minutes_and_seconds},
};

/// Words of waiting appear after this time; most starts are quicker.
const STARTING_MS: f64 = 400.0;
/// After this time the server is busy.
const BUSY_MS: f64 = 5000.0;

/// A button: its label, its class, and what it does.
pub(crate) type Choice<'a> = (&'a str, &'static str, Box<dyn Fn()>);

/// Draws what lies over all panes: the session's start and its end.
pub(crate) fn draw() {
    let panes = &app().tabs.panes_box;
    let old = dom::find(panes, ":scope > .cover");
    let phase = app().session.phase();
    let key = format!("{phase:?}");
    if let (Some(old), false) = (&old, matches!(phase, Phase::Starting { .. }))
        && dom::data(old, "for").as_deref() == Some(key.as_str())
    {
        return;
    }
    let new = match phase {
        Phase::Live => None,
        Phase::Starting { since_ms } => starting(old.as_ref(), since_ms),
        Phase::Full { message, place } => Some(line::cover(old.as_ref(), &message, place.as_ref())),
        Phase::Left => Some(line::left_cover()),
        Phase::Busy { message } => Some(busy(&message)),
        Phase::Failed { message } => Some(failed(&message)),
        Phase::Ended(ended) => Some(ended_cover(&ended)),
    };
    if let (Some(old), Some(new)) = (&old, &new)
        && old == new
    {
        return;
    }
    if let Some(old) = old {
        old.remove();
    }
    if let Some(new) = new {
        dom::set(&new, "data-for", &key);
        dom::add(panes, &new);
    }
}

/// Each tenth of a second at most while something starts: the seconds go on.
pub(crate) fn tick() {
    if matches!(app().session.phase(), Phase::Starting { .. }) {
        draw();
    }
}

fn starting(old: Option<&Element>, since_ms: f64) -> Option<Element> {
    let waited = dom::now_ms() - since_ms;
    if waited < STARTING_MS {
        return None;
    }
    let cover = match old.filter(|old| old.class_list().contains("starts")) {
        Some(old) => old.clone(),
        None => waiting_cover(&making()),
    };
    waited_words(&cover, waited);
    Some(cover)
}

fn making() -> String {
    let nodes = dom::data(&dom::body(), "nodes").unwrap_or_default();
    match words::listed(&nodes.split_whitespace().collect::<Vec<_>>()) {
        // The page with terminals only: they are there, and only looked for.
        names if names.is_empty() => "Opening your nodes".to_owned(),
        names => format!("Making {names}"),
    }
}

fn waiting_cover(title: &str) -> Element {
    let cover = cover(title, "A Linux machine of your own. This takes a moment.");
    dom::class(&cover, "starts", true);
    let waiting = dom::make("p", "waiting");
    dom::add(&waiting, &dom::shape("icon spin", "spin"));
    dom::add(&waiting, &dom::make("span", "seconds"));
    dom::add(&inner(&cover), &waiting);
    cover
}

fn waited_words(cover: &Element, waited: f64) {
    if let Some(seconds) = dom::find(cover, ".seconds") {
        let busy = if waited > BUSY_MS { ". The server is busy." } else { "" };
        seconds.set_text_content(Some(&format!("{:.0} s{busy}", (waited / 1000.0).floor())));
    }
}

fn busy(message: &str) -> Element {
    let text = format!("{} Leave this page open: it tries again by itself.", words::sentence(message));
    let cover = cover("The server is busy", &text);
    buttons(&cover, vec![("Try now", "button fill", Box::new(|| app().session.try_again_quietly()))]);
    cover
}

fn failed(message: &str) -> Element {
    let cover = cover("Your nodes could not be made", &words::sentence(message));
    buttons(&cover, vec![("Try again", "button fill", Box::new(|| app().session.start()))]);
    cover
}

fn ended_cover(ended: &Ended) -> Element {
    let cover = cover("This session has ended", &app().session.end_words(ended));
    let mut choices: Vec<Choice<'_>> = Vec::new();
    let again = match app().steps.number() {
        Some(step) => format!("Start again at step {step}"),
        None => String::new(),
    };
    if app().lab.is_some() {
        choices.push((&again, "button fill", Box::new(|| app().session.start())));
    }
    let read = cover.clone();
    choices.push(("Read the last screen", "button", Box::new(move || dom::show(&read, false))));
    buttons(&cover, choices);
    cover
}

/// Draws what lies over one pane: its node's or its shell's state.
pub(crate) fn draw_over(pane: &Rc<Pane>, state: Option<&State>) {
    if let Some(old) = dom::find(&pane.root, ":scope > .screen > .cover") {
        old.remove();
    }
    let live = matches!(app().session.phase(), Phase::Live);
    let Some(node) = app().tabs.node(&pane.node).filter(|_| live) else { return };
    let name = node.name.clone();
    let over = match (node.state.as_str(), state) {
        ("creating", _) => {
            let cover = waiting_cover(&format!("Making {name}"));
            dom::class(&cover, "late", true);
            cover
        }
        ("stopped", _) => {
            let cover = cover(&format!("{name} is stopped"), "Its disk is kept.");
            buttons(&cover, vec![(&format!("Start {name}"), "button fill", act(&name, "start"))]);
            cover
        }
        ("failed", _) => {
            let why = node.error.clone().unwrap_or_else(|| "It ended by itself.".to_owned());
            let cover = cover(&format!("{name} failed"), &why);
            let reset = name.clone();
            buttons(
                &cover,
                vec![
                    (&format!("Start {name}"), "button fill", act(&name, "start")),
                    (&format!("Reset {name}…"), "button", Box::new(move || node_menu::ask_reset(&reset))),
                ],
            );
            cover
        }
        ("foreign", _) => {
            let text = "Drydock was brought up to date while it ran, and can't speak to it any more. It keeps \
                        running until this session ends; a reset makes it new.";
            let cover = cover(&format!("{name} is from an older version"), text);
            let reset = name.clone();
            let label = format!("Reset {name}…");
            buttons(&cover, vec![(&label, "button", Box::new(move || node_menu::ask_reset(&reset)))]);
            cover
        }
        (_, Some(State::Ended(status))) => {
            let cover = cover("This shell has ended", &format!("Exit {status}. The node keeps running."));
            let pane = pane.clone();
            buttons(&cover, vec![("Start a new shell", "button fill", Box::new(move || pane.renew()))]);
            cover
        }
        (_, Some(State::Refused(why))) => {
            let cover =
                cover("This terminal could not be opened", &format!("{}.", why.trim_end_matches('.')));
            let pane = pane.clone();
            buttons(&cover, vec![("Try again", "button fill", Box::new(move || pane.renew()))]);
            cover
        }
        _ => return,
    };
    dom::add(&pane.screen, &over);
}

fn act(node: &str, verb: &'static str) -> Box<dyn Fn()> {
    let node = node.to_owned();
    Box::new(move || app().session.verb(&node, verb))
}

/// Draws the banner above a pane: a lost connection.
pub(crate) fn draw_banner(pane: &Rc<Pane>, banner: &Element, state: Option<&State>) {
    // A node that does not run has no connection to lose.
    let runs = app().tabs.node(&pane.node).is_some_and(|node| node.state == "running");
    let Some(State::Lost { retry_in, restarts }) = state.filter(|_| runs) else {
        return dom::show(banner, false);
    };
    let what = if *restarts { "The server is being restarted." } else { "Connection lost." };
    if dom::find(banner, "b").and_then(|words| words.text_content()).as_deref() != Some(what) {
        dom::clear(banner);
        dom::add(banner, &dom::icon("careful"));
        let words = dom::make("span", "");
        dom::add(&words, &dom::make_text("b", "", what));
        dom::add(&words, &dom::make("span", "again"));
        dom::add(banner, &words);
        dom::add(banner, &dom::make("span", "spring"));
        let now = dom::button("button", "Try now");
        let pane = pane.clone();
        dom::on::<Event>(&now, "click", move |_| {
            if let Some(view) = pane.view() {
                view.try_now();
            }
        });
        dom::add(banner, &now);
    }
    if let Some(again) = dom::find(banner, ".again") {
        let words = format!(" Trying again in {:.0} s. Your node keeps running.", retry_in.ceil().max(0.0));
        again.set_text_content(Some(&words));
    }
    dom::show(banner, true);
}

/// The warning that time is nearly up.
pub(crate) fn time_banner(seconds: f64) -> Element {
    let banner = dom::make("div", "banner time");
    dom::add(&banner, &dom::icon("clock"));
    let words = dom::make("span", "");
    dom::add(&words, &dom::make("b", ""));
    dom::add_text(&words, " Progress is kept, files are not.");
    dom::add(&words, &dom::make("span", "others"));
    dom::add(&banner, &words);
    dom::add(&banner, &dom::make("span", "spring"));
    let extend = dom::button("button extend", "");
    dom::on::<Event>(&extend, "click", |_| app().session.extend());
    dom::add(&banner, &extend);
    let later = dom::button("button plain", "Not now");
    dom::on::<Event>(&later, "click", |_| {
        app().tabs.time_dismissed(true);
        app().tabs.time(None);
    });
    dom::add(&banner, &later);
    time_words(&banner, seconds);
    banner
}

/// Brings the warning's time up to date.
pub(crate) fn time_words(banner: &Element, seconds: f64) {
    if let Some(extend) = dom::find(banner, ".extend") {
        let minutes = app().session.extend_minutes();
        dom::show(&extend, minutes.is_some());
        extend.set_text_content(minutes.map(|minutes| format!("Extend by {minutes} min")).as_deref());
    }
    if let Some(others) = dom::find(banner, ".others") {
        let waits = app().session.others_wait();
        others.set_text_content(waits.then_some(" Others are waiting, so 10 minutes at most."));
    }
    if let Some(words) = dom::find(banner, "b") {
        words.set_text_content(Some(&format!("Your nodes end in {}.", minutes_and_seconds(seconds))));
    }
}

/// A cover with a title and a sentence.
pub(crate) fn cover(title: &str, text: &str) -> Element {
    let cover = dom::make("div", "cover");
    let inner = dom::make("div", "");
    dom::add(&inner, &dom::make_text("h2", "", title));
    dom::add(&inner, &dom::make_text("p", "", text));
    dom::add(&cover, &inner);
    cover
}

/// What a cover shows.
pub(crate) fn inner(cover: &Element) -> Element {
    cover.first_element_child().unwrap_or_else(|| cover.clone())
}

/// Adds a row of buttons to a cover.
pub(crate) fn buttons(cover: &Element, choices: Vec<Choice<'_>>) {
    let row = dom::make("div", "buttons");
    for (label, class, act) in choices {
        let button = dom::button(class, label);
        dom::on::<Event>(&button, "click", move |_| act());
        dom::add(&row, &button);
    }
    dom::add(&inner(cover), &row);
}
