"""Runs our programs as child processes: starts them in order, restarts them when they exit, ends them together."""

import ctypes
import logging
import os
import signal
import subprocess
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from router import interpreter

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_LONGEST_DELAY = 30.0
_STEADY = 60.0
"""Seconds of running after which an exit counts as the first one again."""

_libc = ctypes.CDLL(None, use_errno=True)


def _end_with_parent() -> None:
    # This works even if the supervisor is killed with SIGKILL: its programs must not keep running unnoticed.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def command(*words: str) -> list[str]:
    """Return the command line of one of our programs: `command("router")` is `clusterbus router`."""
    return interpreter.module("clusterbus", *words)


def relay_environment(urls: Sequence[str], file: Path) -> dict[str, str]:
    """Return the environment of a relay for the brokers at *urls*; writes the password to *file*, readable by us only.

    The file holds one password, so brokers with another one than the first are left out.
    """
    brokers = [urllib.parse.urlsplit(each) for each in urls]
    password = brokers[0].password
    file.touch(mode=0o600)
    file.write_text(urllib.parse.unquote(password or "") + "\n")
    bare = [
        each._replace(netloc=f"{each.username or 'guest'}@{each.netloc.rpartition('@')[2]}").geturl()
        for each in brokers
        if each.password == password
    ]
    return {"CLUSTERBUS_RELAY_BROKER": " ".join(bare), "CLUSTERBUS_RELAY_PASSWORD_FILE": str(file)}


@dataclass(slots=True)
class Program:
    """One child process and its history."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    exits: int = 0
    started: float = 0.0
    due: float = 0.0


class Supervisor:
    """Keeps programs running until it is closed.

    The output of each program goes to a file of its own in *logs*, or to our own output.
    """

    def __init__(self, logs: Path | None = None) -> None:
        """Begin without programs."""
        self._logs = logs
        self._programs: list[Program] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all programs."""
        self.close()

    def start(self, name: str, words: Sequence[str], environment: Mapping[str, str] | None = None) -> Program:
        """Start a program and keep it running; raises OSError if its command cannot be started."""
        program = Program(name, words, environment or {})
        self._spawn(program)
        self._programs.append(program)
        return program

    @property
    def programs(self) -> Sequence[Program]:
        """All programs, in the order in which they were started."""
        return tuple(self._programs)

    def tend(self) -> None:
        """Restart programs that exited and whose delay is over; call this regularly."""
        now = time.monotonic()
        for program in self._programs:
            code = None if program.process is None else program.process.poll()
            if code is not None:
                self._exited(program, code, now)
            if program.process is None and now >= program.due:
                self._spawn(program)

    def close(self, patience: float = 15.0) -> None:
        """End the programs, last first: by SIGTERM, after *patience* seconds by SIGKILL; return when all have ended."""
        running = [(each.name, each.process) for each in reversed(self._programs) if each.process is not None]
        deadline = time.monotonic() + patience
        for _, process in running:
            process.terminate()
        for name, process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("program did not stop in time and was killed", extra={"program": name})
                process.kill()
                process.wait()
        self._programs.clear()

    def _spawn(self, program: Program) -> None:
        output = self._output(program.name)
        try:
            program.process = subprocess.Popen(
                program.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **program.environment},
                # The supervisor has one thread, so what runs between fork and exec is safe here.
                preexec_fn=_end_with_parent,  # noqa: PLW1509
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()
        program.started = time.monotonic()
        log.info("program started", extra={"program": program.name, "pid": program.process.pid})

    def _output(self, name: str) -> IO[bytes] | None:
        return (self._logs / f"{name}.log").open("ab") if self._logs else None

    def _exited(self, program: Program, code: int, now: float) -> None:
        program.exits = 1 if now - program.started > _STEADY else program.exits + 1
        delay = min(_LONGEST_DELAY, 2.0 ** (program.exits - 1))
        program.process, program.due = None, now + delay
        log.warning(
            "program exited and will be restarted", extra={"program": program.name, "code": code, "seconds": delay}
        )
