//! The terminal as the state machine sees it.

/// A look at a terminal, made anew whenever something was printed.
///
/// The counters count from anywhere, but never jump back.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Bytes that the terminal has taken in.
    pub bytes: u64,
    /// Commands that began: marks `133;C`.
    pub started: u64,
    /// Commands that ended: marks `133;D` after a `133;C`.
    pub finished: u64,
    /// The exit status of the command that ended last.
    pub exit: Option<i32>,
    /// The shell waits at its prompt: the last mark was `133;B`.
    pub at_prompt: bool,
    /// Something was typed at that prompt already.
    pub typed: bool,
    /// A program has the alternate screen.
    pub alternate: bool,
    /// How often the whole screen was cleared.
    pub clears: u64,
    /// Pasted text may be put between bracketed paste's marks.
    pub bracketed_paste: bool,
    /// The number of the cursor's line, soft wraps joined, counted from the
    /// first line the terminal ever had.
    pub line: u64,
    /// The cursor's line, up to the cursor, spaces before the cursor kept.
    pub cursor_line: &'a str,
    /// The rendered text from the last `133;C` to its `133;D`, or to the
    /// cursor while the command runs: soft wraps joined, trailing spaces cut.
    pub output: &'a dyn Fn() -> String,
    /// The text of the screen, its rows joined by `\n`, trailing spaces cut.
    pub screen: &'a dyn Fn() -> String,
}
