// A full room: the page waits in line and the lab starts by itself; and a
// server that is started again says goodbye.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { afterEach, test } from 'node:test';
import { browser, server, useServer } from './fixture.mjs';
import { eventually, openPage, screen } from './server.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** All pages of a test. */
let pages = [];

afterEach(async () => {
  for (const page of pages) await page.context().close();
  pages = [];
});

// After the pages: who still waited would get what is ended.
useServer(() => ['--nodes-max', '2', '--session-minutes', '60']);

async function open(options) {
  const page = await openPage(browser, { reducedMotion: 'reduce', ...options });
  pages.push(page);
  await page.goto(`${server.url}/labs/namespaces/1`);
  return page;
}

async function prompts(page) {
  await eventually('the shell prompts', async () => (await screen(page)).includes('root@node1'));
}

/** A page that waits in line, and says so. */
async function waiting(options) {
  const page = await open(options);
  await page.getByRole('heading', { name: 'The room is full' }).waitFor();
  await page.locator('.cover').getByText('in line.').waitFor();
  return page;
}

/** Problems that a page may have: what the browser says of a 503 is none. */
function problems(page) {
  return page.problems.filter((problem) => !/status of (503|429)/.test(problem));
}

async function clean(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { rules: { region: { enabled: false } } }));
  const words = found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
  assert.equal(words.length, 0, `${what}:\n${words.join('\n')}`);
}

/** Two learners who have the room. */
async function fill() {
  const pages = [await open(), await open()];
  for (const page of pages) await prompts(page);
  return pages;
}

test('those who wait get their lab by themselves, in the order of coming', async () => {
  await fill();
  const first = await waiting();
  const second = await waiting({ colorScheme: 'dark' });
  await first.locator('.cover').getByText('You are first in line.').waitFor();
  await second.locator('.cover').getByText('You are second in line.').waitFor();
  const text = (await first.locator('.cover').innerText()).replace(/\s+/g, ' ');
  assert.match(text, /All 2 nodes of this server are in use, so .+ can’t start yet\./);
  // Nobody typed in the first two for as long as the server lets them.
  assert.match(text, /About (29|30) min until a node is free, if nobody extends\./);
  assert.match(text, /Leave this page open: the lab starts by itself\./);
  await clean(first, 'light');
  await clean(second, 'dark');
  // The guide can be read meanwhile, and leaving the line is a choice.
  await first.getByRole('button', { name: 'Read the guide meanwhile' }).click();
  assert.equal(await first.evaluate(() => document.activeElement.id), 'guide');

  const [session] = (await server.sessions()).filter((one) => one.learner);
  await server.drydock('session', 'rm', session.id);
  await prompts(first);
  await second.locator('.cover').getByText('You are first in line.').waitFor();
  assert.equal((await server.sessions()).length, 2);
  assert.deepEqual(problems(first), []);
});

test('a place falls when its page goes away, or its learner leaves the line', async () => {
  await fill();
  const [first, second, third] = [await waiting(), await waiting(), await waiting()];
  await third.locator('.cover').getByText('You are third in line.').waitFor();
  await first.close();
  await third.locator('.cover').getByText('You are second in line.').waitFor();
  await second.getByRole('button', { name: 'Leave the line' }).click();
  await second.getByRole('heading', { name: 'You are not in line' }).waitFor();
  await third.locator('.cover').getByText('You are first in line.').waitFor();
  await second.getByRole('button', { name: 'Start the lab' }).click();
  await second.locator('.cover').getByText('You are second in line.').waitFor();
  await clean(second, 'back in line');
});

test('while others wait, Extend gives ten minutes at most', async () => {
  const [ann] = await fill();
  for (const { id } of await server.sessions()) await server.drydock('session', 'extend', id, '4');
  await ann.getByRole('button', { name: 'Extend by 30 min' }).waitFor();
  const waits = await waiting();
  await waits.locator('.cover').getByText(/About (3|4) min/).waitFor();
  await ann.getByText('Others are waiting, so 10 minutes at most.').waitFor();
  await clean(ann, 'time is nearly up, others wait');
  await ann.getByRole('button', { name: 'Extend by 10 min' }).click();
  await ann.getByText(/^1[34] min/).first().waitFor();
});

test('a server that is started again says so, and the page comes back', async () => {
  const page = await open();
  await prompts(page);
  await page.locator('.screen textarea').first().focus();
  await page.keyboard.type('echo still-h');
  for (const pid of server.part('web')) process.kill(pid, 'SIGTERM');
  await page.getByText('The server is being restarted.').first().waitFor();
  await eventually('the screen is back', async () => (await screen(page)).includes('echo still-h'));
  await eventually('the shell takes keys', async () => {
    await page.keyboard.type('e');
    return (await screen(page)).includes('echo still-he');
  });
});
