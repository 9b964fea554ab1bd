"""What tests share: a machine of the test's own, a spool on this one, and a folder of jobs."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.processes import cleanup
from consumers.processes.job_files import REQUEST, STATE, Jobs
from tests.conftest import missing
from tests.machine import Machine, machine_in, make_spool


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine to break."""
    with machine_in(tmp_path / "machine") as machine:
        if isinstance(machine, str):
            missing(machine)
        yield machine


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool as capture finds it."""
    return make_spool(tmp_path / "spool")


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """The folder of jobs that consumers of the test are set to; what is left in it is ended."""
    found = Jobs(tmp_path / "jobs")
    monkeypatch.setenv("CLUSTERBUS_CONSUMERS_JOBS", str(found.path))
    monkeypatch.setenv("CLUSTERBUS_CONSUMERS_TRANSPORT", "local")
    yield found
    for job in found.all():
        if (begun := job.read(STATE)) and cleanup.is_alive(begun["owner"]):
            os.kill(begun["pid"], signal.SIGKILL)
        cleanup.end(job.read(REQUEST)["mark"])
