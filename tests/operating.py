"""What tests share that do as operators do: `clusterbus consume` over a file that changes, and the real commands.

`python -m tests.operating BROKER STORE SUBSCRIPTIONS [MOMENT]` is `tests.consuming`, with shorter waits.
"""

import json
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.delivery import arrivals
from consumers.delivery.gates import approval
from consumers.delivery.gates.limits import at_most
from consumers.policies import circuit_breaker
from consumers.programs.readiness import wait_served
from consumers.store import attempts
from consumers.store.database import Store
from consumers.store.queries import Row
from tests import consuming, forking
from tests.flow import Running
from tests.processes import environment
from tests.waiting import wait_for

ROOT = Path(__file__).parents[1]


def invoke(settings: Mapping[str, str], *words: str, **options: Any) -> tuple[int, str]:
    """Run a command in this process; return its exit code and output."""
    done = CliRunner().invoke(app, ["--log-level", "ERROR", *words], env=settings, **options)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def json_lines(output: str) -> list[dict[str, Any]]:
    """Return what *output*, a JSON value a line, says."""
    return [json.loads(line) for line in output.splitlines()]


class Program:
    """`clusterbus consume` as a site runs it, over the file *text*; its store, and commands with its settings."""

    def __init__(
        self,
        url: str,
        folder: Path,
        text: str,
        *,
        settings: str = "",
        store: str = "",
        level: str = "INFO",
        **more: str,
    ) -> None:
        self.folder, self.url = folder, url
        self.file = folder / "subscriptions.yaml"
        self.environment = {
            "CLUSTERBUS_BROKER": url,
            "CLUSTERBUS_CONSUMERS_STORE": store or f"sqlite:///{folder / 'store.db'}",
            "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(self.file),
            "CLUSTERBUS_CONSUMERS_JOBS": str(folder / "jobs"),
            **more,
        }
        self.words = [sys.executable, "-m", "consumers.cli.main"]
        if settings:
            (folder / "clusterbus.yaml").write_text(settings)
            self.words += ["--settings", str(folder / "clusterbus.yaml")]
        self.replace(text)
        self.running = Running("consume", [*self.words, "--log-level", level, "consume"], self.environment, folder)
        self._store: Store | None = None

    def replace(self, text: str) -> None:
        """Put another file in the place of the subscriptions, as editors do."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.file)

    def start(self, *names: str) -> Self:
        """Start it; returns when these subscriptions are served."""
        self.running.start()
        wait_served(self.url, names, tend=self._check_alive)
        return self

    def _check_alive(self) -> None:
        process = self.running.process
        assert process is not None
        assert process.poll() is None, self.running.words()

    def hang_up(self) -> None:
        """Have it read anew."""
        assert self.running.process is not None
        self.running.process.send_signal(signal.SIGHUP)

    def logged(self, sentence: str) -> list[dict[str, Any]]:
        """Return the log's lines of this *sentence*, with their facts."""
        lines = self.running.log.read_text(errors="replace").splitlines() if self.running.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{") and sentence in line]

    def wait_logged(self, sentence: str, count: int = 1) -> list[dict[str, Any]]:
        """Return these lines once there are *count*."""
        what = f"{count} times {sentence!r} in the log"
        try:
            return wait_for(lambda: len(found := self.logged(sentence)) >= count and found, 20, what) or []
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.running.words()}") from None

    def command(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """Run a command to its end; return the JSON lines that it prints."""
        command = [*self.words, "--log-level", "ERROR", *words]
        done = forking.run(command, self.folder, environment=environment(**self.environment))
        assert done.code == code, f"{done.code}: {done.output}"
        return [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]

    @property
    def store(self) -> Store:
        """The store that it writes."""
        if self._store is None:
            self._store = Store(self.environment["CLUSTERBUS_CONSUMERS_STORE"])
        return self._store

    def rows(self, **filters: Any) -> list[Row]:
        """Return the attempts that are recorded, oldest first."""
        with self.store.reading() as transaction:
            return attempts.find(transaction, limit=100_000, **filters)[::-1]

    def wait_rows(self, count: int, timeout: float = 30, **filters: Any) -> list[Row]:
        """Return the recorded attempts with an outcome once there are *count*."""

        def found() -> list[Row] | None:
            rows = [row for row in self.rows(**filters) if row.outcome]
            return rows if len(rows) >= count else None

        try:
            return wait_for(found, timeout, f"{count} outcomes of {filters}") or []
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.rows()}\n{self.running.words()}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running.kill()
        if self._store is not None:
            self._store.close()


class Consumer(consuming.Consumer):
    """A consumer in a process of its own, whose waits are *waits*: seconds by their names below."""

    waits: Mapping[str, float] = {}

    def _program(self) -> list[str]:
        return [sys.executable, "-m", "tests.operating", json.dumps(dict(self.waits))]


WAITS: Mapping[str, tuple[ModuleType, str]] = {
    "deferred after": (arrivals, "_LONG"),
    "deferred for": (arrivals, "_MEANWHILE"),
    "breaker": (circuit_breaker, "FIRST"),
    "answer": (approval, "_ANSWER"),
    "at most": (at_most, "_LOOK"),
}


def main() -> None:
    """Be the consumer."""
    for name, seconds in json.loads(sys.argv.pop(1)).items():
        module, constant = WAITS[name]
        assert isinstance(getattr(module, constant), timedelta)
        setattr(module, constant, timedelta(seconds=seconds))
    consuming.main()


if __name__ == "__main__":
    main()
