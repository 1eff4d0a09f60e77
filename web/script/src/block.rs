//! A block as the guide has it: what is typed and what is expected of it.

use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::keys::key_bytes;

/// What a `run`, `inner` or `solve` block types, and what is expected of it.
///
/// The page gets it as JSON in an attribute, so everything in it is plain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Block {
    /// The block's text, as the guide has it.
    pub text: String,
    /// Typed into what the block before left running.
    pub inner: bool,
    /// Send Ctrl-C this many milliseconds after the command began, when
    /// nobody is there to press it.
    pub interrupt_ms: Option<u64>,
    /// The block leaves a program running whose prompt matches this.
    pub prompt: Option<String>,
    /// For `inner`: the prompt that the block before waits at.
    pub resumes: Option<String>,
    /// Lines typed when the command asks, in order.
    pub answers: Vec<Answer>,
    /// Keys pressed instead of typing a line, such as `q` or `ctrl-d`.
    pub keys: Vec<String>,
    /// The names in it that earlier blocks captured, as `{{NAME}}`.
    pub needs: Vec<String>,
    /// What is taken from the output for later blocks.
    pub captures: Vec<Capture>,
    /// The exit status that is wanted of the last command.
    pub exit: Exit,
    /// How long it may take when nobody watches, in milliseconds.
    pub timeout_ms: u64,
}

/// A line typed when the command asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The line, without its end.
    pub text: String,
    /// The page shows dots for it.
    pub hidden: bool,
}

/// A part of the output that later blocks use as `{{NAME}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// The name: letters, digits and `_`.
    pub name: String,
    /// The first group of this regular expression is the value.
    pub pattern: String,
}

/// The exit status that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// This one.
    Status(i32),
    /// Whatever it is.
    Any,
}

impl Default for Exit {
    fn default() -> Exit {
        Exit::Status(0)
    }
}

impl Exit {
    /// Whether `status` is what was wanted.
    pub fn allows(self, status: i32) -> bool {
        match self {
            Exit::Status(wanted) => wanted == status,
            Exit::Any => true,
        }
    }
}

/// A block that can't be run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BlockError {
    /// A pattern is not a regular expression.
    #[error("`{pattern}` is not a regular expression: {why}")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A capture's pattern has no group.
    #[error("`{0}` has no group in parentheses, so there is nothing to capture")]
    NoGroup(String),
    /// A key has no such name.
    #[error(
        "`{0}` is not a key; known are single characters, ctrl-LETTER, enter, tab, esc, space, up, down, left and right"
    )]
    Key(String),
    /// A name that was not captured yet.
    #[error("{0} was not captured yet")]
    Missing(String),
    /// There is nothing to type.
    #[error("the block has nothing to type")]
    Empty,
}

impl Block {
    /// Checks what can be checked before anything is typed.
    pub fn validate(&self) -> Result<(), BlockError> {
        for pattern in self.prompt.iter().chain(&self.resumes) {
            regex(pattern)?;
        }
        for capture in &self.captures {
            if regex(&capture.pattern)?.captures_len() < 2 {
                return Err(BlockError::NoGroup(capture.pattern.clone()));
            }
        }
        for key in &self.keys {
            key_bytes(key).ok_or_else(|| BlockError::Key(key.clone()))?;
        }
        if self.keys.is_empty() && crate::commands(&self.text).is_empty() {
            return Err(BlockError::Empty);
        }
        Ok(())
    }
}

pub(crate) fn regex(pattern: &str) -> Result<Regex, BlockError> {
    RegexBuilder::new(pattern)
        .multi_line(true)
        .build()
        .map_err(|error| BlockError::Pattern { pattern: pattern.to_owned(), why: error.to_string() })
}
