//! Recordings of real programs end cell for cell as in xterm.js.
//!
//! `xtermjs/record.mjs` made the recordings, `tests/browser/xtermjs.mjs` the
//! screens; a test there makes sure that the screens are still xterm.js' own.

use std::fs;
use std::path::PathBuf;

use drydock_terminal::{Attrs, Color, Pen, Row, Terminal, Underline};
use serde_json::Value;

const COLS: u16 = 80;
const ROWS: u16 = 24;
const SCROLLBACK: usize = 1000;
const NAMES: [&str; 7] = ["bash", "less", "man", "nano", "top", "vim", "tmux"];

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/xtermjs").join(name)
}

fn recording(name: &str) -> Vec<u8> {
    fs::read(file(&format!("{name}.bytes"))).expect("the recording is there")
}

fn color(color: Color) -> String {
    match color {
        Color::Default => String::new(),
        Color::Indexed(index) => index.to_string(),
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
    }
}

fn style(pen: Pen) -> String {
    let mut letters = String::new();
    for (attr, letter) in [(Attrs::BOLD, 'b'), (Attrs::DIM, 'd'), (Attrs::ITALIC, 'i')] {
        letters.extend(pen.attrs.contains(attr).then_some(letter));
    }
    letters.extend((pen.attrs.underline() != Underline::None).then_some('u'));
    let rest = [
        (Attrs::BLINK, 'k'),
        (Attrs::INVERSE, 'v'),
        (Attrs::INVISIBLE, 'h'),
        (Attrs::STRIKE, 's'),
        (Attrs::OVERLINE, 'o'),
    ];
    for (attr, letter) in rest {
        letters.extend(pen.attrs.contains(attr).then_some(letter));
    }
    format!("{}|{}|{letters}", color(pen.fg), color(pen.bg))
}

/// A row in the form of the files.
fn runs(row: &Row) -> Vec<(String, String)> {
    let mut runs: Vec<(String, String)> = Vec::new();
    for (column, cell) in row.cells().iter().enumerate() {
        let text = match (cell.width(), cell.has_content()) {
            (0, _) => "␣".to_owned(),
            (_, false) => "␀".to_owned(),
            _ => format!("{}{}", cell.character(), row.marks(column)),
        };
        let style = style(cell.pen());
        match runs.last_mut() {
            Some((last, run)) if *last == style => run.push_str(&text),
            _ => runs.push((style, text)),
        }
    }
    if let Some((style, text)) = runs.last_mut()
        && style == "||"
    {
        text.truncate(text.trim_end_matches('␀').len());
        if text.is_empty() {
            runs.pop();
        }
    }
    runs
}

fn expected_runs(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    value.as_array().expect("a row").iter().map(|run| (text(&run[0]), text(&run[1]))).collect()
}

#[test]
fn every_screen_is_that_of_xterm_js() {
    for name in NAMES {
        let bytes = recording(name);
        let screens =
            fs::read_to_string(file(&format!("{name}.screens.json"))).expect("the screens are there");
        let screens: Vec<Value> = serde_json::from_str(&screens).expect("the screens are JSON");
        let mut terminal = Terminal::new(COLS, ROWS, SCROLLBACK);
        let mut rows = vec![Vec::new(); usize::from(ROWS)];
        let mut from = 0;
        for screen in &screens {
            let at = screen["at"].as_u64().expect("an offset") as usize;
            terminal.feed(&bytes[from..at]);
            from = at;
            for (y, expected) in rows.iter_mut().enumerate() {
                if !screen["rows"][y].is_null() {
                    *expected = expected_runs(&screen["rows"][y]);
                }
                assert_eq!(runs(terminal.row(y)), *expected, "{name} at byte {at}, row {y}");
            }
            let cursor = terminal.cursor();
            let expected = (screen["cursor"][0].as_u64(), screen["cursor"][1].as_u64());
            assert_eq!(
                (Some(cursor.x.into()), Some(cursor.y.into())),
                expected,
                "{name}'s cursor at byte {at}"
            );
            assert_eq!(Some(terminal.is_alternate()), screen["alternate"].as_bool(), "{name} at byte {at}");
        }
        assert_eq!(from, bytes.len());
    }
}

#[test]
fn whoever_attaches_at_any_byte_sees_the_same() {
    for name in NAMES {
        let bytes = recording(name);
        let mut whole = Terminal::new(COLS, ROWS, SCROLLBACK);
        whole.feed(&bytes);
        let mut before = Terminal::new(COLS, ROWS, SCROLLBACK);
        // A step without a common factor with lines or sequences.
        let step = 1 + bytes.len() / 331;
        for (index, chunk) in bytes.chunks(step).enumerate() {
            before.feed(chunk);
            let mut attached = Terminal::from_dump(COLS, ROWS, SCROLLBACK, &before.dump());
            assert!(attached == before, "{name}: the dump after chunk {index} of {step} bytes differs");
            attached.feed(&bytes[((index + 1) * step).min(bytes.len())..]);
            assert!(attached == whole, "{name}: attached after chunk {index} of {step} bytes");
        }
    }
}
