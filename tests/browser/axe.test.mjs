// No page breaks WCAG 2.2 AA, as far as axe-core can tell, light or dark.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { browser, server, useServer } from './fixture.mjs';
import { prompt, useLabsWithBlocks } from './labs.mjs';
import { openPage } from './server.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
const ALL = [...WCAG, 'best-practice'];

useLabsWithBlocks();
useServer();

async function violations(page, tags) {
  // The policy keeps other scripts out; what the browser's driver runs is no page script.
  await page.evaluate(axe);
  // The divider stands between two regions and is in neither.
  const rules = { region: { enabled: false } };
  const options = { runOnly: { type: 'tag', values: tags }, rules };
  const found = await page.evaluate((options) => window.axe.run(document, options), options);
  return found.violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${help}\n  ${html}\n  ${failureSummary}`),
  );
}

async function clean(page, what, tags = ALL) {
  const found = await violations(page, tags);
  assert.equal(found.length, 0, `${what}:\n${found.join('\n')}`);
}

for (const colorScheme of ['light', 'dark']) {
  const open = async (path, options = {}) => {
    const page = await openPage(browser, { colorScheme, reducedMotion: 'reduce', ...options });
    await page.goto(server.url + path);
    return page;
  };

  test(`the list of labs, ${colorScheme}`, async () => {
    const page = await open('/');
    await clean(page, 'new learner');
    await page.goto(`${server.url}/?q=nothing-like-it`);
    await clean(page, 'nothing found');
    await page.goto(`${server.url}/labs/blocks/2`);
    await page.goto(server.url);
    await page.locator('#account summary').click();
    await clean(page, 'a lab begun, the menu open');
    await page.context().close();
  });

  test(`messages, ${colorScheme}`, async () => {
    const page = await open('/labs/blokcs');
    await clean(page, 'no such lab');
    await page.goto(`${server.url}/nothing`);
    await clean(page, 'not found');
    await page.goto(`${server.url}/sessions/aaaaaaaaaaaaaaaaaaaaaaaaaa`);
    await clean(page, 'no such session');
    await page.context().close();
  });

  test(`each step of each lab, ${colorScheme}`, async () => {
    const page = await open('/');
    const labs = await page.locator('.labs h3 a').evaluateAll((links) => links.map((link) => link.pathname));
    assert.ok(labs.length > 0);
    for (const lab of labs) {
      await page.goto(server.url + lab);
      await prompt(page);
      const steps = await page.locator('#steps-list a').evaluateAll((links) => links.map((link) => link.pathname));
      for (const step of steps) {
        await page.goto(server.url + step);
        await prompt(page);
        await page.evaluate(() => document.querySelectorAll('#step details').forEach((part) => (part.open = true)));
        await clean(page, step);
      }
      await page.goto(`${server.url + lab}/print`);
      await clean(page, `${lab}/print`);
    }
    await page.context().close();
  });

  test(`states of the lab page, ${colorScheme}`, async () => {
    const page = await open('/labs/blocks/1');
    await prompt(page);
    await page.locator('[data-block="0"] .act').click();
    await page.locator('[data-block="2"] .act').click();
    await page.locator('[data-block="4"] .act').click();
    await page.waitForSelector('[data-block="4"][data-state="running"]');
    await page.locator('[data-block="3"] .act').click();
    await page.waitForSelector('[data-block="3"][data-state="queued"]');
    await page.getByRole('button', { name: 'Check now' }).click();
    await page.waitForSelector('[data-check="0"][data-state="failed"]');
    await page.locator('.foot .memory:not([hidden])').waitFor();
    await clean(page, 'blocks and checks');
    await page.locator('#steps-toggle').click();
    await clean(page, 'list of steps');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Show two terminals' }).click();
    await page.locator('#node-menu summary').click();
    await clean(page, 'node menu, two terminals');
    await page.locator('.menu-item.delete').click();
    await clean(page, 'reset dialog');
    await page.context().close();
  });

  test(`phone and 1024, ${colorScheme}`, async () => {
    const page = await open('/labs/blocks/2', { viewport: { width: 390, height: 844 }, hasTouch: true });
    await prompt(page);
    await page.locator('[data-quiz="0"] input').first().check();
    await page.getByRole('button', { name: 'Answer' }).click();
    await page.waitForSelector('[data-quiz="0"][data-state="wrong"]');
    await clean(page, 'guide on a phone');
    await page.locator('[data-view="terminal"]').tap();
    // The guide, with the heading, is the other of the two views.
    await clean(page, 'terminal on a phone', WCAG);
    await page.setViewportSize({ width: 1024, height: 768 });
    await clean(page, '1024');
    await page.context().close();
  });
}
