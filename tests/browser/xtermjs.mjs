// What xterm.js makes of the recordings in web/terminal/tests/xtermjs: the
// screens that the terminal core is held against, cell for cell.
//
//   node xtermjs.mjs     writes them anew

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import headless from '@xterm/headless';
import unicode11 from '@xterm/addon-unicode11';

export const folder = join(dirname(fileURLToPath(import.meta.url)), '../../web/terminal/tests/xtermjs');
const COLS = 80;
const ROWS = 24;
/** So many screens of each recording are compared, the last at its end. */
const SCREENS = 16;

export const recordings = () =>
  readdirSync(folder).filter((file) => file.endsWith('.bytes')).map((file) => file.slice(0, -'.bytes'.length)).sort();

/** A colour: nothing for the default, a number of the palette, or #rrggbb. */
function color(isDefault, isPalette, value) {
  if (isDefault) return '';
  return isPalette ? `${value}` : `#${value.toString(16).padStart(6, '0')}`;
}

/** A cell's style in letters: foreground, background, attributes. */
function style(cell) {
  const attributes = [
    [cell.isBold(), 'b'], [cell.isDim(), 'd'], [cell.isItalic(), 'i'], [cell.isUnderline(), 'u'],
    [cell.isBlink(), 'k'], [cell.isInverse(), 'v'], [cell.isInvisible(), 'h'],
    [cell.isStrikethrough(), 's'], [cell.isOverline(), 'o'],
  ];
  const letters = attributes.filter(([is]) => is).map(([, letter]) => letter).join('');
  const fg = color(cell.isFgDefault(), cell.isFgPalette(), cell.getFgColor());
  const bg = color(cell.isBgDefault(), cell.isBgPalette(), cell.getBgColor());
  return `${fg}|${bg}|${letters}`;
}

/**
 * A row as [style, text] pairs. In the text, `␀` is a cell that nothing was
 * written to and `␣` the second half of a wide character. Blank cells of the
 * default style at the row's end are left out.
 */
function row(line) {
  const runs = [];
  const cell = line.getCell(0);
  for (let x = 0; x < COLS; x++) {
    line.getCell(x, cell);
    const text = cell.getWidth() === 0 ? '␣' : cell.getChars() || '␀';
    const as = style(cell);
    if (runs.length && runs.at(-1)[0] === as) runs.at(-1)[1] += text;
    else runs.push([as, text]);
  }
  if (runs.at(-1)[0] === '||') {
    runs.at(-1)[1] = runs.at(-1)[1].replace(/␀+$/, '');
    if (!runs.at(-1)[1]) runs.pop();
  }
  return runs;
}

function screen(terminal) {
  const buffer = terminal.buffer.active;
  return {
    alternate: buffer.type === 'alternate',
    cursor: [Math.min(buffer.cursorX, COLS - 1), buffer.cursorY],
    rows: Array.from({ length: ROWS }, (_, y) => row(buffer.getLine(buffer.baseY + y))),
  };
}

/** The screens of a recording: [{at, alternate, cursor, rows}]. */
export async function screens(name) {
  const bytes = readFileSync(join(folder, `${name}.bytes`));
  const terminal = new headless.Terminal({ cols: COLS, rows: ROWS, scrollback: 1000, allowProposedApi: true });
  terminal.loadAddon(new unicode11.Unicode11Addon());
  terminal.unicode.activeVersion = '11';
  const found = [];
  let from = 0;
  let before = [];
  for (let index = 1; index <= SCREENS; index++) {
    const at = Math.floor((bytes.length * index) / SCREENS);
    await new Promise((resolve) => terminal.write(bytes.subarray(from, at), resolve));
    from = at;
    const now = screen(terminal);
    // A row that is as in the screen before is written as null.
    const rows = now.rows.map((runs, y) => (JSON.stringify(runs) === JSON.stringify(before[y]) ? null : runs));
    before = now.rows;
    found.push({ at, alternate: now.alternate, cursor: now.cursor, rows });
  }
  return found;
}

/** The file that keeps them: one screen's rows a line, to be read in a diff. */
export function written(found) {
  const lines = found.map(({ at, alternate, cursor, rows }) =>
    `{"at":${at},"alternate":${alternate},"cursor":${JSON.stringify(cursor)},"rows":[\n${rows.map((runs) => JSON.stringify(runs)).join(',\n')}]}`);
  return `[${lines.join(',\n')}]\n`;
}

export const expectedFile = (name) => join(folder, `${name}.screens.json`);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const name of recordings()) writeFileSync(expectedFile(name), written(await screens(name)));
}
