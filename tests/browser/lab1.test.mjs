// A learner goes through all of lab 1 by clicking: every command's mark turns
// to done, every check ticks, every question is answered.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { browser, server, useServer } from './fixture.mjs';
import { eventually, openPage, screen, setting } from './server.mjs';

useServer();

/** The right answers of each question of a guide, in order, as positions. */
function answers(lab) {
  const guide = readFileSync(join(setting('DRYDOCK_LABS'), lab, 'guide.md'), 'utf8');
  return [...guide.matchAll(/^```quiz\n([\s\S]*?)^```/gm)].map(([, quiz]) => {
    const marks = [...quiz.matchAll(/^- \[([ x])\]/gm)].map(([, mark]) => mark);
    return marks.flatMap((mark, at) => (mark === 'x' ? [at] : []));
  });
}

/** Runs one block and waits for its end. */
async function runBlock(page, block) {
  const name = await block.locator('code').first().innerText();
  await block.getByRole('button', { name: /^Run/ }).click();
  const state = await eventually(
    `the end of: ${name}`,
    async () => {
      const now = await block.getAttribute('data-state');
      return ['done', 'failed', 'refused'].includes(now) ? now : null;
    },
    120,
  ).catch(async (error) => {
    throw new Error(`${error.message}\n${await block.innerText()}\n${await screen(page)}`);
  });
  assert.equal(state, 'done', `${name}: ${await block.innerText()}\n${await screen(page)}`);
}

async function runStep(page, questions) {
  for (const block of await page.locator('#step .block.run').all()) await runBlock(page, block);
  for (const quiz of await page.locator('#step form.quiz').all()) {
    for (const at of questions.shift()) await quiz.locator('input').nth(at).check();
    await quiz.getByRole('button', { name: 'Answer' }).click();
    await eventually('the answer is right', async () => (await quiz.getAttribute('data-state')) === 'right');
  }
  const checks = page.locator('#step [data-check]');
  const passed = async () =>
    (await Promise.all((await checks.all()).map((row) => row.getAttribute('data-state')))).every((it) => it === 'passed');
  if (await page.locator('#step .solve').count()) {
    await page.getByRole('button', { name: 'Check now' }).click();
    await eventually('Show me is offered', () => page.getByRole('button', { name: 'Show me' }).isVisible());
    // Each press types the answer of one task that is still open.
    await eventually('all tasks are shown', async () => {
      const button = page.getByRole('button', { name: 'Show me' });
      if (await button.isVisible().catch(() => false)) await button.click().catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 1000));
      return passed();
    }, 90).catch(async (error) => {
      throw new Error(`${error.message}\n${await page.locator('#step .checks').innerText()}\n${await screen(page)}`);
    });
  }
  await eventually('every check of the step ticks', passed).catch(async (error) => {
    throw new Error(`${error.message}\n${await page.locator('#step .checks').innerText()}`);
  });
}

test('lab 1 can be clicked through from the first step to the last', { timeout: 900_000 }, async () => {
  const page = await openPage(browser);
  await page.goto(server.url);
  await page.getByRole('link', { name: 'A container is just a process' }).first().click();
  await page.waitForURL(/\/labs\/namespaces\/1/);
  await eventually('the shell prompts', async () => (await screen(page)).includes('root@node1'));
  const questions = answers('namespaces');
  for (let step = 1; ; step++) {
    await page.waitForURL(new RegExp(`/labs/namespaces/${step}(#.*)?$`));
    await runStep(page, questions);
    const next = page.getByRole('link', { name: /^Next/ });
    if ((await next.count()) === 0) break;
    await next.first().click();
  }
  assert.deepEqual(questions, [], 'every question was met');
  assert.deepEqual(page.problems, []);
  await page.goto(server.url);
  await eventually('the catalogue says that the lab is done', async () =>
    /Done on/.test(await page.locator('body').innerText()));
});
