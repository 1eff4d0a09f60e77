//! Shell marks (OSC 133): where a prompt, a command and its output begin and end.
//!
//! Any program can print them, so they drive the page and prove nothing.

use std::collections::VecDeque;

/// The most marks a terminal keeps; the oldest go first.
pub const MARKS_MAX: usize = 1000;

/// A place in the output. Lines are counted from the terminal's first, so a
/// place stays right when the screen scrolls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, counted from the first the terminal ever had.
    pub line: u64,
    /// The column, from 0; the number of columns for a full row's end.
    pub col: u16,
}

/// What a mark stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkKind {
    /// A prompt begins (`A`).
    PromptStart,
    /// The prompt ends, what is typed begins (`B`).
    CommandStart,
    /// The command's output begins (`C`).
    OutputStart,
    /// The command ended (`D`), with this exit status if the shell said so.
    CommandEnd {
        /// The exit status.
        exit: Option<i32>,
    },
}

/// A mark that a shell printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Grows with every mark; the same in a snapshot as in the original.
    pub id: u64,
    /// What it stands for.
    pub kind: MarkKind,
    /// Where it was printed.
    pub at: Position,
}

/// The marks that are still in the scrollback, and those nobody took yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    pub(crate) kept: VecDeque<Mark>,
    fresh: VecDeque<Mark>,
    pub(crate) next_id: u64,
}

impl Marks {
    pub(crate) fn add(&mut self, kind: MarkKind, at: Position) {
        let mark = Mark { id: self.next_id, kind, at };
        self.next_id = self.next_id.wrapping_add(1);
        self.restore(mark);
    }

    /// Adds a mark that a snapshot had.
    pub(crate) fn restore(&mut self, mark: Mark) {
        for list in [&mut self.kept, &mut self.fresh] {
            if list.len() == MARKS_MAX {
                list.pop_front();
            }
            list.push_back(mark);
        }
    }

    pub(crate) fn take_fresh(&mut self) -> Vec<Mark> {
        self.fresh.drain(..).collect()
    }

    /// Forgets the marks of lines that are no more.
    pub(crate) fn forget_before(&mut self, line: u64) {
        while self.kept.front().is_some_and(|mark| mark.at.line < line) {
            self.kept.pop_front();
        }
    }

    /// Forgets the marks in `from..to`, whose text was erased.
    pub(crate) fn forget_between(&mut self, from: u64, to: u64) {
        self.kept.retain(|mark| !(from..to).contains(&mark.at.line));
    }

    /// Moves the marks of the lines from `line` on down by one.
    pub(crate) fn push_down(&mut self, line: u64) {
        for mark in self.kept.iter_mut().rev().take_while(|mark| mark.at.line >= line) {
            mark.at.line += 1;
        }
    }
}
