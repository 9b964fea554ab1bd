"""Find and kill the processes that a command left behind, by the mark in their environment, their session or group.

A process that changes its environment *and* starts its own session is not found.  The consumer does not become a
subreaper to catch it: that setting applies to the whole process, so the consumer would also inherit and have to reap
orphans of other threads' commands.  If you expect such commands, contain them with the cgroup of a systemd unit.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

VARIABLE = "CLUSTERBUS_DELIVERY"
"""The environment variable that holds the mark."""

_ROUNDS = 50


def end(mark: str, leader: int | None = None) -> int:
    """Kill every process that carries *mark* or is in the session or group of *leader*; return their number.

    Searches again until nothing is found, since a process may start another during the search.  *leader* must be a
    child that has not been waited for; otherwise its process id may already belong to another process.
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


def end_leftovers(mark: str) -> None:
    """Kill what a dead consumer left behind under *mark*, before the delivery is attempted again."""
    if left := end(mark):
        log.warning("killed processes of a dead consumer", extra={"mark": mark, "processes": left})


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
        # The process has ended, or belongs to another user: then we could not kill it either.
        return False


def _is_dead(process: int) -> bool:
    """Return whether *process* has ended and only waits for its parent to reap it."""
    state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
    return state in (b"Z", b"X")


def has_ended(child: int) -> bool:
    """Return whether the process *child* of this process has ended; it can still be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def owner() -> str:
    """Return a name for this process that is unique on this machine since it booted."""
    return f"{_machine()}:{os.getpid()}:{_started(os.getpid())}"


def is_of_here(name: str) -> bool:
    """Return whether the process *name* is or was one of this machine or container since it booted."""
    return name.rpartition(":")[0].rpartition(":")[0] == _machine()


def is_alive(name: str) -> bool:
    """Return whether the process *name* runs; False for a process of another machine or container, which is unknown."""
    process = name.rpartition(":")[0].rpartition(":")[2]
    if not is_of_here(name) or not process.isdigit():
        return False
    try:
        return name.rpartition(":")[2] == _started(int(process)) and not _is_dead(int(process))
    except OSError:
        return False


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - a link that is not a path


def _started(process: int) -> str:
    # The 22nd field, counted from the last bracket: the second field may contain blanks and brackets.
    return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[19].decode("ascii")
