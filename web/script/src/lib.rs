//! How a guide's block is typed into a terminal: a state machine without I/O.
//!
//! The page and `drydock lab test` must agree on what a block means, so both
//! drive this one: they show it the terminal as a [`View`] whenever something
//! was printed or time has passed, and do the [`Action`] it answers with.
//!
//! ```text
//! let mut script = Script::new(&block, &captured)?;
//! loop {
//!     match look(&terminal, |view| script.advance(view, now_ms)) {
//!         Action::Type(bytes) => send them to the terminal,
//!         Action::Wait { until } => until more was printed, or that time,
//!         Action::Refused(why) => say so; ask again later to try again,
//!         Action::Done(outcome) => mark it,
//!     }
//! }
//! ```

mod block;
mod command;
mod keys;
mod look;
mod names;
mod script;
mod view;

pub use block::{Answer, Block, BlockError, Capture, Exit};
pub use command::commands;
pub use keys::key_bytes;
pub use look::look;
pub use names::{Names, names_in};
pub use script::{Action, End, Outcome, Refusal, Script, State};
pub use view::View;
