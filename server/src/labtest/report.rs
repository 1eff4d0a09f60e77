//! What `drydock lab test` prints.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use drydock_lab::{Lab, Step};
use serde::Serialize;

/// Something in a step that went wrong.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Failure {
    /// The guide.
    pub(super) file: PathBuf,
    /// The line in it, from 1.
    pub(super) line: usize,
    /// What is wrong, and below it what was seen.
    pub(super) message: String,
}

/// What came of one step.
#[derive(Debug, Serialize)]
struct Tested<'a> {
    lab: &'a str,
    step: usize,
    title: &'a str,
    passed: bool,
    ms: u64,
    failures: &'a [Failure],
}

#[derive(Debug, Serialize)]
struct Summary {
    passed: usize,
    failed: usize,
}

/// Prints each step as it ends, and counts.
pub(super) struct Report {
    json: bool,
    passed: usize,
    failed: usize,
}

impl Report {
    pub(super) fn new(json: bool) -> Report {
        Report { json, passed: 0, failed: 0 }
    }

    /// A lab begins.
    pub(super) fn lab(&self, lab: &Lab, session: &str) -> Result<()> {
        if !self.json {
            writeln!(io::stdout(), "{} ({} steps, session {session})", lab.front.title, lab.steps.len())?;
        }
        Ok(())
    }

    /// A step has ended.
    pub(super) fn step(
        &mut self,
        lab: &Lab,
        step: &Step,
        failures: &[Failure],
        took: Duration,
    ) -> Result<()> {
        let passed = failures.is_empty();
        self.count(passed);
        let ms = took.as_millis() as u64;
        let mut out = io::stdout().lock();
        if self.json {
            let tested =
                Tested { lab: &lab.slug, step: step.number, title: &step.title, passed, ms, failures };
            return Ok(writeln!(out, "{}", serde_json::to_string(&tested)?)?);
        }
        let mark = if passed { "✓" } else { "✗" };
        writeln!(out, "  {mark} {} {} ({:.1} s)", step.number, step.title, took.as_secs_f32())?;
        for failure in failures {
            write_failure(&mut out, failure)?;
        }
        Ok(())
    }

    /// A lab that could not be tested at all.
    pub(super) fn untested(&mut self, dir: &Path, why: &str) -> Result<()> {
        self.count(false);
        let mut out = io::stdout().lock();
        if self.json {
            let value = serde_json::json!({ "lab": dir, "passed": false, "message": why });
            return Ok(writeln!(out, "{value}")?);
        }
        Ok(writeln!(out, "✗ {}\n{why}", dir.display())?)
    }

    fn count(&mut self, passed: bool) {
        match passed {
            true => self.passed += 1,
            false => self.failed += 1,
        }
    }

    /// Prints the last line; whether all passed.
    pub(super) fn end(&self) -> Result<bool> {
        let summary = Summary { passed: self.passed, failed: self.failed };
        let line = match self.json {
            true => serde_json::to_string(&summary)?,
            false => format!("{} passed, {} failed", self.passed, self.failed),
        };
        writeln!(io::stdout(), "{line}")?;
        Ok(self.failed == 0)
    }
}

fn write_failure(out: &mut impl Write, failure: &Failure) -> io::Result<()> {
    let mut lines = failure.message.lines();
    writeln!(out, "    {}:{}: {}", failure.file.display(), failure.line, lines.next().unwrap_or(""))?;
    lines.try_for_each(|line| writeln!(out, "      {line}"))
}
