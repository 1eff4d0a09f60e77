//! What stands beside a prompt: how its command ended, and how long it took.

use std::collections::HashMap;

use drydock_terminal::{Mark, MarkKind, Terminal};

/// The most commands whose times are remembered.
const TIMES_MAX: usize = 2000;

/// How a command is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Running,
    /// It ended; its exit status, if the shell said it.
    Ended(Option<i32>),
}

/// A command in the terminal's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Command {
    /// The id of the mark where its output begins.
    pub(crate) id: u64,
    /// The line of its prompt.
    pub(crate) line: u64,
    pub(crate) outcome: Outcome,
}

/// When commands began and how long they took, in milliseconds, by the page's
/// clock. A page that was loaded later knows nothing of earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Times {
    began: HashMap<u64, f64>,
    took: HashMap<u64, f64>,
    /// Those under way: a shell and what runs in it.
    running: Vec<u64>,
    prompted: bool,
}

impl Times {
    /// Sees a mark that was just printed.
    pub(crate) fn see(&mut self, mark: &Mark, now_ms: f64) {
        match mark.kind {
            MarkKind::PromptStart => self.prompted = true,
            MarkKind::CommandStart => {}
            // The commands of one paste have one prompt, and one time.
            MarkKind::OutputStart if self.prompted => {
                if self.began.len() >= TIMES_MAX {
                    *self = Times::default();
                }
                self.prompted = false;
                self.began.insert(mark.id, now_ms);
                self.running.push(mark.id);
            }
            MarkKind::OutputStart => {}
            MarkKind::CommandEnd { .. } => {
                if let Some(id) = self.running.pop()
                    && let Some(began) = self.began.get(&id)
                {
                    self.took.insert(id, now_ms - began);
                }
            }
        }
    }

    /// How long a command took, or has been running.
    pub(crate) fn of(&self, command: &Command, now_ms: f64) -> Option<f64> {
        match command.outcome {
            Outcome::Running => self.began.get(&command.id).map(|began| now_ms - began),
            Outcome::Ended(_) => self.took.get(&command.id).copied(),
        }
    }
}

/// The commands whose prompts are still kept, oldest first.
pub(crate) fn commands(terminal: &Terminal) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let mut prompt = None;
    for mark in terminal.marks() {
        match mark.kind {
            MarkKind::PromptStart => prompt = Some(mark.at.line),
            MarkKind::CommandStart => {}
            MarkKind::OutputStart => {
                if let Some(line) = prompt.take() {
                    commands.push(Command { id: mark.id, line, outcome: Outcome::Running });
                }
            }
            MarkKind::CommandEnd { exit } => {
                if let Some(command) =
                    commands.iter_mut().rfind(|command| command.outcome == Outcome::Running)
                {
                    command.outcome = Outcome::Ended(exit);
                }
            }
        }
    }
    commands
}

/// The words at the right end of a prompt's line.
pub(crate) fn note(command: &Command, took_ms: Option<f64>) -> String {
    let time = took_ms.map(|ms| duration(ms, command.outcome == Outcome::Running)).unwrap_or_default();
    match command.outcome {
        Outcome::Ended(Some(exit)) if exit != 0 && time.is_empty() => format!("exit {exit}"),
        Outcome::Ended(Some(exit)) if exit != 0 => format!("exit {exit} · {time}"),
        _ => time,
    }
}

fn duration(ms: f64, whole_seconds: bool) -> String {
    let seconds = ms.max(0.0) / 1000.0;
    match seconds {
        s if s < 10.0 && !whole_seconds => format!("{s:.2} s"),
        s if s < 60.0 => format!("{} s", s.floor()),
        s => format!("{} min {} s", (s / 60.0).floor(), (s % 60.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_their_outcomes() {
        let mut terminal = Terminal::new(40, 10, 100);
        terminal.feed(b"\x1b]133;A\x07$ \x1b]133;B\x07true\r\n\x1b]133;C\x07\x1b]133;D;0\x07");
        terminal.feed(b"\x1b]133;A\x07$ \x1b]133;B\x07\r\n\x1b]133;D\x07");
        terminal.feed(b"\x1b]133;A\x07$ \x1b]133;B\x07false\r\n\x1b]133;C\x07\x1b]133;D;1\x07");
        terminal.feed(b"\x1b]133;A\x07$ \x1b]133;B\x07top\r\n\x1b]133;C\x07");
        let found: Vec<_> =
            commands(&terminal).iter().map(|command| (command.line, command.outcome)).collect();
        assert_eq!(
            found,
            [(0, Outcome::Ended(Some(0))), (2, Outcome::Ended(Some(1))), (3, Outcome::Running)]
        );
    }

    #[test]
    fn notes() {
        let command = |outcome| Command { id: 0, line: 0, outcome };
        assert_eq!(note(&command(Outcome::Ended(Some(0))), Some(214.0)), "0.21 s");
        assert_eq!(note(&command(Outcome::Ended(Some(1))), Some(30.0)), "exit 1 · 0.03 s");
        assert_eq!(note(&command(Outcome::Ended(Some(137))), None), "exit 137");
        assert_eq!(note(&command(Outcome::Running), Some(4321.0)), "4 s");
        assert_eq!(note(&command(Outcome::Ended(Some(0))), Some(125_000.0)), "2 min 5 s");
    }
}
