//! Lines that belong together: what is typed before the shell is back at its
//! prompt.

/// The commands of a block's text, each as many lines as the shell reads for
/// it. A line that ends in `\`, an open quote or a here-document goes with the
/// next. Blank lines and comments between commands are left out.
pub fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut current: Vec<&str> = Vec::new();
    let mut shell = Shell::default();
    for line in text.lines() {
        let bare = line.trim_start();
        if current.is_empty() && (bare.is_empty() || bare.starts_with('#')) {
            continue;
        }
        current.push(line);
        if !shell.wants_more_after(line) {
            commands.push(current.join("\n"));
            current.clear();
        }
    }
    if !current.is_empty() {
        commands.push(current.join("\n"));
    }
    commands
}

/// What the shell is in the middle of, between two lines.
#[derive(Default)]
struct Shell {
    quote: Option<Quote>,
    /// Here-documents whose bodies follow, in order.
    heredocs: Vec<Heredoc>,
}

#[derive(Clone, Copy, PartialEq)]
enum Quote {
    Single,
    Double,
    /// `$'…'`, where a backslash escapes.
    Dollar,
}

struct Heredoc {
    end: String,
    /// `<<-`: tabs before the end are cut.
    tabs: bool,
}

impl Shell {
    fn wants_more_after(&mut self, line: &str) -> bool {
        if self.quote.is_none() && !self.heredocs.is_empty() {
            let first = &self.heredocs[0];
            let text = if first.tabs { line.trim_start_matches('\t') } else { line };
            if text == first.end {
                self.heredocs.remove(0);
            }
            return !self.heredocs.is_empty();
        }
        let backslash = self.scan(line);
        backslash || self.quote.is_some() || !self.heredocs.is_empty()
    }

    /// Reads one line of shell; whether it ends in a backslash that counts.
    fn scan(&mut self, line: &str) -> bool {
        let mut chars = line.chars().peekable();
        let mut before = ' ';
        while let Some(c) = chars.next() {
            match (self.quote, c) {
                (Some(Quote::Single), '\'') | (Some(Quote::Double), '"') | (Some(Quote::Dollar), '\'') => {
                    self.quote = None;
                }
                (Some(Quote::Single), _) => {}
                (_, '\\') => match chars.next() {
                    Some(_) => {}
                    None => return self.quote != Some(Quote::Dollar),
                },
                (Some(_), _) => {}
                (None, '\'') => self.quote = Some(if before == '$' { Quote::Dollar } else { Quote::Single }),
                (None, '"') => self.quote = Some(Quote::Double),
                (None, '#') if before.is_whitespace() => return false,
                (None, '<') if chars.peek() == Some(&'<') => {
                    chars.next();
                    if chars.peek() == Some(&'<') {
                        chars.next();
                    } else {
                        self.heredocs.extend(heredoc(&mut chars));
                    }
                }
                (None, _) => {}
            }
            before = c;
        }
        false
    }
}

/// Reads what stands after `<<`; `None` when no word follows.
fn heredoc(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Heredoc> {
    let tabs = chars.next_if_eq(&'-').is_some();
    while chars.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
    let mut end = String::new();
    while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !";&|<>()".contains(*c)) {
        if !matches!(c, '\'' | '"' | '\\') {
            end.push(c);
        }
    }
    (!end.is_empty()).then_some(Heredoc { end, tabs })
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn each_line_is_a_command() {
        assert_eq!(commands("ls\n\n# a comment\n  pwd\n"), ["ls", "  pwd"]);
        assert!(commands("\n# nothing\n").is_empty());
    }

    #[test]
    fn a_backslash_goes_on() {
        assert_eq!(commands("docker run \\\n  debian\nls"), ["docker run \\\n  debian", "ls"]);
        assert_eq!(commands("echo \\\\\nls"), ["echo \\\\", "ls"]);
        assert_eq!(commands("echo 'a\\'\nls"), ["echo 'a\\'", "ls"]);
    }

    #[test]
    fn an_open_quote_goes_on() {
        assert_eq!(commands("sh -c '\nls\n'\npwd"), ["sh -c '\nls\n'", "pwd"]);
        assert_eq!(commands("echo \"a\\\"\nb\"\npwd"), ["echo \"a\\\"\nb\"", "pwd"]);
        assert_eq!(commands("echo $'it\\'s'\npwd"), ["echo $'it\\'s'", "pwd"]);
        assert_eq!(commands("echo it # it's\npwd"), ["echo it # it's", "pwd"]);
        assert_eq!(commands("echo a#'b'\npwd"), ["echo a#'b'", "pwd"]);
    }

    #[test]
    fn a_heredoc_goes_to_its_end() {
        assert_eq!(commands("cat <<EOF\n# x\n\n'\nEOF\nls"), ["cat <<EOF\n# x\n\n'\nEOF", "ls"]);
        assert_eq!(commands("cat <<-'END' > f\nx\n\tEND\nls"), ["cat <<-'END' > f\nx\n\tEND", "ls"]);
        assert_eq!(commands("cat <<A <<B\na\nA\nb\nB\nls"), ["cat <<A <<B\na\nA\nb\nB", "ls"]);
        assert_eq!(commands("cat <<< word\nls"), ["cat <<< word", "ls"]);
    }

    #[test]
    fn what_is_never_closed_is_still_one_command() {
        assert_eq!(commands("cat <<EOF\nx"), ["cat <<EOF\nx"]);
    }
}
