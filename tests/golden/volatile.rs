//! What two runs of the same engine don't agree on is left out before outputs
//! are compared: ids, times, generated names, addresses that the engine chose.
//! Sizes stay, but for what a process takes at the moment.

use std::sync::LazyLock;

use drydock_terminal::Terminal;
use regex_lite::{Captures, Regex};

use crate::transcript::Played;

/// A pattern and what stands in its place.
struct Rule {
    /// For commands that fit only.
    only: Option<Regex>,
    pattern: Regex,
    put: &'static str,
}

/// `(commands, pattern, put)`; patterns see whole outputs, line by line.
const RULES: &[(&str, &str, &str)] = &[
    ("", r"\bsha256:[0-9a-f]{64}\b", "sha256:<digest>"),
    ("", r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uuid>"),
    ("", r"\b[0-9a-f]{64}\b", "<id>"),
    ("", r"\b[0-9a-f]{12}\b", "<id12>"),
    ("inspect", r"/netns/[0-9a-f]{12}\b", "/netns/<id12>"),
    ("cut -c1-20", r"\b[0-9a-f]{20}\b|sha256:[0-9a-f]{13}\b", "<id20>"),
    ("", r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4} (UTC|utc)|Z|[+-]\d\d:\d\d)?", "<time>"),
    (
        "",
        r"(?:Less|less) than a second|About an? \w+|\b\d+ (?:seconds?|minutes?|hours?|days?|weeks?|months?|years?)\b",
        "<ago>",
    ),
    ("", r"\b(Nov|Dec|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct) +\d+ +(\d\d:\d\d|\d{4})", "<date>"),
    ("", r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>"),
    ("", r"\b(172\.(1[7-9]|2\d))\.\d+\.\d+\b", "<ip>"),
    // The machine's own name server.
    ("", r"\b(10\.77\.0\.11|192\.168\.0\.1)\b", "<dns>"),
    ("", r"\b\d{1,6}: eth\d+@if\d+", "<n>: eth@if"),
    ("", r"(?m)^\d{1,6}: (eth\d+|lo) ", "<n>: $1 "),
    ("", r"\b(0\.0\.0\.0|\[::\]):3[2-6]\d{3}\b", "$1:<port>"),
    ("", r"(?m)\b[a-z]+_[a-z]+\d?( *)$", "<name>$1"),
    ("", r"(?m)^(real|user|sys) [0-9.]+$", "$1 <secs>"),
    ("inspect", r#""Pid":( ?)\d+"#, r#""Pid":$1<n>"#),
    ("State.Pid", r" \d+ ", " <pid> "),
    ("docker events", r#""time":\d+,"timeNano":\d+"#, r#""time":<time>"#),
    ("docker events", r#"execDuration(=|":")\d+"#, "execDuration$1<secs>"),
    // Whether these fall into the time that is asked for depends on the second.
    ("T0=", r"(?m)^<time> (image load|volume prune) .*\n", ""),
    // The client complains of a pipe that it closed itself, or has ended by then.
    ("docker cp", r#"(?m)^time="<time>" level=error msg="Can't (add file|close tar writer).*\n"#, ""),
    // An id may have these letters.
    ("grep db", r"(?m)^<ip>\s+<id12>\n", ""),
    // How often a container's health was tested by then.
    ("State.Health", r#"(\{"Start":"<time>","End":"<time>","ExitCode":1,"Output":""\},?)+"#, "<failures>"),
    ("State.Health", r#"(\{"Start":"<time>","End":"<time>","ExitCode":0,"Output":""\},?)+"#, "<successes>"),
    // A loop counts on while commands are typed.
    ("counter", r"\b(line|err) \d+", "$1 <n>"),
    // Processes have other numbers, and begin at another time.
    (
        "docker top",
        r"(?m)^(\S+ +)\d+( +)\d+( +)\d+( +)\S+( +)(\S+ +)\d\d:\d\d:\d\d",
        "$1<pid>$2<pid>$3<c>$4<start>$5$6<cpu>",
    ),
    ("docker top .* -o", r"(?m)^\d+ ", "<pid> "),
    (r"\bps($|'| )|exec -it bg sh", r"(?m)^ +\d+ ", "<pid> "),
    ("docker stats", r"\b\d+(\.\d+)?([kKMG]i?B|B)\b", "<size>"),
    ("docker stats", r"\b\d+(\.\d+)?%", "<pct>"),
    ("docker version|docker info", r"\b(Fri|Thu|Wed|Tue|Mon|Sat|Sun) <date>:\d\d \d{4}", "<date>"),
    ("docker info", r"Total Memory: \S+|\bMemTotal.:\d+", "<memory>"),
    ("docker info", r#""(NFd|NGoroutines|NEventsListener)":\d+"#, r#""$1":<n>"#),
    ("ping", r"time=[0-9.]+ ms|= [0-9./]+ ms", "<ms>"),
    ("tar tv", r"<time>|\d{4}-\d\d-\d\d \d\d:\d\d", "<date>"),
    // Widths follow from the longest value of a column.
    ("", r" {2,}", " "),
    ("", r"(?m) +$", ""),
];

static COMPILED: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let compile = |pattern: &str| Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    RULES
        .iter()
        .map(|(only, pattern, put)| Rule {
            only: (!only.is_empty()).then(|| compile(only)),
            pattern: compile(pattern),
            put,
        })
        .collect()
});

/// Commands whose lines come in no order that Docker promises.
static UNORDERED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"docker (images|image ls|diff|system df -v|(system|container|image|volume|network) prune|logs|attach|volume ls|network inspect|events)|--env-file|alpine env$|nslookup|range .Mounts")
        .unwrap_or_else(|error| panic!("{error}"))
});

/// Commands that print as many lines as there is time for.
static COUNTED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("(timeout|--since).* counter").unwrap_or_else(|error| panic!("{error}")));

/// An output without what is volatile.
pub(crate) fn without(played: &Played) -> String {
    let mut text = if played.tty { screen(&played.output) } else { played.output.clone() };
    for rule in COMPILED.iter() {
        if rule.only.as_ref().is_none_or(|only| only.is_match(&played.command)) {
            text =
                rule.pattern.replace_all(&text, |found: &Captures<'_>| expand(rule.put, found)).into_owned();
        }
    }
    // A list of processes is in the order of their numbers.
    let is_list = played.command == "docker exec -it bg sh";
    if is_list || (UNORDERED.is_match(&played.command) && !played.tty) {
        let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.sort_unstable();
        if COUNTED.is_match(&played.command) {
            lines.dedup();
        }
        text = lines.join("\n");
    }
    text.trim_end().to_owned()
}

/// `$1` of a replacement, without the names that a crate's own syntax reads
/// into the letters after it.
fn expand(put: &str, found: &Captures<'_>) -> String {
    let mut out = String::new();
    let mut rest = put.chars();
    while let Some(char) = rest.next() {
        match (char, rest.clone().next().and_then(|next| next.to_digit(10))) {
            ('$', Some(group)) => {
                rest.next();
                out.push_str(found.get(group as usize).map_or("", |found| found.as_str()));
            }
            _ => out.push(char),
        }
    }
    out
}

/// What a terminal shows in the end, with what has scrolled out.
fn screen(output: &str) -> String {
    let mut terminal = Terminal::new(80, 24, 1000);
    terminal.feed(output.replace('\n', "\r\n").as_bytes());
    let scrolled = (0..terminal.scrollback_len()).filter_map(|index| terminal.scrollback_row(index));
    let mut lines: Vec<String> = scrolled.map(|row| row.text().trim_end().to_owned()).collect();
    lines.extend(terminal.text().into_iter().map(|line| line.trim_end().to_owned()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(tty: bool, command: &str, output: &str) -> Played {
        Played { tty, command: command.to_owned(), output: output.to_owned(), exit: 0 }
    }

    fn same(command: &str, one: &str, other: &str) -> bool {
        without(&played(false, command, one)) == without(&played(false, command, other))
    }

    #[test]
    fn ids_times_and_names_are_left_out() {
        assert!(same(
            "docker ps",
            "66fe6fef839a   alpine   \"sleep 1000\"   1 second ago   Up 1 second   bold_bohr\n",
            "63d240ce73ec   alpine   \"sleep 1000\"   2 minutes ago   Up 3 minutes   hardcore_bohr2\n"
        ));
        assert!(same("time -p true", "real 1.00\nuser 0.5\nsys 0.1\n", "real 2\nuser 0\nsys 0\n"));
    }

    #[test]
    fn sizes_states_and_names_given_stay() {
        assert!(!same("docker images", "alpine 1.98MB\n", "alpine 1.99MB\n"));
        assert!(!same(
            "docker system prune -f",
            "Total reclaimed space: 0B\n",
            "Total reclaimed space: 5B\n"
        ));
        assert!(!same("docker ps", "Up 1 second (healthy)\n", "Up 1 second\n"));
        assert!(!same("docker ps", "web\n", "web2\n"));
        assert!(same("docker stats", "1.2MiB / 64MiB 0.10%\n", "3MiB / 23GiB 7.00%\n"));
    }

    #[test]
    fn screens_are_compared_as_they_look() {
        let look = |output: &str| without(&played(true, "docker run -it alpine", output));
        assert_eq!(look("/ # \x1b[6necho hi\nhi\n/ # "), look("/ # echo hx\x08i\x1b[K\nhi\n/ #"));
        assert_ne!(look("one\n"), look("two\n"));
    }
}
