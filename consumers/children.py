"""What a command left behind: found by its mark in the environment, its session or its group, and ended.

A process that changes its environment *and* makes a session of its own is not found.  We do not become a subreaper to
catch that as well: it is a property of the whole process, and would have the consumer inherit, and wait for, children
that other threads' commands orphan.  Where such commands are to be expected, a systemd unit's cgroup is the fence.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "CLUSTERBUS_DELIVERY"
"""The variable that carries the mark."""

_ROUNDS = 50


def end(mark: str, leader: int | None = None) -> int:
    """Kill every process that bears *mark*, or is in the session or group of *leader*; return how many there were.

    Looks again until it finds none, since a process may make another while it is being looked for.  *leader* has to
    be a child that was not yet waited for, or its number may be another's.
    """
    ended: set[int] = set()
    for _ in range(_ROUNDS):
        found = _marked(mark, leader)
        if not found:
            break
        for each in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        ended |= found
        time.sleep(0.005)
    return len(ended)


def _marked(mark: str, leader: int | None) -> set[int]:
    wanted = f"{VARIABLE}={mark}".encode()
    own = os.getpid()
    numbers = (int(each) for each in os.listdir("/proc") if each.isdigit())  # noqa: PTH208 - ten times as fast here
    return {each for each in numbers if each not in (own, leader) and _is_marked(each, wanted, leader)}


def _is_marked(process: int, wanted: bytes, leader: int | None) -> bool:
    try:
        if leader is not None and leader in (os.getsid(process), os.getpgid(process)):
            return not _is_dead(process)
        return wanted in Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        # Gone since, or not ours to look at: then it is not of our user, and we could not end it either.
        return False


def _is_dead(process: int) -> bool:
    """Say whether it has ended and only waits to be noticed by its parent."""
    state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
    return state in (b"Z", b"X")


def owner() -> str:
    """Return a name for this process that no other has had on this machine since it was started."""
    return f"{_machine()}:{os.getpid()}:{_started(os.getpid())}"


def is_alive(name: str) -> bool:
    """Say whether the process of that name runs; of another machine's, or another container's, we can't know: no."""
    machine, _, process = name.rpartition(":")[0].rpartition(":")
    if machine != _machine() or not process.isdigit():
        return False
    try:
        return name.rpartition(":")[2] == _started(int(process)) and not _is_dead(int(process))
    except OSError:
        return False


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - a link that is no path


def _started(process: int) -> str:
    # The 22nd field; the second may hold blanks and brackets, hence from the last bracket on.
    return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[19].decode("ascii")
