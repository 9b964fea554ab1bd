"""A private RabbitMQ: the interface and the common code of both kinds, node and container."""

import json
import shlex
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from .. import interpreter
from ..errors import Refused, Unreachable
from . import guard
from .data_folder import USER, DataFolder
from .ports import LOOPBACK, answers, is_free, until

START_LIMIT: Final = timedelta(seconds=90)
STOP_LIMIT: Final = timedelta(seconds=30)
COMMAND_LIMIT: Final = timedelta(seconds=60)
_TRIES: Final = 3
_LINES: Final = 12
_PORT_TAKEN: Final = ("eaddrinuse", "address already in use", "port is already allocated")


class PrivateBroker(ABC):
    """A RabbitMQ that belongs to this process: listens on 127.0.0.1 only, and ends with this process.

    Between `start` and `close` it can be stopped, killed and started again any number of times; it keeps its data and
    its address.  With a *folder* it keeps its data after `close` too, for the next broker there (one at a time).
    *config* adds lines to rabbitmq.conf.  *plugins* are enabled; without any, it starts and stops faster.
    """

    def __init__(self, folder: Path | None = None, *, config: Sequence[str] = (), plugins: Sequence[str] = ()) -> None:
        """Keep the arguments; nothing is created before `start`."""
        self._folder, self._config, self._plugins = folder, tuple(config), tuple(plugins)
        self._home: DataFolder | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def description(self) -> str:
        """The kind and version of the broker, for people."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether its process runs; it may not answer yet."""

    @property
    def home(self) -> DataFolder:
        """Its folder, names and ports; raises Unreachable before `start` and after `close`."""
        if self._home is None:
            raise Unreachable(f"{self.description} is not started: call start() first")
        return self._home

    @property
    def url(self) -> str:
        """The URL to connect to, with the user and password of its administrator; the same after a restart."""
        return f"amqp://{USER}:{self.home.password}@{LOOPBACK}:{self.home.port('amqp')}/%2F"

    @property
    def http_url(self) -> str:
        """The URL of the plugin `rabbitmq_management`, if it is enabled, with user and password."""
        return f"http://{USER}:{self.home.password}@{LOOPBACK}:{self.home.port('http')}"

    @property
    def metrics_url(self) -> str:
        """The URL of the plugin `rabbitmq_prometheus`, if it is enabled."""
        return f"http://{LOOPBACK}:{self.home.port('prometheus')}/metrics"

    def start(self) -> Self:
        """Start it, and return once it answers; does nothing if it runs already.

        Raises Unreachable with the path and the last lines of its log if it ends or takes longer than *START_LIMIT*.
        """
        if self.running:
            return self
        if self._home is not None:
            self._launch_and_wait()
            return self
        self._home = DataFolder(self._folder)
        try:
            self._launch_and_wait(tries=_TRIES)
        except BaseException:
            self.close(keep=True)
            raise
        return self

    def _launch_and_wait(self, tries: int = 1) -> None:
        try:
            self._launch()
            if self._ready():
                return
            reason = self._log_excerpt()
        except Refused as error:
            reason = str(error)
        self._end()
        # Another program may have taken one of its ports between our check and its start: try other ports.
        if tries == 1 or not any(sign in reason for sign in _PORT_TAKEN):
            raise Unreachable(f"{self.description} did not start: {reason}")
        self._move()
        self._launch_and_wait(tries - 1)

    @abstractmethod
    def stop(self) -> None:
        """Stop it in order; when this returns, all its data is on disk."""

    def kill(self) -> None:
        """End it at once, like a power cut; when this returns, no process listens on its port."""
        self._end()
        if not self._closed():
            raise Unreachable(f"{self.description} was killed, but port {self.home.port('amqp')} is still open")

    @abstractmethod
    def close(self, *, keep: bool = False) -> None:
        """Stop it and remove temporary files; with *keep* the folder stays, so that its logs can be read."""

    @abstractmethod
    def ctl(self, *arguments: str) -> str:
        """Return the output of `rabbitmqctl` with *arguments*; raises Refused with its message if it fails."""

    def control(self) -> Path:
        """Write a script that acts as this broker's `rabbitmqctl`, for `broker.control`; return its path."""
        variables, words = self._control()
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
        return self.home.write("rabbitmqctl", f'#!/bin/sh\n{"".join(lines)}exec {shlex.join(words)} "$@"\n', 0o700)

    @abstractmethod
    def _control(self) -> tuple[Mapping[str, str], Sequence[str]]:
        """Return the environment and the words that run `rabbitmqctl`, from any folder."""

    def import_definitions(self, definitions: Mapping[str, Any]) -> None:
        """Add users, virtual hosts, queues and so on, in RabbitMQ's export format."""
        self.ctl("import_definitions", self._hand_over("definitions.json", json.dumps(definitions)))

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    @abstractmethod
    def _launch(self) -> None:
        """Start the process, and return without waiting."""

    @abstractmethod
    def _end(self) -> None:
        """Kill all its processes."""

    def _move(self) -> None:
        """Choose other ports for the next launch."""
        self.home.move()

    @abstractmethod
    def _hand_over(self, name: str, content: str) -> str:
        """Write the file *name* where the broker can read it; return its path as the broker sees it."""

    @abstractmethod
    def _log_excerpt(self) -> str:
        """Return the path of the log of its last launch, and the lines that explain a failure."""

    def _ready(self) -> bool:
        port, name = self.home.port("amqp"), self.home.name
        until(lambda: not self.running or answers(port, name), START_LIMIT)
        return self.running and answers(port, name)

    def _closed(self) -> bool:
        return until(lambda: is_free(self.home.port("amqp")), STOP_LIMIT)

    def _start_guard(self, *words: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a guard with *words*; it locks the folder while it lives, and writes to output.log."""
        folder = self.home.path
        with (folder / "output.log").open("wb") as output:
            self._guard = subprocess.Popen(
                interpreter.file(guard.__file__, *words, options=["-IS"]),
                stdin=subprocess.PIPE,
                bufsize=0,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=folder,
                pass_fds=[self.home.lock],
                start_new_session=True,
            )

    def _end_guard(self, order: bytes, limit: timedelta) -> bool:
        """Send *order* to the guard; return whether the guard ended within *limit*."""
        process = self._guard
        if process is None or process.stdin is None:
            return True
        with suppress(BrokenPipeError):  # the guard has ended already: only wait for it
            process.stdin.write(order)
        try:
            process.wait(limit.total_seconds())
        except subprocess.TimeoutExpired:
            return False
        process.stdin.close()
        self._guard = None
        return True


def first_errors(log: str) -> str:
    r"""Return the first errors of a *log*, or its last lines if it has none: after an error Erlang logs only its crash.

    >>> first_errors("... [info] <0.1.0> hello\n... [error] <0.1.0> \n... [error] <0.1.0> no such setting\nend\n")
    '... [error] <0.1.0> no such setting'
    >>> first_errors("Killed\n")
    'Killed'
    """
    lines = log.rstrip("\n").split("\n")
    errors = [line for line in lines if "[error]" in line and not line.rstrip().endswith(">")]
    return "\n".join(errors[:_LINES] or lines[-_LINES:])


def command(arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Return the output of the command *arguments*.

    Raises Refused with the command's message if it fails, Unreachable if it does not start or exceeds *COMMAND_LIMIT*.
    """
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            cwd=cwd,
            timeout=COMMAND_LIMIT.total_seconds(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"cannot run {arguments[0]}: {error}") from error
    if done.returncode != 0:
        raise Refused(f"{' '.join(arguments[:3])}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
