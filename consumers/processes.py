"""One command, run within bounds: of time, of output, and of what it leaves behind.  Never a shell."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event as Flag
from typing import IO, Self

from . import children

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GRACE = timedelta(seconds=5)
"""Between SIGTERM and SIGKILL."""

_CHUNK = 65536
_TICK = 0.05
"""Seconds between two looks at whether the command has ended; its closing of its output is seen at once."""

_UNKILLABLE = 10.0
"""Seconds after SIGKILL until a command is given up on: it hangs in the kernel, on a file system that is gone."""


@dataclass(frozen=True, slots=True)
class User:
    """Who a command runs as, with that user's groups and nobody else's."""

    user: int
    group: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """What to run and how long, how much output of it to keep, and how long it has between SIGTERM and SIGKILL.

    *keep* are descriptors that it gets besides the three.
    """

    words: Sequence[str]
    environment: Mapping[str, str]
    mark: str
    timeout: timedelta
    grace: timedelta
    output: int
    user: User | None = None
    keep: Sequence[int] = ()


@dataclass(slots=True)
class Ended:
    """How a command ended: *code* as `subprocess` has it, None where it could not even be killed.

    *output* is the head of what it wrote, *octets* how much that was in all, *left* how many processes it left behind.
    """

    code: int | None = None
    timed_out: bool = False
    stopped: bool = False
    output: bytearray = field(default_factory=bytearray)
    octets: int = 0
    seconds: float = 0.0
    left: int = 0

    @property
    def facts(self) -> dict[str, object]:
        """Return what is kept of it with a delivery, however it ended."""
        facts: dict[str, object] = {
            "output": self.output.decode("utf-8", "replace"),
            "octets": self.octets,
            "seconds": round(self.seconds, 3),
        }
        return facts | {"left_behind": self.left} if self.left else facts

    @property
    def is_broken_off(self) -> bool:
        """Whether it was ended by a stop of the consumer, and by nothing else."""
        return self.stopped and not self.timed_out and self.code is not None

    def failure(self, limit: str, longest: int = 500) -> tuple[str, str] | None:
        """Return the word and the reason of its failure, None where it succeeded; *limit* is the time that it had.

        The reason ends with the last line that was kept of the output, cut to *longest*.

        >>> Ended(code=3, output=bytearray(b"no such disk")).failure("10m")
        ('exit:3', 'exit code 3: no such disk')
        """
        if self.code is None:
            return "timeout", f"not through after {limit}, and it cannot be killed"
        if self.timed_out:
            return "timeout", f"not through after {limit}: ended"
        if self.code < 0:
            return f"signal:{-self.code}", f"ended by signal {-self.code}{self.tail(longest)}"
        return (f"exit:{self.code}", f"exit code {self.code}{self.tail(longest)}") if self.code else None

    def tail(self, longest: int = 500) -> str:
        """Return the last line that was kept of the output, as the end of a reason."""
        lines = self.output.decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1][:longest]}" if lines else ""


def run(command: Command, feed: bytes, stopping: Flag) -> Ended:
    """Run *command* with *feed* on its standard input until it ends, its time is up, or *stopping* is set.

    Whatever it started is ended with it.  Raises OSError where it cannot be started.
    """
    began = time.monotonic()
    user = command.user
    process = subprocess.Popen(
        list(command.words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={**command.environment, children.VARIABLE: command.mark},
        start_new_session=True,
        close_fds=True,
        pass_fds=command.keep,
        umask=0o022,
        user=user.user if user else None,
        group=user.group if user else None,
        extra_groups=user.groups if user else None,
    )
    ended = Ended()
    with _Pipes(process, feed, ended, command.output) as pipes:
        _watch(process, command, pipes, ended, stopping)
        # Not waited for yet, so that the number of the process, and of its group, is still its own.
        ended.left = children.end(command.mark, process.pid)
        pipes.drain()
    # What can't be killed is not waited for; `subprocess` itself looks after it when the next command is started.
    ended.code = process.wait() if _has_ended(process) else None
    ended.seconds = time.monotonic() - began
    return ended


def _watch(process: subprocess.Popen[bytes], command: Command, pipes: _Pipes, ended: Ended, stopping: Flag) -> None:
    """Return when *process* has ended, by itself or by us, or cannot be."""
    deadline = time.monotonic() + command.timeout.total_seconds()
    signals = iter(((signal.SIGTERM, command.grace.total_seconds()), (signal.SIGKILL, _UNKILLABLE)))
    tick = 0.001
    while not _has_ended(process):
        tick = 0.001 if pipes.serve(tick) else min(tick * 2, _TICK)
        now = time.monotonic()
        is_first = False
        if not (ended.stopped or ended.timed_out):
            ended.stopped = stopping.is_set()
            ended.timed_out = not ended.stopped and now >= deadline
            is_first = ended.stopped or ended.timed_out
        if is_first or now >= deadline:
            following = next(signals, None)
            if following is None:
                return
            number, patience = following
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            deadline = now + patience


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


class _Pipes:
    """The command's input and output: fed and read without ever waiting for it, kept only so far."""

    def __init__(self, process: subprocess.Popen[bytes], feed: bytes, ended: Ended, limit: int) -> None:
        assert process.stdin is not None  # noqa: S101 - for the reader: it was asked for
        assert process.stdout is not None  # noqa: S101 - idem
        self._input, self._output = process.stdin, process.stdout
        self._feed, self._ended, self._limit = memoryview(feed), ended, limit
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        for pipe, direction in ((self._input, selectors.EVENT_WRITE), (self._output, selectors.EVENT_READ)):
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, direction)
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for pipe in (self._input, self._output):
            with suppress(OSError):
                pipe.close()

    def serve(self, patience: float) -> bool:
        """Move what can be moved, waiting *patience* seconds for something; say whether there was anything."""
        ready = self._selector.select(patience)
        for key, _ in ready:
            if key.fileobj is self._input:
                self._write()
            else:
                self._read()
        return bool(ready)

    def drain(self) -> None:
        """Read what is still in the pipe.  Nobody is left to fill it, but bounded, should somebody be."""
        deadline = time.monotonic() + 1
        while not self._output.closed and time.monotonic() < deadline and self._read():
            pass

    def _write(self) -> None:
        try:
            written = os.write(self._input.fileno(), self._feed[:_CHUNK])
        except BlockingIOError:
            return
        except OSError:
            # It does not read its input, or no further: its own affair.
            self._close(self._input)
            return
        self._feed = self._feed[written:]
        if not self._feed:
            self._close(self._input)

    def _read(self) -> bool:
        try:
            chunk = os.read(self._output.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._close(self._output)
            return False
        self._ended.octets += len(chunk)
        self._ended.output += chunk[: max(0, self._limit - len(self._ended.output))]
        return True

    def _close(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        with suppress(OSError):
            pipe.close()
