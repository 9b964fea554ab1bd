"""The whole way on one machine: spools, relays, router and consumer as the programs that a site runs."""

import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from consumers.programs.readiness import wait_served
from consumers.store import attempts, audit
from consumers.store.database import Store
from consumers.subscriptions.validation import load
from router.model.catalogue import Catalogues
from tests import forking
from tests.processes import Signal, environment
from tests.waiting import SLACK, wait_for

CLUSTERBUS = str(Path(sys.executable).with_name("clusterbus"))
CAPTURE = Path(__file__).parents[1] / "shim" / "capture.py"
AUDIT = 'version: 1\nsubscriptions:\n  - {name: audit, on: "#", log: {}}\n'


class Running:
    """One program, to be started, stopped, killed and frozen as a test likes."""

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        *,
        cwd: Path | None = None,
        end: Signal = "KILL",
    ) -> None:
        self.name, self._words, self._environment, self._cwd, self._signal = name, words, environment, cwd, end
        self.log = folder / f"{name}.log"
        self.process: forking.Program | None = None

    def start(self) -> Self:
        """Start it, unless it runs."""
        if self.process is None or self.process.poll() is not None:
            with self.log.open("ab") as output:
                self.process = forking.start(
                    self._words,
                    output.fileno(),
                    environment=environment(PYTHONFAULTHANDLER="1", **self._environment),
                    cwd=self._cwd,
                    session=True,
                    end=self._signal,
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
            return self.process.wait(60 * SLACK)
        except subprocess.TimeoutExpired:
            # So that its log says what it was at.
            self.process.send_signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(120)
            self.process.kill()
            self.process.wait(120)
            raise AssertionError(f"{self.name} did not end; its log:\n{self.words()}") from None

    def words(self) -> str:
        """Return the end of what it logged."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


def audited(folder: Path) -> list[audit.Entry]:
    """Return what the audit in the store of *folder* holds, oldest first."""
    if not (folder / "store.db").exists():
        return []
    with Store(f"sqlite:///{folder / 'store.db'}") as store, store.reading() as transaction:
        return audit.find(transaction, limit=100_000)[::-1]


@contextmanager
def up(
    folder: Path,
    *words: str,
    before: Sequence[str] = (),
    tend: Callable[[int], object] = lambda _: None,
    **environment: str,
) -> Iterator[Running]:
    """Run `clusterbus up` in *folder*, with its log beside that; end it as systemd or Ctrl-C would.

    *before* are options of `clusterbus` itself.

    Gives it when everything runs; until then *tend* is called with its pid again and again.
    """
    # At the end of pytest it ends what it has started, too.
    running = Running("up", [CLUSTERBUS, *before, "up", *words], environment, folder.parent, cwd=folder, end="TERM")
    running.log.unlink(missing_ok=True)

    def runs() -> bool:
        assert running.process is not None
        assert running.process.poll() is None, running.words()
        tend(running.process.pid)
        return "everything runs" in running.log.read_text(errors="replace")

    try:
        running.start()
        wait_for(runs, 90, "everything runs")
        yield running
    finally:
        code = running.stop()
    assert code == 0, running.words()


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
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """*more* is added to the environment of router and consumer."""
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
            **more,
        }
        self.environment = common | {"CLUSTERBUS_BROKER": url}
        program = [sys.executable, "-m", "consumers.cli.main"]
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
        assert self.capture(node, event, *arguments).wait(120) == 0

    def audited(self) -> list[audit.Entry]:
        """Return what the audit holds, oldest first."""
        return audited(self.folder)

    def delivered(self, subscription: str | None = None) -> list[attempts.Row]:
        """Return the attempts that are recorded, oldest first."""
        with Store(self.environment["CLUSTERBUS_CONSUMERS_STORE"]) as store, store.reading() as transaction:
            return attempts.find(transaction, subscription=subscription, limit=100_000)[::-1]

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
