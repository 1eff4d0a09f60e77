// What a learner feels, measured in the browser: from a key to the screen, the
// frames while text floods, and Ctrl-C during it. Prints Markdown, as it stands
// in BENCH.md; `./dev bench page` runs it.

import { Server, eventually, openBrowser, openPage, screen } from './server.mjs';

const KEYS = 200;
const FLOODS = 11;
const FLOOD_MS = 3000;

const order = (numbers) => [...numbers].sort((a, b) => a - b);
const at = (numbers, share) => order(numbers)[Math.min(numbers.length - 1, Math.floor(numbers.length * share))];
const spread = (numbers) => `**${at(numbers, 0.5).toFixed(0)}** (${at(numbers, 0).toFixed(0)}–${at(numbers, 1).toFixed(0)})`;

/** Milliseconds from a key event to the frame in which the terminal has its letter. */
async function key(page) {
  await page.evaluate(() => {
    const row = () => window.drydock.terminals[0].text().findLast((line) => line.trim() !== '') ?? '';
    window.shown = new Promise((resolve) => {
      addEventListener('keydown', () => {
        const [before, begin] = [row(), performance.now()];
        const look = () => (row() !== before ? resolve(performance.now() - begin) : requestAnimationFrame(look));
        requestAnimationFrame(look);
      }, { capture: true, once: true });
    });
  });
  await page.keyboard.press('x');
  const took = await page.evaluate(() => window.shown);
  await page.keyboard.press('Control+u');
  await eventually('the command line is empty', async () => /# *$/.test((await screen(page)).trimEnd()));
  return took;
}

/** Times between frames while a program floods the terminal. */
async function frames(page) {
  return page.evaluate((ms) => new Promise((resolve) => {
    const times = [];
    let last = performance.now();
    const end = last + ms;
    const frame = (now) => {
      times.push(now - last);
      last = now;
      if (now < end) requestAnimationFrame(frame);
      else resolve(times.slice(1));
    };
    requestAnimationFrame(frame);
  }), FLOOD_MS);
}

const server = await Server.start();
const browser = await openBrowser();
try {
  const page = await openPage(browser);
  await page.goto(`${server.url}/labs/namespaces/1`);
  const prompts = () => eventually('the shell prompts', async () => /root@node1.*# *$/.test((await screen(page)).trimEnd()));
  await prompts();
  await page.locator('.screen textarea').first().focus();
  const keys = [];
  for (let i = 0; i < KEYS; i++) keys.push(await key(page));
  const longest = [];
  const usual = [];
  const interrupts = [];
  for (let i = 0; i < FLOODS; i++) {
    await page.keyboard.type('clear; yes "a long line of text that goes on and on"\n');
    await eventually('it floods', async () => (await screen(page)).split('on and on\n').length > 10);
    const times = await frames(page);
    longest.push(Math.max(...times));
    usual.push(at(times, 0.5));
    const begin = performance.now();
    await page.keyboard.press('Control+c');
    await prompts();
    interrupts.push(performance.now() - begin);
  }
  console.log('| in Chromium, without a GPU | ms |\n| --- | --- |');
  console.log(`| a key to the frame that shows it | ${spread(keys)}, p99 ${at(keys, 0.99).toFixed(0)} |`);
  console.log(`| time between frames while \`yes\` floods | ${spread(usual)} |`);
  console.log(`| … the longest in ${FLOOD_MS / 1000} s | ${spread(longest)} |`);
  console.log(`| Ctrl-C during \`yes\`, to the prompt on the screen | ${spread(interrupts)} |`);
} finally {
  await browser.close();
  await server.stop();
}
