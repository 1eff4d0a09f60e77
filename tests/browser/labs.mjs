// A directory of labs for the tests of the pages: the real ones, and one that
// has every kind of block.

import { mkdtempSync, readdirSync, existsSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/** Makes the directory and lets servers that start from now on use it. */
export function useLabsWithBlocks() {
  const dir = mkdtempSync(join(tmpdir(), 'ddlabs'));
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
