//! The terminal's colours, and making text readable on its background.

use std::cell::RefCell;
use std::collections::HashMap;

use drydock_terminal::{Attrs, Color, Pen};

/// Which of the two palettes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    /// Dark text on light.
    Light,
    /// Light text on dark.
    Dark,
}

/// Red, green, blue in the low 24 bits.
pub(crate) type Rgb = u32;

/// The colours of a theme.
pub(crate) struct Colors {
    pub(crate) background: Rgb,
    pub(crate) text: Rgb,
    pub(crate) text_2: Rgb,
    pub(crate) cursor: Rgb,
    pub(crate) selection: Rgb,
    pub(crate) edge: Rgb,
    pub(crate) ok: Rgb,
    pub(crate) fail: Rgb,
    pub(crate) accent: Rgb,
    sixteen: [Rgb; 16],
}

const LIGHT: Colors = Colors {
    background: 0xfbfcfc,
    text: 0x1c262e,
    text_2: 0x51606b,
    cursor: 0x0a5c87,
    selection: 0xc9e1ef,
    edge: 0x76828b,
    ok: 0x19693b,
    fail: 0xae2a1f,
    accent: 0x0a5c87,
    sixteen: [
        0x1c262e, 0xae2a1f, 0x19693b, 0x7d4e00, 0x0a5c9c, 0x84358a, 0x0b666b, 0x4b5963, 0x64717b, 0xbf2f22,
        0x1d7340, 0x875400, 0x0f66ab, 0x933d9a, 0x0d7076, 0x0d141a,
    ],
};

const DARK: Colors = Colors {
    background: 0x0c1114,
    text: 0xd8e0e5,
    text_2: 0xa3b0b9,
    cursor: 0x73bce8,
    selection: 0x24475c,
    edge: 0x6f7f8a,
    ok: 0x6cc88f,
    fail: 0xff9186,
    accent: 0x73bce8,
    sixteen: [
        0x2f3b43, 0xf4786c, 0x62c088, 0xdcaa50, 0x6caef0, 0xcf8fd4, 0x56bfc0, 0xd0d8dd, 0x8795a0, 0xff9c92,
        0x86d8a5, 0xefc678, 0x93c6f7, 0xe0aee4, 0x80d6d6, 0xf5f8fa,
    ],
};

/// The contrast that text must have on its background.
const CONTRAST_MIN: f64 = 4.5;
/// The most pairs of colours that are remembered.
const CACHE_MAX: usize = 4096;

/// How a cell is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    /// The text's colour, readable on `bg`.
    pub(crate) fg: Rgb,
    /// The text's colour as the program chose it, for lines and blocks.
    pub(crate) fg_plain: Rgb,
    pub(crate) bg: Rgb,
    pub(crate) underline: Rgb,
}

/// A theme's colours with the readable ones found so far.
pub(crate) struct Palette {
    theme: Theme,
    readable: RefCell<HashMap<(Rgb, Rgb), Rgb>>,
}

impl Palette {
    pub(crate) fn new(theme: Theme) -> Palette {
        Palette { theme, readable: RefCell::new(HashMap::new()) }
    }

    pub(crate) fn colors(&self) -> &'static Colors {
        match self.theme {
            Theme::Light => &LIGHT,
            Theme::Dark => &DARK,
        }
    }

    fn rgb(&self, color: Color, default: Rgb) -> Rgb {
        match color {
            Color::Default => default,
            Color::Indexed(index) => self.indexed(index),
            Color::Rgb(r, g, b) => pack(r, g, b),
        }
    }

    fn indexed(&self, index: u8) -> Rgb {
        match index {
            0..16 => self.colors().sixteen[usize::from(index)],
            16..232 => {
                let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
                let cube = index - 16;
                pack(level(cube / 36), level(cube / 6 % 6), level(cube % 6))
            }
            232.. => {
                let grey = 8 + 10 * (index - 232);
                pack(grey, grey, grey)
            }
        }
    }

    /// How a cell of this pen is painted; a selected one has the selection
    /// behind it.
    pub(crate) fn paint(&self, pen: Pen, selected: bool) -> Paint {
        let colors = self.colors();
        let mut fg = self.rgb(pen.fg, colors.text);
        let mut bg = self.rgb(pen.bg, colors.background);
        if pen.attrs.contains(Attrs::INVERSE) {
            std::mem::swap(&mut fg, &mut bg);
        }
        if selected {
            bg = colors.selection;
        }
        if pen.attrs.contains(Attrs::DIM) {
            fg = mix(fg, bg, 0.4);
        }
        let readable = self.readable(fg, bg);
        let underline = match pen.underline_color {
            Color::Default => readable,
            color => self.rgb(color, readable),
        };
        if pen.attrs.contains(Attrs::INVISIBLE) {
            return Paint { fg: bg, fg_plain: bg, bg, underline: bg };
        }
        Paint { fg: readable, fg_plain: fg, bg, underline }
    }

    /// The colour, moved along lightness until it can be read on `bg`.
    pub(crate) fn readable(&self, fg: Rgb, bg: Rgb) -> Rgb {
        if let Some(known) = self.readable.borrow().get(&(fg, bg)) {
            return *known;
        }
        let found = make_readable(fg, bg);
        let mut cache = self.readable.borrow_mut();
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        cache.insert((fg, bg), found);
        found
    }
}

fn make_readable(fg: Rgb, bg: Rgb) -> Rgb {
    if contrast(fg, bg) >= CONTRAST_MIN {
        return fg;
    }
    // Away from the background, unless the other way alone gives room.
    let black = contrast(0x000000, bg);
    let white = contrast(0xffffff, bg);
    let darker = luminance(fg) <= luminance(bg);
    let end = match (black >= CONTRAST_MIN, white >= CONTRAST_MIN) {
        (true, true) if darker => 0x000000,
        (true, true) => 0xffffff,
        (true, false) => 0x000000,
        _ => 0xffffff,
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..12 {
        let middle = (low + high) / 2.0;
        if contrast(mix(fg, end, middle), bg) >= CONTRAST_MIN {
            high = middle;
        } else {
            low = middle;
        }
    }
    mix(fg, end, high)
}

fn pack(r: u8, g: u8, b: u8) -> Rgb {
    u32::from(r) << 16 | u32::from(g) << 8 | u32::from(b)
}

fn channels(color: Rgb) -> [f64; 3] {
    [16, 8, 0].map(|shift| f64::from((color >> shift) as u8))
}

/// `a` with so much of `b` in it.
pub(crate) fn mix(a: Rgb, b: Rgb, part: f64) -> Rgb {
    let (a, b) = (channels(a), channels(b));
    let [r, g, blue] = [0, 1, 2].map(|i| (a[i] + (b[i] - a[i]) * part).round() as u8);
    pack(r, g, blue)
}

fn luminance(color: Rgb) -> f64 {
    let [r, g, b] = channels(color).map(|value| {
        let value = value / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

/// The contrast of two colours as WCAG defines it.
pub(crate) fn contrast(a: Rgb, b: Rgb) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// The colour as CSS writes it.
pub(crate) fn css(color: Rgb) -> String {
    format!("#{color:06x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_the_256_is_readable() {
        for theme in [Theme::Light, Theme::Dark] {
            let palette = Palette::new(theme);
            for fg in 0..=255 {
                for bg in [Color::Default].into_iter().chain((0..=255).step_by(5).map(Color::Indexed)) {
                    let pen = Pen { fg: Color::Indexed(fg), bg, ..Pen::default() };
                    for selected in [false, true] {
                        let paint = palette.paint(pen, selected);
                        assert!(
                            contrast(paint.fg, paint.bg) >= CONTRAST_MIN - 0.05,
                            "{fg} on {bg:?} in {theme:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_readable_stays() {
        let palette = Palette::new(Theme::Light);
        let red = palette.paint(Pen { fg: Color::Indexed(1), ..Pen::default() }, false);
        assert_eq!((red.fg, red.bg), (0xae2a1f, 0xfbfcfc));
        assert!(contrast(0x1c262e, 0xfbfcfc) > 14.9);
    }

    #[test]
    fn inverse_and_invisible() {
        let palette = Palette::new(Theme::Dark);
        let inverse = palette.paint(Pen { attrs: Attrs::INVERSE, ..Pen::default() }, false);
        assert_eq!((inverse.fg, inverse.bg), (0x0c1114, 0xd8e0e5));
        let invisible = palette.paint(Pen { attrs: Attrs::INVISIBLE, ..Pen::default() }, false);
        assert_eq!(invisible.fg, invisible.bg);
    }
}
