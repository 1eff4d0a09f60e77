//! A step's pieces as HTML.

use askama::Template;
use drydock_lab::{
    Block, Callout, CalloutKind, Expected, ExpectedLine, File, NodeAction, NodeVerb, Part, Piece, Quiz, Step,
};

use crate::db::StepProgress;

/// What a step's text is made with.
pub(super) struct Body<'a> {
    pub(super) step: &'a Step,
    pub(super) progress: &'a StepProgress,
    /// The lab has more than one node, so that a block says where it runs.
    pub(super) many_nodes: bool,
    /// All steps stand on one page, to be read: nothing is folded, and ids of
    /// elements carry the step's number.
    pub(super) whole: bool,
}

#[derive(Template)]
#[template(path = "blocks/run.html")]
struct RunBlock<'a> {
    prefix: String,
    number: usize,
    ordinal: usize,
    node: &'a str,
    term: &'a str,
    script: String,
    needs: String,
    captures: String,
    leave_with: Option<&'static str>,
    exit: Option<i32>,
    command: String,
    place: Option<String>,
    expected: Option<String>,
    open: bool,
}

#[derive(Template)]
#[template(path = "blocks/copy.html")]
struct CopyBlock<'a> {
    text: &'a str,
}

#[derive(Template)]
#[template(path = "blocks/file.html")]
struct FileBlock<'a> {
    prefix: String,
    number: usize,
    path: &'a str,
    node: &'a str,
    text: &'a str,
    lines: Vec<&'a str>,
    place: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "blocks/checks.html")]
struct ChecksBlock<'a> {
    prefix: String,
    checks: Vec<CheckLine<'a>>,
    passed: usize,
    solves: Vec<SolveBlock<'a>>,
}

struct CheckLine<'a> {
    number: usize,
    title: &'a str,
    passed: bool,
}

struct SolveBlock<'a> {
    number: usize,
    node: &'a str,
    term: &'a str,
    script: String,
}

#[derive(Template)]
#[template(path = "blocks/quiz.html")]
struct QuizBlock<'a> {
    prefix: String,
    number: usize,
    question: &'a str,
    answers: Vec<&'a str>,
    many: bool,
    done: bool,
}

#[derive(Template)]
#[template(path = "blocks/node.html")]
struct NodeBlock<'a> {
    label: String,
    verb: &'static str,
    node: &'a str,
    why: &'static str,
}

#[derive(Template)]
#[template(path = "blocks/callout.html")]
struct CalloutBlock<'a> {
    class: &'static str,
    icon: &'static str,
    word: &'static str,
    title: Option<&'a str>,
    html: &'a str,
}

#[derive(Template)]
#[template(path = "blocks/tip.html")]
struct TipBlock<'a> {
    open: bool,
    title: Option<&'a str>,
    html: &'a str,
}

impl Body<'_> {
    /// The step's text.
    pub(super) fn html(&self) -> askama::Result<String> {
        let mut out = String::new();
        let mut pieces = self.step.pieces.iter().peekable();
        let last_check = self.step.checks().last().map(|check| check.index);
        let mut ordinal = 0;
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Html(html) => out.push_str(html),
                Piece::Callout(callout) => out.push_str(&self.callout(callout)?),
                Piece::Run(block) => {
                    ordinal += 1;
                    let expected = match pieces.peek() {
                        Some(Piece::Output(expected)) => Some(expected),
                        _ => None,
                    };
                    out.push_str(&self.run(block, ordinal, expected)?);
                }
                Piece::Copy(code) => out.push_str(&CopyBlock { text: &code.text }.render()?),
                Piece::File(file) => out.push_str(&self.file(file)?),
                Piece::Check(check) if Some(check.index) == last_check => out.push_str(&self.checks()?),
                Piece::NodeAction(action) => out.push_str(&node_action(action)?),
                Piece::Quiz(quiz) => out.push_str(&self.quiz(quiz)?),
                // Output stands in the block before it; a solve behind "Show
                // me"; setup is never shown; checks stand at the last one.
                Piece::Output(_) | Piece::Solve(_) | Piece::Setup(_) | Piece::Check(_) => {}
            }
        }
        Ok(out)
    }

    fn run(&self, block: &Block, ordinal: usize, expected: Option<&Expected>) -> askama::Result<String> {
        let needs: Vec<String> =
            block.needs.iter().map(|need| format!("{}:{}", need.name, need.step)).collect();
        let captures: Vec<&str> = block.script.captures.iter().map(|capture| capture.name.as_str()).collect();
        RunBlock {
            prefix: self.prefix(),
            open: self.whole,
            number: block.index,
            ordinal,
            node: &block.node,
            term: &block.term,
            script: json(&block.script)?,
            needs: needs.join(" "),
            captures: captures.join(" "),
            leave_with: leave_with(&block.script.text),
            exit: self.progress.runs.get(&number(block.index)).copied(),
            command: command_html(block),
            place: self.place(&block.node, &block.term),
            expected: expected.map(expected_html),
        }
        .render()
    }

    /// Where a block runs, if that is not plain.
    fn place(&self, node: &str, term: &str) -> Option<String> {
        match (self.many_nodes, term) {
            (false, "1") => None,
            (true, "1") => Some(node.to_owned()),
            _ => Some(format!("{node} · {term}")),
        }
    }

    fn file(&self, file: &File) -> askama::Result<String> {
        FileBlock {
            prefix: self.prefix(),
            number: file.index,
            path: &file.path,
            node: &file.node,
            text: &file.content,
            lines: file.content.lines().collect(),
            place: self.many_nodes.then_some(file.node.as_str()),
        }
        .render()
    }

    fn checks(&self) -> askama::Result<String> {
        let checks: Vec<CheckLine<'_>> = self
            .step
            .checks()
            .map(|check| CheckLine {
                number: check.index,
                title: &check.title_html,
                passed: self.progress.checks.contains(&number(check.index)),
            })
            .collect();
        let solves = self.step.pieces.iter().filter_map(|piece| match piece {
            Piece::Solve(block) => Some(block),
            _ => None,
        });
        let solves = solves
            .map(|block| {
                let script = json(&block.script)?;
                Ok(SolveBlock { number: block.index, node: &block.node, term: &block.term, script })
            })
            .collect::<askama::Result<Vec<_>>>()?;
        let passed = checks.iter().filter(|check| check.passed).count();
        ChecksBlock { prefix: self.prefix(), checks, passed, solves }.render()
    }

    /// What ids begin with, so that each is there once on its page.
    fn prefix(&self) -> String {
        if self.whole { format!("step-{}-", self.step.number) } else { String::new() }
    }

    fn callout(&self, callout: &Callout) -> askama::Result<String> {
        let (class, icon, word) = match callout.kind {
            CalloutKind::Note => ("note", "info", "Note."),
            CalloutKind::Warning => ("careful", "careful", "Careful."),
            CalloutKind::Tip => {
                let tip =
                    TipBlock { open: self.whole, title: callout.title_html.as_deref(), html: &callout.html };
                return tip.render();
            }
        };
        CalloutBlock { class, icon, word, title: callout.title_html.as_deref(), html: &callout.html }.render()
    }

    fn quiz(&self, quiz: &Quiz) -> askama::Result<String> {
        QuizBlock {
            prefix: self.prefix(),
            number: quiz.index,
            question: &quiz.question_html,
            answers: quiz.answers.iter().map(|answer| answer.text_html.as_str()).collect(),
            many: quiz.multiple,
            done: self.progress.quizzes.contains(&number(quiz.index)),
        }
        .render()
    }
}

fn json(script: &drydock_lab::Script) -> askama::Result<String> {
    serde_json::to_string(script).map_err(|error| askama::Error::Custom(error.into()))
}

/// An index as the database and the API have it.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn node_action(action: &NodeAction) -> askama::Result<String> {
    let node = action.node.as_deref().unwrap_or("");
    let (label, why) = match action.verb {
        NodeVerb::Kill => (format!("Kill {node}"), "as if the plug was pulled"),
        NodeVerb::Stop => (format!("Stop {node}"), "disk is kept"),
        NodeVerb::Start => (format!("Start {node}"), "on its kept disk"),
        NodeVerb::Cut => (format!("Cut {node} from the network"), ""),
        NodeVerb::Join => (format!("Join {node} to the network again"), ""),
        NodeVerb::Reset => (format!("Reset {node}…"), "deletes its disk"),
        NodeVerb::Add => ("Add a node".to_owned(), ""),
    };
    NodeBlock { label, verb: action.verb.word(), node, why }.render()
}

/// The command as it is shown: a prompt before each line that the shell reads
/// anew, names that are captured underlined.
fn command_html(block: &Block) -> String {
    let prompt = if block.script.inner { "" } else { r#"<span class="prompt" aria-hidden="true">$ </span>"# };
    if !block.script.keys.is_empty() {
        let keys: Vec<String> =
            block.script.keys.iter().map(|key| format!("<kbd>{}</kbd>", escape(&key_label(key)))).collect();
        return keys.join(" ");
    }
    let commands: Vec<String> = drydock_script::commands(&block.script.text)
        .iter()
        .map(|command| format!("{prompt}{}", named(&escape(command), &block.script.needs)))
        .collect();
    commands.join("\n")
}

fn key_label(key: &str) -> String {
    match key.strip_prefix("ctrl-") {
        Some(letter) => format!("Ctrl+{}", letter.to_uppercase()),
        None => key.to_owned(),
    }
}

/// Marks the captured names in a command, so that the page can fill them in.
fn named(command: &str, needs: &[String]) -> String {
    needs.iter().fold(command.to_owned(), |text, name| {
        let place = format!("{{{{{name}}}}}");
        text.replace(&place, &format!(r#"<span class="capture" data-name="{name}">{place}</span>"#))
    })
}

/// How to leave the programs that learners get stuck in.
fn leave_with(text: &str) -> Option<&'static str> {
    let commands = drydock_script::commands(text);
    let words: Vec<&str> = commands.last()?.split_whitespace().collect();
    let has = |word: &str| words.contains(&word);
    let first = words.iter().find(|word| !word.contains('=') && !matches!(**word, "sudo" | "env"))?;
    match *first {
        "watch" | "ping" | "yes" => Some("Ctrl+C"),
        "tail" | "journalctl" if has("-f") => Some("Ctrl+C"),
        "docker" if has("logs") && (has("-f") || has("--follow")) => Some("Ctrl+C"),
        "docker" if has("stats") || has("events") => Some("Ctrl+C"),
        "vi" | "vim" | "vim.tiny" => Some("Esc :q!"),
        "nano" => Some("Ctrl+X"),
        "top" | "less" | "man" | "more" => Some("q"),
        "docker" | "nsenter" | "unshare" if words.last() == Some(&"top") && has("-it") => Some("q"),
        _ => None,
    }
}

/// The expected output, what varies in words.
fn expected_html(expected: &Expected) -> String {
    let lines: Vec<String> = expected
        .lines
        .iter()
        .map(|line| match line {
            ExpectedLine::Any => r#"<i class="varies">any lines</i>"#.to_owned(),
            ExpectedLine::Parts(parts) => parts.iter().map(part_html).collect(),
        })
        .collect();
    lines.join("\n")
}

fn part_html(part: &Part) -> String {
    match part {
        Part::Text(text) => escape(text),
        Part::Varies(what) => format!(r#"<i class="varies">{}</i>"#, what.words()),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_hold_the_terminal_say_how_to_leave_them() {
        assert_eq!(leave_with("docker exec -it lonely top"), Some("q"));
        assert_eq!(leave_with("docker run --rm debian top -b -n 1"), None);
        assert_eq!(leave_with("docker logs -f web"), Some("Ctrl+C"));
        assert_eq!(leave_with("LESS= man ls"), Some("q"));
        assert_eq!(leave_with("ls"), None);
        assert_eq!(leave_with(""), None);
    }

    #[test]
    fn captured_names_are_marked_and_templates_are_left() {
        let html = named("docker ps --format '{{.Names}}' {{ID}}", &["ID".into()]);
        assert_eq!(
            html,
            r#"docker ps --format '{{.Names}}' <span class="capture" data-name="ID">{{ID}}</span>"#
        );
    }
}
