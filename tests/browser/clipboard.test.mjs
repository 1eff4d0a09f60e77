// Selecting, copying, pasting, scrolling and resizing in the terminal, and what
// programs must not do to the page.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { learner, page, shows, type, useServer } from './fixture.mjs';
import { eventually, screen } from './server.mjs';

useServer();

const withClipboard = () => learner({ permissions: ['clipboard-read', 'clipboard-write'] });
const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
const setClipboard = (text) => page.evaluate((it) => navigator.clipboard.writeText(it), text);

/** The middle of a cell on the page; cells are 8.4 by 20 at this width. */
async function cell(column, row) {
  const box = await page.locator('.screen canvas').first().boundingBox();
  return [box.x + 24 + (column + 0.5) * 8.4, box.y + 8 + (row + 0.5) * 20];
}

async function rowOf(pattern) {
  return (await screen(page)).split('\n').findIndex((row) => pattern.test(row));
}

test('a double click selects a word, and Ctrl+C copies it once', async () => {
  await withClipboard();
  await type('echo select-me please');
  await shows('it was printed', /\nselect-me please\n/);
  const row = await rowOf(/^select-me/);
  await page.mouse.dblclick(...(await cell(3, row)));
  await page.keyboard.press('Control+c');
  assert.equal(await clipboard(), 'select-me');
  // Nothing is selected now: Ctrl+C interrupts again.
  await type("bash -c 'echo ready; exec sleep 1000'");
  await shows('the command runs', /\nready$/);
  await page.keyboard.press('Control+c');
  await shows('the sleep was interrupted', /\^C\n.*# *$/);
});

test('dragging selects over rows, and Ctrl+Shift+C copies', async () => {
  await withClipboard();
  await type('clear; printf "first row\\nsecond row\\n"');
  await shows('it was printed', /^first row\nsecond row\n/);
  await page.mouse.move(...(await cell(5.6, 0)));
  await page.mouse.down();
  await page.mouse.move(...(await cell(5.6, 1)), { steps: 5 });
  await page.mouse.up();
  await page.keyboard.press('Control+Shift+C');
  assert.equal(await clipboard(), 'row\nsecond');
});

test('a paste can neither run by itself nor end its own brackets', async () => {
  await withClipboard();
  await setClipboard('echo pasted-$((40+2))\x1b[201~\necho not-yet\n');
  await page.keyboard.press('Control+Shift+V');
  await shows('the paste is on the command line', /echo not-yet/);
  assert.doesNotMatch(await screen(page), /^pasted-42/m);
  await page.keyboard.press('Control+c');
  await setClipboard('echo again');
  await page.keyboard.press('Shift+Insert');
  await page.keyboard.press('Enter');
  await shows('Shift+Insert pastes', /\nagain\n/);
});

test('several lines are asked about where they would run at once', async () => {
  await withClipboard();
  await type('echo ready; cat');
  await shows('cat reads', /\nready$/);
  await setClipboard('one\ntwo\nthree\n');
  await page.keyboard.press('Control+Shift+V');
  await page.getByRole('heading', { name: 'Paste 3 lines?' }).waitFor();
  assert.doesNotMatch(await screen(page), /^one$/m);
  await page.getByRole('dialog').getByRole('button', { name: 'Paste', exact: true }).click();
  await shows('the lines came', /one\ntwo\nthree/);
});

test('the wheel shows what went by, and typing comes back', async () => {
  await withClipboard();
  await type('seq 500');
  await shows('the numbers were printed', /\n500\n/);
  const canvas = page.locator('.screen canvas').first();
  const before = await canvas.screenshot();
  await page.mouse.move(...(await cell(10, 10)));
  await page.mouse.wheel(0, -2000);
  await eventually('the view has moved', async () => !(await canvas.screenshot()).equals(before));
  await page.keyboard.type('#');
  await shows('the key was typed', /# #$/);
});

test('the shell knows the size that the page has', async () => {
  await withClipboard();
  for (const viewport of [{ width: 1200, height: 700 }, { width: 1440, height: 900 }]) {
    await page.setViewportSize(viewport);
    await eventually('the size has come back', async () => {
      await type('clear; stty size');
      const { cols, rows } = await page.evaluate(() => window.drydock.terminals[0].size());
      return new RegExp(`^${rows} ${cols}$`, 'm').test(await screen(page));
    });
  }
});

test('a program can put nothing on the clipboard and nothing on its own command line', async () => {
  await withClipboard();
  await setClipboard('mine');
  await type("printf '\\e]52;c;ZXZpbA==\\a\\e]52;c;?\\a\\e]0;id\\a\\e[21t\\eP$qm\\e\\\\'; cat -v");
  await shows('the one answer came', /\^\[P0\$r\^\[\\$/);
  await page.keyboard.press('Enter');
  await shows('cat has read it', /P0\$r[\s\S]*P0\$r/);
  await type('marker');
  await shows('cat answers', /marker\nmarker/);
  // The one answer, to a question about settings, is the same for all.
  const answered = (await screen(page)).replace(/^.*cat -v\n/s, '').replaceAll('^[P0$r^[\\', '');
  assert.equal(answered.trim(), 'marker\nmarker');
  assert.equal(await clipboard(), 'mine');
});

test('one sequence can not hold the page', async () => {
  await withClipboard();
  const written = await page.evaluate(() => {
    const terminal = window.drydock.terminals[0];
    const bytes = (text) => new TextEncoder().encode(text);
    terminal.write(bytes('\x1b[2J\x1b[Hx\x1b[2147483647b'));
    const answers = new TextDecoder().decode(terminal.write(bytes('\x1b[c\x1b[5n')));
    terminal.write(bytes(`\x1b]2;${'a'.repeat(5_000_000)}\x07e${'\u0301'.repeat(100_000)}done`));
    return { answers, text: terminal.text().join('\n') };
  });
  assert.equal(written.answers, '\x1b[?62;22c\x1b[0n');
  assert.match(written.text, /done/);
});
