//! What runs in a terminal, as far as its marks tell.

use drydock_terminal::{MarkKind, ShellPhase, Terminal};

/// Whether a command runs.
pub(crate) fn runs(terminal: &Terminal) -> bool {
    terminal.shell().phase == ShellPhase::Running
}

/// The program that runs, by the first words of its command line.
pub(crate) fn name(terminal: &Terminal) -> String {
    match crate::words::short(&command(terminal)) {
        name if name.is_empty() => "a program".to_owned(),
        name => name,
    }
}

/// What was typed for the last command.
fn command(terminal: &Terminal) -> String {
    let mut end = None;
    for mark in terminal.marks().rev() {
        match (mark.kind, end) {
            (MarkKind::OutputStart, None) => end = Some(mark.at),
            (MarkKind::CommandStart, Some(end)) => return terminal.output_text(mark.at, end),
            _ => {}
        }
    }
    String::new()
}
