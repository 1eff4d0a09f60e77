// An instance of the product and a browser for one test file.
//
// The tests run in the rig (tests/rig), as root, by `./dev test browser`, which
// builds everything and passes the paths in the environment.

import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const run = promisify(execFile);

/** A path that `./dev test` passes; these tests never skip. */
export function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run these tests with ./dev test browser`);
  return value;
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until `holds` gives something truthy, and gives that. */
export async function eventually(what, holds, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await holds();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await sleep(50);
  }
}

/** `drydock up` with a state directory and a port of its own. */
export class Server {
  static async start(options = []) {
    const server = new Server();
    server.state = mkdtempSync(join(tmpdir(), 'dd'));
    server.options = options;
    server.port = await freePort();
    server.url = `http://localhost:${server.port}`;
    mkdirSync(join(server.state, 'store'));
    await run('mount', ['--bind', setting('DRYDOCK_STORE'), join(server.state, 'store')]);
    server.log = join(server.state, 'test.log');
    server.serve();
    await server.up();
    return server;
  }

  serve() {
    const log = openSync(this.log, 'a');
    this.process = spawn(
      setting('DRYDOCK_BIN'),
      ['up', '--listen', `127.0.0.1:${this.port}`, ...this.options],
      { env: { ...process.env, ...this.environment() }, stdio: ['ignore', log, log] },
    );
  }

  environment() {
    return { DRYDOCK_STATE_DIR: this.state };
  }

  async up() {
    await eventually('the server answers', async () => {
      if (this.process.exitCode !== null) throw new Error(`the server ended:\n${readFileSync(this.log, 'utf8')}`);
      try {
        return (await fetch(this.url)).ok;
      } catch {
        return false;
      }
    });
  }

  /** Runs `drydock WORDS`, and gives its stdout. */
  async drydock(...words) {
    const options = { env: { ...process.env, ...this.environment() }, maxBuffer: 1 << 26 };
    return (await run(setting('DRYDOCK_BIN'), words, options)).stdout;
  }

  /** All sessions of the instance, as host knows them. */
  async sessions() {
    return JSON.parse(await this.drydock('session', 'list', '--json'));
  }

  /** Runs a script with bash in a node and gives its stdout. */
  async sh(session, node, script) {
    return this.drydock('session', 'exec', session, node, '--', 'bash', '-c', script);
  }

  /** PIDs of the child of `drydock up` with this word on its command line. */
  part(word) {
    const up = this.process.pid;
    const children = readFileSync(`/proc/${up}/task/${up}/children`, 'utf8').split(' ').filter(Boolean);
    return children.map(Number).filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(word);
      } catch {
        return false;
      }
    });
  }

  async stop() {
    await this.drydock('session', 'rm', '--all').catch(() => {});
    this.process.kill('SIGTERM');
    if (this.process.exitCode === null) await new Promise((resolve) => this.process.once('exit', resolve));
    await run('umount', ['-l', join(this.state, 'store')]);
    rmSync(this.state, { recursive: true, force: true });
  }
}

/** Debian's Chromium, without a call to anywhere. */
export async function openBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** A page that fails the test when a script of ours does. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') page.problems.push(message.text());
  });
  return page;
}

/** The rows of a terminal's screen, by its place in `window.drydock.terminals`. */
export async function screen(page, index = 0) {
  return page.evaluate((at) => {
    const text = window.drydock?.terminals?.[at]?.text();
    return Array.isArray(text) ? text.join('\n') : (text ?? '');
  }, index);
}
