//! The state machine that types one block.

use crate::{
    block::{Block, BlockError, regex},
    command::commands,
    keys::key_bytes,
    names::{self, Names},
    view::View,
};
use regex_lite::Regex;

/// How long a terminal must be quiet before a prompt is believed, in milliseconds.
const PROMPT_QUIET_MS: u64 = 60;
/// How long an unfinished line must stand before it is taken as a question.
const QUESTION_QUIET_MS: u64 = 400;
/// Ctrl-E, Ctrl-U: the line editor deletes what was typed at the prompt.
const DELETE_LINE: &[u8] = b"\x05\x15";
/// How long the line editor gets for that. A background job may have printed
/// over the prompt: then its line is empty, though it doesn't look so.
const DELETE_MS: u64 = 300;
const CTRL_C: u8 = 3;

/// What the driver does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until more was printed or this time has come.
    Wait {
        /// Milliseconds on the driver's clock.
        until: Option<u64>,
    },
    /// Send these bytes to the terminal; then ask again.
    Type(Vec<u8>),
    /// The block can't be typed now. Asking again tries again.
    Refused(Refusal),
    /// The block has ended; asking again says the same.
    Done(Outcome),
}

/// Why nothing is typed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A program has the whole screen.
    Screen,
    /// The program that an `inner` block is for does not run.
    NothingRuns,
}

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for the shell, or the program, to be at its prompt.
    Queued,
    /// Something was typed and has not ended.
    Running {
        /// When the block began, in milliseconds on the driver's clock.
        since_ms: u64,
    },
    /// It has ended.
    Ended,
}

/// How a block ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What ended it.
    pub end: End,
    /// The exit status of the last command that ended; `None` for a prompt
    /// and for `inner`.
    pub exit: Option<i32>,
    /// Everything was as the block wants it.
    pub as_wanted: bool,
    /// What it printed, of all its commands.
    pub output: String,
    /// What was captured: name and value.
    pub captured: Vec<(String, String)>,
    /// Names whose pattern matched nothing.
    pub uncaptured: Vec<String>,
    /// When it began and ended, in milliseconds on the driver's clock.
    pub began_ms: u64,
    /// See `began_ms`.
    pub ended_ms: u64,
}

/// What ended a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its last command, or the first with an unwanted status.
    Exit,
    /// The prompt it waits for.
    Prompt,
    /// The program ended although it should wait at its prompt.
    Early,
}

/// One block on its way through a terminal.
#[derive(Debug)]
pub struct Script {
    block: Block,
    /// What is typed, one entry a prompt.
    lines: Vec<Vec<u8>>,
    answers: Vec<String>,
    prompt: Option<Regex>,
    resumes: Option<Regex>,
    next: usize,
    phase: Phase,
    began_ms: Option<u64>,
    outputs: Vec<String>,
    /// The stream's length when it last grew, and when that was.
    grown: (u64, u64),
}

#[derive(Debug)]
enum Phase {
    /// For the shell or the program; since when its line is deleted.
    Waiting {
        deleted_ms: Option<u64>,
    },
    Typed(Typed),
    Ended(Outcome),
}

/// The terminal when a line was typed.
#[derive(Debug, Clone)]
struct Typed {
    at_ms: u64,
    bytes: u64,
    started: u64,
    finished: u64,
    clears: u64,
    line: u64,
    /// Lines of output there were, the prompt's own line included.
    output_lines: usize,
    answered: usize,
    answered_line: Option<u64>,
    /// Output at the moment of Ctrl-C.
    interrupted: Option<String>,
}

impl Script {
    /// Prepares `block`, with what earlier blocks captured put in.
    pub fn new(block: &Block, captured: &Names) -> Result<Script, BlockError> {
        block.validate()?;
        let fill = |text: &str| names::replace(text, &block.needs, captured);
        let lines = if block.keys.is_empty() {
            commands(&fill(&block.text)?).into_iter().map(String::into_bytes).collect()
        } else {
            let keys =
                block.keys.iter().map(|key| key_bytes(key).ok_or_else(|| BlockError::Key(key.clone())));
            vec![keys.collect::<Result<Vec<_>, _>>()?.concat()]
        };
        Ok(Script {
            lines,
            answers: block.answers.iter().map(|answer| fill(&answer.text)).collect::<Result<_, _>>()?,
            prompt: block.prompt.as_deref().map(regex).transpose()?,
            resumes: block.resumes.as_deref().map(regex).transpose()?,
            block: block.clone(),
            next: 0,
            phase: Phase::Waiting { deleted_ms: None },
            began_ms: None,
            outputs: Vec::new(),
            grown: (0, 0),
        })
    }

    /// Where the block is.
    pub fn state(&self) -> State {
        match (&self.phase, self.began_ms) {
            (Phase::Ended(_), _) => State::Ended,
            (_, Some(since_ms)) => State::Running { since_ms },
            (_, None) => State::Queued,
        }
    }

    /// What to do, the terminal being as `view` shows.
    pub fn advance(&mut self, view: &View<'_>, now_ms: u64) -> Action {
        if self.grown.0 != view.bytes {
            self.grown = (view.bytes, now_ms);
        }
        match &self.phase {
            Phase::Ended(outcome) => Action::Done(outcome.clone()),
            Phase::Waiting { deleted_ms } => {
                let deleted_ms = *deleted_ms;
                if self.block.inner {
                    self.wait_inside(view, now_ms)
                } else {
                    self.wait(view, now_ms, deleted_ms)
                }
            }
            Phase::Typed(typed) => {
                let typed = typed.clone();
                self.watch(view, now_ms, typed)
            }
        }
    }

    /// Ctrl-C, because somebody asked for it.
    pub fn interrupt(&mut self, view: &View<'_>) -> Action {
        let Phase::Typed(typed) = &mut self.phase else { return Action::Wait { until: None } };
        typed.interrupted = Some(typed.output(view));
        Action::Type(vec![CTRL_C])
    }

    /// Before a line of a `run` block: the shell must be at an empty prompt.
    fn wait(&mut self, view: &View<'_>, now_ms: u64, deleted_ms: Option<u64>) -> Action {
        if view.alternate && !view.at_prompt {
            return Action::Refused(Refusal::Screen);
        }
        if !view.at_prompt {
            return Action::Wait { until: None };
        }
        match deleted_ms {
            None if view.typed => {
                self.phase = Phase::Waiting { deleted_ms: Some(now_ms) };
                Action::Type(DELETE_LINE.to_vec())
            }
            Some(since) if view.typed && now_ms < since + DELETE_MS => {
                Action::Wait { until: Some(since + DELETE_MS) }
            }
            _ => self.type_line(view, now_ms),
        }
    }

    /// Before a line of an `inner` block: the program must be at its prompt.
    fn wait_inside(&mut self, view: &View<'_>, now_ms: u64) -> Action {
        let whole_screen = view.alternate || view.clears > 0;
        let waits = match &self.resumes {
            Some(resumes) => matches_prompt(resumes, view, whole_screen),
            None => !view.at_prompt,
        };
        match (waits, view.at_prompt) {
            (true, _) => self.type_line(view, now_ms),
            (false, true) => Action::Refused(Refusal::NothingRuns),
            (false, false) => Action::Wait { until: None },
        }
    }

    fn type_line(&mut self, view: &View<'_>, now_ms: u64) -> Action {
        let line = &self.lines[self.next];
        let bytes = match self.block.keys.is_empty() {
            false => line.clone(),
            true => typed_bytes(line, view.bracketed_paste),
        };
        // What is typed over several lines is also echoed over several.
        let more_lines = line.iter().filter(|byte| **byte == b'\n').count();
        self.next += 1;
        self.began_ms.get_or_insert(now_ms);
        self.phase = Phase::Typed(Typed {
            at_ms: now_ms,
            bytes: view.bytes,
            started: view.started,
            finished: view.finished,
            clears: view.clears,
            line: view.line,
            output_lines: if self.block.inner { (view.output)().lines().count() + more_lines } else { 0 },
            answered: 0,
            answered_line: None,
            interrupted: None,
        });
        Action::Type(bytes)
    }

    /// After a line was typed.
    fn watch(&mut self, view: &View<'_>, now_ms: u64, typed: Typed) -> Action {
        let quiet_since = self.grown.1;
        let awaited = self.awaited_prompt();
        let prompt = typed.answered_by(view, &self.block)
            && awaited.is_some_and(|prompt| matches_prompt(prompt, view, typed.full_screen(view)));
        let ended = view.finished > typed.finished;
        // A shell inside the shell prints marks too: then an inner line has a
        // begin and an end of its own, and what was left running goes on.
        let began_too = view.started - typed.started >= view.finished - typed.finished;
        let goes_on = self.block.inner && began_too && prompt;
        if ended && !goes_on {
            return if view.at_prompt {
                self.ended(view, now_ms, &typed)
            } else {
                Action::Wait { until: None }
            };
        }
        if prompt {
            let until = quiet_since + PROMPT_QUIET_MS;
            return if now_ms >= until {
                self.prompted(view, now_ms, &typed)
            } else {
                Action::Wait { until: Some(until) }
            };
        }
        if let Some(due) = self.interrupt_due(&typed) {
            if now_ms >= due {
                return self.interrupt(view);
            }
            return Action::Wait { until: Some(due) };
        }
        if self.is_asked(view, &typed) {
            let until = quiet_since + QUESTION_QUIET_MS;
            return if now_ms >= until { self.answer(view) } else { Action::Wait { until: Some(until) } };
        }
        Action::Wait { until: None }
    }

    /// The prompt that the line just typed must lead to, if any.
    fn awaited_prompt(&self) -> Option<&Regex> {
        let more = self.next < self.lines.len();
        match (self.block.inner, more) {
            (false, true) => None,
            (true, true) => self.prompt.as_ref().or(self.resumes.as_ref()),
            (_, false) => self.prompt.as_ref(),
        }
    }

    fn interrupt_due(&self, typed: &Typed) -> Option<u64> {
        let more = self.next < self.lines.len();
        match (self.block.interrupt_ms, &typed.interrupted) {
            (Some(after), None) if !more => Some(typed.at_ms + after),
            _ => None,
        }
    }

    fn is_asked(&self, view: &View<'_>, typed: &Typed) -> bool {
        typed.answered < self.answers.len()
            && typed.answered_by(view, &self.block)
            && typed.answered_line != Some(view.line)
            && !view.alternate
            && !view.cursor_line.is_empty()
    }

    fn answer(&mut self, view: &View<'_>) -> Action {
        let Phase::Typed(typed) = &mut self.phase else { return Action::Wait { until: None } };
        let mut bytes = self.answers[typed.answered].clone().into_bytes();
        bytes.push(b'\r');
        typed.answered += 1;
        typed.answered_line = Some(view.line);
        Action::Type(bytes)
    }

    /// The command, or the program that an inner line went to, has ended.
    fn ended(&mut self, view: &View<'_>, now_ms: u64, typed: &Typed) -> Action {
        let output = match &typed.interrupted {
            Some(output) => output.clone(),
            None => skip_lines(&(view.output)(), typed.lines_before(view), false),
        };
        self.outputs.push(output);
        let more = self.next < self.lines.len();
        let early = self.prompt.is_some() || (self.block.inner && more);
        if early && (self.block.inner || !more) {
            return self.finish(End::Early, view.exit, false, now_ms);
        }
        if self.block.inner {
            return self.finish(End::Exit, None, true, now_ms);
        }
        let status = view.exit.unwrap_or(0);
        let wanted =
            if more { status == 0 || self.block.exit.allows(status) } else { self.block.exit.allows(status) };
        if more && wanted {
            self.phase = Phase::Waiting { deleted_ms: None };
            return self.advance(view, now_ms);
        }
        self.finish(End::Exit, Some(status), wanted, now_ms)
    }

    /// The awaited prompt is there.
    fn prompted(&mut self, view: &View<'_>, now_ms: u64, typed: &Typed) -> Action {
        self.outputs.push(typed.output(view));
        if self.next < self.lines.len() {
            return self.type_line(view, now_ms);
        }
        self.finish(End::Prompt, None, true, now_ms)
    }

    fn finish(&mut self, end: End, exit: Option<i32>, as_wanted: bool, now_ms: u64) -> Action {
        let outputs: Vec<&str> =
            self.outputs.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let output = outputs.join("\n");
        let mut captured = Vec::new();
        let mut uncaptured = Vec::new();
        for capture in &self.block.captures {
            // The pattern was checked when the script was made.
            match names::take(capture, &output).ok().flatten() {
                Some(value) => captured.push((capture.name.clone(), value)),
                None => uncaptured.push(capture.name.clone()),
            }
        }
        let outcome = Outcome {
            end,
            exit,
            as_wanted: as_wanted && uncaptured.is_empty(),
            output,
            captured,
            uncaptured,
            began_ms: self.began_ms.unwrap_or(now_ms),
            ended_ms: now_ms,
        };
        self.phase = Phase::Ended(outcome.clone());
        Action::Done(outcome)
    }
}

impl Typed {
    /// Whether the program has printed something after the typed line's echo.
    fn answered_by(&self, view: &View<'_>, block: &Block) -> bool {
        if !block.inner {
            return view.started > self.started;
        }
        let moved = view.line > self.line || self.full_screen(view) || !block.keys.is_empty();
        view.bytes > self.bytes && moved
    }

    fn full_screen(&self, view: &View<'_>) -> bool {
        view.alternate || view.clears > self.clears
    }

    /// What the typed line has printed so far, the prompt left out.
    fn output(&self, view: &View<'_>) -> String {
        if self.full_screen(view) {
            return (view.screen)();
        }
        // Output ends where a prompt with marks begins; without, it is the last line.
        let prompt_is_last = !view.at_prompt && !view.cursor_line.is_empty();
        skip_lines(&(view.output)(), self.lines_before(view), prompt_is_last)
    }

    /// Lines of the view's output that are older than the typed line: none if
    /// it has marks of its own.
    fn lines_before(&self, view: &View<'_>) -> usize {
        if view.started > self.started { 0 } else { self.output_lines }
    }
}

/// `text` without its first `skip` lines and, if asked, without its last one.
fn skip_lines(text: &str, skip: usize, without_last: bool) -> String {
    let mut lines: Vec<&str> = text.lines().skip(skip).collect();
    if without_last {
        lines.pop();
    }
    lines.join("\n")
}

fn matches_prompt(prompt: &Regex, view: &View<'_>, whole_screen: bool) -> bool {
    let here = prompt.is_match(view.cursor_line) || prompt.is_match(view.cursor_line.trim_end());
    here || (whole_screen && (view.screen)().lines().any(|line| prompt.is_match(line)))
}

/// What is sent for one command: its lines, and Enter.
fn typed_bytes(command: &[u8], bracketed_paste: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(command.len() + 16);
    let paste = bracketed_paste && command.contains(&b'\n');
    if paste {
        bytes.extend_from_slice(b"\x1b[200~");
        bytes.extend_from_slice(command);
        bytes.extend_from_slice(b"\x1b[201~");
    } else {
        bytes.extend(command.iter().map(|byte| if *byte == b'\n' { b'\r' } else { *byte }));
    }
    bytes.push(b'\r');
    bytes
}
