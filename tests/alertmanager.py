"""A real Alertmanager on loopback, with its own webhook as witness of what it notifies of."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_for
from tests.webhooks import Webhook, webhook

PROGRAM = "prometheus-alertmanager"
_CONFIG = """\
route: {{receiver: witness, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: witness
    webhook_configs: [{{url: '{url}', send_resolved: true}}]
"""


class Alertmanager:
    """One Alertmanager, which can be killed and started again: it then knows its silences, and no alert."""

    def __init__(self, folder: Path, witness: Webhook) -> None:
        self._folder, self.witness = folder, witness
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "alertmanager.yml").write_text(_CONFIG.format(url=witness.url))

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        words = [
            PROGRAM,
            f"--config.file={self._folder / 'alertmanager.yml'}",
            f"--storage.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        wait_for(self._is_ready, 60, "an Alertmanager that is ready")

    def kill(self) -> None:
        """End it at once."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)

    def open(self) -> list[dict[str, Any]]:
        """Return the alerts that are open there."""
        found: list[dict[str, Any]] = self._asked("/api/v2/alerts?active=true&silenced=true")
        return found

    def silence(self, comment: str, by: str = "anna", **labels: str) -> str:
        """Mute the alerts with these labels; return the id of the silence."""
        matchers = [{"name": name, "value": each, "isRegex": False} for name, each in labels.items()]
        times = {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z"}
        found = self._asked("/api/v2/silences", {"matchers": matchers, "createdBy": by, "comment": comment, **times})
        return str(found["silenceID"])

    def expire(self, silence: str) -> None:
        """End a silence."""
        request = urllib.request.Request(f"{self.url}/api/v2/silence/{silence}", method="DELETE")
        urllib.request.urlopen(request, timeout=20).close()

    def notified(self) -> list[tuple[str, str]]:
        """Return what it notified of, in its order: the state and the id of each alert."""
        return [
            (each["status"], each["annotations"]["alert"])
            for request in list(self.witness.received)
            for each in json.loads(request.body)["alerts"]
        ]

    def _asked(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def _is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).close()
        except OSError:
            return False
        return True


@contextmanager
def alertmanager(folder: Path) -> Iterator[Alertmanager]:
    """Yield one that runs; skip the test where the program is missing."""
    if not shutil.which(PROGRAM):
        pytest.skip(f"{PROGRAM} is not installed: run tests/install-packages {PROGRAM}")
    folder.mkdir(parents=True, exist_ok=True)
    with webhook() as witness:
        server = Alertmanager(folder, witness)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
