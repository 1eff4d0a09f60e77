// A directory of labs for the tests of the pages: the real ones, and one that
// has every kind of block.

import { chmodSync, existsSync, mkdtempSync, readdirSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/** Makes the directory and lets servers that start from now on use it. */
export function useLabsWithBlocks() {
  const dir = mkdtempSync(join(tmpdir(), 'ddlabs'));
  // The web server reads it as a user of its own.
  chmodSync(dir, 0o755);
  const add = (from) => {
    for (const name of readdirSync(from)) {
      if (existsSync(join(from, name, 'guide.md'))) symlinkSync(join(from, name), join(dir, name));
    }
  };
  add(join(here, 'labs'));
  add(process.env.DRYDOCK_LABS ?? join(here, '..', '..', 'labs'));
  process.env.DRYDOCK_LABS = dir;
  return dir;
}

/** Waits until the first terminal of the page shows a prompt. */
export async function prompt(page) {
  await page.waitForFunction(() => window.drydock?.terminals?.[0]?.text().some((row) => row.includes('#')));
}

/** Waits until a run block is in a state. */
export async function state(page, block, name) {
  await page.waitForSelector(`.block.run[data-block="${block}"][data-state="${name}"]`);
}

/** The id of the session of the learner who looks at the page of a lab. */
export async function sessionOf(page) {
  return page.evaluate(async () => {
    const body = JSON.stringify({ lab: document.body.dataset.lab });
    const headers = { 'Content-Type': 'application/json' };
    return (await (await fetch('/api/sessions', { method: 'POST', headers, body })).json()).id;
  });
}
