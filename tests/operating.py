"""What tests share that do as operators do: `clusterbus consume` over a file that changes, and the real commands.

`python -m tests.operating BROKER STORE SUBSCRIPTIONS [MOMENT]` is `tests.consuming`, with shorter waits.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from consumers import breakers, engine, gates
from consumers.readiness import wait_served
from consumers.store import Store, deliveries
from consumers.store.attempts import Row
from tests import consuming
from tests.flow import Running
from tests.waiting import wait_for

ROOT = Path(__file__).parents[1]


class Program:
    """`clusterbus consume` as a site runs it, over the file *text*; its store, and commands with its settings."""

    def __init__(self, url: str, folder: Path, text: str, *, settings: str = "", **environment: str) -> None:
        self.folder, self.url = folder, url
        self.file = folder / "subscriptions.yaml"
        self.environment = {
            "CLUSTERBUS_BROKER": url,
            "CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{folder / 'store.db'}",
            "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(self.file),
            **environment,
        }
        self.words = [sys.executable, "-m", "consumers.cli"]
        if settings:
            (folder / "clusterbus.yaml").write_text(settings)
            self.words += ["--settings", str(folder / "clusterbus.yaml")]
        self.replace(text)
        self.running = Running("consume", [*self.words, "consume"], self.environment, folder)
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
        done = subprocess.run(
            [*self.words, "--log-level", "ERROR", *words],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    @property
    def store(self) -> Store:
        """The store that it writes."""
        if self._store is None:
            self._store = Store(self.environment["CLUSTERBUS_CONSUMERS_STORE"])
        return self._store

    def rows(self, **filters: Any) -> list[Row]:
        """Return the attempts that are recorded, oldest first."""
        with self.store.reading() as transaction:
            return deliveries.find(transaction, limit=100_000, **filters)[::-1]

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

    def start(self, moment: str = "") -> Self:
        """Start it; at *moment* it will kill itself."""
        self._connected = self.words().count(consuming._CONNECTED)
        words = [sys.executable, "-m", "tests.operating", json.dumps(dict(self.waits))]
        words += [self._url, self.store_url, str(self._file), moment]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self


WAITS: Mapping[str, Callable[[timedelta], None]] = {
    "entrusted after": lambda wait: setattr(engine, "_LONG", wait),
    "entrusted for": lambda wait: setattr(engine, "_MEANWHILE", wait),
    "breaker": lambda wait: setattr(breakers, "FIRST", wait),
    "answer": lambda wait: setattr(gates, "_ANSWER", wait),
    "at most": lambda wait: setattr(gates, "_LOOK", wait),
}


def main() -> None:
    """Be the consumer."""
    for name, seconds in json.loads(sys.argv.pop(1)).items():
        WAITS[name](timedelta(seconds=seconds))
    consuming.main()


if __name__ == "__main__":
    main()
