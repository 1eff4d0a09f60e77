//! Reads a guide: front matter, steps, pieces.

use std::{collections::BTreeMap, fs, io::Read, ops::Range, path::Path};

use pulldown_cmark::{BlockQuoteKind, CodeBlockKind, Event, HeadingLevel, Parser, Tag, TagEnd};

use crate::{
    blocks::Blocks,
    diagnostic::{Diagnostic, Place, Report},
    expected::Expected,
    front::{self, Front},
    html::{self, Dropped},
    info::Info,
    lab::{Callout, CalloutKind, Code, Lab, LabFile, Piece, Step},
};

/// The longest guide that is read, in bytes.
const GUIDE_MAX: u64 = 1 << 20;
/// The most files a lab may have.
const FILES_MAX: usize = 500;

/// Reads the lab in `dir`: as much of it as can be, and what is wrong.
pub(crate) fn read(dir: &Path) -> (Option<Lab>, Vec<Diagnostic>) {
    let (mut lab, mut found) = read_guide(dir, "guide.md");
    let Some(lab_read) = &mut lab else { return (None, found) };
    match translations(dir) {
        Ok(languages) => {
            for language in languages {
                let (translation, wrong) = read_guide(dir, &format!("guide.{language}.md"));
                found.extend(wrong);
                if let Some(translation) = translation {
                    found.extend(crate::lint::compare_translation(lab_read, &translation, &language));
                    lab_read.translations.insert(language, translation);
                }
            }
        }
        Err(error) => found.push(whole_file(dir, format!("can't be listed: {error}"))),
    }
    match files(dir) {
        Ok(files) => lab_read.files = files,
        Err(error) => found.push(whole_file(&dir.join("files"), format!("can't be read: {error}"))),
    }
    (lab, found)
}

fn read_guide(dir: &Path, name: &str) -> (Option<Lab>, Vec<Diagnostic>) {
    let file = dir.join(name);
    let text = match read_text(&file) {
        Ok(text) => text,
        Err(why) => return (None, vec![whole_file(&file, why)]),
    };
    let mut report = Report::new(file, &text);
    let slug = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if slug.is_empty() || !slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        report
            .error(Place::line(1), format!("a lab's folder can't be called `{slug}`"))
            .help("use lower-case letters, digits and `-`");
    }
    let parsed = parse(&text, &mut report);
    let lab = parsed.map(|(front, intro_html, steps)| Lab {
        slug,
        dir: dir.to_owned(),
        front,
        intro_html,
        steps,
        files: Vec::new(),
        translations: BTreeMap::new(),
    });
    (lab, report.into_found())
}

fn read_text(file: &Path) -> Result<String, String> {
    let opened = fs::File::open(file).map_err(|error| format!("can't be read: {error}"))?;
    let mut bytes = Vec::new();
    opened.take(GUIDE_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > GUIDE_MAX {
        return Err(format!("is longer than {} KiB", GUIDE_MAX / 1024));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

pub(crate) fn whole_file(file: &Path, message: String) -> Diagnostic {
    let mut report = Report::new(file.to_owned(), "");
    report.error(Place::line(0), message);
    report.into_found().remove(0)
}

/// The languages that the guide is translated to.
fn translations(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut languages = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let language = name.strip_prefix("guide.").and_then(|rest| rest.strip_suffix(".md"));
        if let Some(language) = language.filter(|tag| !tag.is_empty()) {
            languages.push(language.to_owned());
        }
    }
    languages.sort();
    Ok(languages)
}

/// What lies in the lab's `files/`, in order of the targets.
fn files(dir: &Path) -> std::io::Result<Vec<LabFile>> {
    use std::os::unix::fs::PermissionsExt;
    let root = dir.join("files");
    let mut found = Vec::new();
    let mut folders = if root.is_dir() { vec![root.clone()] } else { Vec::new() };
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let source = entry.path();
                let relative =
                    source.strip_prefix(&root).map_err(std::io::Error::other)?.to_string_lossy().into_owned();
                let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
                found.push(LabFile { target: format!("/lab/{relative}"), source, executable });
            }
            if found.len() + folders.len() > FILES_MAX {
                return Err(std::io::Error::other(format!("more than {FILES_MAX} files")));
            }
        }
    }
    found.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(found)
}

/// Reads a guide's text.
pub(crate) fn parse(text: &str, report: &mut Report<'_>) -> Option<(Front, String, Vec<Step>)> {
    let (yaml, front_lines) = front::cut(text, report)?;
    let front = front::read(yaml, report);
    // Without front matter the nodes are not known: go on with one, to report the rest too.
    let nodes = front.as_ref().map_or(vec!["node1".to_owned()], |front| front.nodes.clone());
    let body: usize = text.split_inclusive('\n').take(front_lines).map(str::len).sum();
    let source = Source::new(&text[body..], front_lines);
    let mut reader = Reader {
        blocks: Blocks::new(nodes),
        source: &source,
        intro: String::new(),
        steps: Vec::new(),
        text: Vec::new(),
    };
    reader.read(report);
    let Reader { intro, steps, blocks, .. } = reader;
    blocks.finish(report);
    if steps.is_empty() {
        report.error(Place::line(front_lines), "the guide has no step").help("each `## ` heading begins one");
    }
    Some((front?, intro, steps))
}

/// A guide's text without its front matter.
struct Source<'a> {
    text: &'a str,
    lines: Vec<&'a str>,
    /// Where each line begins, in bytes.
    starts: Vec<usize>,
    /// Lines before the text.
    before: usize,
}

impl<'a> Source<'a> {
    fn new(text: &'a str, before: usize) -> Source<'a> {
        let mut starts = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            starts.push(at);
            at += line.len();
        }
        Source { text, lines: text.lines().collect(), starts, before }
    }

    /// The line in the guide, from 1, of the byte at `offset`.
    fn line(&self, offset: usize) -> usize {
        self.before + self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// The text of that line.
    fn line_text(&self, line: usize) -> &'a str {
        self.lines.get(line.saturating_sub(self.before + 1)).copied().unwrap_or("")
    }

    /// Where some bytes stand, up to the end of their first line.
    fn place(&self, range: &Range<usize>) -> Place {
        let line = self.line(range.start);
        let start = self.starts.get(line.saturating_sub(self.before + 1)).copied().unwrap_or(0);
        let column = self.text.get(start..range.start).map_or(0, |text| text.chars().count()) + 1;
        let first = self.text.get(range.clone()).unwrap_or("").lines().next().unwrap_or("");
        Place { line, column, length: first.trim_end().chars().count().max(1) }
    }
}

type Sourced<'a> = (Event<'a>, Range<usize>);

/// Goes through the guide's top level.
struct Reader<'s, 'a> {
    source: &'s Source<'a>,
    blocks: Blocks,
    intro: String,
    steps: Vec<Step>,
    /// Events that become the next piece of HTML.
    text: Vec<Sourced<'a>>,
}

impl<'a> Reader<'_, 'a> {
    fn read(&mut self, report: &mut Report<'_>) {
        let mut events = Parser::new_ext(self.source.text, html::options()).into_offset_iter();
        while let Some((event, range)) = events.next() {
            let Event::Start(tag) = event else {
                self.text.push((event, range));
                continue;
            };
            let inside = until_end(&mut events);
            match tag {
                Tag::Heading { level: HeadingLevel::H1, .. } => {
                    report
                        .error(self.source.place(&range), "a guide has no heading of the first level")
                        .help("the title is in the front matter; `## ` begins a step");
                }
                Tag::Heading { level: HeadingLevel::H2, .. } => self.begin_step(inside, &range, report),
                Tag::CodeBlock(CodeBlockKind::Fenced(_)) => self.fenced(&inside, &range, report),
                Tag::CodeBlock(CodeBlockKind::Indented) => {
                    let text = code_text(&inside);
                    self.push(Piece::Copy(Code { language: String::new(), text }), &range, report);
                }
                Tag::BlockQuote(Some(kind)) => self.callout(kind, inside, &range, report),
                tag => {
                    self.refuse_blocks_inside(&inside, report);
                    self.text.push((Event::Start(tag), range));
                    self.text.extend(inside);
                }
            }
        }
        self.flush(report);
    }

    fn begin_step(&mut self, inside: Vec<Sourced<'a>>, range: &Range<usize>, report: &mut Report<'_>) {
        self.flush(report);
        let title_html = self.render(inside.iter().take(inside.len() - 1).cloned().collect(), report);
        let title = plain_text(&inside);
        if title.trim().is_empty() {
            report.error(self.source.place(range), "a step needs a title");
        }
        let number = self.steps.len() + 1;
        self.blocks.begin_step(number, report);
        self.steps.push(Step {
            number,
            short: title.split(':').next().unwrap_or("").trim().to_owned(),
            slug: slug(&title),
            title,
            title_html,
            pieces: Vec::new(),
            line: self.source.line(range.start),
        });
    }

    fn fenced(&mut self, inside: &[Sourced<'a>], range: &Range<usize>, report: &mut Report<'_>) {
        let line = self.source.line(range.start);
        let info = Info::parse(self.source.line_text(line), line, report);
        let piece = self.blocks.read(&info, &code_text(inside), report);
        if let Some(piece) = piece {
            self.push(piece, range, report);
        }
    }

    fn callout(
        &mut self,
        kind: BlockQuoteKind,
        inside: Vec<Sourced<'a>>,
        range: &Range<usize>,
        report: &mut Report<'_>,
    ) {
        let kind = match kind {
            BlockQuoteKind::Note => CalloutKind::Note,
            BlockQuoteKind::Tip => CalloutKind::Tip,
            BlockQuoteKind::Warning => CalloutKind::Warning,
            BlockQuoteKind::Important | BlockQuoteKind::Caution => {
                report
                    .error(self.source.place(range), "there is no call-out of this kind")
                    .help("known are [!NOTE], [!TIP] and [!WARNING]");
                return;
            }
        };
        self.refuse_blocks_inside(&inside, report);
        let mut inside = inside;
        inside.pop();
        let title = bold_paragraph(&inside);
        let rest = inside.split_off(title.as_ref().map_or(0, |title| title.end));
        let title_html = title.map(|title| self.render(inside[2..title.end - 2].to_vec(), report));
        let html = self.render(rest, report);
        self.push(Piece::Callout(Callout { kind, title_html, html }), range, report);
    }

    /// A block that does something must stand on its own.
    fn refuse_blocks_inside(&self, inside: &[Sourced<'a>], report: &mut Report<'_>) {
        for (event, range) in inside {
            if !matches!(event, Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_)))) {
                continue;
            }
            let line = self.source.line(range.start);
            let info = Info::parse(self.source.line_text(line), line, report);
            if Blocks::does_something(&info) {
                report
                    .error(Place::line(line), "this block can't stand inside a list or a quote")
                    .help("move it out, to the left margin");
            }
        }
    }

    fn push(&mut self, piece: Piece, range: &Range<usize>, report: &mut Report<'_>) {
        self.flush(report);
        match self.steps.last_mut() {
            Some(step) => step.pieces.push(piece),
            None => {
                report
                    .error(self.source.place(range), "before the first step there is only text")
                    .help("begin a step with a `## ` heading above it");
            }
        }
    }

    /// Makes a piece of the text so far.
    fn flush(&mut self, report: &mut Report<'_>) {
        let text = std::mem::take(&mut self.text);
        let html = self.render(text, report);
        if html.trim().is_empty() {
            return;
        }
        match self.steps.last_mut() {
            Some(step) => step.pieces.push(Piece::Html(html)),
            None => self.intro.push_str(&html),
        }
    }

    fn render(&self, events: Vec<Sourced<'a>>, report: &mut Report<'_>) -> String {
        let mut dropped = Vec::new();
        let (events, ranges): (Vec<Event<'a>>, Vec<Range<usize>>) = events.into_iter().unzip();
        let html = html::render(events, &mut dropped);
        let mut last_line = 0;
        for (index, what) in dropped {
            let place = ranges.get(index).map_or(Place::line(1), |range| self.source.place(range));
            match what {
                // One warning a line: a tag and its end are two events.
                Dropped::Html if place.line == last_line => {}
                Dropped::Html => {
                    last_line = place.line;
                    report.warning(place, "raw HTML is left out").help("write it in Markdown");
                }
                Dropped::Link(url) if html::scheme(&url) == Some("port") => {
                    report
                        .error(place, format!("`{url}` names no port"))
                        .help("`port:8080`, or `port:node2/8080` for another node than the first");
                }
                Dropped::Link(url) => {
                    report
                        .error(place, format!("a link may not lead to `{url}`"))
                        .help("http, https, mailto, `#place` and relative addresses work");
                }
                Dropped::Image => {
                    report.error(place, "pictures are not shown").help("say it in words");
                }
            }
        }
        html
    }
}

/// The events up to and with the end of the element that was just begun.
fn until_end<'a>(events: &mut impl Iterator<Item = Sourced<'a>>) -> Vec<Sourced<'a>> {
    let mut inside = Vec::new();
    let mut depth = 1;
    for (event, range) in events {
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            _ => {}
        }
        inside.push((event, range));
        if depth == 0 {
            break;
        }
    }
    inside
}

fn code_text(inside: &[Sourced<'_>]) -> String {
    let mut text = String::new();
    for (event, _) in inside {
        if let Event::Text(part) = event {
            text.push_str(part);
        }
    }
    text
}

fn plain_text(inside: &[Sourced<'_>]) -> String {
    let mut text = String::new();
    for (event, _) in inside {
        match event {
            Event::Text(part) | Event::Code(part) => text.push_str(part),
            Event::SoftBreak | Event::HardBreak => text.push(' '),
            _ => {}
        }
    }
    text
}

/// If the first paragraph is all bold, the events it has.
fn bold_paragraph(inside: &[Sourced<'_>]) -> Option<Range<usize>> {
    let starts = matches!(inside.first()?.0, Event::Start(Tag::Paragraph))
        && matches!(inside.get(1)?.0, Event::Start(Tag::Strong));
    let end = inside.iter().position(|(event, _)| matches!(event, Event::End(TagEnd::Paragraph)))?;
    let first_strong_end =
        inside.iter().position(|(event, _)| matches!(event, Event::End(TagEnd::Strong)))?;
    (starts && first_strong_end + 1 == end && end + 1 < inside.len()).then_some(0..end + 1)
}

/// `title` as an address: words joined by `-`.
pub(crate) fn slug(title: &str) -> String {
    let mut slug = String::new();
    for c in title.to_lowercase().chars() {
        if c.is_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// The expected output that `text` describes, on the lines after `line`.
pub(crate) fn expected(text: &str, line: usize) -> Expected {
    Expected::parse(text.strip_suffix('\n').unwrap_or(text), line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_body(body: &str) -> (String, Vec<Step>, Vec<Diagnostic>) {
        let text = format!("---\ntitle: A\nsummary: B.\nminutes: 5\nnodes: 2\n---\n{body}");
        let mut report = Report::new("guide.md".into(), &text);
        let (_, intro, steps) = parse(&text, &mut report).unwrap();
        (intro, steps, report.into_found())
    }

    #[test]
    fn a_heading_begins_a_step() {
        let (intro, steps, found) = read_body("Hello.\n\n## PID: a *list*\n\ntext\n\n### more\n\n## MNT\n");
        assert_eq!(found, []);
        assert_eq!(intro, "<p>Hello.</p>\n");
        assert_eq!(steps.len(), 2);
        let first = &steps[0];
        assert_eq!(
            (first.title.as_str(), first.short.as_str(), first.slug.as_str()),
            ("PID: a list", "PID", "pid-a-list")
        );
        assert_eq!(first.title_html, "PID: a <em>list</em>");
        assert_eq!((first.number, first.line), (1, 9));
        assert_eq!(first.pieces, [Piece::Html("<p>text</p>\n<h2>more</h2>\n".into())]);
    }

    #[test]
    fn call_outs_have_titles() {
        let (_, steps, found) =
            read_body("## A\n\n> [!TIP]\n> **Where from?**\n>\n> Here.\n\n> [!NOTE]\n> **Bold** and not.\n");
        assert_eq!(found, []);
        assert_eq!(
            steps[0].pieces,
            [
                Piece::Callout(Callout {
                    kind: CalloutKind::Tip,
                    title_html: Some("Where from?".into()),
                    html: "<p>Here.</p>\n".into()
                }),
                Piece::Callout(Callout {
                    kind: CalloutKind::Note,
                    title_html: None,
                    html: "<p><strong>Bold</strong> and not.</p>\n".into()
                }),
            ]
        );
    }

    #[test]
    fn mistakes_have_their_places() {
        let (_, _, found) = read_body(
            "# A\n\n## B\n\nx <b>y</b> [z](port:x)\n\n- a\n\n  ```sh run\n  ls\n  ```\n\n![p](x.png)\n",
        );
        let places: Vec<(usize, usize)> =
            found.iter().map(|diagnostic| (diagnostic.line, diagnostic.column)).collect();
        assert_eq!(places, [(7, 1), (15, 3), (11, 3), (11, 12), (19, 1)], "{found:#?}");
    }

    #[test]
    fn without_a_step_there_is_no_lab() {
        assert_eq!(read_body("text\n").2.len(), 1);
        assert_eq!(read_body("```sh run\nls\n```\n").2.len(), 2);
    }
}
