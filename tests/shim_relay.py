"""Relay processes for tests: started for real, watched through their log, their spool and /proc."""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from router.broker.topology import INGRESS
from shim import capture
from tests.processes import bound
from tests.rabbit import Taken, Tap
from tests.waiting import SLACK, wait_for

ROOT = Path(__file__).parents[1]
PATIENCE = 20.0


def make_spool(folder: Path) -> Path:
    """Make an empty spool in *folder*, as the package would."""
    spool = folder / "spool"
    for each in ("", "tmp", "new", "bad", "kept"):
        (spool / each).mkdir(parents=True, exist_ok=True)
        (spool / each).chmod(0o2770)
    return spool


def put(spool: Path, *arguments: str, event: str = "softQuotaExceeded", node: str = "nsd01") -> str:
    """Capture one record and return its id."""
    record = capture.record_now("gpfs", event, [each.encode() for each in arguments], node)
    capture.put(str(spool), record)
    return record.id


def put_many(spool: Path, count: int) -> list[str]:
    """Store *count* records quickly, without a sync for each, and return their ids in the order of capture."""
    ids = []
    for number in range(count):
        record = capture.record_now("gpfs", "diskFailure", [b"--number", b"%d" % number], "nsd01")
        aside = spool / "tmp" / record.name
        aside.write_bytes(capture.encode(record))
        aside.rename(spool / "new" / record.name)
        ids.append(record.id)
    return ids


def waiting(spool: Path) -> list[str]:
    """Return the names in `new/`, sorted."""
    return names(spool / "new")


def reported(spool: Path) -> dict[str, Any]:
    """Return what the relay tells of its connection; empty if it tells nothing."""
    file = spool / "connection"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def names(folder: Path) -> list[str]:
    """Return the names of what is in *folder*, sorted."""
    return sorted(each.name for each in folder.iterdir())


@contextmanager
def ingress(url: str, arguments: Mapping[str, object] | None = None) -> Iterator[Tap]:
    """Declare the ingress exchange and queue, the queue with further *arguments*, and give a connection to look in."""
    tap = Tap(url)
    try:
        tap.channel.exchange_declare(INGRESS, "topic", durable=True)
        tap.channel.queue_declare(INGRESS, durable=True, arguments={"x-queue-type": "quorum", **(arguments or {})})
        tap.channel.queue_bind(INGRESS, INGRESS, "#")
        yield tap
    finally:
        tap.close()


def drained(tap: Tap, count: int) -> list[Taken]:
    """Take messages from the ingress queue until *count* different records are there; heartbeats are left out."""
    taken: list[Taken] = []

    def all_there() -> bool:
        taken.extend(each for each in tap.drain(INGRESS) if each.properties.type != "heartbeat")
        return len({each.properties.message_id for each in taken}) >= count

    wait_for(all_there, PATIENCE, f"{count} records in {INGRESS}")
    return taken


def assert_complete(taken: Sequence[Taken], ids: Sequence[str]) -> None:
    """Check that *taken* is every one of *ids*, each under one number only, the numbers without a hole."""
    numbers: dict[str, set[int]] = {}
    for each in taken:
        numbers.setdefault(str(each.properties.message_id), set()).add(each.headers["sequence"])
    assert set(numbers) == set(ids)
    assert all(len(of_one) == 1 for of_one in numbers.values()), "a record has two numbers"
    assert sorted(min(of_one) for of_one in numbers.values()) == list(range(1, len(ids) + 1))
    assert len({each.headers["epoch"] for each in taken}) == 1


def first_arrivals(taken: Sequence[Taken]) -> list[str]:
    """Return the ids in the order in which each arrived first."""
    return list(dict.fromkeys(str(each.properties.message_id) for each in taken))


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}@{place}" if user else place).geturl()


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


class RelayProcess:
    """A relay as a process of its own; leaving the block kills it if it still runs."""

    def __init__(self, spool: Path, *urls: str, options: Sequence[str] = (), sabotage: str = "") -> None:
        """Start it on *spool* for the brokers at *urls*, quick to try again unless *options* say otherwise.

        *sabotage* is Python that its process runs first: to have it die, or fail, at an exact place.
        """
        program = f"{sabotage}\nimport sys; from shim.relay import main; sys.exit(main())"
        command = [sys.executable, "-c", program, "--allow-root", "--spool", str(spool), "--cluster", "prod"]
        defaults = ("--node", "nsd01", "--heartbeat", "0", "--longest-delay", "0.3", "--progress-limit", "5")
        brokers = [word for url in urls for word in ("--broker", _without_password(url))]
        passwords = {urlsplit(url).password for url in urls} - {None}
        if passwords:
            # In a file, since the broker of the tests need not be on this machine.
            (password,) = passwords
            secret = spool.parent / "password"
            secret.write_text(f"{password}\n")
            secret.chmod(0o600)
            brokers += ["--password-file", str(secret)]
        self.spool = spool
        self.process = subprocess.Popen(
            bound([*command, *defaults, "--run", str(spool / "no-run"), *brokers, *options]),
            cwd=ROOT,
            env={"PATH": os.defpath, "CLUSTERBUS_RELAY_CONFIG": ""},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, name=f"relay log {uuid.uuid4().hex[:6]}", daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """All that it has logged so far."""
        return "".join(self._lines)

    @property
    def memory(self) -> int:
        """Its highest resident memory so far, in KiB."""
        return int(self._status("VmHWM").split()[0])

    @property
    def ticks(self) -> int:
        """The clock ticks of processor time that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    @property
    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(names(Path(f"/proc/{self.process.pid}/fd")))

    def wait_until_said(self, what: str, times: int = 1) -> None:
        """Wait until its log has *what*, *times* over."""
        wait_for(lambda: self.log.count(what) >= times or self._gone(what), PATIENCE, f"the relay says {what!r}")

    def wait_until_empty(self, seconds: float = PATIENCE) -> None:
        """Wait until nothing is left in `new/`."""
        wait_for(lambda: _is_empty(self.spool / "new") or self._gone(), seconds, "the spool is empty")

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self._end()

    def terminate(self) -> int:
        """Tell it to stop, and return its exit status."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended by itself, and return its exit status."""
        status = self.process.wait(PATIENCE * SLACK)
        self._end()
        return status

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill it, if that is still to be done."""
        if error is not None:
            sys.stderr.write(self.log)
        self.process.kill()
        self._end()

    def _end(self) -> None:
        self.process.wait(PATIENCE * SLACK)
        self._reader.join(PATIENCE * SLACK)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _read(self) -> None:
        if self.process.stderr is not None:
            for line in self.process.stderr:
                self._lines.append(line)

    def _gone(self, last_words: str = "") -> bool:
        """Fail if it has ended, unless it said *last_words* before."""
        if self.process.poll() is not None:
            self._reader.join(PATIENCE * SLACK)
            if not last_words or last_words not in self.log:
                raise AssertionError(f"the relay ended with {self.process.returncode}:\n{self.log}")
        return False

    def _status(self, name: str) -> str:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(line.partition(":")[2] for line in lines if line.startswith(name + ":"))
