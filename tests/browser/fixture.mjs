// What a test file stands on: one instance and one browser for all its tests,
// and the learner who types in the terminal.

import { after, afterEach, before } from 'node:test';
import { Server, eventually, openBrowser, openPage, screen } from './server.mjs';

/** The instance and the browser, from the first test on. */
export let server, browser;

/** The page of the learner who came last. */
export let page;

/** Starts both before the file's tests and ends them after. `options` gives the words after `drydock up`. */
export function useServer(options = () => []) {
  before(async () => {
    server = await Server.start(options());
    browser = await openBrowser();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });
  afterEach(async () => {
    await page?.context().close();
    page = undefined;
    // Sessions outlive their pages, and a small machine has room for few.
    await server.drydock('session', 'rm', '--all');
  });
}

/** A new learner at the first step of lab 1, with the shell at its prompt. */
export async function learner(options) {
  page = await openPage(browser, options);
  await page.goto(`${server.url}/labs/namespaces/1`);
  await shows('the shell prompts', /root@node1.*# *$/);
  await page.locator('.screen textarea').first().focus();
}

/** Waits until the terminal's screen is so. */
export async function shows(what, pattern) {
  await eventually(what, async () => pattern.test((await screen(page)).trimEnd())).catch(async (error) => {
    throw new Error(`${error.message}\n${await screen(page)}`);
  });
}

/** Types a line on the keyboard, as a person does. */
export async function type(text) {
  await page.keyboard.type(text);
  await page.keyboard.press('Enter');
}
