"""`clusterbus up`: everything on one machine, started and ended together, found again the next time."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from consumers.store import Store, audit
from tests.rabbit import SharedBroker
from tests.waiting import wait_for

_TRY = re.compile(r"^ +(/usr/bin/python3 .*)\n", re.MULTILINE)


@contextmanager
def up(folder: Path, kind: str) -> Iterator[str]:
    """Run it; give what it says when everything runs; end it as systemd or Ctrl-C would."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLUSTERBUS_")}
    said, log = folder.parent / "said", folder.parent / "log"
    with said.open("w") as output, log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "consumers.cli", "up", "--folder", str(folder)],
            env=environment | {"CLUSTERBUS_BROKER_KIND": kind},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )
        try:
            # What may be tried is said in a line of its own, which may come a moment later.
            wait_for(lambda: _TRY.search(said.read_text()) or process.poll() is not None, 90, "everything runs")
            assert process.poll() is None, log.read_text()[-3000:]
            yield said.read_text()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()[-3000:]
        finally:
            process.kill()
            process.wait(10)


def audited(folder: Path) -> list[str]:
    if not (folder / "store.db").exists():
        return []
    store = Store(f"sqlite:///{folder / 'store.db'}")
    try:
        with store.reading() as transaction:
            return [each.topic for each in audit.find(transaction) if each.event.startswith("gpfs.")][::-1]
    finally:
        store.close()


def command_lines() -> Iterator[str]:
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield each.read_bytes().decode(errors="replace")


@pytest.mark.timeout(240)
def test_everything_runs_keeps_what_it_has_and_leaves_no_process(tmp_path: Path, broker: SharedBroker) -> None:
    kind = "node" if broker.kind == "given" else broker.kind
    folder = tmp_path / "everything"

    with up(folder, kind) as said:
        assert "everything runs" in said
        (line,) = _TRY.findall(said)
        words = shlex.split(line)
        assert subprocess.run([sys.executable, *words[1:]], check=False, timeout=20).returncode == 0
        (first,) = wait_for(lambda: audited(folder), 60, "the event is in the audit")
    assert first.split(".")[2:5] == ["quota", "softQuotaExceeded", "gpfs1"]

    assert subprocess.run([sys.executable, *words[1:]], check=False, timeout=20).returncode == 0
    with up(folder, kind):
        wait_for(lambda: len(audited(folder)) == 2, 60, "what was captured meanwhile is there too")

    assert not [each for each in command_lines() if str(folder) in each]
