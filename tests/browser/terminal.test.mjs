// The terminal as a person uses it: typing, vim, a reload, and our processes
// killed under it.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { learner, page, server, shows, type, useServer } from './fixture.mjs';
import { eventually, screen } from './server.mjs';

useServer();

async function session() {
  const url = await page.evaluate(() => performance.getEntriesByType('resource').map((it) => it.name)
    .find((name) => /\/api\/sessions\/[a-z0-9]{26}/.test(name)));
  return url.match(/sessions\/([a-z0-9]{26})/)[1];
}

/** Host PIDs of the engines of a session's nodes, known by their cgroup. */
function engines(id) {
  const read = (pid, file) => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, 'utf8');
    } catch {
      return '';
    }
  };
  const isOurs = (pid) => read(pid, 'cmdline').split('\0')[1] === 'engine' && read(pid, 'cgroup').includes(`/n-${id}-`);
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter(isOurs).map(Number);
}

test('a file is written in vim by keyboard and read back', async () => {
  await learner();
  await type('vim note.txt');
  await shows('vim has the screen', /~\s*$/m);
  await page.keyboard.type('ihello from vim');
  await page.keyboard.press('Escape');
  await type(':wq');
  await shows('the shell is back', /root@node1/);
  await type('cat note.txt; uname');
  await shows('the file is there', /^\s*hello from vim\s+Linux/m);
  assert.deepEqual(page.problems, []);
});

test('tab completes, Ctrl-R searches, arrows recall, Ctrl-C interrupts', async () => {
  await learner();
  await page.keyboard.type('cat /etc/hostn');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await shows('the completed command ran', /^\s*node1\s*$/m);
  await page.keyboard.press('Control+r');
  await page.keyboard.type('hostn');
  await shows('the search found it', /reverse-i-search.*hostn/);
  await page.keyboard.press('Control+c');
  // What is typed before the shell has taken the Ctrl-C is lost, as on any terminal.
  await shows('the search was left', /\^C.*\n.*# *\s*$/);
  await type('echo first');
  await shows('the command ran', /^\s*first$/m);
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('Enter');
  await shows('the recalled command ran', /first[\s\S]*echo first\s+first/);
  await type("bash -c 'echo ready; exec sleep 1000'");
  await shows('the command runs', /^\s*ready\s*$/m);
  await page.keyboard.press('Control+c');
  await shows('the prompt came', /ready\s*\n\^C\s*\n.*# *\s*$/);
  await type('echo $?');
  await shows('the sleep was interrupted', /^\s*130\s*$/m);
});

test('a reload in the middle of top shows the same screen', async () => {
  await learner();
  await type('top -d 60');
  await shows('top has the screen', /PID USER/);
  const before = await screen(page);
  await page.reload();
  await shows('top is still there', /PID USER/);
  assert.equal((await screen(page)).trimEnd(), before.trimEnd());
  await page.locator('.screen textarea').first().focus();
  await page.keyboard.press('q');
  await shows('the shell is back', /# *$/m);
});

test('web, host and engine may be killed while a command counts', { timeout: 300_000 }, async () => {
  await learner();
  const id = await session();
  await type('docker run -d --name stays busybox sleep 1000');
  await shows('the container runs', /[0-9a-f]{64}/);
  const list = "docker ps --no-trunc --format '{{.ID}} {{.Names}}'";
  const containers = await server.sh(id, 'node1', list);
  await type('for i in $(seq 100000); do echo count $i; sleep 0.2; done');
  const last = async () => Number([...(await screen(page)).matchAll(/count (\d+)/g)].at(-1)?.[1] ?? 0);
  for (const part of ['web', 'host', 'engine']) {
    const before = await eventually('it counts', last);
    const pids = part === 'engine' ? engines(id) : server.part(part);
    assert.notEqual(pids.length, 0, `there is a ${part} to kill`);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await eventually(`it counts on after ${part} was killed`, async () => (await last()) > before + 5);
  }
  const rows = (await screen(page)).split('\n').filter((row) => /^\s*count \d+/.test(row));
  const counted = rows.map((row) => Number(row.match(/count (\d+)/)[1]));
  assert.deepEqual(counted, counted.map((_, at) => counted[0] + at), 'no number is missing');
  await eventually('host answers again', () => server.sessions().then((all) => all.length > 0, () => false));
  await eventually('docker ps is as before', async () =>
    (await server.sh(id, 'node1', list).catch(() => '')) === containers);
});

test('text at full speed does not freeze the page, and Ctrl-C stops it', async () => {
  await learner();
  await type('yes "a long line of text that goes on and on"');
  await shows('it floods', /goes on and on/);
  const answered = await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => resolve(true))));
  assert.ok(answered);
  await page.keyboard.press('Control+c');
  await shows('the shell is back', /root@node1.*# *$/m);
});

test('F6 leaves the terminal', async () => {
  await learner();
  await page.keyboard.press('F6');
  const inside = await page.evaluate(() => document.activeElement?.closest('.screen') !== null);
  assert.equal(inside, false);
});
