// What a learner's node serves opens in the browser, at an origin that can do
// nothing to ours.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { learner, page, server, type, useServer } from './fixture.mjs';
import { eventually } from './server.mjs';

useServer();

const APP = readFileSync(new URL('preview-app.py', import.meta.url), 'utf8');

/** The session of the learner whose page this is. */
async function sessionOf(page) {
  const answer = await page.evaluate(async () => {
    const lab = document.body.dataset.lab;
    const response = await fetch('/api/sessions', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ lab }),
    });
    return response.json();
  });
  return answer.id;
}

/** Starts the test's application in a container, port 8000 published. */
async function startApp() {
  const app = Buffer.from(APP).toString('base64');
  const run = 'docker run -d --name app -p 8000:8000 -v /root/app.py:/app.py python python /app.py';
  await server.sh(await sessionOf(page), 'node1', `base64 -d <<<${app} >/root/app.py && ${run}`);
}

/** Opens the port's link at the foot of the terminal. */
async function openPort(number) {
  const link = page.locator('.pane.active .foot .ports a', { hasText: String(number) });
  await eventually(`port ${number} is listed`, () => link.isVisible());
  const [popup] = await Promise.all([page.context().waitForEvent('page'), link.click()]);
  await popup.waitForLoadState();
  return popup;
}

test('nginx is published, its link appears and opens, and goes with it', async () => {
  await learner();
  assert.equal(await page.locator('.foot .ports').count(), 0);
  await type('docker run -d --name web -p 8080:80 nginx');
  const preview = await openPort(8080);
  assert.match(new URL(preview.url()).host, /^8080-node1-[a-z2-7]{26}\.localhost:\d+$/);
  await eventually('nginx shows its page', async () => /Welcome to nginx/.test(await preview.content()));
  await page.bringToFront();
  await page.locator('.screen textarea').first().focus();
  await type('docker rm -f web');
  await eventually('the link goes', async () => (await page.locator('.foot .ports').count()) === 0);
  await preview.reload();
  assert.match(await preview.content(), /Nobody serves port 8080 on node1/);
});

test('a WebSocket, an absolute link and a download work', async () => {
  await learner();
  await startApp();
  const preview = await openPort(8000);
  await eventually('the app answers', async () => {
    if (/It works/.test(await preview.content())) return true;
    await preview.reload();
    return false;
  });
  const echo = await preview.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws://${location.host}/ws`);
        socket.onopen = () => socket.send('ahoy');
        socket.onmessage = (event) => resolve(event.data);
        socket.onerror = () => reject(new Error('the socket broke'));
      }),
  );
  assert.equal(echo, 'ahoy');
  await preview.click('#about');
  await preview.waitForURL(/\/about$/);
  assert.equal(await preview.title(), 'about');
});

test("W10: a learner's page can't act as us", async () => {
  await learner();
  await startApp();
  const own = await page.context().cookies(server.url);
  const mine = own.find((cookie) => cookie.name === '__Host-drydock').value;
  const preview = await openPort(8000);
  await eventually('the app answers', async () => {
    await preview.goto(new URL('/hostile', preview.url()).href);
    return (await preview.title()) === 'hostile';
  });

  // Cookies: set by header, and by script.
  await preview.evaluate(() => {
    document.cookie = '__Host-drydock=script; Secure; Path=/';
    document.cookie = 'drydock=script; Domain=localhost; Path=/';
    document.cookie = 'theme=dark; Domain=localhost; Path=/';
  });
  const ours = await page.context().cookies(server.url);
  assert.equal(ours.find((cookie) => cookie.name === '__Host-drydock').value, mine);
  assert.deepEqual(ours.filter((cookie) => ['drydock', 'wide', 'theme'].includes(cookie.name)), []);
  const sent = await preview.evaluate(async () => (await fetch('/headers')).text());
  assert.ok(!sent.includes(mine), 'our cookie does not go there');

  // Requests with the learner's cookie: none is answered, and none does anything.
  const id = await sessionOf(page);
  const tries = await preview.evaluate(
    async ([url, id]) => {
      const one = async (path, options) => {
        try {
          const response = await fetch(url + path, { credentials: 'include', ...options });
          return `${response.type} ${response.status}`;
        } catch {
          return 'refused';
        }
      };
      return {
        read: await one(`/api/sessions/${id}`),
        end: await one(`/api/sessions/${id}`, { method: 'DELETE' }),
        blind: await one(`/api/sessions/${id}/extend`, { method: 'POST', mode: 'no-cors' }),
      };
    },
    [server.url, id],
  );
  assert.equal(tries.read, 'refused');
  assert.equal(tries.end, 'refused');
  assert.match(tries.blind, /^opaque 0$|^refused$/);
  assert.equal(await sessionOf(page), id, 'the session is still there');

  // A frame of ours in their page stays empty.
  const framed = await preview.evaluate(
    (url) =>
      new Promise((resolve) => {
        const frame = document.createElement('iframe');
        frame.onload = () => resolve(frame.contentDocument === null ? 'cross-origin or refused' : 'readable');
        frame.src = url;
        document.body.append(frame);
      }),
    server.url,
  );
  assert.equal(framed, 'cross-origin or refused');
  const frame = preview.frames().find((frame) => frame !== preview.mainFrame());
  assert.doesNotMatch(await frame.content(), /Drydock/);

  // A WebSocket to the learner's terminal.
  const socket = await preview.evaluate(
    ([url, id]) =>
      new Promise((resolve) => {
        const path = `/api/sessions/${id}/nodes/node1/terminals/1?cols=80&rows=24`;
        const socket = new WebSocket(url.replace('http', 'ws') + path);
        socket.onopen = () => resolve('open');
        socket.onerror = () => resolve('refused');
      }),
    [server.url, id],
  );
  assert.equal(socket, 'refused');

  // A service worker rules its own origin, and no more.
  const scope = await preview.evaluate(async () => (await navigator.serviceWorker.register('/worker.js')).scope);
  assert.equal(new URL(scope).host, new URL(preview.url()).host);
  const ourWorkers = await page.evaluate(async () => (await navigator.serviceWorker.getRegistrations()).length);
  assert.equal(ourWorkers, 0);
});

test('the preview of an ended session is a page that says so', async () => {
  await learner();
  await startApp();
  const preview = await openPort(8000);
  const id = await sessionOf(page);
  await server.drydock('session', 'rm', id);
  await eventually('the preview is gone', async () => {
    await preview.reload();
    return /has ended/.test(await preview.content());
  });
});
