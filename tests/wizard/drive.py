"""Answers the questions of a program on a terminal, as a person does: waits for each, then types.

usage: drive.py ANSWERS.json PROGRAM [ARGUMENT...]

ANSWERS.json is a list of [what is waited for, what is typed]; null is the end of input. What the terminal showed goes to
standard output; the exit code is the program's.
"""

import json
import os
import pty
import select
import sys

answers = json.load(open(sys.argv[1], encoding="utf-8"))
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])

shown = b""
seen = 0
while True:
    ready, _, _ = select.select([terminal], [], [], 120)
    if not ready:
        print(f"nothing came, waiting for {answers[:1]}")
        os.kill(child, 9)
        break
    try:
        got = os.read(terminal, 4096)
    except OSError:
        got = b""
    if not got:
        break
    shown += got
    while answers and (at := shown.find(answers[0][0].encode(), seen)) >= 0:
        seen = at + len(answers[0][0])
        typed = answers.pop(0)[1]
        os.write(terminal, b"\x04" if typed is None else typed.encode() + b"\n")

_, status = os.waitpid(child, 0)
sys.stdout.write(shown.decode(errors="replace").replace("\r\n", "\n"))
if answers:
    print(f"never asked: {answers}")
    sys.exit(99)
sys.exit(os.waitstatus_to_exitcode(status))
