//! Fenced blocks, each by its kind.

use std::collections::BTreeMap;

use drydock_script::{Answer, Block as Script, Capture, Exit, names_in};

use crate::{
    diagnostic::{Place, Report, nearest},
    guide, html,
    info::{Info, duration_ms},
    lab::{Block, Check, CheckScript, Code, File, Need, NodeAction, NodeVerb, Piece},
    quiz,
};

/// How long a block may take when it doesn't say.
const TIMEOUT_MS: u64 = 30_000;
/// The most terminals a node has.
const TERMS_MAX: u32 = 8;

const ROLES: [&str; 5] = ["run", "inner", "check", "setup", "solve"];

/// Reads blocks in the guide's order, and knows what came before.
pub(crate) struct Blocks {
    nodes: Vec<String>,
    step: usize,
    counts: Counts,
    /// Captured names so far, with the step that captures them.
    captured: BTreeMap<String, usize>,
    /// Names that blocks use without a capture before.
    unknown: Vec<(String, usize)>,
    /// The last block that was typed in this step into each terminal, the
    /// latest at the end.
    last: Vec<Typed>,
}

#[derive(Default)]
struct Counts {
    blocks: usize,
    files: usize,
    checks: usize,
    actions: usize,
    quizzes: usize,
}

struct Typed {
    node: String,
    term: String,
    /// What it leaves waiting, if anything.
    prompt: Option<String>,
    line: usize,
}

impl Blocks {
    pub(crate) fn new(nodes: Vec<String>) -> Blocks {
        Blocks {
            nodes,
            step: 0,
            counts: Counts::default(),
            captured: BTreeMap::new(),
            unknown: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Whether the block is more than code to read.
    pub(crate) fn does_something(info: &Info) -> bool {
        matches!(info.language.as_str(), "output" | "node" | "quiz" | "xray")
            || info.value("file").is_some()
            || ROLES.iter().any(|role| info.has(role))
    }

    pub(crate) fn begin_step(&mut self, number: usize, report: &mut Report<'_>) {
        self.end_step(report);
        self.step = number;
        self.counts = Counts::default();
    }

    /// Says what was left open at the guide's end.
    pub(crate) fn finish(mut self, report: &mut Report<'_>) {
        self.end_step(report);
        for (name, line) in &self.unknown {
            if self.captured.contains_key(name) {
                report
                    .error(Place::line(*line), format!("`{{{{{name}}}}}` is used before it is captured"))
                    .help("move the block with `capture=` before this one");
            }
        }
    }

    fn end_step(&mut self, report: &mut Report<'_>) {
        for typed in self.last.drain(..).filter(|typed| typed.prompt.is_some()) {
            report
                .warning(Place::line(typed.line), "this block leaves a program running at the step's end")
                .help("end it with an `inner` block without `prompt=`");
        }
    }

    /// Reads one block; `None` when nothing can be made of it.
    pub(crate) fn read(&mut self, info: &Info, text: &str, report: &mut Report<'_>) -> Option<Piece> {
        match info.language.as_str() {
            "output" => return self.output(info, text, report),
            "node" => return self.node_action(info, report),
            "quiz" => return self.quiz(info, text, report),
            "xray" => {
                report
                    .error(info.place(), "live pictures do not work yet")
                    .help("leave the block out for now");
                return None;
            }
            _ => {}
        }
        let roles: Vec<&str> = ROLES.iter().copied().filter(|role| info.has(role)).collect();
        match roles[..] {
            [] if info.value("file").is_some() => self.file(info, text, report),
            [] => self.copy(info, text, report),
            ["check"] => self.check(info, text, report),
            ["setup"] => {
                info.check("a setup block", &["setup"], &["node"], &[], report);
                self.script(info, text, report).map(Piece::Setup)
            }
            ["run"] | ["inner"] | ["run", "inner"] => self.typed(info, text, report).map(Piece::Run),
            ["solve"] => self.typed(info, text, report).map(Piece::Solve),
            _ => {
                report.error(info.place(), format!("a block can't be {} at once", roles.join(" and ")));
                None
            }
        }
    }

    fn copy(&self, info: &Info, text: &str, report: &mut Report<'_>) -> Option<Piece> {
        for word in &info.words {
            let known: Vec<&str> = ROLES.iter().copied().chain(["file"]).collect();
            let error = report.error(word.place, format!("a code block has no attribute `{}`", word.key));
            match nearest(&word.key, &known) {
                Some(meant) => error.help(format!("did you mean `{meant}`?")),
                None => error.help(format!("known are {}, file=PATH", ROLES.join(", "))),
            }
        }
        let text = text.strip_suffix('\n').unwrap_or(text).to_owned();
        Some(Piece::Copy(Code { language: info.language.clone(), text }))
    }

    fn output(&self, info: &Info, text: &str, report: &mut Report<'_>) -> Option<Piece> {
        info.check("an output block", &[], &[], &[], report);
        if self.last.is_empty() {
            report
                .error(info.place(), "there is no block before it in this step whose output this could be")
                .help("put a `run` block above it");
        }
        Some(Piece::Output(guide::expected(text, info.line)))
    }

    fn quiz(&mut self, info: &Info, text: &str, report: &mut Report<'_>) -> Option<Piece> {
        info.check("a quiz", &[], &[], &[], report);
        let index = next(&mut self.counts.quizzes);
        quiz::read(text, index, info.line, report).map(Piece::Quiz)
    }

    fn node_action(&mut self, info: &Info, report: &mut Report<'_>) -> Option<Piece> {
        let words: Vec<&str> = NodeVerb::ALL.iter().map(|(word, _)| *word).collect();
        let Some(word) = info.words.first() else {
            report
                .error(info.place(), "a node block needs a verb")
                .help(format!("known are {}", words.join(", ")));
            return None;
        };
        let Some((_, verb)) =
            NodeVerb::ALL.iter().find(|(known, _)| *known == word.key && word.value.is_none())
        else {
            let error = report.error(word.place, format!("nodes have no verb `{}`", word.key));
            match nearest(&word.key, &words) {
                Some(meant) => error.help(format!("did you mean `{meant}`?")),
                None => error.help(format!("known are {}", words.join(", "))),
            }
            return None;
        };
        let node = info.words.get(1).map(|word| word.key.clone());
        if let Some(extra) = info.words.get(2) {
            report.error(extra.place, "a node block has a verb and a node, nothing more");
        }
        match (&node, verb) {
            (Some(name), NodeVerb::Add) if self.nodes.contains(name) => {
                report.error(info.words[1].place, format!("there is a node `{name}` already"));
            }
            (Some(name), NodeVerb::Add) => self.nodes.push(name.clone()),
            (None, NodeVerb::Add) => {}
            (Some(name), _) if self.nodes.contains(name) => {}
            (Some(name), _) => self.no_such_node(name, info.words[1].place, report),
            (None, verb) => {
                report.error(word.place, format!("`{}` needs a node", verb.word()));
                return None;
            }
        }
        let index = next(&mut self.counts.actions);
        Some(Piece::NodeAction(NodeAction { index, verb: *verb, node, line: info.line }))
    }

    fn file(&mut self, info: &Info, text: &str, report: &mut Report<'_>) -> Option<Piece> {
        info.check("a file block", &[], &["file", "node"], &[], report);
        let (path, place) = info.value("file")?;
        let plain = path.starts_with('/') && path.len() > 1 && !path.ends_with('/');
        if !plain || path.split('/').any(|part| part == "..") || path.chars().any(char::is_control) {
            report
                .error(place, format!("`{path}` is no file's path"))
                .help("give it in full, such as `/lab/Dockerfile`");
        }
        Some(Piece::File(File {
            index: next(&mut self.counts.files),
            path: path.to_owned(),
            node: self.node(info, report),
            language: info.language.clone(),
            content: text.to_owned(),
            line: info.line,
        }))
    }

    fn check(&mut self, info: &Info, text: &str, report: &mut Report<'_>) -> Option<Piece> {
        info.check("a check", &["check"], &["node", "title"], &[], report);
        let title = match info.value("title") {
            Some((title, _)) if !title.trim().is_empty() => title,
            _ => {
                report
                    .error(info.place(), "a check needs a title")
                    .help("write `title=\"What is true then\"`");
                return None;
            }
        };
        let script = self.script(info, text, report)?;
        Some(Piece::Check(Check {
            index: next(&mut self.counts.checks),
            title: html::text(title),
            title_html: html::inline(title),
            script,
        }))
    }

    fn script(&self, info: &Info, text: &str, report: &mut Report<'_>) -> Option<CheckScript> {
        let shell = self.shell(info, report);
        if text.trim().is_empty() {
            report.error(info.place(), "there is nothing in this block");
            return None;
        }
        Some(CheckScript { node: self.node(info, report), shell, text: text.to_owned(), line: info.line })
    }

    fn shell(&self, info: &Info, report: &mut Report<'_>) -> String {
        if !matches!(info.language.as_str(), "sh" | "bash") {
            report
                .error(info.place(), format!("`{}` can't be run", info.language))
                .help("begin with `sh` or `bash`");
        }
        info.language.clone()
    }

    /// Reads a `run`, `inner` or `solve` block.
    fn typed(&mut self, info: &Info, text: &str, report: &mut Report<'_>) -> Option<Block> {
        let inner = info.has("inner");
        let keys: &[&str] = match inner {
            true => {
                &["node", "term", "expect", "timeout", "prompt", "answer", "answer-hidden", "keys", "capture"]
            }
            false => &[
                "node",
                "term",
                "interrupt",
                "expect",
                "timeout",
                "prompt",
                "answer",
                "answer-hidden",
                "capture",
                "exit",
            ],
        };
        let kind = if inner { "an inner block" } else { "a run block" };
        info.check(kind, &["run", "inner", "solve"], keys, &["answer", "answer-hidden", "capture"], report);
        self.shell(info, report);
        let (node, term, resumes) = if inner {
            self.inside(info, report)
        } else {
            (self.node(info, report), self.term(info, report), None)
        };
        let prompt = info.value("prompt").map(|(prompt, _)| prompt.to_owned());
        let interrupt_ms = self.duration(info, "interrupt", report);
        let mut script = Script {
            text: text.strip_suffix('\n').unwrap_or(text).to_owned(),
            inner,
            interrupt_ms,
            resumes,
            answers: answers(info),
            keys: info
                .value("keys")
                .map(|(keys, _)| keys.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
            captures: captures(info, report),
            exit: exit(info, interrupt_ms.is_some(), report),
            timeout_ms: self.duration(info, "timeout", report).unwrap_or(TIMEOUT_MS),
            prompt,
            needs: Vec::new(),
        };
        let needs = self.needs(&script, info.line);
        script.needs = needs.iter().map(|need| need.name.clone()).collect();
        if let Err(error) = script.validate() {
            report.error(info.place(), error.to_string());
            return None;
        }
        for capture in &script.captures {
            self.captured.entry(capture.name.clone()).or_insert(self.step);
        }
        self.last.retain(|typed| (&typed.node, &typed.term) != (&node, &term));
        let (prompt, line) = (script.prompt.clone(), info.line);
        self.last.push(Typed { node: node.clone(), term: term.clone(), prompt, line });
        let expect_ms = self.duration(info, "expect", report);
        Some(Block {
            index: next(&mut self.counts.blocks),
            language: info.language.clone(),
            node,
            term,
            script,
            needs,
            expect_ms,
            line: info.line,
        })
    }

    /// Where an `inner` block goes, and the prompt it goes on at: the terminal
    /// it names, or the last one where a program was left running.
    fn inside(&self, info: &Info, report: &mut Report<'_>) -> (String, String, Option<String>) {
        let (node, term) = (info.value("node"), info.value("term"));
        let fits = |typed: &&Typed| {
            node.is_none_or(|(node, _)| node == typed.node) && term.is_none_or(|(term, _)| term == typed.term)
        };
        let left_running = self.last.iter().rev().filter(fits).find(|typed| typed.prompt.is_some());
        if let Some(typed) = left_running {
            return (typed.node.clone(), typed.term.clone(), typed.prompt.clone());
        }
        let error = report.error(info.place(), "no block before it in this step leaves a program running");
        match self.last.iter().rev().find(fits) {
            Some(typed) => error
                .help(format!("give the block on line {} a `prompt=`, or make this one `run`", typed.line)),
            None => error.help("put a `run` block with `prompt=` above it"),
        }
        (self.nodes[0].clone(), "1".to_owned(), None)
    }

    fn needs(&mut self, script: &Script, line: usize) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        let texts = script.answers.iter().map(|answer| answer.text.as_str()).chain([script.text.as_str()]);
        for name in texts.flat_map(names_in) {
            match self.captured.get(name) {
                Some(step) if !needs.iter().any(|need| need.name == name) => {
                    needs.push(Need { name: name.to_owned(), step: *step });
                }
                Some(_) => {}
                None => self.unknown.push((name.to_owned(), line)),
            }
        }
        needs
    }

    fn node(&self, info: &Info, report: &mut Report<'_>) -> String {
        let Some((name, place)) = info.value("node") else { return self.nodes[0].clone() };
        if !self.nodes.iter().any(|node| node == name) {
            self.no_such_node(name, place, report);
        }
        name.to_owned()
    }

    fn no_such_node(&self, name: &str, place: Place, report: &mut Report<'_>) {
        let known: Vec<&str> = self.nodes.iter().map(String::as_str).collect();
        report
            .error(place, format!("this lab has no node `{name}`"))
            .help(format!("its nodes are {}", known.join(", ")));
    }

    fn term(&self, info: &Info, report: &mut Report<'_>) -> String {
        let Some((term, place)) = info.value("term") else { return "1".to_owned() };
        match term.parse::<u32>() {
            Ok(number) if (1..=TERMS_MAX).contains(&number) => number.to_string(),
            _ => {
                report
                    .error(place, format!("`{term}` is no terminal"))
                    .help(format!("a node has the terminals 1 to {TERMS_MAX}"));
                "1".to_owned()
            }
        }
    }

    fn duration(&self, info: &Info, key: &str, report: &mut Report<'_>) -> Option<u64> {
        let (value, place) = info.value(key)?;
        let duration = duration_ms(value);
        if duration.is_none() {
            report
                .error(place, format!("`{value}` is no time"))
                .help("write it as `3s`, `500ms` or `2m`, an hour at most");
        }
        duration
    }
}

fn next(count: &mut usize) -> usize {
    *count += 1;
    *count - 1
}

/// `answer=` and `answer-hidden=`, in the order they are written.
fn answers(info: &Info) -> Vec<Answer> {
    info.words
        .iter()
        .filter(|word| word.key == "answer" || word.key == "answer-hidden")
        .filter_map(|word| Some(Answer { text: word.value.clone()?, hidden: word.key == "answer-hidden" }))
        .collect()
}

fn captures(info: &Info, report: &mut Report<'_>) -> Vec<Capture> {
    let mut captures = Vec::new();
    for (value, place) in info.all("capture") {
        let (name, pattern) = value.split_once(':').unwrap_or((value, ""));
        let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !named || pattern.is_empty() {
            report.error(place, "a capture needs a name and a pattern").help(
                "write `capture=\"NAME:before (the value) after\"`; a name has letters, digits and `_`",
            );
            continue;
        }
        captures.push(Capture { name: name.to_owned(), pattern: pattern.to_owned() });
    }
    captures
}

/// What Ctrl-C makes of a program differs, so an interrupted one may end as it likes.
fn exit(info: &Info, interrupted: bool, report: &mut Report<'_>) -> Exit {
    match info.value("exit") {
        None if interrupted => Exit::Any,
        None => Exit::Status(0),
        Some(("any", _)) => Exit::Any,
        Some((value, place)) => match value.parse::<i32>() {
            Ok(status) if (0..=255).contains(&status) => Exit::Status(status),
            _ => {
                report
                    .error(place, format!("`{value}` is no exit status"))
                    .help("write a number from 0 to 255, or `any`");
                Exit::Status(0)
            }
        },
    }
}
