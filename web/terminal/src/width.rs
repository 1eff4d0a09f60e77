//! How many cells a character takes.

use unicode_width::UnicodeWidthChar;

/// 0 for combining characters, 2 for wide ones, else 1.
pub fn width(character: char) -> usize {
    match character {
        ' '..='~' => 1,
        _ => character.width().unwrap_or(0).min(2),
    }
}
