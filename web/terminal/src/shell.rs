//! What the shell's marks say about it: at a prompt, or with a command under way.

use crate::marks::MarkKind;

/// What the shell is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShellPhase {
    /// No mark was seen yet.
    #[default]
    Unknown,
    /// It prints its prompt.
    Prompt,
    /// It waits for a command.
    Typing,
    /// A command runs.
    Running,
    /// A command has ended; the next prompt is not there yet.
    Ended,
}

/// The shell as its marks tell. Erasing the screen doesn't change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shell {
    /// What it is doing.
    pub phase: ShellPhase,
    /// How many commands began.
    pub started: u64,
    /// How many of them ended.
    pub finished: u64,
    /// The last one's exit status, if the shell said it.
    pub last_exit: Option<i32>,
}

impl Shell {
    pub(crate) fn see(&mut self, kind: MarkKind) {
        match kind {
            MarkKind::PromptStart => self.phase = ShellPhase::Prompt,
            MarkKind::CommandStart => self.phase = ShellPhase::Typing,
            MarkKind::OutputStart => {
                self.phase = ShellPhase::Running;
                self.started = self.started.saturating_add(1);
            }
            // A prompt left with Ctrl-C or an empty line ends no command. An end
            // with a status at a prompt is that of a shell left with Ctrl-D,
            // told by the shell it was started from.
            MarkKind::CommandEnd { exit } if self.ends_command(exit) => {
                self.phase = ShellPhase::Ended;
                self.finished = self.finished.saturating_add(1);
                self.last_exit = exit;
            }
            MarkKind::CommandEnd { .. } => {}
        }
    }

    /// Whether an end mark ends a command. One while typing does if it has a
    /// status: a shell that was itself a command was left with Ctrl-D. With
    /// nothing under way a prompt was left with Ctrl-C or an empty line.
    fn ends_command(&self, exit: Option<i32>) -> bool {
        match self.phase {
            ShellPhase::Running => true,
            ShellPhase::Typing => exit.is_some() && self.finished < self.started,
            _ => false,
        }
    }
}
