// What the lab page does, in a browser, on a real node.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { browser, server, useServer } from './fixture.mjs';
import { prompt, sessionOf, state, useLabsWithBlocks } from './labs.mjs';
import { eventually, openPage, screen } from './server.mjs';

useLabsWithBlocks();
useServer();

async function open(path, options) {
  const page = await openPage(browser, options);
  await page.goto(server.url + path);
  return page;
}

const row = (page, block) => page.locator(`.block.run[data-block="${block}"] .row`);
const act = (page, block) => page.locator(`.block.run[data-block="${block}"] .act`);

test('a run block runs, says how it ended, and is as high as before', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  const height = () => page.locator('[data-block="0"]').evaluate((block) => block.getBoundingClientRect().height);
  const before = await height();
  assert.match(await act(page, 0).getAttribute('class'), /fill/);
  await act(page, 0).click();
  await state(page, 0, 'done');
  assert.match(await row(page, 0).innerText(), /Run again\s+exit 0\s+[\d.]+ s\s+Show in terminal/);
  assert.equal(await height(), before);
  assert.match(await screen(page), /hello/);
  await act(page, 1).click();
  await state(page, 1, 'done');
  assert.match(await row(page, 1).innerText(), /exit 3, as expected/);
  await act(page, 2).click();
  await state(page, 2, 'failed');
  assert.match(await row(page, 2).innerText(), /exit 4/);
  assert.equal(await page.locator('#step .button.fill').count(), 1);
  await page.context().close();
});

test('blocks queue, and Stop sends Ctrl-C', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  await act(page, 4).click();
  await state(page, 4, 'running');
  await act(page, 0).click();
  await state(page, 0, 'queued');
  assert.match(await row(page, 0).innerText(), /Cancel\s+queued\s+runs when sleep has ended/);
  await act(page, 4).click();
  await state(page, 0, 'done');
  await page.context().close();
});

test('a block waits while a program has the screen, and can go elsewhere', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  await page.locator('.pane textarea').focus();
  await page.keyboard.type('vim /tmp/x\n');
  await page.waitForFunction(() => window.drydock.terminals[0].text().some((row) => row.startsWith('~')));
  await act(page, 0).click();
  await state(page, 0, 'refused');
  assert.match(await row(page, 0).innerText(), /waits for you\s+vim has the screen of node1/);
  await page.getByRole('button', { name: 'Run in a second terminal' }).click();
  await state(page, 0, 'done');
  assert.equal(await page.getByRole('tab').count(), 2);
  assert.match(await screen(page, 1), /hello/);
  await page.context().close();
});

test('checks tick after a command, say why not when asked, and can be shown', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  await page.waitForSelector('[data-check="1"][data-state="passed"]');
  await page.getByRole('button', { name: 'Check now' }).click();
  await page.waitForSelector('[data-check="0"][data-state="failed"]');
  assert.match(await page.locator('[data-check="0"]').innerText(), /There is no \/tmp\/made yet\./);
  await page.getByRole('button', { name: 'Show me' }).click();
  await page.waitForSelector('[data-check="0"][data-state="passed"]');
  await page.waitForSelector('.step-done:not([hidden])');
  assert.match(await page.locator('#steps-list li').first().getAttribute('class'), /done/);
  await page.context().close();
});

test('another step keeps the terminals; a reload keeps the screen and the marks', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  await act(page, 0).click();
  await state(page, 0, 'done');
  await page.evaluate(() => (window.kept = true));
  await page.getByRole('link', { name: /^Next/ }).click();
  await page.waitForSelector('#step[data-step="2"]');
  assert.equal(page.url(), `${server.url}/labs/blocks/2`);
  assert.equal(await page.evaluate(() => window.kept), true);
  assert.match(await screen(page), /hello/);
  await page.goBack();
  await page.waitForSelector('#step[data-step="1"]');
  await state(page, 0, 'done');
  await page.reload();
  await prompt(page);
  await state(page, 0, 'done');
  assert.match(await screen(page), /hello/);
  await page.context().close();
});

test('a file is saved, then compared with what is there', async () => {
  const page = await open('/labs/blocks/2');
  await prompt(page);
  await page.getByRole('button', { name: 'Save' }).click();
  await page.waitForSelector('.block.file[data-saved]');
  const session = await sessionOf(page);
  assert.match(await server.sh(session, 'node1', 'cat /lab/Dockerfile'), /^FROM debian\n/);
  await server.sh(session, 'node1', "sed -i 's/COPY .*/COPY . ./' /lab/Dockerfile");
  await page.reload();
  await page.waitForSelector('.block.file .line.removed');
  assert.equal(await page.locator('.block.file .changes').innerText(), '1 line added, 1 removed');
  await page.context().close();
});

test('what a block captures is put into the next', async () => {
  const page = await open('/labs/blocks/2');
  await prompt(page);
  assert.match(await row(page, 1).innerText(), /Needs the token: run step 2 first\./);
  assert.equal(await act(page, 1).isDisabled(), true);
  await act(page, 0).click();
  await state(page, 0, 'done');
  await act(page, 1).click();
  await state(page, 1, 'done');
  assert.match(await screen(page), /it is abc/);
  await page.context().close();
});

test('a wrong answer is explained, the right one counts', async () => {
  const page = await open('/labs/blocks/2');
  const quiz = page.locator('[data-quiz="0"]');
  await page.waitForSelector('[data-quiz="0"][data-state="open"]');
  await quiz.getByLabel('The one in its image').check();
  await quiz.getByRole('button', { name: 'Answer' }).click();
  await page.waitForSelector('[data-quiz="0"][data-state="wrong"]');
  assert.match(await quiz.innerText(), /Not this one\.\s+An image brings files/);
  await quiz.getByRole('button', { name: 'Try again' }).click();
  await quiz.getByLabel('The one of the node').check();
  await quiz.getByRole('button', { name: 'Answer' }).click();
  await page.waitForSelector('[data-quiz="0"][data-state="right"]');
  await page.waitForSelector('.step-done:not([hidden])');
  await page.context().close();
});

test('the node menu cuts, stops, starts and resets', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  const choose = async (name) => {
    await page.locator('#node-menu summary').click();
    await page.locator('#node-menu .menu-item', { hasText: name }).click();
  };
  const tab = page.getByRole('tab').first();
  await choose('Cut from the network');
  await eventually('the tab says cut off', async () => /cut off/.test(await tab.innerText()));
  await page.getByRole('button', { name: 'Join again' }).click();
  await eventually('the tab says nothing more', async () => !/cut off/.test(await tab.innerText()));
  await choose('Stop');
  await page.getByRole('button', { name: 'Start node1' }).click();
  await prompt(page);
  await page.locator('.pane textarea').focus();
  await page.keyboard.type('touch /root/mine\n');
  await choose('Reset this node…');
  assert.match(await page.locator('dialog').innerText(), /It starts anew, as it was when the lab began\./);
  assert.equal(await page.evaluate(() => document.activeElement.innerText), 'Cancel');
  await page.locator('dialog').getByRole('button', { name: 'Reset node1' }).click();
  await eventually('the file is gone', async () => {
    const ls = await server.sh(await sessionOf(page), 'node1', 'ls /root').catch(() => 'mine');
    return !/mine/.test(ls);
  });
  await prompt(page);
  await page.context().close();
});

/** Opens a step and waits until the foot says how much memory is used. */
async function openWithMemory(path) {
  const page = await open(path);
  await prompt(page);
  await page.locator('.foot .memory:not([hidden])').waitFor();
  return page;
}

test('the foot says how much memory is used, and a banner that it ran out', async () => {
  const page = await openWithMemory('/labs/blocks/1');
  assert.match(await page.locator('.foot .memory').innerText(), /^Memory \d+ of \d+ MB/);
  assert.ok((await page.locator('.foot meter').getAttribute('max')) > 0);
  await page.locator('.pane textarea').focus();
  await page.keyboard.type('tail /dev/zero\n');
  const banner = page.locator('.banner.trouble');
  await banner.getByText('node1 ran out of memory. The kernel ended tail.').waitFor();
  await banner.getByRole('button', { name: 'What uses it' }).click();
  await banner.waitFor({ state: 'hidden' });
  await eventually('the list is there', async () => /RSS COMMAND[^]*drydock-node/.test(await screen(page)));
  // A program of a container that met the node's limit, not one of its own. Which
  // one is not always known; that it was `docker run` would be wrong.
  await page.keyboard.type('docker run --rm busybox tail /dev/zero\n');
  await banner.getByText(/node1 ran out of memory\. The kernel ended (tail|a program)\./).waitFor();
  await banner.getByRole('button', { name: 'Close' }).click();
  await banner.waitFor({ state: 'hidden' });
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

test('a node that does not answer is told, and answers again', async () => {
  const page = await openWithMemory('/labs/blocks/1');
  const pid = Number(await processOne(await sessionOf(page)));
  const banner = page.locator('.banner.trouble');
  process.kill(pid, 'SIGSTOP');
  try {
    await banner.waitFor();
    assert.match(await banner.innerText(), /node1 does not answer\. It may have too many processes\./);
    assert.equal(await banner.getByRole('button', { name: 'Reset node1…' }).count(), 1);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await banner.waitFor({ state: 'hidden' });
  await page.context().close();
});

/** The PID of a node's PID 1 as this machine counts, found by its session. */
async function processOne(session) {
  for (const name of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const groups = readFileSync(`/proc/${name}/cgroup`, 'utf8');
      if (groups.includes(`n-${session}-node1/init`)) {
        const status = readFileSync(`/proc/${name}/status`, 'utf8');
        if (/^NSpid:.*\t1$/m.test(status)) return name;
      }
    } catch {
      // It ended while we looked.
    }
  }
  throw new Error('PID 1 of node1 is not there');
}

test('a reset says what it deletes', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  await server.sh(await sessionOf(page), 'node1', 'docker run busybox true && docker run -d busybox sleep 1000');
  await page.locator('#node-menu summary').click();
  await page.locator('#node-menu .menu-item.delete').click();
  await page.locator('dialog').getByText('Deleted: 2 containers, 1 image, your files on node1').waitFor();
  await page.locator('dialog').getByRole('button', { name: 'Cancel' }).click();
  await page.context().close();
});

test('while nodes are made the page says which, and after 5 s that the server is busy', async () => {
  const page = await openPage(browser);
  let go;
  const gate = new Promise((resolve) => (go = resolve));
  await page.route('**/api/sessions', async (route) => {
    await gate;
    await route.continue();
  });
  await page.goto(`${server.url}/labs/blocks/1`);
  await page.getByRole('heading', { name: 'Making node1' }).waitFor();
  assert.match(await page.getByRole('tab').innerText(), /node1\s*starting/);
  await page.getByText('The server is busy.').waitFor();
  go();
  await prompt(page);
  await page.context().close();
});

test('a file that is not there yet is no error', async () => {
  const page = await open('/labs/blocks/2');
  const asked = page.waitForResponse((response) => response.url().includes('/files?path='));
  assert.equal((await asked).status(), 204);
  await prompt(page);
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

test('all steps stand on one page, to print', async () => {
  const page = await open('/labs/blocks/1', { javaScriptEnabled: false });
  await page.getByRole('link', { name: /^All steps on one page/ }).click();
  assert.equal(page.url(), `${server.url}/labs/blocks/print`);
  assert.equal(await page.locator('.whole-step').count(), 3);
  assert.equal(await page.getByText('hello', { exact: true }).isVisible(), true);
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  const colours = await page.locator('.whole-title').first().evaluate((title) => {
    return [getComputedStyle(title).color, getComputedStyle(document.body).backgroundColor];
  });
  assert.deepEqual(colours, ['rgb(0, 0, 0)', 'rgb(255, 255, 255)']);
  const target = await page.locator('.prose a[href^="http"]').first().evaluate((link) => {
    return getComputedStyle(link, '::after').content;
  });
  assert.match(target, /https:\/\/example\.org/);
  await page.context().close();
});

test('F6 goes round the regions and leaves the terminal', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  const where = () =>
    page.evaluate(() => document.activeElement.closest('#guide, #terminals, .top')?.className.split(' ')[0]);
  await page.keyboard.press('F6');
  assert.equal(await where(), 'guide');
  await page.keyboard.press('F6');
  assert.equal(await where(), 'terminals');
  assert.match(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), /Terminal, node1/);
  await page.keyboard.press('F6');
  assert.equal(await where(), 'top');
  await page.keyboard.press('Shift+F6');
  assert.equal(await where(), 'terminals');
  await page.keyboard.press('Control+Shift+Enter');
  assert.notEqual(await where(), 'terminals');
  await page.locator('#guide').focus();
  await page.keyboard.press('Control+Enter');
  await state(page, 0, 'done');
  await page.context().close();
});

test('the divider moves by keys, folds, and is kept', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  const width = () => page.locator('#guide').evaluate((guide) => guide.getBoundingClientRect().width);
  const columns = () => page.evaluate(() => window.drydock.terminals[0].size().cols);
  assert.equal(await width(), 592);
  await page.locator('#divider').focus();
  await page.keyboard.press('ArrowRight');
  assert.equal(await width(), 608);
  await page.keyboard.press('Home');
  assert.equal(await width(), 360);
  await page.keyboard.press('End');
  await eventually('60 columns are left', async () => (await columns()) >= 60 && (await columns()) < 70);
  await page.keyboard.press('Home');
  await page.reload();
  await prompt(page);
  assert.equal(await width(), 360);
  await page.context().close();
});

test('the look that is chosen is kept', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  await page.locator('#account summary').click();
  await page.getByRole('button', { name: 'Dark' }).click();
  const background = () => page.evaluate(() => getComputedStyle(document.querySelector('.guide')).backgroundColor);
  assert.equal(await background(), 'rgb(18, 25, 29)');
  await page.goto(server.url);
  assert.equal(await page.locator('html').getAttribute('data-theme'), 'dark');
  await page.context().close();
});

test('with scripts off the guide is there, and says what is missing', async () => {
  const page = await open('/labs/blocks/1', { javaScriptEnabled: false });
  assert.equal(await page.locator('noscript .notice').isVisible(), true);
  assert.equal(await page.locator('.block.run .command').first().isVisible(), true);
  assert.equal(await page.locator('.block.run .act').first().isVisible(), false);
  await page.getByRole('link', { name: /^Next/ }).click();
  assert.equal(page.url(), `${server.url}/labs/blocks/2`);
  await page.context().close();
});

test('on a phone the guide runs, the peek shows, and Ctrl latches', async () => {
  const page = await open('/labs/blocks/1', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  await prompt(page);
  await act(page, 0).tap();
  await state(page, 0, 'done');
  await eventually('the peek shows the output', async () => /hello/.test(await page.locator('#peek').innerText()));
  await page.getByRole('button', { name: 'Open' }).tap();
  await page.locator('.pane textarea').focus();
  await page.keyboard.type('sleep 1000\n');
  await page.getByRole('button', { name: 'Ctrl' }).tap();
  await page.keyboard.type('c');
  await eventually('sleep ended', async () => /\^C/.test(await screen(page)));
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.equal(wide, false);
  await page.context().close();
});

test('the session of the command line opens with its key only', async () => {
  const made = JSON.parse(await server.drydock('session', 'create', '--nodes', '2', '--json'));
  const page = await openPage(browser);
  await page.goto(`${server.url}/sessions/${made.id}`);
  assert.match(await page.locator('h1').innerText(), /This session is not here/);
  await page.goto(made.url);
  await prompt(page);
  assert.equal(page.url(), `${server.url}/sessions/${made.id}`);
  assert.equal(await page.getByRole('tab').count(), 2);
  await page.context().close();
});

test('a session that ends says so, and another begins', async () => {
  const page = await open('/labs/blocks/1');
  await prompt(page);
  await server.drydock('session', 'rm', await sessionOf(page));
  await page.getByRole('heading', { name: 'This session has ended' }).waitFor();
  await page.getByRole('button', { name: 'Start again at step 1' }).click();
  await prompt(page);
  await page.context().close();
});
