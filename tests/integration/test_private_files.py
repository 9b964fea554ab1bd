"""What `up` creates is for nobody else, whatever mask it is started with; what it created earlier is closed."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.flow import CAPTURE, audited, up
from tests.waiting import wait_for

_FILES = {"router.db", "store.db", "environment", "subscriptions.yaml", "relay.password"}


@pytest.fixture(params=[0o000, 0o022])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, int]:
    found = {}
    for each in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # renamed since
            found[str(each)] = stat.S_IMODE(each.lstat().st_mode)
    return {name: mode for name, mode in found.items() if mode & 0o007}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_what_up_creates_is_for_nobody_else(umask: int, tmp_path: Path, vhost_url: str) -> None:
    folder = tmp_path / "everything"
    with up(tmp_path, "--folder", str(folder), CLUSTERBUS_BROKER=vhost_url):
        words = ["/usr/bin/env", "python3", "-IS", str(CAPTURE), "--spool", str(folder / "spool"), "gpfs", "mount"]
        assert os.spawnv(os.P_WAIT, words[0], words) == 0
        wait_for(lambda: any(each.event == "gpfs.mount" for each in audited(folder)), 60, "the event is audited")
        assert {each.name for each in folder.iterdir()} > _FILES
        assert open_to_others(folder) == {}
    folder.chmod(0o755)
    for name in ("router.db", "store.db"):
        (folder / name).chmod(0o644)

    with up(tmp_path, "--folder", str(folder), CLUSTERBUS_BROKER=vhost_url):
        wait_for(lambda: open_to_others(folder) == {}, 30, "the programs have opened what they write")


@pytest.mark.timeout(300)
def test_a_folder_of_the_site_keeps_its_mode(tmp_path: Path, vhost_url: str) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(0o755)
    folder.chmod(0o755)
    (folder / "something").touch()

    with up(tmp_path, "--folder", str(folder), CLUSTERBUS_BROKER=vhost_url):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
