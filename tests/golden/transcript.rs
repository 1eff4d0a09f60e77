//! Transcripts: `$ COMMAND`, what it printed, `[exit N]`, an empty line.

use anyhow::{Context, Result, bail};

/// A command of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Played {
    /// It ran on a pseudo terminal of 80x24.
    pub(crate) tty: bool,
    pub(crate) command: String,
    /// What it printed, escape sequences kept.
    pub(crate) output: String,
    pub(crate) exit: i32,
}

/// Reads a transcript.
pub(crate) fn read(text: &str) -> Result<Vec<Played>> {
    let mut all = Vec::new();
    let mut tty = false;
    let mut lines = text.split('\n');
    while let Some(line) = lines.next() {
        if line == "[tty]" {
            tty = true;
            continue;
        }
        let Some(command) = line.strip_prefix("$ ") else {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            bail!("{line:?} stands between two commands");
        };
        let mut output = String::new();
        let exit = loop {
            let line = lines.next().with_context(|| format!("`{command}` has no exit status"))?;
            if let Some(exit) = line.strip_prefix("[exit ").and_then(|line| line.strip_suffix(']')) {
                break exit.parse().with_context(|| format!("`{command}` has the exit status {exit:?}"))?;
            }
            output.push_str(line);
            output.push('\n');
        };
        all.push(Played { tty, command: command.to_owned(), output, exit });
        tty = false;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_outputs_and_statuses() {
        let read = read("# a note\n$ true\n[exit 0]\n\n[tty]\n$ docker ps\nA\n\nB\n[exit -9]\n\n").unwrap();
        let played = |tty, command: &str, output: &str, exit| Played {
            tty,
            command: command.to_owned(),
            output: output.to_owned(),
            exit,
        };
        assert_eq!(read, [played(false, "true", "", 0), played(true, "docker ps", "A\n\nB\n", -9)]);
    }

    #[test]
    fn a_transcript_that_breaks_off_is_none() {
        assert!(read("$ true\n").is_err());
        assert!(read("stray\n$ true\n[exit 0]\n").is_err());
    }
}
