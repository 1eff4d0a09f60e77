//! Labs: a folder with a guide in Markdown, read into steps and blocks.
//!
//! ```text
//! let lab = Lab::load(Path::new("labs/namespaces"))?;    // or what is wrong with it
//! for piece in &lab.steps[0].pieces { … }
//! ```
//!
//! The guide's HTML holds only tags and attributes of a short list, whatever
//! the Markdown says: raw HTML is dropped, links lead to http, https, mailto,
//! the same page or a relative address.

mod blocks;
mod diagnostic;
mod expected;
mod front;
mod guide;
#[cfg(test)]
mod hostile;
mod html;
mod info;
mod lab;
mod lint;
mod quiz;

pub use diagnostic::{Diagnostic, Severity};
pub use drydock_script::{Answer as TypedAnswer, Block as Script, Capture, Exit};
pub use expected::{Difference, Expected, ExpectedLine, Part, Varies};
pub use front::{Front, Level, Limits};
pub use lab::{
    Block, Callout, CalloutKind, Check, CheckScript, Code, File, Lab, LabFile, Need, NodeAction, NodeVerb,
    Piece, Step,
};
pub use lint::Catalogue;
pub use quiz::{Quiz, QuizAnswer, Reply, Verdict};
