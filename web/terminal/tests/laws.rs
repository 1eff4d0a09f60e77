//! Laws that hold whatever a program prints.

use drydock_terminal::Terminal;
use proptest::collection::vec;
use proptest::prelude::*;

const SCROLLBACK: usize = 20;

/// A piece of output: text, controls, and every kind of sequence, whole or broken.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![6 => 0u32..12, 1 => 0u32..300, 1 => Just(2_147_483_647u32)];
    let params = vec(number.clone().prop_map(|n| n.to_string()), 0..4).prop_map(|p| p.join(";"));
    let csi = ("[?>!= ]{0,1}", params.clone(), "[ $'!]{0,1}", "[@-~]").prop_map(
        |(prefix, params, middle, last)| format!("\x1b[{prefix}{params}{middle}{last}").into_bytes(),
    );
    let common = (params, prop::sample::select(b"ABCDEFGHIJKLMPSTXZ@bdefgmrsu".to_vec()))
        .prop_map(|(params, last)| format!("\x1b[{params}{}", char::from(last)).into_bytes());
    let mode = (
        prop::sample::select(vec![
            "4", "20", "?1", "?6", "?7", "?25", "?45", "?47", "?1047", "?1048", "?1049", "?2004", "?2026",
            "?1002", "?1006",
        ]),
        prop::sample::select(vec!['h', 'l']),
    )
        .prop_map(|(mode, set)| format!("\x1b[{mode}{set}").into_bytes());
    let sgr =
        vec(prop_oneof![0u32..110, Just(38), Just(48), Just(58), Just(5), Just(2)], 0..7).prop_map(|codes| {
            format!("\x1b[{}m", codes.iter().map(u32::to_string).collect::<Vec<_>>().join(";")).into_bytes()
        });
    let osc = prop_oneof![
        "[0-9;]{0,5}[a-z;]{0,9}".prop_map(|text| format!("\x1b]{text}\x07").into_bytes()),
        "133;[ABCD](;[0-9]{1,3})?".prop_map(|text| format!("\x1b]{text}\x07").into_bytes()),
        "2;.{0,9}".prop_map(|text| format!("\x1b]{text}\x1b\\").into_bytes()),
        "7770;(wrapped|cursor;[0-9]{1,3};[0-9]{1,3}|lines;9|blank;[0-9]{1,3}|alternate)"
            .prop_map(|text| format!("\x1b]{text}\x1b\\").into_bytes()),
    ];
    let escape = prop_oneof![
        "[ -~]".prop_map(|text| format!("\x1b{text}").into_bytes()),
        "[()*+#%][0AB8@]".prop_map(|text| format!("\x1b{text}").into_bytes()),
        "P[0-9;$+]{0,4}[a-z][ -~]{0,5}".prop_map(|text| format!("\x1b{text}\x1b\\").into_bytes()),
    ];
    let text = prop_oneof![
        "[ -~]{1,30}".prop_map(String::into_bytes),
        "[a-z漢字界é\u{301}\u{200d}😀─]{1,12}".prop_map(String::into_bytes),
        "\\PC{1,6}".prop_map(String::into_bytes),
        vec(any::<u8>(), 1..5),
    ];
    let control = prop::sample::select(vec![
        "\n", "\r\n", "\r", "\t", "\x08", "\x0e", "\x0f", "\x0b", "\u{84}", "\u{85}", "\u{8d}", "\u{9b}",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    prop_oneof![5 => text, 3 => control, 5 => common, 2 => csi, 3 => mode, 3 => sgr, 2 => osc, 2 => escape]
}

fn output() -> impl Strategy<Value = Vec<u8>> {
    vec(piece(), 0..60).prop_map(|pieces| pieces.concat())
}

/// What must hold of every terminal.
fn check_invariants(terminal: &Terminal) {
    let (cols, rows) = terminal.size();
    let cursor = terminal.cursor();
    assert!(cursor.x < cols && cursor.y < rows, "cursor {cursor:?} is off the {cols}x{rows} screen");
    assert!(terminal.scrollback_len() <= SCROLLBACK, "too much scrollback");
    assert!(!terminal.title().chars().any(char::is_control), "title has control characters");
    let scrollback = (0..terminal.scrollback_len()).filter_map(|index| terminal.scrollback_row(index));
    for row in scrollback.chain((0..usize::from(rows)).map(|y| terminal.row(y))) {
        let cells = row.cells();
        assert_eq!(cells.len(), usize::from(cols));
        for (column, cell) in cells.iter().enumerate() {
            match cell.width() {
                1 => {}
                2 => assert_eq!(
                    cells.get(column + 1).map(|next| next.width()),
                    Some(0),
                    "half a wide character"
                ),
                0 => assert!(
                    column > 0 && cells[column - 1].width() == 2 && !cell.has_content(),
                    "half a wide character"
                ),
                other => panic!("a cell of width {other}"),
            }
            assert_eq!(cell.is_combined(), !row.marks(column).is_empty(), "combining characters astray");
            assert!(
                !cell.character().is_control() || cell.character() == '\0',
                "a control character on the screen"
            );
        }
    }
}

/// A terminal's state in letters, to see what differs.
fn show(terminal: &Terminal) -> String {
    terminal.dump().escape_ascii().to_string()
}

fn restored(terminal: &Terminal) -> Terminal {
    let (cols, rows) = terminal.size();
    Terminal::from_dump(cols, rows, SCROLLBACK, &terminal.dump())
}

/// How many cases to try: 1,500, or more where there is time.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1500)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn invariants_hold(bytes in output(), cols in 2u16..40, rows in 1u16..12) {
        let mut terminal = Terminal::new(cols, rows, SCROLLBACK);
        terminal.feed(&bytes);
        check_invariants(&terminal);
    }

    #[test]
    fn a_dump_gives_an_equal_terminal(bytes in output(), cols in 2u16..40, rows in 1u16..12) {
        let mut terminal = Terminal::new(cols, rows, SCROLLBACK);
        terminal.feed(&bytes);
        let copy = restored(&terminal);
        check_invariants(&copy);
        prop_assert!(copy == terminal, "after {}\n{}\n{}", bytes.escape_ascii(), show(&terminal), show(&copy));
    }

    /// Whoever attaches in the middle, of a sequence too, sees the same in the end.
    #[test]
    fn a_dump_at_any_byte_goes_on_the_same(bytes in output(), cut in any::<prop::sample::Index>(), cols in 2u16..40, rows in 1u16..12) {
        let cut = cut.index(bytes.len() + 1);
        let mut terminal = Terminal::new(cols, rows, SCROLLBACK);
        terminal.feed(&bytes[..cut]);
        let mut copy = restored(&terminal);
        terminal.feed(&bytes[cut..]);
        copy.feed(&bytes[cut..]);
        prop_assert!(copy == terminal, "after {}\n{}\n{}", bytes.escape_ascii(), show(&terminal), show(&copy));
    }

    #[test]
    fn cuts_do_not_matter(bytes in output(), step in 1usize..7) {
        let mut whole = Terminal::new(20, 6, SCROLLBACK);
        whole.feed(&bytes);
        let mut pieces = Terminal::new(20, 6, SCROLLBACK);
        bytes.chunks(step).for_each(|chunk| pieces.feed(chunk));
        prop_assert!(pieces == whole, "after {}\n{}\n{}", bytes.escape_ascii(), show(&whole), show(&pieces));
        prop_assert_eq!(pieces.take_replies(), whole.take_replies());
    }

    #[test]
    fn a_resize_keeps_the_invariants(
        parts in vec((output(), 2u16..40, 1u16..12), 1..4),
    ) {
        let mut terminal = Terminal::new(20, 6, SCROLLBACK);
        for (bytes, cols, rows) in parts {
            terminal.feed(&bytes);
            terminal.resize(cols, rows);
            prop_assert_eq!(terminal.size(), (cols, rows));
            check_invariants(&terminal);
            let copy = restored(&terminal);
            prop_assert!(copy == terminal, "after {}\n{}\n{}", bytes.escape_ascii(), show(&terminal), show(&copy));
        }
    }

    /// Answers are numbers and fixed words: no text that was printed comes back.
    #[test]
    fn nothing_printed_comes_back(text in "[g-mo-pt-xz]{8}", bytes in output()) {
        let mut terminal = Terminal::new(20, 6, SCROLLBACK);
        for ask in [format!("\x1b]2;{text}\x07\x1b[21t"), format!("\x1bP$q{text}\x1b\\"), format!("\x1bP+q{text}\x1b\\"), format!("\x1b]52;c;{text}\x07\x1b]52;c;?\x07")] {
            terminal.feed(ask.as_bytes());
            terminal.feed(&bytes);
        }
        let replies = String::from_utf8(terminal.take_replies()).expect("replies are ASCII");
        prop_assert!(!replies.contains(&text));
        prop_assert!(replies.len() <= 4096);
    }
}
