//! What a key does in a terminal: the bytes that xterm sends, or something the page does.

use drydock_terminal::Modes;

/// A key as the browser reports it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Key<'a> {
    /// What it means in the layout: `"a"`, `"Enter"`, `"Dead"`.
    pub(crate) key: &'a str,
    /// Where it is on the keyboard: `"KeyA"`.
    pub(crate) code: &'a str,
    pub(crate) ctrl: bool,
    pub(crate) alt: bool,
    pub(crate) shift: bool,
    pub(crate) meta: bool,
    /// The third level of the layout: AltGr.
    pub(crate) alt_graph: bool,
    /// On a Mac, Option writes characters and Command is the browser's.
    pub(crate) mac: bool,
}

/// Where the focus goes when the terminal is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// To the next region (F6).
    Next,
    /// To the previous region (Shift+F6).
    Previous,
    /// Out of the terminal (Ctrl+Shift+Enter).
    Guide,
}

/// What to scroll to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scroll {
    PageUp,
    PageDown,
    Top,
    Bottom,
    PreviousCommand,
    NextCommand,
}

/// What a key does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Goes to the program.
    Send(Vec<u8>),
    /// Leaves the terminal.
    Leave(Leave),
    /// Copies what is selected.
    Copy,
    /// Moves the view.
    Scroll(Scroll),
    /// May be a shortcut of the page; if not, nothing.
    Shortcut,
    /// The browser's: text comes as input, a paste as a paste.
    Browser,
}

/// What a key does. `selected`: whether text is selected.
pub(crate) fn action(key: &Key<'_>, modes: &Modes, selected: bool) -> Action {
    if let Some(own) = own_key(key, selected) {
        return own;
    }
    if key.meta && key.mac {
        return Action::Browser;
    }
    if let Some(bytes) = named_key(key, modes) {
        return Action::Send(bytes);
    }
    let mut characters = key.key.chars();
    let (Some(character), None) = (characters.next(), characters.next()) else { return Action::Browser };
    let writes_text = key.alt_graph || (key.ctrl && key.alt && !character.is_ascii_alphanumeric());
    if writes_text || (key.mac && key.alt && !key.ctrl) {
        return Action::Browser;
    }
    if key.ctrl {
        return control(character, key)
            .map_or(Action::Browser, |byte| Action::Send(escaped(key.alt, vec![byte])));
    }
    if key.alt {
        return Action::Send(escaped(true, character.to_string().into_bytes()));
    }
    Action::Browser
}

/// The keys that the page keeps for itself.
fn own_key(key: &Key<'_>, selected: bool) -> Option<Action> {
    let Key { ctrl, shift, alt, meta, mac, .. } = *key;
    let only_shift = shift && !ctrl && !alt && !meta;
    match key.key {
        "F6" if !ctrl && !alt && !meta => {
            Some(Action::Leave(if shift { Leave::Previous } else { Leave::Next }))
        }
        "Enter" if ctrl && shift => Some(Action::Leave(Leave::Guide)),
        "c" | "C" if ctrl && shift => Some(Action::Copy),
        "c" | "C" if ctrl && selected && !alt => Some(Action::Copy),
        "c" if meta && mac => Some(Action::Copy),
        "v" | "V" if ctrl && shift => Some(Action::Browser),
        "Insert" if only_shift => Some(Action::Browser),
        "Insert" if ctrl && selected => Some(Action::Copy),
        "ArrowUp" if ctrl && shift => Some(Action::Scroll(Scroll::PreviousCommand)),
        "ArrowDown" if ctrl && shift => Some(Action::Scroll(Scroll::NextCommand)),
        "ArrowLeft" | "ArrowRight" | "f" | "F" if ctrl && shift => Some(Action::Shortcut),
        "PageUp" if only_shift => Some(Action::Scroll(Scroll::PageUp)),
        "PageDown" if only_shift => Some(Action::Scroll(Scroll::PageDown)),
        "Home" if ctrl && shift => Some(Action::Scroll(Scroll::Top)),
        "End" if ctrl && shift => Some(Action::Scroll(Scroll::Bottom)),
        _ => None,
    }
}

/// Keys with a name instead of a character.
fn named_key(key: &Key<'_>, modes: &Modes) -> Option<Vec<u8>> {
    let modifiers =
        1 + u8::from(key.shift) + 2 * u8::from(key.alt) + 4 * u8::from(key.ctrl) + 8 * u8::from(key.meta);
    let letter = |letter: char, application: bool| match modifiers {
        1 if application => format!("\x1bO{letter}").into_bytes(),
        1 => format!("\x1b[{letter}").into_bytes(),
        _ => format!("\x1b[1;{modifiers}{letter}").into_bytes(),
    };
    let tilde = |number: u8| match modifiers {
        1 => format!("\x1b[{number}~").into_bytes(),
        _ => format!("\x1b[{number};{modifiers}~").into_bytes(),
    };
    Some(match key.key {
        "Enter" => escaped(key.alt, vec![b'\r']),
        "Backspace" => escaped(key.alt, vec![if key.ctrl { 0x08 } else { 0x7f }]),
        "Tab" if key.shift => b"\x1b[Z".to_vec(),
        "Tab" => escaped(key.alt, vec![b'\t']),
        "Escape" => escaped(key.alt, vec![0x1b]),
        "ArrowUp" => letter('A', modes.application_cursor),
        "ArrowDown" => letter('B', modes.application_cursor),
        "ArrowRight" => letter('C', modes.application_cursor),
        "ArrowLeft" => letter('D', modes.application_cursor),
        "Home" => letter('H', modes.application_cursor),
        "End" => letter('F', modes.application_cursor),
        "Clear" => letter('E', modes.application_cursor),
        "Insert" => tilde(2),
        "Delete" => tilde(3),
        "PageUp" => tilde(5),
        "PageDown" => tilde(6),
        "F1" => letter('P', true),
        "F2" => letter('Q', true),
        "F3" => letter('R', true),
        "F4" => letter('S', true),
        "F5" => tilde(15),
        "F6" => tilde(17),
        "F7" => tilde(18),
        "F8" => tilde(19),
        "F9" => tilde(20),
        "F10" => tilde(21),
        "F11" => tilde(23),
        "F12" => tilde(24),
        _ => return None,
    })
}

/// The control character that Ctrl makes of a character, by the key's place
/// where the layout has no Latin letters.
fn control(character: char, key: &Key<'_>) -> Option<u8> {
    let character = match key.code.strip_prefix("Key") {
        Some(letter) if !character.is_ascii() => letter.chars().next()?,
        _ => character,
    };
    Some(match character.to_ascii_lowercase() {
        letter @ 'a'..='z' => letter as u8 - b'a' + 1,
        ' ' | '@' | '2' | '`' => 0,
        '[' | '3' | '{' => 0x1b,
        '\\' | '4' | '|' => 0x1c,
        ']' | '5' | '}' => 0x1d,
        '^' | '6' | '~' => 0x1e,
        '_' | '7' | '/' | '-' | '?' => 0x1f,
        '8' => 0x7f,
        _ => return None,
    })
}

fn escaped(alt: bool, bytes: Vec<u8>) -> Vec<u8> {
    if alt { [&[0x1b], bytes.as_slice()].concat() } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(keys: &str) -> Action {
        press_in(keys, &Modes::default(), false)
    }

    /// Presses e.g. `"Ctrl+Shift+c"`.
    fn press_in(keys: &str, modes: &Modes, selected: bool) -> Action {
        let mut parts: Vec<&str> = keys.split('+').collect();
        let name = parts.pop().expect("a key");
        let has = |modifier: &str| parts.contains(&modifier);
        let code = if name == "с" { "KeyC" } else { "" };
        let key = Key {
            key: name,
            code,
            ctrl: has("Ctrl"),
            alt: has("Alt"),
            shift: has("Shift"),
            meta: has("Meta"),
            alt_graph: has("AltGr"),
            mac: has("Mac"),
        };
        action(&key, modes, selected)
    }

    fn sent(keys: &str) -> String {
        match press(keys) {
            Action::Send(bytes) => bytes.escape_ascii().to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn keys_send_what_xterm_sends() {
        for (keys, bytes) in [
            ("Enter", r"\r"),
            ("Alt+Enter", r"\x1b\r"),
            ("Backspace", r"\x7f"),
            ("Ctrl+Backspace", r"\x08"),
            ("Tab", r"\t"),
            ("Shift+Tab", r"\x1b[Z"),
            ("Escape", r"\x1b"),
            ("ArrowUp", r"\x1b[A"),
            ("Ctrl+ArrowRight", r"\x1b[1;5C"),
            ("Alt+ArrowLeft", r"\x1b[1;3D"),
            ("Shift+End", r"\x1b[1;2F"),
            ("Delete", r"\x1b[3~"),
            ("Ctrl+Delete", r"\x1b[3;5~"),
            ("F1", r"\x1bOP"),
            ("Shift+F1", r"\x1b[1;2P"),
            ("F5", r"\x1b[15~"),
            ("Ctrl+F6", r"\x1b[17;5~"),
            ("F12", r"\x1b[24~"),
            ("Ctrl+c", r"\x03"),
            ("Ctrl+с", r"\x03"),
            ("Ctrl+r", r"\x12"),
            ("Ctrl+ ", r"\x00"),
            ("Ctrl+[", r"\x1b"),
            ("Ctrl+\\", r"\x1c"),
            ("Ctrl+_", r"\x1f"),
            ("Alt+b", r"\x1bb"),
            ("Ctrl+Alt+a", r"\x1b\x01"),
            ("Ctrl+v", r"\x16"),
        ] {
            assert_eq!(sent(keys), bytes, "{keys}");
        }
    }

    #[test]
    fn application_cursor_keys() {
        let modes = Modes { application_cursor: true, ..Modes::default() };
        assert_eq!(press_in("ArrowUp", &modes, false), Action::Send(b"\x1bOA".to_vec()));
        assert_eq!(press_in("Home", &modes, false), Action::Send(b"\x1bOH".to_vec()));
        assert_eq!(press_in("Ctrl+ArrowUp", &modes, false), Action::Send(b"\x1b[1;5A".to_vec()));
    }

    #[test]
    fn text_is_left_to_the_browser() {
        for keys in [
            "a",
            "Shift+A",
            "é",
            "Dead",
            "AltGr+@",
            "Ctrl+Alt+@",
            "Ctrl+Alt+\\",
            "Mac+Alt+å",
            "Process",
            "Shift",
        ] {
            assert_eq!(press(keys), Action::Browser, "{keys}");
        }
    }

    #[test]
    fn some_keys_are_the_pages_own() {
        assert_eq!(press("F6"), Action::Leave(Leave::Next));
        assert_eq!(press("Shift+F6"), Action::Leave(Leave::Previous));
        assert_eq!(press("Ctrl+Shift+Enter"), Action::Leave(Leave::Guide));
        assert_eq!(press("Ctrl+Shift+C"), Action::Copy);
        assert_eq!(press_in("Ctrl+c", &Modes::default(), true), Action::Copy);
        assert_eq!(press("Ctrl+Shift+V"), Action::Browser);
        assert_eq!(press("Shift+Insert"), Action::Browser);
        assert_eq!(press("Ctrl+Shift+ArrowLeft"), Action::Shortcut);
        assert_eq!(press("Ctrl+Shift+ArrowUp"), Action::Scroll(Scroll::PreviousCommand));
    }
}
