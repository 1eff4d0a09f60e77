//! A run block's row: what it shows in each state, and what its button does.

use drydock_script::{Block, End, Exit};
use web_sys::{Element, Event};

use crate::{
    app::app,
    dom, next, phone,
    runs::{Ending, Place, Reason, Status},
    words,
};

/// A run block, as the page has it in its attributes.
pub(crate) struct RunBlock {
    pub(crate) element: Element,
    pub(crate) place: Place,
    pub(crate) node: String,
    pub(crate) term: String,
}

impl RunBlock {
    /// The block that this element is, or is in.
    pub(crate) fn of(element: &Element) -> Option<RunBlock> {
        let element = element.closest(".block.run, .solve").ok().flatten()?;
        Some(RunBlock {
            place: (app().steps.number()?, dom::data_number(&element, "block")?),
            node: dom::data(&element, "node")?,
            term: dom::data(&element, "term")?,
            element,
        })
    }

    /// What is typed.
    pub(crate) fn script(&self) -> Option<Block> {
        let block: Block = serde_json::from_str(&dom::data(&self.element, "script")?).ok()?;
        // Where somebody reads along, they stop it themselves.
        Some(Block { interrupt_ms: None, ..block })
    }

    /// The captured name that is missing, and the step that captures it.
    fn missing(&self) -> Option<(String, String)> {
        let needs = dom::data(&self.element, "needs")?;
        needs.split_whitespace().find_map(|need| {
            let (name, step) = need.split_once(':')?;
            app().runs.name(name).is_none().then(|| (name.to_owned(), step.to_owned()))
        })
    }

    /// Where it is: here and now, or as the server knew when the page was made.
    fn status(&self) -> Option<Status> {
        app().runs.status(self.place).or_else(|| {
            let exit: i32 = dom::data(&self.element, "exit")?.parse().ok()?;
            let wanted = self.script()?.exit.allows(exit);
            let ending =
                Ending { exit: Some(exit), as_wanted: wanted, end: End::Exit, took_ms: None, reason: None };
            Some(Status::Ended(ending))
        })
    }

    /// Does what its button says.
    pub(crate) fn act(&self) {
        match self.status() {
            Some(Status::Running { .. }) => app().runs.stop(self.place),
            Some(Status::Queued { .. }) => app().runs.cancel(self.place),
            _ => self.run_in(&self.node, &self.term),
        }
    }

    /// Runs it in this terminal.
    pub(crate) fn run_in(&self, node: &str, term: &str) {
        if self.missing().is_none()
            && let Some(script) = self.script()
        {
            app().runs.run(self.place, &script, node, term);
        }
    }
}

/// All run blocks of the step that is shown.
pub(crate) fn blocks() -> Vec<RunBlock> {
    dom::all(&dom::body(), "#step .block.run").iter().filter_map(RunBlock::of).collect()
}

/// Draws a block of the step that is shown.
pub(crate) fn draw_place(place: Place) {
    if let Some(block) = blocks().iter().find(|block| block.place == place) {
        draw(block);
    }
    next::mark();
}

/// Draws all blocks of the step that is shown.
pub(crate) fn draw_all() {
    for block in blocks() {
        draw(&block);
    }
    next::mark();
}

/// Brings a running block's time up to date.
pub(crate) fn draw_time(place: Place, time: &str) {
    if app().steps.number() != Some(place.0) {
        return;
    }
    let selector = format!("#block-{} .state .time", place.1);
    if let Some(shown) = dom::find(&dom::body(), &selector) {
        shown.set_text_content(Some(time));
    }
}

fn draw(block: &RunBlock) {
    let element = &block.element;
    let (Some(button), Some(state), Some(note), Some(more)) = (
        dom::find(element, ".act"),
        dom::find(element, ".state"),
        dom::find(element, ".note"),
        dom::find(element, ".more"),
    ) else {
        return;
    };
    for part in [&state, &note, &more] {
        dom::clear(part);
    }
    dom::show(&more, false);
    let missing = block.missing();
    dom::flag(&button, "disabled", missing.is_some());
    let status = block.status();
    let show =
        matches!(status, Some(Status::Running { .. } | Status::Ended(Ending { took_ms: Some(_), .. })));
    if let Some(link) = dom::find(element, ".show") {
        let ended = matches!(status, Some(Status::Ended(_)));
        dom::show(&link, show && ended);
    }
    let name = match &status {
        None => "idle",
        Some(Status::Queued { .. }) => "queued",
        Some(Status::Refused { .. }) => "refused",
        Some(Status::Running { .. }) => "running",
        Some(Status::Ended(ending)) if ending.as_wanted => "done",
        Some(Status::Ended(_)) => "failed",
    };
    dom::set(element, "data-state", name);
    match (&missing, &status) {
        (Some((name, step)), None) => {
            label(&button, "run", "Run");
            dom::add_text(&state, &format!("Needs the {}: run step {step} first.", words::of_name(name)));
        }
        (_, None) => label(&button, "run", "Run"),
        (_, Some(Status::Queued { until })) => draw_queued(&button, &state, until),
        (_, Some(Status::Refused { node, term, program, nothing_runs })) => {
            label(&button, "run", "Run");
            draw_refused(&state, &more, (node, term), program, *nothing_runs);
        }
        (_, Some(Status::Running { since_ms })) => {
            label(&button, "stop", "Stop");
            dom::add(&state, &mark("spin", "icon spin"));
            word(&state, "accent", "running");
            let time = words::running_for((dom::now_ms() - since_ms) / 1000.0);
            dom::add(&state, &dom::make_text("span", "time", &time));
            if let Some(key) = dom::data(element, "leave") {
                dom::add_text(&note, "Leave it with ");
                dom::add(&note, &dom::make_text("kbd", "", &key));
            }
        }
        (_, Some(Status::Ended(ending))) => {
            label(&button, "again", "Run again");
            draw_ended(block, &state, &more, ending);
        }
    }
    fill_names(element);
}

fn draw_queued(button: &Element, state: &Element, until: &str) {
    label(button, "cross", "Cancel");
    dom::add(state, &mark("clock", "icon warn"));
    word(state, "warn", "queued");
    let words = dom::make("span", "");
    match until {
        "" => dom::add_text(&words, "runs when the terminal is ready"),
        command => {
            dom::add_text(&words, "runs when ");
            dom::add(&words, &dom::make_text("code", "", command));
            dom::add_text(&words, " has ended");
        }
    }
    dom::add(state, &words);
}

fn draw_refused(
    state: &Element,
    more: &Element,
    (node, term): (&str, &str),
    program: &str,
    nothing_runs: bool,
) {
    dom::add(state, &mark("clock", "icon warn"));
    word(state, "warn", "waits for you");
    if nothing_runs {
        dom::add(state, &dom::make_text("span", "", "the block before must run first"));
        return;
    }
    dom::add(state, &dom::make_text("span", "", &format!("{program} has the screen of {node}")));
    let row = dom::make("div", "buttons");
    dom::add(&row, &dom::button("button elsewhere", "Run in a second terminal"));
    let show = dom::button("button show-program", &format!("Show {program}"));
    dom::set(&show, "data-node", node);
    dom::set(&show, "data-term", term);
    dom::add(&row, &show);
    dom::add(more, &row);
    dom::show(more, true);
}

fn draw_ended(block: &RunBlock, state: &Element, more: &Element, ending: &Ending) {
    let class = if ending.as_wanted { "ok" } else { "fail" };
    let icon = if ending.as_wanted { "check" } else { "cross" };
    dom::add(state, &mark(icon, &format!("icon {class}")));
    let surprising =
        |exit: i32| exit != 0 && block.script().is_some_and(|script| script.exit == Exit::Status(exit));
    let text = match (ending.exit, ending.end) {
        (Some(exit), _) if ending.as_wanted && surprising(exit) => format!("exit {exit}, as expected"),
        (Some(exit), _) => format!("exit {exit}"),
        (None, End::Prompt) => "waits for you".to_owned(),
        (None, _) if ending.as_wanted => "done".to_owned(),
        (None, _) => "ended too early".to_owned(),
    };
    word(state, class, &text);
    if let Some(took_ms) = ending.took_ms {
        dom::add(state, &dom::make_text("span", "took", &words::took(took_ms)));
    }
    if let Some(Reason(before, code, after)) = &ending.reason {
        let sentence = dom::make("p", "");
        dom::add_text(&sentence, before);
        dom::add(&sentence, &dom::make_text("code", "", code));
        dom::add_text(&sentence, after);
        dom::add(more, &sentence);
        let row = dom::make("div", "buttons");
        dom::add(&row, &dom::button("button step-over", "Start this step over"));
        dom::add(more, &row);
        dom::show(more, true);
    }
}

/// Puts captured names into the command that is shown.
fn fill_names(element: &Element) {
    for place in dom::all(element, ".capture") {
        if let Some(value) = dom::data(&place, "name").and_then(|name| app().runs.name(&name)) {
            place.set_text_content(Some(&value));
        }
    }
}

fn label(button: &Element, icon: &str, text: &str) {
    let now = dom::data(button, "label");
    if now.as_deref() == Some(text) {
        return;
    }
    dom::set(button, "data-label", text);
    dom::clear(button);
    dom::add(button, &dom::icon(icon));
    dom::add(button, &dom::make_text("span", "", text));
}

fn mark(icon: &str, class: &str) -> Element {
    dom::shape(class, icon)
}

fn word(state: &Element, class: &str, text: &str) {
    dom::add(state, &dom::make_text("b", class, text));
}

/// Handles a click in the guide, if it is on a run block.
pub(crate) fn clicked(event: &Event) -> bool {
    let Some(block) = dom::closest(event, ".block.run").and_then(|element| RunBlock::of(&element)) else {
        return false;
    };
    if dom::closest(event, ".act").is_some() {
        block.act();
    } else if dom::closest(event, ".show").is_some() {
        app().runs.show_in_terminal(block.place, &block.node, &block.term);
    } else if dom::closest(event, ".elsewhere").is_some() {
        match app().tabs.free_term(&block.node) {
            Some(term) => block.run_in(&block.node, &term),
            None => app().tabs.complain("all terminals of this node are in use"),
        }
    } else if let Some(show) = dom::closest(event, ".show-program") {
        let (Some(node), Some(term)) = (dom::data(&show, "node"), dom::data(&show, "term")) else {
            return true;
        };
        app().tabs.select(&node, &term);
        phone::view("terminal");
        app().tabs.focus();
    } else if dom::closest(event, ".step-over").is_some() {
        app().steps.start_over();
    } else {
        return false;
    }
    true
}
