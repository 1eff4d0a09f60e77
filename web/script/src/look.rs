//! What a terminal shows, as a [`View`].

use drydock_terminal::{MarkKind, Position, ShellPhase, Terminal};

use crate::view::View;

/// Looks at `terminal` and gives what it shows to `see`.
pub fn look<R>(terminal: &Terminal, see: impl FnOnce(&View<'_>) -> R) -> R {
    let shell = terminal.shell();
    let at_prompt = shell.phase == ShellPhase::Typing;
    let (line, cursor_line) = terminal.line_before_cursor();
    let output = || output(terminal);
    let screen = || screen(terminal);
    see(&View {
        bytes: terminal.fed(),
        started: shell.started,
        finished: shell.finished,
        exit: shell.last_exit,
        at_prompt,
        typed: at_prompt && terminal.prompt_end().is_some_and(|end| end != terminal.position()),
        alternate: terminal.is_alternate(),
        clears: terminal.clears(),
        bracketed_paste: terminal.modes().bracketed_paste,
        line,
        cursor_line: &cursor_line,
        output: &output,
        screen: &screen,
    })
}

/// The text of the last command's output: up to its end, to the prompt of a
/// shell that it started, or to the cursor. When its begin was erased with the
/// screen, what is on the screen.
fn output(terminal: &Terminal) -> String {
    let mut end = terminal.position();
    let mut prompt = true;
    for mark in terminal.marks().rev() {
        match mark.kind {
            MarkKind::OutputStart => return terminal.output_text(mark.at, end),
            MarkKind::PromptStart if prompt => end = mark.at,
            MarkKind::CommandStart if prompt => {}
            MarkKind::CommandEnd { .. } if prompt => {
                prompt = false;
                end = mark.at;
            }
            _ => break,
        }
    }
    if terminal.shell().started == 0 {
        return String::new();
    }
    terminal.output_text(Position { line: terminal.screen_line(), col: 0 }, end)
}

fn screen(terminal: &Terminal) -> String {
    terminal.text().join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = "\x1b]133;A\x07$ \x1b]133;B\x07";

    fn terminal(printed: &str) -> Terminal {
        let mut terminal = Terminal::new(40, 10, 100);
        terminal.feed(printed.as_bytes());
        terminal
    }

    fn output_of(printed: &str) -> String {
        look(&terminal(printed), |view| (view.output)())
    }

    #[test]
    fn output_lies_between_the_marks() {
        let command = "ls\r\n\x1b]133;C\x07a\r\nb  \r\n\x1b]133;D;0\x07";
        assert_eq!(output_of(&format!("{PROMPT}{command}{PROMPT}")), "a\nb\n");
        assert_eq!(output_of(&format!("{PROMPT}{command}{PROMPT}x\r\n\x1b]133;C\x07half")), "half");
        assert_eq!(output_of(PROMPT), "");
    }

    #[test]
    fn after_a_clear_the_screen_is_the_output() {
        let printed = format!("{PROMPT}clear\r\n\x1b]133;C\x07\x1b[H\x1b[2Jtext\r\n\x1b]133;D;0\x07{PROMPT}");
        assert_eq!(output_of(&printed).trim_end(), "text");
    }

    #[test]
    fn what_stands_after_the_prompt_was_typed() {
        assert!(!look(&terminal(PROMPT), |view| view.typed));
        assert!(look(&terminal(&format!("{PROMPT}l")), |view| view.typed && view.at_prompt));
        assert!(look(&terminal(PROMPT), |view| view.cursor_line == "$ "));
    }
}
