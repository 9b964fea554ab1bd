"""Stands between us and a broker of our own, so that the broker goes when we go, even by `kill -9`.

    guard.py node TEMPORARY-FOLDER-OR-"" EPMD-WORD ... -- SERVER-WORD ...
    guard.py container TEMPORARY-FOLDER-OR-"" DOCKER NAME

The guard holds the reading end of a pipe whose only writer is the process that wanted the broker.  However that process
ends, the kernel closes the pipe, and the guard ends the broker and removes its temporary folder.  Who lives writes `k`
(kill) or, to a node's guard, `s` (stop in order), and has the folder left to itself.

Run by its path with the standard library only, in a session of its own, so that a Ctrl-C at the terminal is ours alone.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time


def guard_node(temporary: str, epmd: list[str], server: list[str]) -> None:
    """Run *epmd* and *server* until the server ends; then nothing of their process group is left."""
    # epmd as our child, in the foreground.  Left to itself Erlang would start one that outlives everything.
    names = subprocess.Popen(epmd, stdin=subprocess.DEVNULL, process_group=0)
    broker = subprocess.Popen(server, stdin=subprocess.DEVNULL, process_group=names.pid)
    abandoned = threading.Event()

    def obey() -> None:
        # Not by way of sys.stdin: Python could not end while this thread held its lock.
        while order := os.read(0, 1):
            if order == b"s":
                broker.terminate()
            elif order == b"k":
                os.killpg(names.pid, signal.SIGKILL)
        abandoned.set()
        os.killpg(names.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, lambda *_: broker.terminate())
    threading.Thread(target=obey, daemon=True).start()
    broker.wait()
    # The group keeps its number as long as epmd is not waited for: this can hit nobody else.
    os.killpg(names.pid, signal.SIGKILL)
    names.wait()
    if abandoned.is_set() and temporary:
        shutil.rmtree(temporary, ignore_errors=True)


def guard_container(temporary: str, docker: str, name: str) -> None:
    """Wait for an order or the owner's end, then remove container *name* and its anonymous volumes."""
    # Only the owner's end counts: at a shutdown Docker itself stops the container.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    abandoned = not os.read(0, 1)
    # An owner that died while Docker was still making the container leaves it a moment later: look again for a while.
    for _ in range(5):
        there = subprocess.run([docker, "container", "inspect", name], stdout=subprocess.DEVNULL, check=False)
        subprocess.run([docker, "rm", "--force", "--volumes", name], stdin=subprocess.DEVNULL, check=False)
        if there.returncode == 0:
            break
        time.sleep(1)
    if abandoned and temporary:
        shutil.rmtree(temporary, ignore_errors=True)


def main(arguments: list[str]) -> None:
    """Guard what *arguments* name."""
    kind, *words = arguments
    if kind == "node":
        middle = words.index("--")
        guard_node(words[0], words[1:middle], words[middle + 1 :])
    else:
        guard_container(*words)


if __name__ == "__main__":
    main(sys.argv[1:])
