"""Guards a private broker: ends it when the process that started it ends, even by `kill -9`.

    guard.py node TEMPORARY-FOLDER-OR-"" EPMD-WORD ... -- SERVER-WORD ...
    guard.py container TEMPORARY-FOLDER-OR-"" DOCKER NAME

The guard holds the reading end of a pipe; the only writer is the owner, the process that started the broker.  When the
owner ends in any way, the kernel closes the pipe, and the guard ends the broker and removes its temporary folder.  A
living owner writes `k` (kill) or, to the guard of a node, `s` (stop in order); then the guard leaves the folder alone.

The guard runs by its path with the standard library only, in its own session, so that Ctrl-C reaches only the owner.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time


def guard_node(temporary: str, epmd: list[str], server: list[str]) -> None:
    """Run *epmd* and *server* until the server ends, then end their whole process group."""
    # Run epmd as a child in the foreground: Erlang would start one that survives the broker.
    names = subprocess.Popen(epmd, stdin=subprocess.DEVNULL, process_group=0)
    broker = subprocess.Popen(server, stdin=subprocess.DEVNULL, process_group=names.pid)
    abandoned = threading.Event()

    def obey() -> None:
        # Not through sys.stdin: Python could not exit while this thread holds its lock.
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
    # The group keeps its id until epmd is waited for, so this signal cannot reach another process.
    os.killpg(names.pid, signal.SIGKILL)
    names.wait()
    if abandoned.is_set() and temporary:
        shutil.rmtree(temporary, ignore_errors=True)


def guard_container(temporary: str, docker: str, name: str) -> None:
    """Wait for an order or the end of the owner, then remove container *name* and its anonymous volumes."""
    # Only the end of the owner counts: at a shutdown Docker itself stops the container.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    abandoned = not os.read(0, 1)
    # If the owner dies while Docker creates the container, the container appears a moment later: check for a while.
    for _ in range(5):
        found = subprocess.run([docker, "container", "inspect", name], stdout=subprocess.DEVNULL, check=False)
        subprocess.run([docker, "rm", "--force", "--volumes", name], stdin=subprocess.DEVNULL, check=False)
        if found.returncode == 0:
            break
        time.sleep(1)
    if abandoned and temporary:
        shutil.rmtree(temporary, ignore_errors=True)


def main(arguments: list[str]) -> None:
    """Guard the node or container in *arguments*."""
    kind, *words = arguments
    if kind == "node":
        middle = words.index("--")
        guard_node(words[0], words[1:middle], words[middle + 1 :])
    else:
        guard_container(*words)


if __name__ == "__main__":
    main(sys.argv[1:])
