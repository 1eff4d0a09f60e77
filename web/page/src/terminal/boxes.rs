//! Lines and blocks: characters that must join from cell to cell, and so are
//! drawn as rectangles and not by the font.

/// A rectangle in pixels from the cell's top left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rect {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) w: f64,
    pub(crate) h: f64,
    /// How much of the colour covers what is behind it.
    pub(crate) alpha: f64,
}

/// What a character looks like in a cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Rects(Vec<Rect>),
    /// A quarter of a circle from the middle of one side to that of another:
    /// whether it goes right (else left) and down (else up).
    Arc {
        right: bool,
        down: bool,
    },
    /// From corner to corner: rising, falling.
    Diagonals {
        rising: bool,
        falling: bool,
    },
}

/// A cell's size and the width of a light line, in pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CellSize {
    pub(crate) w: f64,
    pub(crate) h: f64,
    pub(crate) line: f64,
}

/// The weight of the arms to the left, right, up and down, for U+2500 to
/// U+257F: 0 none, 1 light, 2 heavy, 3 double. Dashes, arcs and diagonals
/// have their own code.
const ARMS: [&str; 128] = [
    "1100", "2200", "0011", "0022", "----", "----", "----", "----", "----", "----", "----", "----", "0101",
    "0201", "0102", "0202", "1001", "2001", "1002", "2002", "0110", "0210", "0120", "0220", "1010", "2010",
    "1020", "2020", "0111", "0211", "0121", "0112", "0122", "0221", "0212", "0222", "1011", "2011", "1021",
    "1012", "1022", "2021", "2012", "2022", "1101", "2101", "1201", "2201", "1102", "2102", "1202", "2202",
    "1110", "2110", "1210", "2210", "1120", "2120", "1220", "2220", "1111", "2111", "1211", "2211", "1121",
    "1112", "1122", "2121", "1221", "2112", "1212", "2221", "2212", "2122", "1222", "2222", "----", "----",
    "----", "----", "3300", "0033", "0301", "0103", "0303", "3001", "1003", "3003", "0310", "0130", "0330",
    "3010", "1030", "3030", "0311", "0133", "0333", "3011", "1033", "3033", "3301", "1103", "3303", "3310",
    "1130", "3330", "3311", "1133", "3333", "----", "----", "----", "----", "----", "----", "----", "1000",
    "0010", "0100", "0001", "2000", "0020", "0200", "0002", "1200", "0012", "2100", "0021",
];

/// How to draw a character, if it is one of these.
pub(crate) fn shape(character: char, cell: CellSize) -> Option<Shape> {
    let code = u32::from(character);
    match code {
        0x2504..=0x250b | 0x254c..=0x254f => Some(Shape::Rects(dashes(code, cell))),
        0x256d => Some(Shape::Arc { right: true, down: true }),
        0x256e => Some(Shape::Arc { right: false, down: true }),
        0x256f => Some(Shape::Arc { right: false, down: false }),
        0x2570 => Some(Shape::Arc { right: true, down: false }),
        0x2571..=0x2573 => Some(Shape::Diagonals { rising: code != 0x2572, falling: code != 0x2571 }),
        0x2500..=0x257f => Some(Shape::Rects(lines(ARMS[code as usize - 0x2500], cell))),
        0x2580..=0x259f => Some(Shape::Rects(block(code, cell))),
        0x23ba..=0x23bd => {
            let middle = (f64::from(code - 0x23ba) * (cell.h - cell.line) / 3.0).round();
            Some(Shape::Rects(vec![rect(0.0, middle, cell.w, cell.line)]))
        }
        _ => None,
    }
}

fn rect(x: f64, y: f64, w: f64, h: f64) -> Rect {
    Rect { x, y, w, h, alpha: 1.0 }
}

/// The rectangles of arms from the middle of the cell.
fn lines(arms: &str, cell: CellSize) -> Vec<Rect> {
    let weight: Vec<u8> = arms.bytes().map(|digit| digit.saturating_sub(b'0')).collect();
    let [left, right, up, down] = [0, 1, 2, 3].map(|arm| weight.get(arm).copied().unwrap_or(0));
    let mut rects = Vec::new();
    arms_along(&mut rects, (cell.w, cell.h), cell.line, (left, right), (up, down));
    let first_vertical = rects.len();
    arms_along(&mut rects, (cell.h, cell.w), cell.line, (up, down), (left, right));
    for upright in &mut rects[first_vertical..] {
        *upright = rect(upright.y, upright.x, upright.h, upright.w);
    }
    rects
}

/// The two arms along one axis, where `size` is (along, across).
fn arms_along(rects: &mut Vec<Rect>, size: (f64, f64), line: f64, arms: (u8, u8), across: (u8, u8)) {
    let (along, middle_along) = (size.0, ((size.0 - line) / 2.0).round());
    let middle_across = ((size.1 - line) / 2.0).round();
    // How far a line's end lies from the middle: over the crossing line, or
    // up to the nearer or farther of a double one.
    let reach = |beside: u8, opposite: u8| match (beside, opposite) {
        (3, _) => -line,
        (_, 3) => line,
        (2, _) | (_, 2) => line,
        _ => 0.0,
    };
    let mut strip = |first: bool, offset: f64, thick: f64, reach: f64| {
        let y = middle_across + offset;
        let rect = if first {
            rect(0.0, y, middle_along + line + reach, thick)
        } else {
            let start = middle_along - reach;
            rect(start, y, along - start, thick)
        };
        rects.push(rect);
    };
    for (arm, first) in [(arms.0, true), (arms.1, false)] {
        let (before, after) = across;
        match arm {
            1 if before == 3 && after == 3 => strip(first, 0.0, line, -line),
            1 => strip(first, 0.0, line, reach(0, before.max(after))),
            2 => strip(
                first,
                -(line / 2.0).floor().max(0.0),
                (line * 2.0).round(),
                reach(0, before.max(after)),
            ),
            3 => {
                strip(first, -line, line, reach(before, after));
                strip(first, line, line, reach(after, before));
            }
            _ => {}
        }
    }
}

/// Dashed lines.
fn dashes(code: u32, cell: CellSize) -> Vec<Rect> {
    let (count, vertical, heavy) = match code {
        0x2504..=0x2507 => (3.0, code >= 0x2506, code % 2 == 1),
        0x2508..=0x250b => (4.0, code >= 0x250a, code % 2 == 1),
        _ => (2.0, code >= 0x254e, code % 2 == 1),
    };
    let thick = if heavy { cell.line * 2.0 } else { cell.line };
    let (along, across) = if vertical { (cell.h, cell.w) } else { (cell.w, cell.h) };
    let step = along / count;
    let at = ((across - thick) / 2.0).round();
    (0..count as usize)
        .map(|index| {
            let start = (index as f64 * step + step * 0.2).round();
            let length = (step * 0.6).round().max(1.0);
            if vertical { rect(at, start, thick, length) } else { rect(start, at, length, thick) }
        })
        .collect()
}

/// Block elements.
fn block(code: u32, cell: CellSize) -> Vec<Rect> {
    let CellSize { w, h, .. } = cell;
    let (half_w, half_h) = ((w / 2.0).round(), (h / 2.0).round());
    let from_below = |eighths: f64| {
        let top = (h - h * eighths / 8.0).round();
        vec![rect(0.0, top, w, h - top)]
    };
    match code {
        0x2580 => vec![rect(0.0, 0.0, w, half_h)],
        0x2581..=0x2588 => from_below(f64::from(code - 0x2580)),
        0x2589..=0x258f => vec![rect(0.0, 0.0, (w * f64::from(0x2590 - code) / 8.0).round(), h)],
        0x2590 => vec![rect(half_w, 0.0, w - half_w, h)],
        0x2591..=0x2593 => vec![Rect { alpha: f64::from(code - 0x2590) / 4.0, ..rect(0.0, 0.0, w, h) }],
        0x2594 => vec![rect(0.0, 0.0, w, (h / 8.0).round())],
        0x2595 => {
            let x = (w * 7.0 / 8.0).round();
            vec![rect(x, 0.0, w - x, h)]
        }
        _ => {
            // Which quarters are filled: upper left, upper right, lower left, lower right.
            const QUARTERS: [u8; 10] =
                [0b0010, 0b0001, 0b1000, 0b1011, 0b1001, 0b1110, 0b1101, 0b0100, 0b0110, 0b0111];
            let filled = QUARTERS[(code - 0x2596) as usize % QUARTERS.len()];
            let quarters = [
                (8, rect(0.0, 0.0, half_w, half_h)),
                (4, rect(half_w, 0.0, w - half_w, half_h)),
                (2, rect(0.0, half_h, half_w, h - half_h)),
                (1, rect(half_w, half_h, w - half_w, h - half_h)),
            ];
            quarters.into_iter().filter(|(bit, _)| filled & bit != 0).map(|(_, quarter)| quarter).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: CellSize = CellSize { w: 9.0, h: 20.0, line: 1.0 };

    /// The cell as text, `#` where a rectangle covers the pixel.
    fn picture(character: char) -> Vec<String> {
        let Some(Shape::Rects(rects)) = shape(character, CELL) else {
            panic!("{character} has no rectangles")
        };
        (0..20)
            .map(|y| {
                let covers = |x: i32, y: i32| {
                    rects.iter().any(|r| {
                        let (x, y) = (f64::from(x), f64::from(y));
                        x >= r.x && x < r.x + r.w && y >= r.y && y < r.y + r.h
                    })
                };
                (0..9).map(|x| if covers(x, y) { '#' } else { '.' }).collect()
            })
            .collect()
    }

    #[test]
    fn arms_reach_the_sides_they_should() {
        for (code, arms) in ARMS.iter().enumerate() {
            let character = char::from_u32(0x2500 + code as u32).expect("a character");
            if arms.contains('-') {
                continue;
            }
            let rows = picture(character);
            let reaches = [
                rows.iter().any(|row| row.starts_with('#')),
                rows.iter().any(|row| row.ends_with('#')),
                rows[0].contains('#'),
                rows[19].contains('#'),
            ];
            let wanted: Vec<bool> = arms.chars().map(|weight| weight != '0').collect();
            assert_eq!(reaches.to_vec(), wanted, "{character}");
        }
    }

    #[test]
    fn a_cross_and_a_double_corner() {
        let cross = picture('┼');
        assert_eq!(cross[10], "#########");
        assert!(cross.iter().all(|row| row.chars().nth(4) == Some('#')));
        let corner = picture('╔');
        assert_eq!(corner[9], "...######");
        assert_eq!(corner[10], "...#.....");
        assert_eq!(corner[11], "...#.####");
        assert_eq!(corner[12], "...#.#...");
    }

    #[test]
    fn blocks_fill_their_part() {
        assert!(picture('█').iter().all(|row| row == "#########"));
        assert_eq!(picture('▄').iter().filter(|row| row.contains('#')).count(), 10);
        assert_eq!(picture('▚')[0], "#####....");
        assert_eq!(picture('▚')[19], ".....####");
        assert!(shape('a', CELL).is_none());
    }
}
