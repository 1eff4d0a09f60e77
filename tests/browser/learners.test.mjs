// Two learners at once see nothing of each other, and a hostile guide or
// terminal does nothing to the page.

import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { browser, server, useServer } from './fixture.mjs';
import { eventually, openPage, screen } from './server.mjs';

/** Markdown that would run a script in a renderer that lets it. */
const HOSTILE = `---
title: Hostile
summary: A guide that tries to run scripts.
minutes: 1
---

<img src=x onerror="window.broken = 1"> <script>window.broken = 1</script>
<svg><animate onbegin="window.broken = 1" attributeName=x dur=1s></svg>
<math><annotation-xml encoding="text/html"><img src=x onerror="window.broken = 1"></annotation-xml></math>

## One **step** <img src=x onerror="window.broken = 1">

<a href="javascript:window.broken=1">raw</a> \`<img src=x onerror=window.broken=1>\`

\`\`\`sh run
echo '<img src=x onerror=window.broken=1>'
\`\`\`

\`\`\`output
<img src=x onerror=window.broken=1>
\`\`\`

\`\`\`quiz
<img src=x onerror="window.broken = 1">?

- [x] <svg onload="window.broken = 1">
  <img src=x onerror="window.broken = 1">
- [ ] no
\`\`\`
`;

/** A directory with the hostile guides, which the web server's own user may read. */
function hostileLabs() {
  const labs = mkdtempSync(join(tmpdir(), 'labs'));
  chmodSync(labs, 0o755);
  mkdirSync(join(labs, 'hostile'));
  writeFileSync(join(labs, 'hostile', 'guide.md'), HOSTILE);
  mkdirSync(join(labs, 'links'));
  writeFileSync(join(labs, 'links', 'guide.md'), `${HOSTILE}\n[a link](javascript:window.broken=1)\n`);
  return labs;
}

useServer(() => ['--labs', hostileLabs()]);

async function learner() {
  const page = await openPage(browser);
  await page.goto(`${server.url}/labs/hostile/1`);
  await eventually('the shell prompts', async () => (await screen(page)).includes('root@node1'));
  await page.locator('.screen textarea').first().focus();
  return page;
}

async function type(page, text) {
  await page.keyboard.type(text);
  await page.keyboard.press('Enter');
}

test('two learners see neither processes, files nor network of each other', { timeout: 120_000 }, async () => {
  const [ada, kim] = [await learner(), await learner()];
  await type(ada, 'touch /adas-file; sleep 31415 & (while :; do echo adas-words | busybox nc -l -p 7777; done) &');
  await eventually('Ada has typed', async () => (await screen(ada)).includes('31415'));
  await type(kim, 'clear; ls -d /adas*; pgrep -f 31415; for i in 1 11 12 13; do curl -sS -m 1 192.168.0.$i:7777; done; echo end=$?');
  const seen = await eventually('Kim has looked', async () => {
    const text = await screen(kim);
    return /end=\d/.test(text.replace('end=$?', '')) ? text : null;
  });
  assert.doesNotMatch(seen, /adas-words|\/adas-file|^\d+$/m);
  assert.match(seen, /cannot access '\/adas/);
});

test('m01 a hostile guide runs nothing', async () => {
  const page = await openPage(browser);
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await page.goto(`${server.url}/labs/hostile/1`);
  await eventually('the shell prompts', async () => (await screen(page)).includes('root@node1'));
  await page.locator('#step form.quiz input').first().check();
  await page.getByRole('button', { name: 'Answer' }).click();
  await eventually('the reply is shown', async () =>
    (await page.locator('#step form.quiz').getAttribute('data-state')) === 'right');
  await page.locator('#step .block.run').getByRole('button', { name: /^Run/ }).click();
  await eventually('it ran', async () => (await page.locator('#step .block.run').getAttribute('data-state')) === 'done');
  assert.equal(await page.evaluate(() => window.broken), undefined);
  const elements = await page.evaluate(() =>
    document.querySelectorAll('#step script, #step img[onerror], #step [onload], #step math, #step animate, #step a[href^="javascript"], #step a[href^="data"]').length);
  assert.equal(elements, 0);
  assert.deepEqual(asked.filter((url) => !url.startsWith(server.url) && !url.startsWith('data:')), []);
  assert.deepEqual(page.problems, []);
});

test('m01 a guide with a link that runs a script is not served at all', async () => {
  assert.equal((await fetch(`${server.url}/labs/links/1`)).status, 404);
});

test('m03 a program in the terminal can neither read nor fill the clipboard', async () => {
  const page = await learner();
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url });
  await page.evaluate(() => navigator.clipboard.writeText('mine'));
  const tries = '\\e]52;c;ZXZpbA==\\a\\e]52;c;?\\a\\e]0;id\\a\\e[21t\\eP$qm\\e\\\\';
  await type(page, `printf '${tries}'; IFS= read -rs -t 1 -d X x; clear; printf 'got=%q\\n' "$x"`);
  const got = await eventually('it has tried', async () => (await screen(page)).match(/^got=(.*?)\s*$/m)?.[1]);
  // The answer to DECRQSS has a fixed text; nothing that the program chose comes back.
  assert.ok(["''", "$'\\EP0$r\\E\\\\'", "$'\\EP1$r0m\\E\\\\'"].includes(got), `came back: ${got}`);
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'mine');
});
