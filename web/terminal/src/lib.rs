//! A terminal: bytes in, a screen of cells out.
//!
//! PID 1 of a node keeps one for each of its terminals and the page draws
//! another; both are this crate, so both agree on every cell. It does no I/O
//! and knows nothing of the web. `vte` takes escape sequences apart; what they
//! mean is here: [`Terminal`] is the whole API, `perform.rs` has the table of
//! sequences, `buffer.rs` the rows, `dump.rs` the snapshot.
//!
//! The behaviour is xterm.js' where programs may see it. Whatever a program
//! prints, memory and the time for one sequence stay bounded.

mod buffer;
mod cell;
mod charset;
mod dump;
mod marks;
mod modes;
mod perform;
mod print;
mod reply;
mod resize;
mod row;
mod screen;
mod sequence;
mod sgr;
mod shell;
mod terminal;
mod width;

pub use cell::{Attrs, Cell, Color, Pen, Underline};
pub use marks::{MARKS_MAX, Mark, MarkKind, Position};
pub use modes::{Cursor, CursorShape, CursorStyle, Modes, MouseEncoding, MouseTracking};
pub use row::{COMBINING_MAX, Row};
pub use shell::{Shell, ShellPhase};
pub use terminal::{Changes, Terminal};
pub use width::width;
