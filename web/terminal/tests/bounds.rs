//! Whatever a program prints, a terminal's memory and work stay bounded.
//! Work is counted by what is left over, not by a clock.

use drydock_terminal::{COMBINING_MAX, MARKS_MAX, Terminal};

fn terminal() -> Terminal {
    Terminal::new(80, 24, 100)
}

#[test]
fn a_repeat_fills_at_most_a_screen() {
    let mut terminal = terminal();
    terminal.feed(b"x\x1b[2147483647b");
    let written = terminal.scrollback_len() + 24;
    assert!(written <= 48, "{written} rows");
    assert!(terminal.text().iter().all(|row| row.chars().all(|c| c == 'x')));
}

#[test]
fn large_counts_do_no_more_than_small_ones() {
    for last in "@ABCDEFGHIJKLMPSTXZ`abdefgr".chars() {
        let mut terminal = terminal();
        terminal.feed(format!("text\x1b[5;5H\x1b[2147483647;2147483647{last}").as_bytes());
        let cursor = terminal.cursor();
        assert!(cursor.x < 80 && cursor.y < 24, "{last}");
        assert!(terminal.scrollback_len() <= 48, "{last}");
    }
}

#[test]
fn an_endless_osc_keeps_little() {
    let mut terminal = terminal();
    terminal.feed(b"\x1b]2;");
    for _ in 0..1600 {
        terminal.feed(&[b'a'; 65536]);
    }
    assert!(terminal.dump().len() < 20_000, "{} bytes", terminal.dump().len());
    terminal.feed(b"\x07after");
    assert_eq!(terminal.title().chars().count(), 256);
    assert_eq!(terminal.text()[0], "after");
}

#[test]
fn endless_sequences_keep_little() {
    for begin in ["\x1b[1", "\x1bP", "\x1bPq", "\x1b_", "\x1b^", "\x1bX", "\x1b(", "\x1b]133;A"] {
        for filler in [";", "1", "a", " ", "\u{e9}", "\x7f"] {
            let mut terminal = terminal();
            terminal.feed(begin.as_bytes());
            for _ in 0..100 {
                terminal.feed(filler.repeat(4096).as_bytes());
            }
            assert!(terminal.dump().len() < 900_000, "{begin:?} {filler:?}: {} bytes", terminal.dump().len());
        }
    }
}

#[test]
fn endless_combining_characters_are_cut() {
    let mut terminal = terminal();
    terminal.feed("e\u{301}".as_bytes());
    terminal.feed("\u{302}".repeat(1_000_000).as_bytes());
    assert_eq!(terminal.row(0).marks(0).chars().count(), COMBINING_MAX);
}

#[test]
fn marks_titles_and_answers_are_bounded() {
    let mut terminal = terminal();
    for _ in 0..10_000 {
        terminal.feed(b"\x1b]133;A\x07\x1b]2;title\x07\x1b[22;0t\x1b[6n\x1b[c");
    }
    assert_eq!(terminal.marks().count(), MARKS_MAX);
    assert_eq!(terminal.take_marks().len(), MARKS_MAX);
    assert!(terminal.take_replies().len() <= 4096);
    assert!(terminal.dump().len() < 80_000);
}

#[test]
fn a_wide_terminal_keeps_fewer_lines() {
    let mut terminal = Terminal::new(1000, 1, usize::MAX);
    terminal.feed(&b"x\n".repeat(5_000));
    assert_eq!(terminal.scrollback_len(), 400);
}

#[test]
fn no_newline_for_a_long_time() {
    let mut terminal = terminal();
    for _ in 0..100 {
        terminal.feed(&[b'y'; 65536]);
    }
    assert_eq!(terminal.scrollback_len(), 100);
}

#[test]
fn titles_have_no_controls_and_no_hidden_characters() {
    let mut terminal = terminal();
    terminal.feed("\x1b]0;a\u{9b}b\u{202e}c\u{200b}d\x01e;f\x1b\\".as_bytes());
    assert_eq!(terminal.title(), "abcde;f");
}
