//! Times and numbers in words.

/// How long a command took: `0.21 s`, `12.4 s`, `1 min 12 s`.
pub(crate) fn took(milliseconds: f64) -> String {
    let seconds = milliseconds.max(0.0) / 1000.0;
    match seconds {
        s if s < 1.0 => format!("{s:.2} s"),
        s if s < 60.0 => format!("{s:.1} s"),
        s => running_for(s),
    }
}

/// How long a command has been running: `4 s`, `1 min 12 s`.
pub(crate) fn running_for(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// `4:20`.
pub(crate) fn minutes_and_seconds(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// The time of day of a moment in seconds since the epoch, such as `10:15`.
pub(crate) fn clock_time(epoch_seconds: f64) -> String {
    let date = js_sys::Date::new(&(epoch_seconds * 1000.0).into());
    format!("{}:{:02}", date.get_hours(), date.get_minutes())
}

/// `1 line added`, `2 lines added, 1 removed`.
pub(crate) fn changes(added: usize, removed: usize) -> String {
    let lines = |n: usize| if n == 1 { "line" } else { "lines" };
    match (added, removed) {
        (0, 0) => String::new(),
        (added, 0) => format!("{added} {} added", lines(added)),
        (0, removed) => format!("{removed} {} removed", lines(removed)),
        (added, removed) => format!("{added} {} added, {removed} removed", lines(added)),
    }
}

/// What a reset deletes: `Deleted: 2 containers, 1 image, your files on node1`.
pub(crate) fn deleted(containers: u64, images: u64, node: &str) -> String {
    let counted = |count: u64, word: &str| match count {
        0 => String::new(),
        1 => format!("1 {word}, "),
        many => format!("{many} {word}s, "),
    };
    format!("Deleted: {}{}your files on {node}", counted(containers, "container"), counted(images, "image"))
}

/// `node1`, `node1 and node2`, `node1, node2 and node3`.
pub(crate) fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [firsts @ .., last] => format!("{} and {last}", firsts.join(", ")),
    }
}

/// A small number as a word, a larger one in digits.
pub(crate) fn number(count: u64) -> String {
    const WORDS: [&str; 10] = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    usize::try_from(count)
        .ok()
        .and_then(|at| WORDS.get(at))
        .map_or(count.to_string(), |word| (*word).to_owned())
}

/// A place in a row: `first`, `second`, …, `11th`, `21st`.
pub(crate) fn ordinal(place: u64) -> String {
    const WORDS: [&str; 10] =
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
    let word = place.checked_sub(1).and_then(|at| usize::try_from(at).ok()).and_then(|at| WORDS.get(at));
    let end = match (place % 10, place % 100) {
        (1, not) if not != 11 => "st",
        (2, not) if not != 12 => "nd",
        (3, not) if not != 13 => "rd",
        _ => "th",
    };
    word.map_or(format!("{place}{end}"), |word| (*word).to_owned())
}

/// An error's words as a sentence.
pub(crate) fn sentence(words: &str) -> String {
    let mut chars = words.trim_end_matches('.').chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
        None => String::new(),
    }
}

/// A captured name in words: `JOIN_TOKEN` is the join token.
pub(crate) fn of_name(name: &str) -> String {
    name.to_lowercase().replace('_', " ")
}

/// The first words of a command, to speak of it: `docker run`, `curl`.
pub(crate) fn short(command: &str) -> String {
    let mut words = command.split_whitespace();
    let first = words.next().unwrap_or_default();
    let second = match first {
        "docker" | "ip" | "apt" | "git" => words.next().filter(|word| {
            word.chars().all(|c| c.is_ascii_alphabetic() || c == '-') && !word.starts_with('-')
        }),
        _ => None,
    };
    let name = match second {
        Some(second) => format!("{first} {second}"),
        None => first.to_owned(),
    };
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_plain() {
        assert_eq!(took(210.0), "0.21 s");
        assert_eq!(took(12_400.0), "12.4 s");
        assert_eq!(took(72_000.0), "1 min 12 s");
        assert_eq!(running_for(4.9), "4 s");
        assert_eq!(minutes_and_seconds(260.0), "4:20");
        assert_eq!(minutes_and_seconds(-1.0), "0:00");
    }

    #[test]
    fn a_command_is_spoken_of_by_its_first_words() {
        assert_eq!(short("docker run -it debian"), "docker run");
        assert_eq!(short("docker -v"), "docker");
        assert_eq!(short("curl -s localhost"), "curl");
        assert_eq!(short(""), "");
    }

    #[test]
    fn changes_are_counted() {
        assert_eq!(changes(2, 1), "2 lines added, 1 removed");
        assert_eq!(changes(1, 0), "1 line added");
        assert_eq!(changes(0, 3), "3 lines removed");
    }

    #[test]
    fn what_a_reset_deletes_is_counted() {
        assert_eq!(deleted(2, 1, "node1"), "Deleted: 2 containers, 1 image, your files on node1");
        assert_eq!(deleted(0, 0, "node1"), "Deleted: your files on node1");
        assert_eq!(listed(&["node1", "node2", "node3"]), "node1, node2 and node3");
    }

    #[test]
    fn small_numbers_are_words() {
        assert_eq!((number(3).as_str(), number(12).as_str()), ("three", "12"));
        let places = [1, 2, 10, 11, 12, 13, 21, 22, 103, 111].map(ordinal);
        let said = ["first", "second", "tenth", "11th", "12th", "13th", "21st", "22nd", "103rd", "111th"];
        assert_eq!(places, said);
    }

    #[test]
    fn a_name_is_said_as_words() {
        assert_eq!(of_name("JOIN_TOKEN"), "join token");
    }
}
