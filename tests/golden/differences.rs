//! `differences.toml`: outputs that are known to differ, each with its reason.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    difference: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    scenario: String,
    command: String,
    /// Which of several equal commands of the scenario; all are meant where it
    /// is left out.
    nth: Option<usize>,
    reason: String,
    /// It differs in some runs only.
    #[serde(default)]
    varies: bool,
}

/// What an entry says of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    No,
    /// It always differs.
    Differs,
    Varies,
}

/// All entries.
#[derive(Debug)]
pub(crate) struct Differences(Vec<Entry>);

impl Differences {
    pub(crate) fn load(path: &Path) -> Result<Differences> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: File = toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in &file.difference {
            if entry.reason.trim().is_empty() {
                bail!("{}: `{}` has no reason", path.display(), entry.command);
            }
        }
        Ok(Differences(file.difference))
    }

    /// What is said of the `nth` command of these words in a scenario.
    pub(crate) fn of(&self, scenario: &str, command: &str, nth: usize) -> Listed {
        let entry = self.0.iter().find(|entry| {
            entry.scenario == scenario && entry.command == command && entry.nth.is_none_or(|only| only == nth)
        });
        match entry {
            None => Listed::No,
            Some(entry) if entry.varies => Listed::Varies,
            Some(_) => Listed::Differs,
        }
    }

    /// Entries of a scenario that mean none of its commands.
    pub(crate) fn unknown(&self, scenario: &str, commands: &[String]) -> Vec<&str> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for command in commands {
            *counts.entry(command).or_default() += 1;
        }
        let is_known = |entry: &&Entry| {
            counts.get(entry.command.as_str()).is_some_and(|count| entry.nth.is_none_or(|nth| nth <= *count))
        };
        let mine = self.0.iter().filter(|entry| entry.scenario == scenario);
        mine.filter(|entry| !is_known(entry)).map(|entry| entry.command.as_str()).collect()
    }
}
