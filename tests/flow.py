"""The whole way on one machine: spools, relays, router and consumer as the programs that a site runs."""

import os
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from consumers.check import load
from consumers.readiness import wait_served
from consumers.store import Store, audit, deliveries
from router.catalogue import Catalogues
from tests.waiting import wait_for

CAPTURE = Path(__file__).parents[1] / "shim" / "capture.py"
AUDIT = 'version: 1\nsubscriptions:\n  - {name: audit, on: "#", log: {}}\n'


class Running:
    """One program, to be started, stopped, killed and frozen as a test likes."""

    def __init__(self, name: str, words: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        self.name, self._words, self._environment = name, words, environment
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, unless it runs."""
        if self.process is None or self.process.poll() is not None:
            with self.log.open("ab") as output:
                self.process = subprocess.Popen(
                    self._words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, "PYTHONFAULTHANDLER": "1", **self._environment},
                    start_new_session=True,
                )
        return self

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it in good order; return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            # So that its log says what it was at.
            self.process.send_signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            self.process.kill()
            self.process.wait(20)
            raise AssertionError(f"{self.name} did not end; its log:\n{self.words()}") from None

    def words(self) -> str:
        """Return the end of what it logged."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


class Flow:
    """Everything from capture to the store, over the broker at *url*; nothing runs before `start`."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        nodes: Sequence[str] = ("nsd01",),
        subscriptions: str = AUDIT,
        relay_options: Sequence[str] = (),
        relay_url: str | None = None,
        router_url: str | None = None,
    ) -> None:
        self.folder, self.nodes = folder, nodes
        file = folder / "subscriptions.yaml"
        file.write_text(subscriptions)
        user = urllib.parse.urlsplit(url).username or "guest"
        common = {
            "CLUSTERBUS_ROUTER_STATE": f"sqlite:///{folder / 'router.db'}",
            "CLUSTERBUS_ROUTER_TRUSTED_USERS": user,
            "CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{folder / 'store.db'}",
            "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(file),
            "CLUSTERBUS_BROKER_PROGRESS_LIMIT": "3s",
        }
        self.environment = common | {"CLUSTERBUS_BROKER": url}
        program = [sys.executable, "-m", "consumers.cli"]
        self.router = Running("router", [*program, "router"], common | {"CLUSTERBUS_BROKER": router_url or url}, folder)
        self.consumer = Running("consume", [*program, "consume"], self.environment, folder)
        self.relays = {node: self._relay(node, relay_url or url, relay_options) for node in nodes}

    def _relay(self, node: str, url: str, options: Sequence[str]) -> Running:
        for name in ("tmp", "new", "bad", "kept"):
            (self.spool(node) / name).mkdir(parents=True)
        words = [sys.executable, "-m", "shim.relay", "--spool", str(self.spool(node)), "--node", node]
        words += ["--cluster", "prod", "--broker", url, "--allow-root", "--heartbeat", "0"]
        words += ["--progress-limit", "3", "--longest-delay", "1", "--run", str(self.folder)]
        return Running(f"relay-{node}", [*words, *options], {}, self.folder)

    def spool(self, node: str) -> Path:
        """Return the spool of *node*."""
        return self.folder / "spool" / node

    @property
    def programs(self) -> list[Running]:
        """All programs."""
        return [self.router, self.consumer, *self.relays.values()]

    def start(self) -> Self:
        """Start all programs that do not run."""
        for each in self.programs:
            each.start()
        return self

    def __enter__(self) -> Self:
        self.consumer.start()
        names = [each.name for each in load([self.folder / "subscriptions.yaml"], Catalogues.shipped()).subscriptions]
        wait_served(self.environment["CLUSTERBUS_BROKER"], names)
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self.programs:
            each.kill()

    def capture(self, node: str, event: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the real capture as *node*'s daemon would; the caller waits for it."""
        words = [sys.executable, "-IS", str(CAPTURE), "--spool", str(self.spool(node)), "--node", node]
        return subprocess.Popen([*words, "gpfs", event, *arguments], stdin=subprocess.DEVNULL, env={})

    def captured(self, node: str, event: str, *arguments: str) -> None:
        """Run the real capture to its end."""
        assert self.capture(node, event, *arguments).wait(10) == 0

    def audited(self) -> list[audit.Entry]:
        """Return what the audit holds, oldest first."""
        if not (self.folder / "store.db").exists():
            return []
        store = Store(self.environment["CLUSTERBUS_CONSUMERS_STORE"])
        try:
            with store.reading() as transaction:
                return audit.find(transaction, limit=100_000)[::-1]
        finally:
            store.close()

    def delivered(self, subscription: str | None = None) -> list[deliveries.Row]:
        """Return the attempts that are recorded, oldest first."""
        store = Store(self.environment["CLUSTERBUS_CONSUMERS_STORE"])
        try:
            with store.reading() as transaction:
                return deliveries.find(transaction, subscription=subscription, limit=100_000)[::-1]
        finally:
            store.close()

    def wait_audited(self, count: int, timeout: float = 60, *, origin: str = "gpfs.") -> list[audit.Entry]:
        """Return the audited events of *origin* once there are *count* or more."""

        def seen() -> list[audit.Entry] | None:
            found = [each for each in self.audited() if each.event.startswith(origin)]
            return found if len(found) >= count else None

        try:
            return wait_for(seen, timeout, f"{count} events in the audit")
        except AssertionError as error:
            logs = "\n".join(f"--- {each.name}\n{each.words()}" for each in self.programs)
            raise AssertionError(f"{error}; {len(self.audited())} are there\n{logs}") from None
