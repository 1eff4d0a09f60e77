// Makes the recordings anew: types into real programs in a real node and keeps
// what they print. Then xterm.js draws the screens that they are held against:
//
//   rig node web/terminal/tests/xtermjs/record.mjs [NAME…]
//
// in the environment that `./dev test` gives the browser tests. Each name has a
// node of its own, and its programs run on the terminal that `drydock session
// exec` makes there; util-linux's `script` makes the one on this side.

import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Server, setting } from '../../../../tests/browser/server.mjs';
import { expectedFile, screens, written } from '../../../../tests/browser/xtermjs.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const COLS = 80;
const ROWS = 24;
/** Silence after which a program is taken to wait for the next key. */
const QUIET_MS = 350;
/** A recording is kept in the repository: it must not be large. */
const MAX_BYTES = 60_000;

/** Each is what is typed, one string after the other, into a shell in a terminal of 80 by 24. */
const sessions = {
  bash: [
    'ls --color=always -l /usr /etc | head -40\r',
    'echo "a line that is longer than the terminal is wide, so that the shell has to wrap it into the next row \x01# \x05 and edit it"',
    '\x1b[D\x1b[D\x1b[D\x1bb\x1bbXYZ\x17\x15\r',
    'ls /usr/sha\t\tre/d\t\t', '\x03',
    'printf "%s\\n" wide 漢字かな combine e\\u0301o\\u0308 emoji 😀 lines ┌─┐\r',
    'printf "\\e[1;31mred\\e[0m \\e[38;5;208morange\\e[0m \\e[48;2;10;90;200mblue\\e[0m \\e[3;4;9mall\\e[0m\\n"\r',
    '\x12usr', '\x12', '\x07',
    'for i in $(seq 30); do echo "line $i"; done\r',
    'printf "%200s\\n" | tr " " x\r',
    'false\r', 'clear\r', 'cat << END\rone\rEND\r',
    'printf "a\\tb\\tc\\rZ\\n"; printf "\\e[5;10Hthere\\e[K\\e[2;1H\\e[2Lin\\e[10;20r\\e[20;1H\\n\\n\\nend\\e[r\\e[22;1H"\r',
  ],
  vim: [
    'vim -u NONE -N notes.txt\r', ':set number ruler showcmd hlsearch nocompatible\r', ':syntax on\r', ':set ft=sh\r',
    'iif true; then\r\techo "hello, world"  # says it\rfi\r漢字 and é\r\x1b', 'yy20p', 'gg', '/hello\r', 'dd', 'u',
    'ggVjjj>', ':vsplit\r', ':split\r', '\x17w', 'GA at the end\x1b', '\x02', '\x06', ':help\r', ':q\r',
    ':%s/e/E/g\r', ':set list nowrap\r', '\x16jjlld', ':qa!\r',
  ],
  top: ['top -d 1\r', '', '', '1', 't', 'm', 'V', '\x1bOB\x1bOB', 'q'],
  less: [
    'less numbers.txt\r', ' ', ' ', '/77\r', 'n', 'G', 'g', '-N\r', '\x1bOB\x1bOB\x1bOB', '\x1bOC', 'h', 'q', 'q',
    'ls --color=always -l /etc | less -R\r', ' ', 'b', 'q',
  ],
  nano: [
    'nano letter.txt\r', 'Dear reader,\r\rthis is a line with 漢字 in it.\rAnd one more.\r', '\x1b[A\x1b[A\x0b', '\x15\x15',
    '\x17line\r', '\x07', '\x18', '\x14', '\x03', '\x1b3', '\x18n', 'true\r',
  ],
  man: ['man ls\r', ' ', ' ', '/sort\r', 'n', 'b', 'q', 'man -k printf\r'],
  tmux: [
    'tmux -L recording -f /dev/null new-session -s demo\r', 'ls --color /etc | head -30\r', '\x02%', 'echo right\r', '\x02"', 'top -d 1\r', '',
    '\x02\x1b[A', 'seq 100\r', '\x02[', '\x1b[5~', 'q', '\x02c', 'vim -u NONE\r', 'ihello\x1b', ':q!\r', '\x020', '\x02z',
    '\x02:', 'kill-server\r', 'echo over\r',
  ],
};

/** Prepares the directory in which the shell starts. */
const prepare = `
  mkdir recording && cd recording
  words='all work and no play '
  for i in $(seq 200); do printf '%s: ' $i; printf "$words%.0s" $(seq $((i % 7 + 1))); echo; done > numbers.txt`;
/** The shell that a terminal of the page has. */
const shell = 'cd recording && exec bash --rcfile /etc/drydock/bashrc';

async function record(server, name) {
  const session = (await server.drydock('session', 'create', '--json').then(JSON.parse)).id;
  await server.sh(session, 'node1', prepare);
  const command = `stty cols ${COLS} rows ${ROWS}; exec "$DRYDOCK_BIN" session exec ${session} node1 -- sh -c '${shell}'`;
  const child = spawn('script', ['-qfec', command, '/dev/null'], {
    env: { ...process.env, ...server.environment(), DRYDOCK_BIN: setting('DRYDOCK_BIN') },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const chunks = [];
  let last = Date.now();
  child.stdout.on('data', (chunk) => {
    chunks.push(chunk);
    last = Date.now();
  });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  // A program waits for a key when it has been quiet for a while; one that
  // never is, like top, gets its key after a second and a half.
  const quiet = async () => {
    const start = Date.now();
    do await new Promise((resolve) => setTimeout(resolve, 50));
    while (Date.now() - last < QUIET_MS && Date.now() - start < 1500);
  };
  await quiet();
  for (const keys of sessions[name]) {
    child.stdin.write(keys);
    if (keys === '') await new Promise((resolve) => setTimeout(resolve, 1100));
    await quiet();
  }
  for (const keys of ['\x03', 'exit\r']) {
    child.stdin.write(keys);
    await quiet();
  }
  // script doesn't notice by itself that the shell has ended.
  child.stdin.end();
  await ended;
  await server.drydock('session', 'rm', session);
  return Buffer.concat(chunks);
}

const names = process.argv.slice(2);
const server = await Server.start();
try {
  for (const name of names.length ? names : Object.keys(sessions)) {
    const bytes = await record(server, name);
    if (bytes.length > MAX_BYTES) throw new Error(`${name}: ${bytes.length} bytes are too many to keep`);
    writeFileSync(join(here, `${name}.bytes`), bytes);
    writeFileSync(expectedFile(name), written(await screens(name)));
    console.log(`${name}: ${bytes.length} bytes`);
  }
} finally {
  await server.stop();
}
