//! Draws rows of cells on a canvas. All lengths are in the canvas' own pixels.

use std::cell::Cell;

use drydock_terminal::{Attrs, CursorShape, Pen, Row, Underline};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement};

use super::boxes::{self, CellSize, Shape};
use super::gutter::Outcome;
use super::palette::{Paint, Palette, Rgb, Theme, css};
use crate::dom;

/// The font of the cells, and what stands in for it.
pub(crate) const FAMILY: &str = r#""JetBrains Mono", ui-monospace, Consolas, "DejaVu Sans Mono", monospace"#;
/// The font of the times beside prompts.
const NOTE_FAMILY: &str = "Inter, system-ui, sans-serif";

/// Room around the cells, in CSS pixels: the gutter at the left is wider.
const LEFT: f64 = 24.0;
const RIGHT: f64 = 12.0;
const ABOVE: f64 = 8.0;

/// The sizes of a cell and of what is around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Metrics {
    /// Device pixels in a CSS pixel.
    pub(crate) ratio: f64,
    /// A cell's width: that of the font, with its fraction.
    pub(crate) cell: f64,
    /// A row's height.
    pub(crate) row: f64,
    baseline: f64,
    font_px: f64,
    left: f64,
    above: f64,
    /// The canvas.
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Metrics {
    /// How many columns and rows have room.
    pub(crate) fn size(&self) -> (u16, u16) {
        let cols = ((self.width - self.left - (RIGHT * self.ratio).round()) / self.cell).floor();
        let rows = ((self.height - self.above) / self.row).floor();
        (cols.clamp(2.0, 1000.0) as u16, rows.clamp(1.0, 1000.0) as u16)
    }

    fn x(&self, column: usize) -> f64 {
        (self.left + column as f64 * self.cell).round()
    }

    fn y(&self, row: usize) -> f64 {
        self.above + row as f64 * self.row
    }

    /// The column (a place between cells) and row at a point given in CSS
    /// pixels; the row may be outside.
    pub(crate) fn cell_at(&self, x: f64, y: f64) -> (f64, f64) {
        ((x * self.ratio - self.left) / self.cell, ((y * self.ratio - self.above) / self.row).floor())
    }

    /// The top left of a cell and its size, in CSS pixels.
    pub(crate) fn css_rect(&self, column: usize, row: usize) -> (f64, f64, f64, f64) {
        (self.x(column) / self.ratio, self.y(row) / self.ratio, self.cell / self.ratio, self.row / self.ratio)
    }
}

/// How the cursor is to be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CursorLook {
    pub(crate) column: usize,
    pub(crate) shape: CursorShape,
    /// The terminal has the focus; without it only an outline is drawn.
    pub(crate) focused: bool,
}

/// A row and what belongs to it.
pub(crate) struct Line<'a> {
    pub(crate) row: Option<&'a Row>,
    /// Where on the canvas.
    pub(crate) y: usize,
    /// The selected columns.
    pub(crate) selected: Option<(usize, usize)>,
    pub(crate) cursor: Option<CursorLook>,
    /// How the command of this prompt did, and the words for it.
    pub(crate) command: Option<(Outcome, String)>,
}

/// A canvas and how to draw on it.
pub(crate) struct Painter {
    canvas: HtmlCanvasElement,
    context: CanvasRenderingContext2d,
    pub(crate) palette: Palette,
    pub(crate) metrics: Metrics,
    /// Whether the font that is set is slanted and bold, if it is the cells'.
    font: Option<(bool, bool)>,
    /// The fill that is set: setting one costs more than looking.
    filled: Cell<Option<Rgb>>,
}

impl Painter {
    pub(crate) fn new(canvas: &HtmlCanvasElement, theme: Theme) -> Result<Painter, JsValue> {
        let context = canvas
            .get_context("2d")?
            .ok_or_else(|| JsValue::from_str("this browser has no 2d canvas"))?
            .unchecked_into::<CanvasRenderingContext2d>();
        let metrics = Metrics {
            ratio: 1.0,
            cell: 8.4,
            row: 20.0,
            baseline: 15.0,
            font_px: 14.0,
            left: LEFT,
            above: ABOVE,
            width: 0.0,
            height: 0.0,
        };
        let palette = Palette::new(theme);
        Ok(Painter { canvas: canvas.clone(), context, palette, metrics, font: None, filled: Cell::new(None) })
    }

    /// Measures the font anew and fits the canvas to `width` and `height` CSS
    /// pixels. `font` and `row` are its size and a row's height.
    pub(crate) fn fit(&mut self, width: f64, height: f64, font: f64, row: f64) {
        let ratio = dom::window().device_pixel_ratio().max(0.1);
        let (pixels_wide, pixels_high) = ((width * ratio).round(), (height * ratio).round());
        if (pixels_wide, pixels_high) != (self.metrics.width, self.metrics.height) {
            self.canvas.set_width(pixels_wide as u32);
            self.canvas.set_height(pixels_high as u32);
        }
        let style = self.canvas.style();
        for (property, pixels) in [("width", pixels_wide), ("height", pixels_high)] {
            // The names are plain, so it can't fail.
            let _ = style.set_property(property, &format!("{}px", pixels / ratio));
        }
        self.measure(ratio, font, row);
        (self.metrics.width, self.metrics.height) = (pixels_wide, pixels_high);
    }

    fn measure(&mut self, ratio: f64, font: f64, row: f64) {
        let font_px = font * ratio;
        let row = (row * ratio).round();
        self.reset_context();
        self.metrics.font_px = font_px;
        self.set_font(Pen::default());
        const SAMPLE: &str = "0123456789";
        let Ok(measured) = self.context.measure_text(SAMPLE) else { return };
        let cell = (measured.width() / SAMPLE.len() as f64).max(1.0);
        let (ascent, descent) = (measured.font_bounding_box_ascent(), measured.font_bounding_box_descent());
        self.metrics = Metrics {
            ratio,
            cell,
            row,
            baseline: ((row - ascent - descent) / 2.0 + ascent).round(),
            font_px,
            left: (LEFT * ratio).round(),
            above: (ABOVE * ratio).round(),
            ..self.metrics
        };
    }

    /// A canvas forgets its settings when its size is set.
    fn reset_context(&mut self) {
        self.font = None;
        self.filled.set(None);
        self.context.set_text_baseline("alphabetic");
        // Exact widths whatever the platform's hinting; unknown to some browsers.
        let _ = js_sys::Reflect::set(&self.context, &"textRendering".into(), &"geometricPrecision".into());
    }

    fn set_font(&mut self, pen: Pen) {
        let font = (pen.attrs.contains(Attrs::ITALIC), pen.attrs.contains(Attrs::BOLD));
        if self.font != Some(font) {
            let slant = if font.0 { "italic " } else { "" };
            let weight = if font.1 { 700 } else { 400 };
            self.context.set_font(&format!("{slant}{weight} {}px {FAMILY}", self.metrics.font_px));
            self.font = Some(font);
        }
    }

    fn set_fill(&self, color: Rgb) {
        if self.filled.replace(Some(color)) != Some(color) {
            self.context.set_fill_style_str(&css(color));
        }
    }

    fn fill(&self, color: Rgb, x: f64, y: f64, w: f64, h: f64) {
        self.set_fill(color);
        self.context.fill_rect(x, y, w, h);
    }

    /// Clears the whole canvas.
    pub(crate) fn clear(&self) {
        self.fill(self.palette.colors().background, 0.0, 0.0, self.metrics.width, self.metrics.height);
    }

    /// Draws a row over what was there.
    pub(crate) fn line(&mut self, line: &Line<'_>) {
        let (top, height) = (self.metrics.y(line.y), self.metrics.row);
        self.fill(self.palette.colors().background, 0.0, top, self.metrics.width, height);
        let Some(row) = line.row else { return };
        let paint_of = |column: usize, pen: Pen| {
            let selected = line.selected.is_some_and(|(from, to)| (from..to).contains(&column));
            (self.palette.paint(pen, selected), pen)
        };
        let cells = row.cells();
        let paints: Vec<(Paint, Pen)> =
            cells.iter().enumerate().map(|(column, cell)| paint_of(column, cell.pen())).collect();
        self.backgrounds(&paints, top);
        self.texts(row, &paints, top);
        self.decorations(&paints, top);
        if let Some(cursor) = &line.cursor {
            self.cursor(cursor, row, top);
        }
        if let Some((outcome, words)) = &line.command {
            self.command(*outcome, words, row, top);
        }
    }

    fn backgrounds(&self, paints: &[(Paint, Pen)], top: f64) {
        let default = self.palette.colors().background;
        for (from, to) in runs(paints, |(paint, _)| paint.bg) {
            let bg = paints[from].0.bg;
            if bg != default {
                let (left, right) = (self.metrics.x(from), self.metrics.x(to));
                self.fill(bg, left, top, right - left, self.metrics.row);
            }
        }
    }

    fn texts(&mut self, row: &Row, paints: &[(Paint, Pen)], top: f64) {
        let cells = row.cells();
        let mut run = String::new();
        let mut start = 0;
        for (column, cell) in cells.iter().enumerate() {
            let character = cell.character();
            let plain = character.is_ascii() && !cell.is_combined();
            let goes_on = plain
                && !run.is_empty()
                && paints[start].0.fg == paints[column].0.fg
                && paints[start].1.attrs == paints[column].1.attrs
                && !makes_ligature(run.chars().last(), character);
            if !goes_on && !run.is_empty() {
                self.text(&run, start, &paints[start], top, None);
                run.clear();
            }
            if !cell.has_content() || (character == ' ' && run.is_empty()) {
                if !run.is_empty() {
                    run.push(' ');
                }
                continue;
            }
            if plain {
                if run.is_empty() {
                    start = column;
                }
                run.push(character);
            } else if !self.shape(character, column, &paints[column].0, top) {
                let text = format!("{character}{}", row.marks(column));
                self.text(&text, column, &paints[column], top, Some(cell.width().max(1)));
            }
        }
        if !run.is_empty() {
            self.text(&run, start, &paints[start], top, None);
        }
    }

    /// Draws text from a column on; one of a fallback font is kept to its cells.
    fn text(&mut self, text: &str, column: usize, paint: &(Paint, Pen), top: f64, cells: Option<u8>) {
        let text = text.trim_end();
        if text.is_empty() || paint.0.fg == paint.0.bg {
            return;
        }
        self.set_font(paint.1);
        self.set_fill(paint.0.fg);
        let x = self.metrics.left + column as f64 * self.metrics.cell;
        let y = top + self.metrics.baseline;
        // It fails only for numbers that are not finite.
        let _ = match cells {
            Some(cells) => {
                self.context.fill_text_with_max_width(text, x, y, f64::from(cells) * self.metrics.cell)
            }
            None => self.context.fill_text(text, x, y),
        };
    }

    /// Draws a line or block; false if the character is none.
    fn shape(&self, character: char, column: usize, paint: &Paint, top: f64) -> bool {
        let (left, right) = (self.metrics.x(column), self.metrics.x(column + 1));
        let line = (self.metrics.font_px / 14.0).round().max(1.0);
        let cell = CellSize { w: right - left, h: self.metrics.row, line };
        let Some(shape) = boxes::shape(character, cell) else { return false };
        let context = &self.context;
        self.set_fill(paint.fg_plain);
        context.set_stroke_style_str(&css(paint.fg_plain));
        context.set_line_width(line);
        let (middle_x, middle_y) = (
            left + ((cell.w - line) / 2.0).round() + line / 2.0,
            top + ((cell.h - line) / 2.0).round() + line / 2.0,
        );
        let stroke = |from: (f64, f64), to: (f64, f64)| {
            context.begin_path();
            context.move_to(from.0, from.1);
            context.line_to(to.0, to.1);
            context.stroke();
        };
        match shape {
            Shape::Rects(rects) => {
                for rect in rects {
                    context.set_global_alpha(rect.alpha);
                    context.fill_rect(left + rect.x, top + rect.y, rect.w, rect.h);
                }
                context.set_global_alpha(1.0);
            }
            Shape::Arc { right: to_right, down } => {
                let end_x = if to_right { right } else { left };
                let end_y = if down { top + cell.h } else { top };
                context.begin_path();
                context.move_to(end_x, middle_y);
                let radius = (cell.w / 2.0).min(cell.h / 2.0);
                // It fails only for a negative radius.
                let _ = context.arc_to(middle_x, middle_y, middle_x, end_y, radius);
                context.line_to(middle_x, end_y);
                context.stroke();
            }
            Shape::Diagonals { rising, falling } => {
                if rising {
                    stroke((left, top + cell.h), (right, top));
                }
                if falling {
                    stroke((left, top), (right, top + cell.h));
                }
            }
        }
        true
    }

    fn decorations(&self, paints: &[(Paint, Pen)], top: f64) {
        let line = (self.metrics.font_px / 14.0).round().max(1.0);
        let under = top + (self.metrics.baseline + line * 2.0).min(self.metrics.row - line);
        for (from, to) in runs(paints, |(paint, pen)| (paint.fg, paint.underline, pen.attrs)) {
            let (paint, pen) = paints[from];
            let (left, width) = (self.metrics.x(from), self.metrics.x(to) - self.metrics.x(from));
            match pen.attrs.underline() {
                Underline::None => {}
                Underline::Single => self.fill(paint.underline, left, under, width, line),
                Underline::Double => {
                    self.fill(paint.underline, left, under - line, width, line);
                    self.fill(paint.underline, left, under + line, width, line);
                }
                Underline::Dotted => self.dotted(paint.underline, left, under, width, line, line),
                Underline::Dashed => self.dotted(paint.underline, left, under, width, line, line * 4.0),
                Underline::Curly => self.wave(paint.underline, left, under, width, line),
            }
            if pen.attrs.contains(Attrs::STRIKE) {
                self.fill(paint.fg, left, top + (self.metrics.row / 2.0).round(), width, line);
            }
            if pen.attrs.contains(Attrs::OVERLINE) {
                self.fill(paint.fg, left, top + line, width, line);
            }
        }
    }

    fn dotted(&self, color: Rgb, left: f64, y: f64, width: f64, line: f64, dash: f64) {
        let mut x = left;
        while x < left + width {
            self.fill(color, x, y, dash.min(left + width - x), line);
            x += dash * 2.0;
        }
    }

    fn wave(&self, color: Rgb, left: f64, y: f64, width: f64, line: f64) {
        let context = &self.context;
        context.set_stroke_style_str(&css(color));
        context.set_line_width(line);
        context.begin_path();
        context.move_to(left, y);
        let half = (self.metrics.cell / 2.0).max(1.0);
        let mut x = left;
        let mut up = true;
        while x < left + width {
            let bend = if up { y - line * 2.0 } else { y + line * 2.0 };
            context.quadratic_curve_to(x + half / 2.0, bend, x + half, y);
            x += half;
            up = !up;
        }
        context.stroke();
    }

    fn cursor(&mut self, cursor: &CursorLook, row: &Row, top: f64) {
        let colors = self.palette.colors();
        let cells = row.cells();
        let wide = cells.get(cursor.column).map_or(1, |cell| usize::from(cell.width().max(1)));
        let (left, right) = (self.metrics.x(cursor.column), self.metrics.x(cursor.column + wide));
        let (width, height) = (right - left, self.metrics.row);
        let line = self.metrics.ratio.round().max(1.0);
        if !cursor.focused {
            self.context.set_stroke_style_str(&css(colors.cursor));
            self.context.set_line_width(line);
            self.context.stroke_rect(left + line / 2.0, top + line / 2.0, width - line, height - line);
            return;
        }
        match cursor.shape {
            CursorShape::Bar => self.fill(colors.cursor, left, top, line * 2.0, height),
            CursorShape::Underline => {
                self.fill(colors.cursor, left, top + height - line * 2.0, width, line * 2.0)
            }
            CursorShape::Block => {
                self.fill(colors.cursor, left, top, width, height);
                let Some(cell) = cells.get(cursor.column).filter(|cell| cell.has_content()) else { return };
                let fg = self.palette.readable(colors.background, colors.cursor);
                let paint = Paint { fg, fg_plain: fg, bg: colors.cursor, underline: fg };
                if !self.shape(cell.character(), cursor.column, &paint, top) {
                    let text = format!("{}{}", cell.character(), row.marks(cursor.column));
                    self.text(&text, cursor.column, &(paint, cell.pen()), top, Some(cell.width().max(1)));
                }
            }
        }
    }

    /// The sign in the gutter and the words at the line's end.
    fn command(&mut self, outcome: Outcome, words: &str, row: &Row, top: f64) {
        let colors = self.palette.colors();
        let (color, strokes): (Rgb, &[&[(f64, f64)]]) = match outcome {
            Outcome::Running => (colors.accent, &[&[(6.0, 4.0), (10.0, 8.0), (6.0, 12.0)]]),
            Outcome::Ended(Some(0) | None) => (colors.ok, &[&[(3.5, 8.5), (6.5, 11.5), (12.5, 4.5)]]),
            Outcome::Ended(Some(_)) => {
                (colors.fail, &[&[(4.0, 4.0), (12.0, 12.0)], &[(12.0, 4.0), (4.0, 12.0)]])
            }
        };
        let scale = self.metrics.ratio * self.metrics.font_px / self.metrics.ratio / 14.0 * 0.8;
        let (left, top_of_sign) =
            (self.metrics.left - 17.0 * scale - 2.0, top + (self.metrics.row - 16.0 * scale) / 2.0);
        let context = &self.context;
        context.set_stroke_style_str(&css(color));
        context.set_line_width(1.9 * scale);
        for stroke in strokes {
            context.begin_path();
            for (index, (x, y)) in stroke.iter().enumerate() {
                let (x, y) = (left + x * scale, top_of_sign + y * scale);
                if index == 0 { context.move_to(x, y) } else { context.line_to(x, y) }
            }
            context.stroke();
        }
        self.note(words, row, top);
    }

    fn note(&mut self, words: &str, row: &Row, top: f64) {
        let ratio = self.metrics.ratio;
        self.context.set_font(&format!("400 {}px {NOTE_FAMILY}", 12.0 * ratio));
        self.font = None;
        let Ok(measured) = self.context.measure_text(words) else { return };
        let x = self.metrics.width - RIGHT * ratio - measured.width();
        if words.is_empty() || x < self.metrics.x(row.content_len() + 2) {
            return;
        }
        self.set_fill(self.palette.colors().text_2);
        // It fails only for numbers that are not finite.
        let _ = self.context.fill_text(words, x, top + self.metrics.baseline);
    }

    /// A bar at the right that shows which part of the text is seen.
    pub(crate) fn scroll_bar(&self, first: f64, part: f64) {
        let (width, height) = (4.0 * self.metrics.ratio, self.metrics.height);
        let length = (height * part).max(24.0 * self.metrics.ratio);
        let color = self.palette.colors().edge;
        self.fill(
            color,
            self.metrics.width - width - self.metrics.ratio,
            (height - length) * first,
            width,
            length,
        );
    }
}

/// Whether a font with ligatures could join two characters; they are then
/// drawn apart.
fn makes_ligature(before: Option<char>, character: char) -> bool {
    match before {
        Some('w') => character == 'w',
        Some(before) => before.is_ascii_punctuation() && character.is_ascii_punctuation(),
        None => false,
    }
}

/// The stretches in which `key` stays the same.
fn runs<T, K: PartialEq>(items: &[T], key: impl Fn(&T) -> K) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut start = 0;
    for index in 1..=items.len() {
        if index == items.len() || key(&items[index]) != key(&items[start]) {
            runs.push((start, index));
            start = index;
        }
    }
    runs
}
