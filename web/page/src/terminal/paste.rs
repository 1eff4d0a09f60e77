//! Making pasted text safe.

/// The text without control characters but for tabs and line ends, which
/// become `\r`, as the Enter key sends. No text can end a bracketed paste,
/// since that takes an escape.
pub(crate) fn cleaned(text: &str) -> String {
    text.replace("\r\n", "\r")
        .chars()
        .map(|character| if character == '\n' { '\r' } else { character })
        .filter(|character| matches!(character, '\t' | '\r') || !character.is_control())
        .collect()
}

/// The bytes that a paste sends.
pub(crate) fn bytes(text: &str, bracketed: bool) -> Vec<u8> {
    let text = cleaned(text);
    if bracketed { format!("\x1b[200~{text}\x1b[201~").into_bytes() } else { text.into_bytes() }
}

/// How many lines of the text would run at once if it were pasted: those that
/// end in a line end, and what follows.
pub(crate) fn lines(text: &str) -> usize {
    let text = cleaned(text);
    text.split('\r').count() - usize::from(text.ends_with('\r'))
}

/// Whether a paste may run commands before they were read.
pub(crate) fn runs_at_once(text: &str, bracketed: bool) -> bool {
    !bracketed && cleaned(text).contains('\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_cut() {
        assert_eq!(cleaned("a\x1b[201~b\u{9b}c\x03d\x7fe\tf"), "a[201~bcde\tf");
        assert_eq!(cleaned("one\r\ntwo\nthree\r"), "one\rtwo\rthree\r");
    }

    #[test]
    fn bracketed_when_asked() {
        assert_eq!(bytes("ls\n", true), b"\x1b[200~ls\r\x1b[201~");
        assert_eq!(bytes("ls\n", false), b"ls\r");
        assert_eq!(bytes("x\x1b[201~rm -rf /\n", true), b"\x1b[200~x[201~rm -rf /\r\x1b[201~");
    }

    #[test]
    fn lines_are_counted() {
        assert_eq!((lines("a"), lines("a\n"), lines("a\nb"), lines("a\nb\n")), (1, 1, 2, 2));
        assert!(runs_at_once("a\n", false));
        assert!(!runs_at_once("a", false));
        assert!(!runs_at_once("a\nb\n", true));
    }
}
