"""What tests of capture share: a machine of the test's own, and a spool on this one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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
