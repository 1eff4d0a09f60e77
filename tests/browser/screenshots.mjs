// Pictures of each page and state: `node tests/browser/screenshots.mjs DIRECTORY`.
//
// They are to be laid beside the pictures that the design began with, and to
// be looked at. The environment is that of the tests.

import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { prompt, sessionOf, state, useLabsWithBlocks } from './labs.mjs';
import { Server, openBrowser, openPage } from './server.mjs';

const out = process.argv[2];
if (!out) throw new Error('usage: screenshots.mjs DIRECTORY');
mkdirSync(out, { recursive: true });

const WIDE = { viewport: { width: 1440, height: 900 } };
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

useLabsWithBlocks();
const browser = await openBrowser();

/** Takes a picture in light and in dark, of a new learner's page each time. */
async function picture(name, server, path, options, act = async () => {}) {
  for (const colorScheme of ['light', 'dark']) {
    const page = await openPage(browser, { ...options, colorScheme });
    await page.goto(server.url + path);
    await act(page);
    await page.waitForTimeout(300);
    await page.screenshot({ path: join(out, `${name}-${colorScheme}.png`) });
    await page.context().close();
  }
}

const act = (page, block) => page.locator(`.block.run[data-block="${block}"] .act`);
const scrollTo = (page, selector) =>
  page.locator(selector).first().evaluate((element) => element.scrollIntoView({ block: 'start' }));

async function runs(page) {
  await prompt(page);
  for (const [block, name] of [[0, 'done'], [1, 'done'], [2, 'failed'], [3, 'done'], [4, 'running']]) {
    await act(page, block).click();
    await state(page, block, name);
  }
  await act(page, 0).click();
  await state(page, 0, 'queued');
}

const server = await Server.start();

await picture('catalogue-new', server, '/', WIDE);
await picture('catalogue', server, '/labs/namespaces/3', WIDE, async (page) => {
  await prompt(page);
  await page.goto(server.url);
});
await picture('catalogue-phone', server, '/', PHONE);
await picture('lab', server, '/labs/namespaces/2', WIDE, async (page) => {
  await prompt(page);
  await act(page, 0).click();
  await page.waitForTimeout(3000);
});
await picture('lab-step-1', server, '/labs/namespaces/1', WIDE, prompt);
await picture('lab-1680', server, '/labs/namespaces/1', { viewport: { width: 1680, height: 1000 } }, prompt);
await picture('lab-1024', server, '/labs/namespaces/1', { viewport: { width: 1024, height: 768 } }, prompt);
await picture('lab-steps-open', server, '/labs/namespaces/1', WIDE, async (page) => {
  await prompt(page);
  await page.locator('#steps-toggle').click();
});
await picture('lab-split', server, '/labs/blocks/1', WIDE, async (page) => {
  await prompt(page);
  await page.getByRole('button', { name: 'Show two terminals' }).click();
  await act(page, 4).click();
  await state(page, 4, 'running');
  await page.locator('#node-menu summary').click();
});
await picture('blocks-runs', server, '/labs/blocks/1', { viewport: { width: 1440, height: 1500 } }, async (page) => {
  await runs(page);
  await page.locator('.expected summary').first().click();
  await page.getByRole('button', { name: 'Check now' }).click();
  await page.waitForSelector('[data-check="0"][data-state="failed"]');
});
await picture('blocks-refused', server, '/labs/blocks/1', WIDE, async (page) => {
  await prompt(page);
  await page.locator('.pane textarea').focus();
  await page.keyboard.type('vim /tmp/x\n');
  await page.waitForFunction(() => window.drydock.terminals[0].text().some((row) => row.startsWith('~')));
  await act(page, 0).click();
  await state(page, 0, 'refused');
});
await picture('blocks-others', server, '/labs/blocks/2', { viewport: { width: 1440, height: 1500 } }, async (page) => {
  await prompt(page);
  await page.getByRole('button', { name: 'Save' }).click();
  await page.waitForSelector('.block.file[data-saved]');
  await server.sh(await sessionOf(page), 'node1', "sed -i 's/COPY .*/COPY . ./' /lab/Dockerfile");
  await page.reload();
  await page.waitForSelector('.block.file .line.removed');
  await page.getByLabel('The one in its image').check();
  await page.getByRole('button', { name: 'Answer' }).click();
  await page.waitForSelector('[data-quiz="0"][data-state="wrong"]');
});
await picture('phone-guide', server, '/labs/blocks/1', PHONE, async (page) => {
  await prompt(page);
  await act(page, 0).tap();
  await state(page, 0, 'done');
  await scrollTo(page, '#checks');
});
await picture('phone-terminal', server, '/labs/blocks/1', PHONE, async (page) => {
  await prompt(page);
  await act(page, 0).tap();
  await state(page, 0, 'done');
  await page.locator('[data-view="terminal"]').tap();
  await page.getByRole('button', { name: 'Ctrl' }).tap();
});
await picture('node-stopped', server, '/labs/blocks/1', WIDE, async (page) => {
  await prompt(page);
  await page.locator('#node-menu summary').click();
  await page.locator('#node-menu .menu-item', { hasText: 'Stop' }).click();
  await page.getByRole('button', { name: 'Start node1' }).waitFor();
});
await picture('node-cut-off', server, '/labs/blocks/1', WIDE, async (page) => {
  await prompt(page);
  await page.locator('#node-menu summary').click();
  await page.locator('#node-menu .menu-item', { hasText: 'Cut from' }).click();
  await page.getByRole('button', { name: 'Join again' }).waitFor();
});
await picture('reset', server, '/labs/blocks/1', WIDE, async (page) => {
  await prompt(page);
  await page.locator('#node-menu summary').click();
  await page.locator('#node-menu .menu-item.delete').click();
});
await picture('memory', server, '/labs/blocks/1', WIDE, async (page) => {
  await prompt(page);
  await page.locator('.foot .memory:not([hidden])').waitFor();
  await page.locator('.pane textarea').focus();
  await page.keyboard.type('tail /dev/zero\n');
  await page.locator('.banner.trouble').waitFor();
});
await picture('all-steps', server, '/labs/blocks/print', WIDE);
await picture('forced-colours', server, '/labs/blocks/1', { ...WIDE, forcedColors: 'active' }, async (page) => {
  await prompt(page);
  await page.locator('#steps-toggle').click();
});
await picture('four-times', server, '/labs/blocks/1', { viewport: { width: 320, height: 256 } }, prompt);
await picture('ended', server, '/labs/blocks/1', WIDE, async (page) => {
  await prompt(page);
  await server.drydock('session', 'rm', await sessionOf(page));
  await page.getByRole('heading', { name: 'This session has ended' }).waitFor();
});
await picture('no-scripts', server, '/labs/namespaces/1', { ...WIDE, javaScriptEnabled: false });
await picture('no-lab', server, '/labs/namespces', WIDE);
await picture('not-found', server, '/nothing', WIDE);
await picture('lost', server, '/labs/blocks/1', WIDE, async (page) => {
  await prompt(page);
  await act(page, 0).click();
  await state(page, 0, 'done');
  for (const pid of server.part('web')) execFile('kill', ['-KILL', String(pid)]);
  await page.getByText('Connection lost.').first().waitFor();
});
await server.stop();

const short = await Server.start(['--session-minutes', '4', '--nodes-max', '2']);
await picture('time', short, '/labs/blocks/1', WIDE, async (page) => {
  await prompt(page);
  await page.locator('.banner.time').waitFor();
});
await short.drydock('session', 'rm', '--all');
await picture('full', short, '/', WIDE, async (page) => {
  await short.drydock('session', 'create', '--nodes', '2');
  await page.goto(`${short.url}/labs/blocks/1`);
  await page.getByRole('heading', { name: 'The room is full' }).waitFor();
  await short.drydock('session', 'rm', '--all');
});
await short.stop();
await browser.close();
