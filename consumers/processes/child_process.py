"""Run one command with limits on its time and output, and end every process it leaves behind.  Never uses a shell."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from threading import Event as Flag
from typing import Protocol

from . import cleanup
from .child_pipes import Pipes

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/"}
"""What every command finds in its environment, whatever is in the consumer's own."""

GRACE = timedelta(seconds=5)
"""Time between SIGTERM and SIGKILL."""

_TICK = 0.05
"""Longest pause in seconds between two checks for the end of the command; closed output is noticed at once."""

_UNKILLABLE = 10.0
"""Seconds to wait after SIGKILL: a process can hang in the kernel, for example on a file system that is gone."""


@dataclass(frozen=True, slots=True)
class User:
    """The user that a command runs as, with exactly that user's groups."""

    user: int
    group: int
    groups: tuple[int, ...]

    @classmethod
    def named(cls, name: str) -> User:
        """Return the user *name*.  Raises KeyError if this machine has none."""
        entry = pwd.getpwnam(name)
        return cls(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))


def search_path(environment: Mapping[str, str]) -> str:
    """Return the PATH of a command whose subscription sets *environment*, whose values are templates."""
    own = environment.get("PATH", PATH)
    return PATH if "{" in own else own


@dataclass(frozen=True, slots=True)
class Command:
    """The words to run, the *timeout*, how many octets of *output* to keep, and the *grace* from SIGTERM to SIGKILL.

    *keep* lists file descriptors that the command inherits in addition to the standard three.  With *apart*, what it
    prints on stderr is kept by itself, otherwise in the order of its output.
    """

    words: Sequence[str]
    environment: Mapping[str, str]
    mark: str
    timeout: timedelta
    grace: timedelta
    output: int
    user: User | None = None
    keep: Sequence[int] = ()
    apart: bool = False


@dataclass(slots=True)
class Ended:
    """How a command ended: *code* as in `subprocess`, or None if the command could not be killed.

    *output* is the beginning of its output, *octets* the size of all output; *errors* and *error_octets* those of its
    stderr, if that is apart.  *left* is how many processes it left behind.  *cancelled_by* names who ended it.
    """

    code: int | None = None
    cancelled_by: str = ""
    timed_out: bool = False
    stopped: bool = False
    output: bytearray = field(default_factory=bytearray)
    octets: int = 0
    errors: bytearray = field(default_factory=bytearray)
    error_octets: int = 0
    seconds: float = 0.0
    left: int = 0

    def keep(self, chunk: bytes, *, is_error: bool, limit: int) -> None:
        """Count *chunk* of its output, or of its stderr if that is apart, and keep up to *limit* octets of each."""
        kept = self.errors if is_error else self.output
        kept += chunk[: max(0, limit - len(kept))]
        if is_error:
            self.error_octets += len(chunk)
        else:
            self.octets += len(chunk)

    @property
    def facts(self) -> dict[str, object]:
        """Return the facts that are stored with the delivery, whatever the outcome."""
        facts: dict[str, object] = {
            "output": self.output.decode("utf-8", "replace"),
            "octets": self.octets,
            "seconds": round(self.seconds, 3),
        }
        return facts | {"left_behind": self.left} if self.left else facts

    @property
    def was_interrupted(self) -> bool:
        """Whether only the stop of the consumer ended the command."""
        return self.stopped and not self.timed_out and self.code is not None

    def failure(self, limit: str, longest: int = 500) -> tuple[str, str] | None:
        """Return the word and the reason of the failure, or None if the command succeeded; *limit* names its timeout.

        The reason ends with the last line of what it printed, on stderr if it did, cut to *longest* characters.

        >>> Ended(code=3, output=bytearray(b"no such disk")).failure("10m")
        ('exit:3', 'exit code 3: no such disk')
        """
        if self.code is None:
            return "timeout", f"did not finish within {limit}, and cannot be killed"
        if self.timed_out:
            return "timeout", f"did not finish within {limit}: killed"
        if self.code < 0:
            return f"signal:{-self.code}", f"ended by signal {-self.code}{self.tail(longest)}"
        return (f"exit:{self.code}", f"exit code {self.code}{self.tail(longest)}") if self.code else None

    def tail(self, longest: int = 500) -> str:
        """Return the last line of stderr, or else of the output, formatted as the end of a reason."""
        said = self.errors.strip() or self.output.strip()
        lines = said.decode("utf-8", "replace").splitlines()
        return f": {lines[-1][:longest]}" if lines else ""


class Observer(Protocol):
    """Sees what a command prints while it runs, and can end it."""

    def keep(self, chunk: bytes, *, is_error: bool) -> None:
        """Take *chunk* of its output, or of its stderr."""

    def cancelled_by(self) -> str:
        """Return who wants the command to end; empty if nobody does.  Called many times a second."""


def run(command: Command, feed: bytes, stopping: Flag, observer: Observer | None = None) -> Ended:
    """Run *command* with *feed* as its standard input until it ends, its timeout passes, or *stopping* is set.

    Or until *observer* ends it.  Every process that the command started is ended too.  Raises OSError if the command
    cannot start.
    """
    began = time.monotonic()
    user = command.user
    process = subprocess.Popen(
        list(command.words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if command.apart else subprocess.STDOUT,
        cwd="/",
        env={**command.environment, cleanup.VARIABLE: command.mark},
        start_new_session=True,
        close_fds=True,
        pass_fds=command.keep,
        umask=0o022,
        user=user.user if user else None,
        group=user.group if user else None,
        extra_groups=user.groups if user else None,
    )
    ended = Ended()
    keep = partial(ended.keep, limit=command.output)

    def both(chunk: bytes, *, is_error: bool) -> None:
        keep(chunk, is_error=is_error)
        if observer:
            observer.keep(chunk, is_error=is_error)

    with Pipes(process, feed, both if observer else keep) as pipes:
        _watch(process, command, pipes, ended, stopping, observer)
        # Call this before `wait`: until then no other process can get this process id or group id.
        ended.left = cleanup.end(command.mark, process.pid)
        pipes.drain()
    # Do not wait for a process that cannot be killed: `subprocess` reaps it when the next command starts.
    ended.code = process.wait() if _has_ended(process) else None
    ended.seconds = time.monotonic() - began
    return ended


def _watch(
    process: subprocess.Popen[bytes],
    command: Command,
    pipes: Pipes,
    ended: Ended,
    stopping: Flag,
    observer: Observer | None,
) -> None:
    """Return when *process* has ended or cannot be killed; send signals once its time is over."""
    deadline = time.monotonic() + command.timeout.total_seconds()
    signals = iter(((signal.SIGTERM, command.grace.total_seconds()), (signal.SIGKILL, _UNKILLABLE)))
    tick = 0.001
    while not _has_ended(process):
        tick = 0.001 if pipes.serve(tick) else min(tick * 2, _TICK)
        now = time.monotonic()
        is_first = False
        if not (ended.stopped or ended.timed_out or ended.cancelled_by):
            ended.cancelled_by = observer.cancelled_by() if observer else ""
            ended.stopped = not ended.cancelled_by and stopping.is_set()
            ended.timed_out = not (ended.stopped or ended.cancelled_by) and now >= deadline
            is_first = bool(ended.stopped or ended.timed_out or ended.cancelled_by)
        if is_first or now >= deadline:
            following = next(signals, None)
            if following is None:
                return
            number, patience = following
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            deadline = now + patience


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.returncode is not None or cleanup.has_ended(process.pid)
