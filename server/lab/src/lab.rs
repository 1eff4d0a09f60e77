//! What a lab is, once read.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    diagnostic::{Diagnostic, Severity},
    expected::Expected,
    front::Front,
    lint::Catalogue,
    quiz::Quiz,
};

/// A lab, read from its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Lab {
    /// The folder's name: lower-case letters, digits and `-`.
    pub slug: String,
    /// The folder.
    pub dir: PathBuf,
    /// What the front matter says.
    pub front: Front,
    /// What stands before the first step.
    pub intro_html: String,
    /// The steps, in order; at least one.
    pub steps: Vec<Step>,
    /// What is copied to `/lab` in every node.
    pub files: Vec<LabFile>,
    /// The guide in other languages, by language tag such as `de`: the same
    /// steps with the same blocks. Their `translations` are empty.
    pub translations: BTreeMap<String, Lab>,
}

/// A file that every node gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabFile {
    /// Where it lies, on this machine.
    pub source: PathBuf,
    /// Where it goes in the node, such as `/lab/app.py`.
    pub target: String,
    /// It may be run.
    pub executable: bool,
}

/// A step: one `## ` heading and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Counted from 1.
    pub number: usize,
    /// The heading as plain text.
    pub title: String,
    /// The heading as inline HTML.
    pub title_html: String,
    /// For the step list: the title up to its colon, if it has one.
    pub short: String,
    /// The title as an address: lower-case letters, digits and `-`.
    pub slug: String,
    /// Its parts, in the guide's order.
    pub pieces: Vec<Piece>,
    /// The line of its heading in the guide, from 1.
    pub line: usize,
}

/// A part of a step.
///
/// `index` counts pieces of the same kind within the step, from 0; the API's
/// `block`, `check` and `quiz` numbers are these.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Text: paragraphs, lists, tables, sub-headings (from `h2` on).
    Html(String),
    /// A note, a tip or a warning.
    Callout(Callout),
    /// A block with a Run button (`run` and `inner`).
    Run(Block),
    /// Code to read and copy.
    Copy(Code),
    /// What the block before it prints.
    Output(Expected),
    /// A file with a Save button.
    File(File),
    /// Something that must be true when the step is done.
    Check(Check),
    /// Runs when the step opens, and when it starts over; never shown.
    Setup(CheckScript),
    /// Behind "Show me": typed like a `run` block.
    Solve(Block),
    /// A button that does something to a node.
    NodeAction(NodeAction),
    /// A question.
    Quiz(Quiz),
}

/// A call-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callout {
    /// Which.
    pub kind: CalloutKind,
    /// Inline HTML: the first paragraph, when it is all bold.
    pub title_html: Option<String>,
    /// The rest.
    pub html: String,
}

/// What a call-out is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CalloutKind {
    /// `[!NOTE]`
    Note,
    /// `[!TIP]`: folded.
    Tip,
    /// `[!WARNING]`
    Warning,
}

/// A block that is typed into a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Counts `run`, `inner` and `solve` blocks of the step together.
    pub index: usize,
    /// The language word of its info string.
    pub language: String,
    /// The node it goes to; always a name of the lab's.
    pub node: String,
    /// The terminal of that node: `1`, `2`, ….
    pub term: String,
    /// What is typed, and what is expected: give this to `drydock_script`.
    pub script: drydock_script::Block,
    /// Captured names that it needs, and where they come from.
    pub needs: Vec<Need>,
    /// How long the output after it may take to hold, in milliseconds.
    pub expect_ms: Option<u64>,
    /// Its line in the guide, from 1.
    pub line: usize,
}

/// A captured name, and the step whose block captures it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The name.
    pub name: String,
    /// The step's number.
    pub step: usize,
}

/// Code that is only shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Code {
    /// The language word of its info string; may be empty.
    pub language: String,
    /// The text, without the last line's end.
    pub text: String,
}

/// A file the learner saves into a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Counts the step's files.
    pub index: usize,
    /// Absolute path in the node.
    pub path: String,
    /// The node it goes to.
    pub node: String,
    /// The language word of its info string.
    pub language: String,
    /// What it holds, with a line's end at its end.
    pub content: String,
    /// Its line in the guide, from 1.
    pub line: usize,
}

/// Something that must be true when the step is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Counts the step's checks.
    pub index: usize,
    /// What must be true, as plain text.
    pub title: String,
    /// The same as inline HTML.
    pub title_html: String,
    /// What finds it out.
    pub script: CheckScript,
}

/// A script that the agent runs as root in a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckScript {
    /// The node it runs in.
    pub node: String,
    /// The program that reads it: `sh` or `bash`, run as `PROGRAM -c TEXT`.
    pub shell: String,
    /// The script.
    pub text: String,
    /// Its line in the guide, from 1.
    pub line: usize,
}

/// Something done to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeAction {
    /// Counts the step's node actions.
    pub index: usize,
    /// What is done.
    pub verb: NodeVerb,
    /// To which node; for `add`, the name of the new one if it has one.
    pub node: Option<String>,
    /// Its line in the guide, from 1.
    pub line: usize,
}

/// What can be done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeVerb {
    /// As if the plug was pulled.
    Kill,
    /// End it in order.
    Stop,
    /// Start it on its kept disk.
    Start,
    /// Take it from the network.
    Cut,
    /// Put it back.
    Join,
    /// Start anew on a new disk.
    Reset,
    /// Add a node to the session.
    Add,
}

impl NodeVerb {
    /// The verbs by their words.
    pub const ALL: [(&str, NodeVerb); 7] = [
        ("kill", NodeVerb::Kill),
        ("stop", NodeVerb::Stop),
        ("start", NodeVerb::Start),
        ("cut", NodeVerb::Cut),
        ("join", NodeVerb::Join),
        ("reset", NodeVerb::Reset),
        ("add", NodeVerb::Add),
    ];

    /// Its word, as the guide, the host API and the page have it.
    pub fn word(self) -> &'static str {
        NodeVerb::ALL.iter().find(|(_, verb)| *verb == self).map_or("", |(word, _)| word)
    }
}

impl Lab {
    /// Reads the lab in `dir`, or says all that is wrong with it. What is only
    /// worth a warning does not stop it.
    pub fn load(dir: &Path) -> Result<Lab, Vec<Diagnostic>> {
        let (lab, diagnostics) = crate::guide::read(dir);
        let errors: Vec<Diagnostic> =
            diagnostics.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect();
        match lab {
            Some(lab) if errors.is_empty() => Ok(lab),
            _ => Err(errors),
        }
    }

    /// All that is wrong with the lab in `dir`, warnings too. Images are
    /// looked up in `catalogue`, when there is one.
    pub fn lint(dir: &Path, catalogue: Option<&Catalogue>) -> Vec<Diagnostic> {
        crate::lint::lint(dir, catalogue)
    }

    /// The step with this number, counted from 1.
    pub fn step(&self, number: usize) -> Option<&Step> {
        number.checked_sub(1).and_then(|index| self.steps.get(index))
    }
}

impl Step {
    /// Its blocks that are typed (`run`, `inner`, `solve`), by index.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Run(block) | Piece::Solve(block) => Some(block),
            _ => None,
        })
    }

    /// Its checks, by index.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Check(check) => Some(check),
            _ => None,
        })
    }

    /// Its setup scripts, in order.
    pub fn setups(&self) -> impl Iterator<Item = &CheckScript> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Setup(script) => Some(script),
            _ => None,
        })
    }

    /// Its questions, by index.
    pub fn quizzes(&self) -> impl Iterator<Item = &Quiz> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Quiz(quiz) => Some(quiz),
            _ => None,
        })
    }
}
