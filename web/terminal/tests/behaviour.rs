//! What sequences do, one by one.

use drydock_terminal::{Attrs, Color, CursorShape, MarkKind, Position, ShellPhase, Terminal, Underline};

fn after(output: &str) -> Terminal {
    let mut terminal = Terminal::new(20, 5, 100);
    terminal.feed(output.as_bytes());
    terminal
}

fn shows(output: &str, rows: &[&str]) {
    let text = after(output).text();
    let end = text.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
    assert_eq!(text[..end], *rows, "after {output:?}");
}

#[test]
fn text_wraps_only_when_more_comes() {
    let terminal = after("12345678901234567890");
    assert!(terminal.cursor().pending_wrap);
    assert_eq!((terminal.cursor().x, terminal.cursor().y), (19, 0));
    shows("12345678901234567890\r\nx", &["12345678901234567890", "x"]);
    shows("12345678901234567890x", &["12345678901234567890", "x"]);
    shows("\x1b[?7l1234567890123456789012345", &["12345678901234567895"]);
}

#[test]
fn wide_characters_are_whole() {
    shows("1234567890123456789漢", &["1234567890123456789", "漢"]);
    shows("漢字\x1b[1;2Hx", &[" x字"]);
    shows("漢字\x1b[1;2H\x1b[P", &[" 字"]);
    shows("漢字\x1b[1;3H\x1b[1X", &["漢"]);
}

#[test]
fn editing_sequences() {
    shows("abcdef\x1b[1;3H\x1b[2@", &["ab  cdef"]);
    shows("abcdef\x1b[1;3H\x1b[2P", &["abef"]);
    shows("abcdef\x1b[1;3H\x1b[2X", &["ab  ef"]);
    shows("abc\x1b[4h\x1b[1;1Hxy\x1b[4lz", &["xyzbc"]);
    shows("a\r\nb\r\nc\x1b[2;1H\x1b[L", &["a", "", "b", "c"]);
    shows("a\r\nb\r\nc\x1b[1;1H\x1b[M", &["b", "c"]);
    shows("ab\x1b[3b", &["abbbb"]);
    shows("a\tb\x1b[1;1H\x1b[3g\ta", &["a       b          a"]);
}

#[test]
fn scroll_regions() {
    shows("1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[4;1H\n", &["1", "3", "4", "", "5"]);
    shows("1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[2;1H\x1bM", &["1", "", "2", "3", "5"]);
    shows("\x1b[2;4r\x1b[?6h\x1b[1;1Hx\x1b[9;1Hy", &["", "x", "", "y"]);
}

#[test]
fn the_alternate_screen() {
    let mut terminal = after("before\x1b[?1049hinside");
    assert!(terminal.is_alternate());
    assert_eq!(terminal.text()[0], "      inside");
    terminal.feed(b"\x1b[?1049l");
    assert!(!terminal.is_alternate());
    assert_eq!(terminal.text()[0], "before");
    assert_eq!(terminal.cursor().x, 6);
}

#[test]
fn colours_and_attributes() {
    let terminal = after("\x1b[1;3;38;5;208;48;2;1;2;3ma\x1b[0;4:3;58:2::9:8:7mb\x1b[m\x1b[38:5:7mc");
    let [a, b, c] = [0, 1, 2].map(|column| terminal.row(0).cells()[column].pen());
    assert_eq!((a.fg, a.bg), (Color::Indexed(208), Color::Rgb(1, 2, 3)));
    assert_eq!(a.attrs, Attrs::BOLD.with(Attrs::ITALIC));
    assert_eq!((b.attrs.underline(), b.underline_color), (Underline::Curly, Color::Rgb(9, 8, 7)));
    assert_eq!(c.fg, Color::Indexed(7));
}

#[test]
fn line_drawing() {
    shows("\x1b(0lqqk\x1b(Bl", &["┌──┐l"]);
    shows("\x1b)0\x0ex\x0fx", &["│x"]);
}

#[test]
fn bad_bytes_are_shown_as_such() {
    let mut terminal = Terminal::new(20, 5, 100);
    terminal.feed(b"a\xffb\xe2\x82c\xc3\x1b[1md");
    assert_eq!(terminal.text()[0], "a\u{fffd}b\u{fffd}c\u{fffd}d");
}

#[test]
fn answers() {
    let mut terminal =
        after("\x1b[c\x1b[>c\x1b[5n\x1b[2;3H\x1b[6n\x1b[?2004h\x1b[?2004$p\x1b[4$p\x1bP$qm\x1b\\");
    let replies = terminal.take_replies();
    assert_eq!(
        String::from_utf8_lossy(&replies),
        "\x1b[?62;22c\x1b[>0;276;0c\x1b[0n\x1b[2;3R\x1b[?2004;1$y\x1b[4;2$y\x1bP0$r\x1b\\"
    );
    assert!(terminal.take_replies().is_empty());
}

#[test]
fn modes_and_cursor() {
    let terminal = after("\x1b[?1h\x1b=\x1b[?2004h\x1b[?25l\x1b[4 q");
    let modes = terminal.modes();
    assert!(modes.application_cursor && modes.application_keypad && modes.bracketed_paste);
    assert_eq!((terminal.cursor().visible, terminal.cursor().style.shape), (false, CursorShape::Underline));
    let reset = after("\x1b[?1h\x1b[?2004h\x1b[?6h\x1b[31m\x1b[!px");
    assert!(!reset.modes().application_cursor && !reset.modes().bracketed_paste && !reset.modes().origin);
    assert_eq!(reset.row(0).cells()[0].pen().fg, Color::Default);
}

#[test]
fn a_full_reset_keeps_counting_lines() {
    let mut terminal = after("1\r\n2\r\n3\r\n4\r\n5\r\n6");
    let line = terminal.position().line;
    terminal.feed(b"\x1bcx");
    assert_eq!(terminal.text()[0], "x");
    assert_eq!(terminal.scrollback_len(), 0);
    assert!(terminal.position().line > line);
}

#[test]
fn the_shell_is_followed_by_its_marks() {
    let mut terminal = after("\x1b]133;A\x07$ \x1b]133;B\x07");
    assert_eq!(terminal.shell().phase, ShellPhase::Typing);
    assert_eq!(terminal.prompt_end(), Some(Position { line: 0, col: 2 }));
    terminal.feed(b"false");
    assert_eq!(terminal.line_before_cursor(), (0, "$ false".into()));
    terminal.feed(b"\r\n\x1b]133;C\x07");
    assert_eq!(terminal.shell().phase, ShellPhase::Running);
    let marks = terminal.take_marks();
    let begun = marks.last().map(|mark| mark.at).expect("a mark");
    terminal.feed(b"a line longer than the screen is wide  \r\nand\r\n\x1b]133;D;3\x07");
    let shell = terminal.shell();
    assert_eq!(
        (shell.phase, shell.started, shell.finished, shell.last_exit),
        (ShellPhase::Ended, 1, 1, Some(3))
    );
    let ended = terminal.take_marks()[0];
    assert_eq!(ended.kind, MarkKind::CommandEnd { exit: Some(3) });
    assert_eq!(terminal.output_text(begun, ended.at), "a line longer than the screen is wide\nand\n");
}

#[test]
fn ctrl_c_at_a_prompt_ends_no_command() {
    let terminal = after("\x1b]133;A\x07$ \x1b]133;B\x07^C\r\n\x1b]133;D;130\x07\x1b]133;A\x07");
    assert_eq!((terminal.shell().finished, terminal.shell().last_exit), (0, None));
}

#[test]
fn a_shell_within_the_shell_ends_too() {
    let inner = "\x1b]133;A\x07$ \x1b]133;B\x07bash\r\n\x1b]133;C\x07\x1b]133;A\x07$ \x1b]133;B\x07";
    let mut terminal = after(inner);
    assert_eq!((terminal.shell().started, terminal.shell().finished), (1, 0));
    terminal.feed(
        b"true\r\n\x1b]133;C\x07\x1b]133;D;0\x07\x1b]133;A\x07$ \x1b]133;B\x07exit\r\n\x1b]133;D;4\x07",
    );
    assert_eq!(
        (terminal.shell().started, terminal.shell().finished, terminal.shell().last_exit),
        (2, 2, Some(4))
    );
}

#[test]
fn changes_name_the_rows() {
    let mut terminal = after("");
    terminal.take_changes();
    terminal.feed(b"\x1b[3;1Hx\x1b]2;t\x07\x07");
    let changes = terminal.take_changes();
    assert_eq!((changes.rows, changes.scrolled, changes.title, changes.bell), (vec![2], 0, true, true));
    terminal.feed(b"\x1b[5;1H\n\n");
    assert_eq!(terminal.take_changes().scrolled, 2);
    assert_eq!(terminal.take_changes().rows, Vec::<u16>::new());
}
