//! `SGR`: colours and attributes of the pen.

use vte::Params;

use crate::cell::{Attrs, Color, Pen, Underline};

/// Applies the parameters of an `SGR` to the pen.
pub(crate) fn apply(pen: &mut Pen, params: &Params) {
    let mut params = params.iter();
    while let Some(param) = params.next() {
        match param {
            [38, rest @ ..] => set(&mut pen.fg, color(rest, &mut params)),
            [48, rest @ ..] => set(&mut pen.bg, color(rest, &mut params)),
            [58, rest @ ..] => set(&mut pen.underline_color, color(rest, &mut params)),
            [4, style, ..] => pen.attrs = pen.attrs.with_underline(underline(*style)),
            [code, ..] => attribute(pen, *code),
            [] => {}
        }
    }
}

fn set(target: &mut Color, color: Option<Color>) {
    if let Some(color) = color {
        *target = color;
    }
}

fn attribute(pen: &mut Pen, code: u16) {
    match code {
        0 => *pen = Pen::default(),
        1 => pen.attrs = pen.attrs.with(Attrs::BOLD),
        2 => pen.attrs = pen.attrs.with(Attrs::DIM),
        3 => pen.attrs = pen.attrs.with(Attrs::ITALIC),
        4 => pen.attrs = pen.attrs.with_underline(Underline::Single),
        5 | 6 => pen.attrs = pen.attrs.with(Attrs::BLINK),
        7 => pen.attrs = pen.attrs.with(Attrs::INVERSE),
        8 => pen.attrs = pen.attrs.with(Attrs::INVISIBLE),
        9 => pen.attrs = pen.attrs.with(Attrs::STRIKE),
        21 => pen.attrs = pen.attrs.with_underline(Underline::Double),
        22 => pen.attrs = pen.attrs.without(Attrs::BOLD).without(Attrs::DIM),
        23 => pen.attrs = pen.attrs.without(Attrs::ITALIC),
        24 => pen.attrs = pen.attrs.with_underline(Underline::None),
        25 => pen.attrs = pen.attrs.without(Attrs::BLINK),
        27 => pen.attrs = pen.attrs.without(Attrs::INVERSE),
        28 => pen.attrs = pen.attrs.without(Attrs::INVISIBLE),
        29 => pen.attrs = pen.attrs.without(Attrs::STRIKE),
        30..=37 => pen.fg = Color::Indexed((code - 30) as u8),
        39 => pen.fg = Color::Default,
        40..=47 => pen.bg = Color::Indexed((code - 40) as u8),
        49 => pen.bg = Color::Default,
        53 => pen.attrs = pen.attrs.with(Attrs::OVERLINE),
        55 => pen.attrs = pen.attrs.without(Attrs::OVERLINE),
        59 => pen.underline_color = Color::Default,
        90..=97 => pen.fg = Color::Indexed((code - 90) as u8 + 8),
        100..=107 => pen.bg = Color::Indexed((code - 100) as u8 + 8),
        _ => {}
    }
}

fn underline(style: u16) -> Underline {
    match style {
        0 => Underline::None,
        2 => Underline::Double,
        3 => Underline::Curly,
        4 => Underline::Dotted,
        5 => Underline::Dashed,
        _ => Underline::Single,
    }
}

/// A colour after 38, 48 or 58: `5;n`, `2;r;g;b`, or the same with colons,
/// where a colour space may stand before `r`.
fn color<'a>(rest: &[u16], following: &mut impl Iterator<Item = &'a [u16]>) -> Option<Color> {
    match rest {
        [5, index, ..] => Some(Color::Indexed(*index as u8)),
        [2, _, r, g, b, ..] | [2, r, g, b] => Some(Color::Rgb(*r as u8, *g as u8, *b as u8)),
        [] => {
            let mut next = || following.next().and_then(|param| param.first().copied());
            match next()? {
                5 => Some(Color::Indexed(next()? as u8)),
                2 => Some(Color::Rgb(next()? as u8, next()? as u8, next()? as u8)),
                _ => None,
            }
        }
        _ => None,
    }
}
