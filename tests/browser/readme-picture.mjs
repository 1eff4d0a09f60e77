// The picture of the README: `node tests/browser/readme-picture.mjs FILE`.
//
// A learner does the first two steps of lab 1 and is in the middle of the
// third. The environment is that of the tests.

import { prompt } from './labs.mjs';
import { Server, openBrowser, openPage } from './server.mjs';

const [file] = process.argv.slice(2);
if (!file) throw new Error('usage: readme-picture.mjs FILE');

const server = await Server.start();
const browser = await openBrowser();
const page = await openPage(browser);

/** Runs the blocks of the step that is shown, as far as `last`. */
async function run(last = Infinity) {
  const blocks = await page.locator('#step .block.run').evaluateAll((all) => all.map((block) => block.id));
  for (const id of blocks.slice(0, last)) {
    await page.locator(`#${id} .act`).click();
    await page.waitForSelector(`#${id}[data-state="done"]`);
  }
}

await page.goto(`${server.url}/labs/namespaces/1`);
await prompt(page);
for (const step of [1, 2]) {
  await run();
  await page.waitForSelector('.step-done:not([hidden])');
  const prepared = page.waitForResponse((response) => response.url().endsWith('/setup'));
  await page.getByRole('link', { name: /^Next/ }).click();
  await page.waitForSelector(`#step[data-step="${step + 1}"]`);
  await prepared;
}
// What the shell says of the first step's end is not of the third.
await page.getByRole('tab').first().click();
await page.keyboard.press('Enter');
await page.waitForTimeout(500);
await page.keyboard.press('Control+l');
await run(4);
await page.locator('.foot .memory:not([hidden])').first().waitFor();
await page.locator('#step').evaluate((step) => step.closest('#guide').scrollTo(0, 0));
await page.mouse.move(700, 880);
await page.waitForTimeout(1000);
await page.screenshot({ path: file });
await server.stop();
await browser.close();
