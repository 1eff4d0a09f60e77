//! `{{NAME}}`: what an earlier block's output gave, put into a later block.

use std::collections::BTreeMap;

use crate::block::{BlockError, Capture, regex};

/// The longest value that is captured, in characters.
const VALUE_MAX: usize = 4096;

/// Captured values by name.
pub type Names = BTreeMap<String, String>;

/// The names that `text` uses as `{{NAME}}`, each once, in order.
///
/// Only letters, digits and `_` make a name, so that Go templates such as
/// `{{.Names}}` are left alone.
pub fn names_in(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _, _) in places(text) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Each `{{NAME}}` of `text`: the name, and where the whole begins and ends.
fn places(text: &str) -> Vec<(&str, usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find("{{").map(|at| from + at) {
        let inner = &text[open + 2..];
        let length = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
        if length > 0 && inner[length..].starts_with("}}") {
            found.push((&inner[..length], open, open + 2 + length + 2));
            from = open + 2 + length + 2;
        } else {
            from = open + 1;
        }
    }
    found
}

/// `text` with the names in `needs` replaced by their values.
pub(crate) fn replace(text: &str, needs: &[String], names: &Names) -> Result<String, BlockError> {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (name, start, end) in places(text) {
        if !needs.iter().any(|need| need == name) {
            continue;
        }
        let value = names.get(name).ok_or_else(|| BlockError::Missing(name.to_owned()))?;
        out.push_str(&text[from..start]);
        out.push_str(value);
        from = end;
    }
    out.push_str(&text[from..]);
    Ok(out)
}

/// What `capture` takes from `output`, or `None` when nothing there fits.
pub(crate) fn take(capture: &Capture, output: &str) -> Result<Option<String>, BlockError> {
    let regex = regex(&capture.pattern)?;
    let value = regex.captures(output).and_then(|groups| groups.get(1)).map(|group| group.as_str());
    Ok(value.filter(|value| one_printable_line(value)).map(str::to_owned))
}

fn one_printable_line(value: &str) -> bool {
    !value.is_empty() && value.chars().count() <= VALUE_MAX && !value.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pairs: &[(&str, &str)]) -> Names {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn only_names_asked_for_are_replaced() {
        let text = "docker ps --format '{{.Names}}' {{ID}} {{id}} {{OTHER}}";
        let out = replace(text, &["ID".into()], &names(&[("ID", "abc"), ("id", "no")])).unwrap();
        assert_eq!(out, "docker ps --format '{{.Names}}' abc {{id}} {{OTHER}}");
    }

    #[test]
    fn a_missing_name_is_said() {
        let missing = replace("join {{TOKEN}}", &["TOKEN".into()], &Names::new());
        assert_eq!(missing, Err(BlockError::Missing("TOKEN".into())));
    }

    #[test]
    fn names_are_found_once_each() {
        assert_eq!(names_in("{{A}} {{{B}} {{.C}} {{A}} {{}} {{"), ["A", "B"]);
    }

    #[test]
    fn a_capture_is_one_printable_line() {
        let capture = |pattern: &str| Capture { name: "X".into(), pattern: pattern.into() };
        assert_eq!(take(&capture("id: ([0-9a-f]+)"), "id: 12af\n"), Ok(Some("12af".into())));
        assert_eq!(take(&capture(r"(?s)(a.*b)"), "a\nb"), Ok(None));
        assert_eq!(take(&capture("(x)"), "y"), Ok(None));
    }
}
