//! Run blocks on their way into terminals: one queue a terminal.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, VecDeque},
    rc::Rc,
};

use drydock_script::{Action, Block, End, Names, Outcome, Refusal, Script, View, look};
use serde_json::json;
use wasm_bindgen_futures::spawn_local;

use crate::{
    api,
    app::app,
    dom, live,
    pane::Pane,
    program, run_row,
    session::Phase,
    words::{self, running_for},
};

/// Bytes are typed so many times in a row at most before the page breathes.
const TYPED_IN_A_ROW: u32 = 50;

/// A block: its step and its number there.
pub(crate) type Place = (usize, usize);

/// Where a block is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Status {
    /// Waits; in words, for what.
    Queued { until: String },
    /// Can't be typed now.
    Refused { node: String, term: String, program: String, nothing_runs: bool },
    /// Typed and not ended.
    Running { since_ms: f64 },
    /// Ended.
    Ended(Ending),
}

/// How a block ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    pub(crate) exit: Option<i32>,
    pub(crate) as_wanted: bool,
    pub(crate) end: End,
    /// `None` when it was run before this page was opened.
    pub(crate) took_ms: Option<f64>,
    /// Why it failed, when that is known.
    pub(crate) reason: Option<Reason>,
}

/// A known failure, in one sentence: text, code, text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason(pub(crate) &'static str, pub(crate) String, pub(crate) &'static str);

struct Job {
    place: Place,
    command: String,
    script: Script,
    /// Whether its row shows that it runs.
    running: bool,
}

/// Blocks that were run, and those that wait.
#[derive(Default)]
pub(crate) struct Runs {
    queues: RefCell<HashMap<(String, String), VecDeque<Job>>>,
    statuses: RefCell<BTreeMap<Place, Status>>,
    /// Where a block's command stands: terminal and line.
    lines: RefCell<HashMap<Place, (String, String, u64)>>,
    names: RefCell<Names>,
    /// The step's setup runs; blocks wait for it.
    preparing: Cell<bool>,
}

impl Runs {
    /// Where a block is.
    pub(crate) fn status(&self, place: Place) -> Option<Status> {
        self.statuses.borrow().get(&place).cloned()
    }

    fn set(&self, place: Place, status: Option<Status>) {
        match status {
            Some(status) => self.statuses.borrow_mut().insert(place, status),
            None => self.statuses.borrow_mut().remove(&place),
        };
        run_row::draw_place(place);
    }

    /// What blocks have captured.
    pub(crate) fn name(&self, name: &str) -> Option<String> {
        self.names.borrow().get(name).cloned()
    }

    /// Takes up what this learner's blocks captured in this session.
    pub(crate) fn recall(&self, session: &str) {
        let kept = dom::kept(&names_key(session)).and_then(|text| serde_json::from_str(&text).ok());
        *self.names.borrow_mut() = kept.unwrap_or_default();
    }

    /// Blocks wait until the step is prepared.
    pub(crate) fn prepare(&self, preparing: bool) {
        self.preparing.set(preparing);
        if !preparing {
            let keys: Vec<(String, String)> = self.queues.borrow().keys().cloned().collect();
            for (node, term) in keys {
                self.pump(&node, &term);
            }
        }
    }

    /// Queues a block for a terminal, and shows that terminal.
    pub(crate) fn run(&self, place: Place, block: &Block, node: &str, term: &str) {
        if !matches!(app().session.phase(), Phase::Live | Phase::Starting { .. }) {
            return app().tabs.complain("there is no node to run it on");
        }
        let script = match Script::new(block, &self.names.borrow()) {
            Ok(script) => script,
            Err(error) => return app().tabs.complain(&error.to_string()),
        };
        self.cancel(place);
        let command = words::short(drydock_script::commands(&block.text).first().map_or("", String::as_str));
        let pane = app().tabs.select(node, term);
        pane.connect();
        self.queues.borrow_mut().entry((node.to_owned(), term.to_owned())).or_default().push_back(Job {
            place,
            command,
            script,
            running: false,
        });
        self.pump(node, term);
        self.tell_waiting(node, term);
    }

    /// Takes a waiting block out of its queue.
    pub(crate) fn cancel(&self, place: Place) {
        for queue in self.queues.borrow_mut().values_mut() {
            queue.retain(|job| job.place != place || job.running);
        }
        if matches!(self.status(place), Some(Status::Queued { .. } | Status::Refused { .. })) {
            self.set(place, None);
        }
    }

    /// Ctrl-C for a running block.
    pub(crate) fn stop(&self, place: Place) {
        let found = self.queues.borrow().iter().find_map(|(key, queue)| {
            queue.iter().any(|job| job.place == place && job.running).then(|| key.clone())
        });
        let Some((node, term)) = found else { return };
        let Some(view) = app().tabs.pane(&node, &term).view() else { return };
        let action = {
            let mut queues = self.queues.borrow_mut();
            let job = queues.get_mut(&(node, term)).and_then(|queue| queue.front_mut());
            job.map(|job| look(&view.core(), |view| job.script.interrupt(view)))
        };
        if let Some(Action::Type(bytes)) = action {
            view.type_bytes(&bytes);
        }
    }

    /// Drives a terminal's first block as far as it goes.
    pub(crate) fn pump(&self, node: &str, term: &str) {
        let key = (node.to_owned(), term.to_owned());
        if self.preparing.get() || self.queues.borrow().get(&key).is_none_or(|queue| queue.is_empty()) {
            return;
        }
        let pane = app().tabs.pane(node, term);
        for _ in 0..TYPED_IN_A_ROW {
            match self.step(&key, &pane) {
                Some(true) => {}
                Some(false) => return,
                None => return self.tell_waiting(node, term),
            }
        }
        let (node, term) = key;
        dom::after(0, move || app().runs.pump(&node, &term));
    }

    /// One action. `Some(true)`: go on; `Some(false)`: wait; `None`: the queue is empty.
    fn step(&self, key: &(String, String), pane: &Rc<Pane>) -> Option<bool> {
        let Some(view) = pane.view() else { return Some(false) };
        let now_ms = dom::now_ms();
        let (place, action, line) = {
            let mut queues = self.queues.borrow_mut();
            let job = queues.get_mut(key)?.front_mut()?;
            let advance = |view: &View<'_>| (job.script.advance(view, now_ms as u64), view.line);
            let (action, line) = look(&view.core(), advance);
            (job.place, action, line)
        };
        match action {
            Action::Type(bytes) => {
                self.began(key, place, line);
                view.type_bytes(&bytes);
                Some(true)
            }
            Action::Wait { until } => {
                if let Some(until) = until {
                    let (node, term) = key.clone();
                    let wait = (until as f64 - now_ms).max(0.0).ceil() as i32 + 1;
                    dom::after(wait, move || app().runs.pump(&node, &term));
                }
                Some(false)
            }
            Action::Refused(refusal) => {
                self.pop(key);
                let (node, term) = key.clone();
                let nothing_runs = refusal == Refusal::NothingRuns;
                self.set(
                    place,
                    Some(Status::Refused { node, term, program: program::name(&view.core()), nothing_runs }),
                );
                Some(true)
            }
            Action::Done(outcome) => {
                let command = self.pop(key)?.command;
                self.ended(place, &command, &outcome);
                self.tell_waiting(&key.0, &key.1);
                Some(true)
            }
        }
    }

    fn pop(&self, key: &(String, String)) -> Option<Job> {
        self.queues.borrow_mut().get_mut(key)?.pop_front()
    }

    fn began(&self, key: &(String, String), place: Place, line: u64) {
        let mut queues = self.queues.borrow_mut();
        let Some(job) = queues.get_mut(key).and_then(|queue| queue.front_mut()) else { return };
        let began = !job.running && matches!(job.script.state(), drydock_script::State::Running { .. });
        if began {
            job.running = true;
            drop(queues);
            self.lines.borrow_mut().insert(place, (key.0.clone(), key.1.clone(), line));
            self.set(place, Some(Status::Running { since_ms: dom::now_ms() }));
        }
    }

    fn ended(&self, place: Place, command: &str, outcome: &Outcome) {
        let ending = Ending {
            exit: outcome.exit,
            as_wanted: outcome.as_wanted,
            end: outcome.end,
            took_ms: Some((outcome.ended_ms - outcome.began_ms) as f64),
            reason: if outcome.as_wanted { None } else { reason(outcome) },
        };
        self.set(place, Some(Status::Ended(ending)));
        let how = match (outcome.exit, outcome.as_wanted) {
            (Some(exit), _) => format!("finished, exit {exit}"),
            (None, true) if outcome.end == End::Prompt => "waits for you".to_owned(),
            (None, true) => "finished".to_owned(),
            (None, false) => "ended too early".to_owned(),
        };
        live::polite(&format!("{command} {how}."));
        self.capture(outcome);
        self.report(place, outcome);
        app().checks.try_soon();
    }

    fn capture(&self, outcome: &Outcome) {
        if outcome.captured.is_empty() {
            return;
        }
        self.names.borrow_mut().extend(outcome.captured.iter().cloned());
        if let (Some(session), Ok(text)) = (app().session.id(), serde_json::to_string(&*self.names.borrow()))
        {
            dom::keep(&names_key(&session), &text);
        }
        run_row::draw_all();
    }

    /// Tells the server how a block ended, so that it is known after a reload.
    fn report(&self, (step, block): Place, outcome: &Outcome) {
        let Some(lab) = &app().lab else { return };
        // A block without an exit status counts as 0 when all was as wanted.
        let exit = outcome.exit.unwrap_or(if outcome.as_wanted { 0 } else { 1 });
        let path = format!("/api/labs/{lab}/steps/{step}/runs");
        spawn_local(async move {
            if let Err(failure) =
                api::tell("POST", &path, Some(&json!({ "block": block, "exit": exit }))).await
            {
                crate::log(&format!("a run could not be noted: {}", failure.message));
            }
        });
    }

    /// Says to each waiting block what it waits for.
    fn tell_waiting(&self, node: &str, term: &str) {
        let key = (node.to_owned(), term.to_owned());
        let mut waiting = Vec::new();
        if let Some(queue) = self.queues.borrow().get(&key) {
            let mut before: Option<&Job> = None;
            for job in queue {
                if !job.running {
                    waiting.push((job.place, before.map(|before| before.command.clone())));
                }
                before = Some(job);
            }
        }
        for (place, before) in waiting {
            let until = match before {
                Some(command) => command,
                None => self.busy_with(node, term),
            };
            let status = Status::Queued { until };
            if self.status(place) != Some(status.clone()) {
                self.set(place, Some(status));
            }
        }
    }

    /// What runs in a terminal that no block of ours started; empty when the
    /// terminal itself is not ready.
    fn busy_with(&self, node: &str, term: &str) -> String {
        let Some(view) = app().tabs.pane(node, term).view() else { return String::new() };
        let core = view.core();
        if program::runs(&core) { program::name(&core) } else { String::new() }
    }

    /// Shows where a block's command stands in its terminal.
    pub(crate) fn show_in_terminal(&self, place: Place, node: &str, term: &str) {
        let line = self.lines.borrow().get(&place).cloned();
        let (node, term, line) = match line {
            Some((node, term, line)) => (node, term, Some(line)),
            None => (node.to_owned(), term.to_owned(), None),
        };
        let pane = app().tabs.select(&node, &term);
        if let (Some(view), Some(line)) = (pane.view(), line) {
            view.scroll_to_line(line);
        }
        crate::phone::view("terminal");
        pane.focus();
    }

    /// A step's blocks are as if they had never run.
    pub(crate) fn forget_step(&self, step: usize) {
        let places: Vec<Place> =
            self.statuses.borrow().keys().filter(|(of, _)| *of == step).copied().collect();
        for place in places {
            self.cancel(place);
            self.set(place, None);
        }
    }

    /// Another session: nothing runs, nothing is captured.
    pub(crate) fn forget_all(&self) {
        self.stop_all();
        self.lines.borrow_mut().clear();
        self.names.borrow_mut().clear();
    }

    /// No block runs or waits any more.
    pub(crate) fn stop_all(&self) {
        let places: Vec<Place> =
            self.queues.borrow_mut().drain().flat_map(|(_, queue)| queue).map(|job| job.place).collect();
        for place in places {
            self.set(place, None);
        }
    }

    /// No block runs or waits on this node any more.
    pub(crate) fn stop_node(&self, node: &str) {
        let terms: Vec<String> =
            self.queues.borrow().keys().filter(|(of, _)| of == node).map(|(_, term)| term.clone()).collect();
        for term in terms {
            self.stop_terminal(node, &term);
        }
    }

    /// No block runs or waits in this terminal any more.
    pub(crate) fn stop_terminal(&self, node: &str, term: &str) {
        let queue = self.queues.borrow_mut().remove(&(node.to_owned(), term.to_owned()));
        for job in queue.into_iter().flatten() {
            self.set(job.place, None);
        }
    }

    /// The status of the block that a terminal is at.
    pub(crate) fn first_running(&self, node: &str, term: &str) -> Option<Status> {
        let place = self.queues.borrow().get(&(node.to_owned(), term.to_owned()))?.front()?.place;
        self.status(place)
    }

    /// Each second: the time that running blocks show.
    pub(crate) fn tick(&self) {
        for (place, status) in self.statuses.borrow().iter() {
            if let Status::Running { since_ms } = status {
                run_row::draw_time(*place, &running_for((dom::now_ms() - since_ms) / 1000.0));
            }
        }
    }
}

fn names_key(session: &str) -> String {
    format!("drydock-names-{session}")
}

/// The failures that learners meet most, each in one sentence.
fn reason(outcome: &Outcome) -> Option<Reason> {
    let output = &outcome.output;
    if let Some(name) = outcome.uncaptured.first() {
        return Some(Reason("Its output has no ", words::of_name(name), "."));
    }
    let between = |start: &str, end: &str| {
        let from = output.find(start)? + start.len();
        let length = output[from..].find(end)?;
        Some(output[from..from + length].chars().take(80).collect::<String>())
    };
    if output.contains("is already in use by container") {
        let name = between("container name \"/", "\"")?;
        return Some(Reason("The name ", name, " is taken by an earlier try."));
    }
    if let Some(name) = between("No such container: ", "\n").or_else(|| after(output, "No such container: "))
    {
        return Some(Reason("There is no container ", name, ". Did an earlier command of this step run?"));
    }
    if let Some(name) = between("pull access denied for ", ",") {
        return Some(Reason("This server has no image ", name, "."));
    }
    if output.contains("Cannot connect to the Docker daemon") {
        return Some(Reason(
            "The engine of this node is being started again: try again in a moment, ",
            "docker".into(),
            " will answer then.",
        ));
    }
    None
}

fn after(output: &str, start: &str) -> Option<String> {
    let from = output.find(start)? + start.len();
    output[from..].split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(output: &str) -> Outcome {
        Outcome {
            end: End::Exit,
            exit: Some(125),
            as_wanted: false,
            output: output.into(),
            captured: Vec::new(),
            uncaptured: Vec::new(),
            began_ms: 0,
            ended_ms: 1,
        }
    }

    #[test]
    fn known_failures_are_explained() {
        let taken = failed(
            r#"docker: Error response from daemon: Conflict. The container name "/web" is already in use by container "8f3c"."#,
        );
        assert_eq!(reason(&taken), Some(Reason("The name ", "web".into(), " is taken by an earlier try.")));
        let none = failed("Error response from daemon: No such container: lonley");
        assert_eq!(reason(&none).map(|reason| reason.1), Some("lonley".into()));
        assert_eq!(reason(&failed("bash: x: command not found")), None);
    }
}
