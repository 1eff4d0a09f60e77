#!/usr/bin/env python3
"""Play a scenario of docker commands and write its transcript.

  gold.py SCENARIO.gold OUT.txt

Commands run with bash in the folder $GOLD_HOME. $PREFIX is a command put in front of bash.

Scenario lines:
  # text          note, copied
  ! cmd           hidden preparation, not copied
  $ cmd           run it; stdout and stderr come through one pipe
  @ cmd           run it on a pseudo terminal (80x24), as a person would
  < [secs] text   typed into the preceding @ command after secs seconds (default 0.5); \\n, \\x10 etc. are expanded;
                  EOF alone ends the input with ^D
Transcript: '$ cmd', the output, '[exit N]', an empty line. '@' commands are shown as '$ cmd' with '[tty]' before.
"""
import fcntl, os, pty, select, shlex, struct, subprocess, sys, termios, time

scenario, out = sys.argv[1:3]
home = os.environ["GOLD_HOME"]
prefix = shlex.split(os.environ["PREFIX"])
LIMIT = float(os.environ.get("GOLD_LIMIT", "60"))
CUT = b"[killed by gold.py: time limit]\n"


def argv(cmd):
    return prefix + ["bash", "-c", f"cd {shlex.quote(home)} && {cmd}"]


def run_pipe(cmd):
    r, w = os.pipe()
    p = subprocess.Popen(argv(cmd), stdin=subprocess.DEVNULL, stdout=w, stderr=w)
    os.close(w)
    buf, end = b"", time.time() + LIMIT
    while True:
        ok, _, _ = select.select([r], [], [], max(0, end - time.time()))
        if not ok:
            p.kill()
            buf += CUT
            break
        d = os.read(r, 65536)
        if not d:
            break
        buf += d
    os.close(r)
    return buf, p.wait()


def run_tty(cmd, typed):
    m, s = pty.openpty()
    fcntl.ioctl(s, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    p = subprocess.Popen(argv(cmd), stdin=s, stdout=s, stderr=s, start_new_session=True,
                         preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(s)
    buf, end = b"", time.time() + LIMIT
    todo = list(typed)
    due = time.time() + (todo[0][0] if todo else 0)
    while True:
        now = time.time()
        if todo and now >= due:
            _, data = todo.pop(0)
            os.write(m, data)
            due = time.time() + (todo[0][0] if todo else 0)
        if now > end:
            p.kill()
            buf += CUT
            break
        wait = min(end - now, max(0, due - now) if todo else 0.5)
        ok, _, _ = select.select([m], [], [], wait)
        if ok:
            try:
                d = os.read(m, 65536)
            except OSError:
                break
            if not d:
                break
            buf += d
        elif p.poll() is not None:
            break
    os.close(m)
    return buf.replace(b"\r\n", b"\n"), p.wait()


steps = []
for line in open(scenario):
    line = line.rstrip("\n")
    if not line.strip():
        continue
    kind, _, rest = line.partition(" ")
    if kind == "<":
        first, _, text = rest.partition(" ")
        try:
            secs = float(first)
        except ValueError:
            secs, text = 0.5, rest
        data = b"\x04" if text == "EOF" else text.encode().decode("unicode_escape").encode("latin1")
        steps[-1][2].append((secs, data))
    elif kind in ("#", "!", "$", "@"):
        steps.append((kind, rest, []))
    else:
        sys.exit(f"bad line: {line}")

with open(out, "wb") as f:
    for kind, cmd, typed in steps:
        if kind == "#":
            f.write(b"# " + cmd.encode() + b"\n")
            continue
        if kind == "!":
            printed, status = run_pipe(cmd)
            if status:
                print(f"{scenario}: hidden step failed ({status}): {cmd}\n{printed.decode(errors='replace')}",
                      file=sys.stderr)
            continue
        printed, status = run_tty(cmd, typed) if kind == "@" else run_pipe(cmd)
        if kind == "@":
            f.write(b"[tty]\n")
        f.write(b"$ " + cmd.encode() + b"\n" + printed)
        if printed and not printed.endswith(b"\n"):
            f.write(b"\n")
        f.write(f"[exit {status}]\n\n".encode())
        f.flush()
