"""A RabbitMQ of our own: what every kind of it can do."""

import json
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ...errors import Refused, Unreachable
from . import guard
from .home import USER, Home
from .ports import LOOPBACK, answers, is_free, until

START_LIMIT: Final = timedelta(seconds=90)
STOP_LIMIT: Final = timedelta(seconds=30)
COMMAND_LIMIT: Final = timedelta(seconds=60)
_TRIES: Final = 3
_LINES: Final = 12
_PORT_TAKEN: Final = ("eaddrinuse", "address already in use", "port is already allocated")


class PrivateBroker(ABC):
    """A RabbitMQ that belongs to this process: reached on 127.0.0.1 only, and gone when this process is gone.

    Between `start` and `close` it may be stopped, killed and started again as often as one likes: it keeps its data and
    its address.  With a *folder* it keeps its data after `close` too, for whoever starts the next one there (one at a
    time).  *config* is further lines for rabbitmq.conf, *plugins* what to enable: none, for a quick start and stop.
    """

    ours: Final = True

    def __init__(
        self,
        folder: Path | None = None,
        *,
        config: Sequence[str] = (),
        plugins: Sequence[str] = (),
    ) -> None:
        """Take note of what is wanted; nothing is made before `start`."""
        self._folder, self._config, self._plugins = folder, tuple(config), tuple(plugins)
        self._home: Home | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def description(self) -> str:
        """What it is, for people."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it runs, as far as its process tells; it may not answer yet."""

    @property
    def home(self) -> Home:
        """Its folder, names and ports; there from `start` to `close`."""
        if self._home is None:
            raise Unreachable(f"{self.description} was not started")
        return self._home

    @property
    def url(self) -> str:
        """Where to connect, with the name and password of its administrator; the same after a restart."""
        return f"amqp://{USER}:{self.home.password}@{LOOPBACK}:{self.home.port('amqp')}/%2F"

    @property
    def http_url(self) -> str:
        """Where the plugin `rabbitmq_management` answers, where it is enabled; with name and password."""
        return f"http://{USER}:{self.home.password}@{LOOPBACK}:{self.home.port('http')}"

    def start(self) -> Self:
        """Start it, and return when it answers; does nothing where it runs.

        Raises Unreachable, naming the log and its last lines, where it ends instead or takes longer than *START_LIMIT*.
        """
        if self.running:
            return self
        if self._home is not None:
            self._launch_and_wait()
            return self
        self._home = Home(self._folder)
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
            words = self._last_words()
        except Refused as error:
            words = str(error)
        self._end()
        # Between our look and its start somebody else may have taken one of its ports: others, then.
        if tries == 1 or not any(sign in words for sign in _PORT_TAKEN):
            raise Unreachable(f"{self.description} did not start: {words}")
        self._move()
        self._launch_and_wait(tries - 1)

    def restart(self) -> None:
        """Stop it in order, and start it again."""
        self.stop()
        self.start()

    @abstractmethod
    def stop(self) -> None:
        """Stop it in order: when this returns, what it holds is on disk."""

    def kill(self) -> None:
        """End it at once, as a power cut would; when this returns, nothing listens on its port."""
        self._end()
        if not self._closed():
            raise Unreachable(f"{self.description} was killed, but port {self.home.port('amqp')} is still open")

    @abstractmethod
    def close(self, *, keep: bool = False) -> None:
        """Stop it and remove what is temporary; *keep* leaves the folder for who wants to read its logs."""

    @abstractmethod
    def ctl(self, *arguments: str) -> str:
        """Return what `rabbitmqctl` says to *arguments*; raises Refused, in its words, where it says no."""

    def import_definitions(self, definitions: Mapping[str, Any]) -> None:
        """Add users, virtual hosts, queues and so on, in the form that RabbitMQ exports them in."""
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
        """Set it going, and return without waiting."""

    @abstractmethod
    def _end(self) -> None:
        """Kill whatever of it runs."""

    def _move(self) -> None:
        """Have it use other ports at its next launch."""
        self.home.move()

    @abstractmethod
    def _hand_over(self, name: str, content: str) -> str:
        """Put the file *name* where the broker can read it; return the path that the broker knows it by."""

    @abstractmethod
    def _last_words(self) -> str:
        """Return where the log of its last launch is, and the telling part of it."""

    def _ready(self) -> bool:
        port, name = self.home.port("amqp"), self.home.name
        until(lambda: not self.running or answers(port, name), START_LIMIT)
        return self.running and answers(port, name)

    def _closed(self) -> bool:
        return until(lambda: is_free(self.home.port("amqp")), STOP_LIMIT)

    def _start_guard(self, *words: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a guard with *words*; it holds the folder as long as it lives, and writes to output.log."""
        folder = self.home.path
        with (folder / "output.log").open("wb") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-IS", guard.__file__, *words],
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
        """Give the guard its *order*; return whether it ended within *limit*."""
        guardian = self._guard
        if guardian is None or guardian.stdin is None:
            return True
        with suppress(BrokenPipeError):  # it ended by itself; what is left is to wait for it
            guardian.stdin.write(order)
        try:
            guardian.wait(limit.total_seconds())
        except subprocess.TimeoutExpired:
            return False
        guardian.stdin.close()
        self._guard = None
        return True


def telling(lines: Sequence[str]) -> str:
    r"""Return the part of a log that says why: its first errors, for its last lines only say how Erlang dies.

    >>> telling(["... [info] <0.1.0> hello", "... [error] <0.1.0> ", "... [error] <0.1.0> no such setting", "crash"])
    '... [error] <0.1.0> no such setting'
    >>> telling(["Killed"])
    'Killed'
    """
    errors = [line for line in lines if "[error]" in line and not line.rstrip().endswith(">")]
    return "\n".join(errors[:_LINES] or lines[-_LINES:])


def command(arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Return what the program of *arguments* says; raises Refused with its own words where it fails."""
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
        raise Unreachable(f"{arguments[0]} could not be run: {error}") from error
    if done.returncode != 0:
        raise Refused(f"{' '.join(arguments[:3])}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
