"""Our programs as child processes of one: started in order, started again when they fall, ended together."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_LONGEST_DELAY = 30.0
_STEADY = 60.0
"""Seconds after which a program that fell is taken to have fallen for the first time."""

_libc = ctypes.CDLL(None, use_errno=True)


def _end_with_parent() -> None:
    # Also when the supervisor is killed with -9: what it started must not run on unseen.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def command(*words: str) -> list[str]:
    """Return the command line of one of our programs: `command("router")` is `clusterbus router`."""
    return [sys.executable, "-m", "consumers.cli", *words]


def relay_environment(url: str, file: Path) -> dict[str, str]:
    """Return what tells the relay to use the broker at *url*, whose password is put into *file*, ours alone to read."""
    parts = urllib.parse.urlsplit(url)
    file.touch(mode=0o600)
    file.write_text(urllib.parse.unquote(parts.password or "") + "\n")
    host = parts.netloc.rpartition("@")[2]
    bare = parts._replace(netloc=f"{parts.username or 'guest'}@{host}").geturl()
    return {"CLUSTERBUS_RELAY_BROKER": bare, "CLUSTERBUS_RELAY_PASSWORD_FILE": str(file)}


@dataclass(slots=True)
class Program:
    """One child process and its history."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    falls: int = 0
    started: float = 0.0
    due: float = 0.0


class Supervisor:
    """Keeps programs running until it is closed; their output goes to a file each under *logs*, or to ours."""

    def __init__(self, logs: Path | None = None) -> None:
        """Begin with no programs."""
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
        """Start a program and keep it running; raises OSError where its command cannot be started at all."""
        program = Program(name, words, environment or {})
        self._spawn(program)
        self._programs.append(program)
        return program

    @property
    def programs(self) -> Sequence[Program]:
        """All programs, in the order of their start."""
        return tuple(self._programs)

    def tend(self) -> None:
        """Start again what has fallen and is due; call it now and then."""
        now = time.monotonic()
        for program in self._programs:
            code = None if program.process is None else program.process.poll()
            if code is not None:
                self._fell(program, code, now)
            if program.process is None and now >= program.due:
                self._spawn(program)

    def close(self, patience: float = 15.0) -> None:
        """End the programs, last first, gently and then not; returns when all are gone."""
        running = [(each.name, each.process) for each in reversed(self._programs) if each.process is not None]
        until = time.monotonic() + patience
        for _, process in running:
            process.terminate()
        for name, process in running:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("program did not end in time and was killed", extra={"program": name})
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

    def _fell(self, program: Program, code: int, now: float) -> None:
        program.falls = 1 if now - program.started > _STEADY else program.falls + 1
        delay = min(_LONGEST_DELAY, 2.0 ** (program.falls - 1))
        program.process, program.due = None, now + delay
        log.warning(
            "program fell and will be started again", extra={"program": program.name, "code": code, "seconds": delay}
        )
