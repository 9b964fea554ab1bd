"""A disk that hangs is named by whoever looks at it, and the command ends in time with its exit code."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.store.database import Store
from router.pipeline.state import State
from tests.flow import CLUSTERBUS
from tests.hung_disk import hanging
from tests.machine import make_spool
from tests.operating import json_lines
from tests.processes import environment
from tests.waiting import SLACK


@pytest.fixture
def site(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of commands for which spool, state and store are on a disk that hangs."""
    hung, flag = tmp_path / "hung", tmp_path / "hangs"
    hung.mkdir()
    spool = make_spool(hung / "spool")
    state, store = (f"sqlite:///{hung / name}.db" for name in ("state", "store"))
    with State(state), Store(store):
        pass
    flag.touch()
    yield hanging(tmp_path, hung, while_there=flag) | {
        "CLUSTERBUS_SHIM_SPOOL": str(spool),
        "CLUSTERBUS_ROUTER_STATE": state,
        "CLUSTERBUS_CONSUMERS_STORE": store,
        "CLUSTERBUS_BROKER": "amqp://127.0.0.1:1/",
        "CLUSTERBUS_BROKER_PATIENCE": "1s",
    }
    flag.unlink()  # what was left behind ends


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("words", "parts", "code"),
    [
        (["doctor", "--part", "spool", "--part", "relay"], {"spool", "relay"}, 1),
        (["doctor", "--part", "router", "--part", "store"], {"router", "store"}, 3),
        (["doctor"], {"spool", "relay", "router", "store"}, 3),
        (["status"], {"spool", "relay", "router", "store"}, 3),
    ],
)
def test_a_command_names_what_hangs_and_ends_in_time(
    site: dict[str, str], words: list[str], parts: set[str], code: int
) -> None:
    began = time.monotonic()

    # A process of its own, for which the disk hangs also when it ends.
    done = subprocess.run([CLUSTERBUS, *words, "--json"], env=environment(**site), capture_output=True, check=False)

    found = json_lines(done.stdout.decode())
    found = found[0]["findings"] if words == ["status"] else found
    assert {each["part"] for each in found if "does not answer" in each["seen"]} == parts
    assert (done.returncode, time.monotonic() - began < 70 * SLACK) == (code, True)
