//! The front matter: what a lab is called and what it asks for.

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Place, Report, nearest};

/// The most nodes a lab may ask for.
const NODES_MAX: usize = 10;

/// What the front matter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// The lab's title.
    pub title: String,
    /// One sentence for the catalogue.
    pub summary: String,
    /// For whom it is.
    pub level: Level,
    /// Expected time, in minutes.
    pub minutes: u32,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The nodes' names, in order; at least one.
    pub nodes: Vec<String>,
    /// Catalogue images that must be there.
    pub images: Vec<String>,
    /// Slugs of the labs that come before.
    pub after: Vec<String>,
    /// Limits of a node, where the lab wants its own.
    pub limits: Limits,
    /// Nested user namespaces work.
    pub userns: bool,
    /// `iptables` and `nft` work.
    pub netfilter: bool,
    /// It asks for the forward proxy to the outside; the operator may refuse.
    pub egress: bool,
}

/// For whom a lab is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Knows a shell.
    #[default]
    Beginner,
    /// Knows what the labs before it taught.
    Intermediate,
    /// Knows all this.
    Advanced,
}

impl Level {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Level::Beginner => "beginner",
            Level::Intermediate => "intermediate",
            Level::Advanced => "advanced",
        }
    }
}

/// Limits of a node; the server's own hold where none is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in MiB.
    pub memory_mb: Option<u64>,
    /// Disk, in MiB.
    pub disk_mb: Option<u64>,
    /// Processes.
    pub pids: Option<u64>,
}

const FIELDS: [&str; 15] = [
    "title",
    "summary",
    "level",
    "minutes",
    "tags",
    "nodes",
    "swarm",
    "images",
    "after",
    "memory_mb",
    "disk_mb",
    "pids",
    "userns",
    "netfilter",
    "egress",
];

/// As YAML has it.
#[derive(Deserialize)]
struct Raw {
    title: String,
    summary: String,
    #[serde(default)]
    level: Level,
    minutes: u32,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    nodes: Option<RawNodes>,
    #[serde(default)]
    swarm: bool,
    #[serde(default)]
    images: Vec<String>,
    #[serde(default)]
    after: Vec<String>,
    memory_mb: Option<u64>,
    disk_mb: Option<u64>,
    pids: Option<u64>,
    #[serde(default)]
    userns: bool,
    #[serde(default)]
    netfilter: bool,
    #[serde(default)]
    egress: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawNodes {
    Number(usize),
    Names(Vec<String>),
}

/// Cuts the front matter from the guide: its text, its first line's number,
/// and the number of lines up to the end of its closing `---`.
pub(crate) fn cut<'a>(text: &'a str, report: &mut Report<'_>) -> Option<(&'a str, usize)> {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or("");
    if first.trim_end() != "---" {
        report
            .error(Place::line(1), "the guide has no front matter")
            .help("begin the file with `---`, then `title:`, `summary:` and `minutes:`, then `---`");
        return None;
    }
    let start = first.len();
    let mut end = start;
    let mut count = 1;
    for line in lines {
        count += 1;
        if line.trim_end() == "---" {
            return Some((&text[start..end], count));
        }
        end += line.len();
    }
    report.error(Place::line(1), "the front matter is never closed").help("end it with a line `---`");
    None
}

/// Reads the front matter, whose first line is the guide's second.
pub(crate) fn read(yaml: &str, report: &mut Report<'_>) -> Option<Front> {
    let known = check_fields(yaml, report);
    let raw: Raw = match serde_saphyr::from_str(yaml) {
        Ok(raw) => raw,
        Err(error) => {
            // A misspelt field was reported already; that it is missing follows.
            if known {
                let place = error.location().map_or(Place::line(1), |at| Place {
                    line: at.line() as usize + 1,
                    column: (at.column() as usize).max(1),
                    length: 1,
                });
                report.error(
                    place,
                    format!("the front matter can't be read: {}", first_line(&error.to_string())),
                );
            }
            return None;
        }
    };
    let field = |name: &str| field_place(yaml, name);
    for (name, asked) in [("swarm", raw.swarm)] {
        if asked {
            report
                .error(field(name), format!("`{name}: true` does not work yet"))
                .help("leave it out for now");
        }
    }
    for (name, value) in [("title", &raw.title), ("summary", &raw.summary)] {
        if value.trim().is_empty() || value.contains('\n') {
            report.error(field(name), format!("`{name}` must be one line of text"));
        }
    }
    if !(1..=600).contains(&raw.minutes) {
        report.error(field("minutes"), "`minutes` must be between 1 and 600");
    }
    let nodes = node_names(raw.nodes, field("nodes"), report);
    Some(Front {
        title: raw.title.trim().to_owned(),
        summary: raw.summary.trim().to_owned(),
        level: raw.level,
        minutes: raw.minutes,
        tags: raw.tags,
        nodes,
        images: raw.images,
        after: raw.after,
        limits: Limits { memory_mb: raw.memory_mb, disk_mb: raw.disk_mb, pids: raw.pids },
        userns: raw.userns,
        netfilter: raw.netfilter,
        egress: raw.egress,
    })
}

/// Reports fields that don't exist; whether all do.
fn check_fields(yaml: &str, report: &mut Report<'_>) -> bool {
    let mut all_known = true;
    for (index, line) in yaml.lines().enumerate() {
        let Some((name, _)) = line.split_once(':') else { continue };
        let is_field =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !is_field || FIELDS.contains(&name) {
            continue;
        }
        all_known = false;
        let place = Place { line: index + 2, column: 1, length: name.chars().count() };
        let error = report.error(place, format!("the front matter has no field `{name}`"));
        match nearest(name, &FIELDS) {
            Some(meant) => error.help(format!("did you mean `{meant}`?")),
            None => error.help(format!("known are {}", FIELDS.join(", "))),
        }
    }
    all_known
}

/// Where a field stands in the guide.
pub(crate) fn field_place(yaml: &str, name: &str) -> Place {
    let at = yaml.lines().position(|line| line.split_once(':').is_some_and(|(field, _)| field == name));
    Place::line(at.map_or(1, |index| index + 2))
}

fn node_names(nodes: Option<RawNodes>, place: Place, report: &mut Report<'_>) -> Vec<String> {
    let names: Vec<String> = match nodes {
        None => vec!["node1".to_owned()],
        Some(RawNodes::Number(number)) => {
            (1..=number.min(NODES_MAX + 1)).map(|n| format!("node{n}")).collect()
        }
        Some(RawNodes::Names(names)) => names,
    };
    if names.is_empty() || names.len() > NODES_MAX {
        report.error(place, format!("a lab has 1 to {NODES_MAX} nodes"));
    }
    for (index, name) in names.iter().enumerate() {
        let well_formed = name.len() <= 15
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !well_formed {
            report
                .error(place, format!("`{name}` can't be a node's name"))
                .help("a letter, then at most 14 lower-case letters, digits or `-`");
        }
        if names[..index].contains(name) {
            report.error(place, format!("two nodes are called `{name}`"));
        }
    }
    if names.is_empty() { vec!["node1".to_owned()] } else { names }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("").trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Diagnostic;

    fn read_text(yaml: &str) -> (Option<Front>, Vec<Diagnostic>) {
        let text = format!("---\n{yaml}---\n");
        let mut report = Report::new("guide.md".into(), &text);
        let front = cut(&text, &mut report).and_then(|(yaml, _)| read(yaml, &mut report));
        (front, report.into_found())
    }

    const LEAST: &str = "title: A\nsummary: B.\nminutes: 5\n";

    #[test]
    fn defaults_are_the_formats() {
        let (front, found) = read_text(LEAST);
        let front = front.unwrap();
        assert_eq!(found, []);
        assert_eq!(
            (front.nodes, front.level, front.userns),
            (vec!["node1".to_owned()], Level::Beginner, false)
        );
    }

    #[test]
    fn nodes_are_a_number_or_names() {
        let nodes = |text: &str| read_text(&format!("{LEAST}nodes: {text}\n")).0.unwrap().nodes;
        assert_eq!(nodes("3"), ["node1", "node2", "node3"]);
        assert_eq!(nodes("[web, db]"), ["web", "db"]);
        for wrong in ["0", "11", "[Web]", "[a, a]", "[]"] {
            assert!(!read_text(&format!("{LEAST}nodes: {wrong}\n")).1.is_empty(), "{wrong}");
        }
    }

    #[test]
    fn a_misspelt_field_gets_the_nearest() {
        let (front, found) = read_text("titel: A\nsummary: B.\nminutes: 5\n");
        assert!(front.is_none());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].column, found[0].length), (2, 1, 5));
        assert_eq!(found[0].help.as_deref(), Some("did you mean `title`?"));
    }

    #[test]
    fn a_wrong_value_has_its_place() {
        let (_, found) = read_text("title: A\nsummary: B.\nminutes: soon\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].line, 4);
    }

    #[test]
    fn what_comes_later_is_refused() {
        let (_, found) = read_text(&format!("{LEAST}swarm: true\n"));
        assert_eq!((found.len(), found[0].line), (1, 5));
    }

    #[test]
    fn a_missing_or_open_front_matter_is_said() {
        for text in ["# A\n", "---\ntitle: A\n", ""] {
            let mut report = Report::new("guide.md".into(), text);
            assert_eq!(cut(text, &mut report), None);
            assert_eq!(report.into_found().len(), 1);
        }
    }
}
