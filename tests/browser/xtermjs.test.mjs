// The screens that the terminal core is held against are those of xterm.js.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { expectedFile, recordings, screens, written } from './xtermjs.mjs';

test('there are recordings of every program', () => {
  assert.deepEqual(recordings(), ['bash', 'less', 'man', 'nano', 'tmux', 'top', 'vim']);
});

for (const name of recordings()) {
  test(`the screens kept for ${name} are those of xterm.js`, async () => {
    assert.equal(readFileSync(expectedFile(name), 'utf8'), written(await screens(name)));
  });
}
