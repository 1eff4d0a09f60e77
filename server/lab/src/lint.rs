//! What a lab that loads may still have wrong.

use std::{fs, path::Path};

use pulldown_cmark::{Event, Parser, Tag};

use crate::{
    diagnostic::{Diagnostic, Place, Report},
    front, guide, html,
    lab::{Lab, Piece, Step},
};

/// The images that learners can pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Their names, as `docker pull` takes them.
    pub images: Vec<String>,
}

impl Catalogue {
    /// Whether `image` is in it; no tag means `latest`.
    pub fn has(&self, image: &str) -> bool {
        let tagged = with_tag(image);
        self.images.iter().any(|known| with_tag(known) == tagged)
    }
}

fn with_tag(image: &str) -> String {
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let name = name.strip_prefix("library/").unwrap_or(name);
    if name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

/// All that is wrong with the lab in `dir`.
pub(crate) fn lint(dir: &Path, catalogue: Option<&Catalogue>) -> Vec<Diagnostic> {
    let (lab, mut found) = guide::read(dir);
    let Some(lab) = lab else { return found };
    let names = std::iter::once("guide.md".to_owned())
        .chain(lab.translations.keys().map(|tag| format!("guide.{tag}.md")));
    let mut texts = Vec::new();
    for name in names {
        // It was read a moment ago; if it is gone now, that read's report stands.
        let Ok(text) = fs::read_to_string(dir.join(&name)) else { continue };
        texts.push((name, text));
    }
    for (name, text) in &texts {
        let mut report = Report::new(dir.join(name), text);
        if name == "guide.md" {
            front_matter(&lab, dir, text, catalogue, &mut report);
            steps(&lab, &mut report);
        }
        links(&lab, dir, text, &mut report);
        found.extend(report.into_found());
    }
    let all: String = texts.into_iter().map(|(_, text)| text).collect();
    found.extend(unused_files(&lab, dir, &all));
    found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    found
}

fn front_matter(lab: &Lab, dir: &Path, text: &str, catalogue: Option<&Catalogue>, report: &mut Report<'_>) {
    let Some((yaml, _)) = front::cut(text, report) else { return };
    for image in &lab.front.images {
        if catalogue.is_some_and(|catalogue| !catalogue.has(image)) {
            report
                .error(
                    front::field_place(yaml, "images"),
                    format!("the image `{image}` is not in the catalogue"),
                )
                .help("import it with `drydock hub import FILE`");
        }
    }
    for slug in &lab.front.after {
        let there = dir.parent().is_some_and(|parent| parent.join(slug).join("guide.md").is_file());
        if !there {
            report.error(
                front::field_place(yaml, "after"),
                format!("there is no lab `{slug}` beside this one"),
            );
        }
    }
}

fn steps(lab: &Lab, report: &mut Report<'_>) {
    for (index, step) in lab.steps.iter().enumerate() {
        if step.checks().next().is_none() && step.quizzes().next().is_none() {
            report
                .error(Place::line(step.line), format!("step {} has neither a check nor a quiz", step.number))
                .help("add a ` ```sh check title=\"…\"` or a ` ```quiz` block, so that the reader knows when it is done");
        }
        if lab.steps[..index].iter().any(|before| before.slug == step.slug) {
            report.error(Place::line(step.line), format!("two steps are called \"{}\"", step.title));
        }
    }
}

/// Relative links must lead somewhere on the page.
fn links(lab: &Lab, dir: &Path, text: &str, report: &mut Report<'_>) {
    let Some((_, front_lines)) = front::cut(text, report) else { return };
    let body: usize = text.split_inclusive('\n').take(front_lines).map(str::len).sum();
    for (event, range) in Parser::new_ext(&text[body..], html::options()).into_offset_iter() {
        let Event::Start(Tag::Link { dest_url, .. }) = event else { continue };
        if let Some(node) = html::PortLink::parse(&dest_url).and_then(|link| link.node)
            && !lab.front.nodes.iter().any(|known| known == node)
        {
            let line = front_lines + 1 + text[body..body + range.start].matches('\n').count();
            report
                .error(Place::line(line), format!("`{dest_url}` is for a node that the lab does not have"))
                .help(format!("it has {}", lab.front.nodes.join(", ")));
            continue;
        }
        if html::scheme(&dest_url).is_some()
            || dest_url.starts_with("//")
            || leads_somewhere(lab, dir, &dest_url)
        {
            continue;
        }
        let line = front_lines + 1 + text[body..body + range.start].matches('\n').count();
        report
            .error(Place::line(line), format!("the link to `{dest_url}` leads nowhere"))
            .help("another lab is `../NAME/guide.md`, another step of this one `/labs/NAME/NUMBER`");
    }
}

fn leads_somewhere(lab: &Lab, dir: &Path, url: &str) -> bool {
    let beside = |slug: &str| dir.parent().is_some_and(|parent| parent.join(slug).join("guide.md").is_file());
    if html::lab_address(url).is_some() {
        return url.split('/').nth(1).is_some_and(beside);
    }
    if url == "/" {
        return true;
    }
    let Some(rest) = url.strip_prefix("/labs/") else { return false };
    let (slug, step) = rest.split_once('/').unwrap_or((rest, "1"));
    let number = step.parse::<usize>().unwrap_or(0);
    if slug == lab.slug { lab.step(number).is_some() } else { number > 0 && beside(slug) }
}

/// Files that no guide names.
fn unused_files(lab: &Lab, dir: &Path, guides: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for file in &lab.files {
        let name = file.target.rsplit('/').next().unwrap_or("");
        // A folder that is named as a whole uses what lies in it.
        let folders =
            Path::new(&file.target).ancestors().skip(1).take_while(|folder| *folder != Path::new("/lab"));
        let named = guides.contains(name)
            || folders.into_iter().any(|folder| guides.contains(&*folder.to_string_lossy()));
        if !named {
            found.push(guide::whole_file(&file.source, "no guide of this lab names this file".to_owned()));
        }
    }
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let known =
            name == "files" || name == "guide.md" || (name.starts_with("guide.") && name.ends_with(".md"));
        if !known {
            found.push(guide::whole_file(
                &entry.path(),
                "this is no part of a lab: guides, and what lies in `files`, are".to_owned(),
            ));
        }
    }
    found
}

/// A translation has the same steps with the same blocks.
pub(crate) fn compare_translation(lab: &Lab, translation: &Lab, language: &str) -> Vec<Diagnostic> {
    let file = lab.dir.join(format!("guide.{language}.md"));
    let text = fs::read_to_string(&file).unwrap_or_default();
    let mut report = Report::new(file, &text);
    if lab.steps.len() != translation.steps.len() {
        let message = format!("this has {} steps, guide.md {}", translation.steps.len(), lab.steps.len());
        report.error(Place::line(1), message);
    }
    for (ours, theirs) in lab.steps.iter().zip(&translation.steps) {
        if same_blocks(ours) != same_blocks(theirs) {
            report
                .error(
                    Place::line(theirs.line),
                    format!("step {} has other blocks than guide.md's", theirs.number),
                )
                .help(format!("compare it with guide.md from line {} on", ours.line));
        }
    }
    report.into_found()
}

/// What must be equal in all languages.
fn same_blocks(step: &Step) -> Vec<String> {
    let mut blocks = Vec::new();
    for piece in &step.pieces {
        match piece {
            Piece::Html(_) | Piece::Callout(_) | Piece::Copy(_) => {}
            Piece::Run(block) | Piece::Solve(block) => {
                blocks.push(format!("{} {} {:?}", block.node, block.term, block.script));
            }
            Piece::Output(expected) => blocks.push(format!("{:?}", expected.lines)),
            Piece::File(file) => blocks.push(format!("{} {} {}", file.node, file.path, file.content)),
            Piece::Check(check) => blocks.push(format!("{} {}", check.script.node, check.script.text)),
            Piece::Setup(script) => blocks.push(format!("{} {}", script.node, script.text)),
            Piece::NodeAction(action) => blocks.push(format!("{:?} {:?}", action.verb, action.node)),
            Piece::Quiz(quiz) => {
                blocks.push(format!(
                    "{:?}",
                    quiz.answers.iter().map(|answer| answer.right).collect::<Vec<_>>()
                ));
            }
        }
    }
    blocks
}
