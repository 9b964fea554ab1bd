"""What our programs create is for their owner and its group, whatever the mask they are started with."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.inspection.doctor import databases
from consumers.store.database import Store
from router import file_modes
from router.cluster.facts.facts_store import FactStore
from router.pipeline.state import State


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes(folder: Path) -> dict[str, int]:
    return {each.name: mode(each) for each in folder.iterdir()}


@pytest.mark.parametrize("kind", [Store, State, FactStore])
def test_a_database_and_its_other_files_are_private(kind, umask: int, tmp_path: Path) -> None:
    with kind(f"sqlite:///{tmp_path / 'x.db'}") as opened, opened.writing():
        assert modes(tmp_path) == dict.fromkeys(("x.db", "x.db-wal", "x.db-shm"), 0o640 & ~umask)


@pytest.mark.parametrize("kind", [Store, State, FactStore])
def test_a_database_that_others_could_read_is_closed_to_them(kind, tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    kind(f"sqlite:///{file}").close()
    file.chmod(0o664)
    left = sqlite3.connect(file)  # so that all files exist
    left.execute("PRAGMA journal_mode=WAL")
    left.execute("SELECT * FROM sqlite_master").close()
    assert set(modes(tmp_path).values()) == {0o664}

    kind(f"sqlite:///{file}").close()

    assert set(modes(tmp_path).values()) == {0o660}
    left.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root creates files for others")
@pytest.mark.parametrize("kind", [Store, State, FactStore])
def test_a_database_that_root_creates_belongs_to_the_owner_of_its_folder(kind, tmp_path: Path) -> None:
    folder = tmp_path / "consumer"
    folder.mkdir()
    os.chown(folder, 12345, 54321)

    with kind(f"sqlite:///{folder / 'x.db'}") as opened, opened.writing():
        owners = {(each.stat().st_uid, each.stat().st_gid) for each in folder.iterdir()}

    assert owners == {(12345, 54321)}


@pytest.mark.parametrize(("kind", "check"), [(Store, databases.store), (State, databases.state)])
def test_doctor_names_a_database_that_others_can_read_and_changes_nothing(kind, check, tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    url = f"sqlite:///{file}"
    kind(url).close()
    assert "warning" not in {each.verdict for each in check(url)}
    file.chmod(0o644)

    found = [each for each in check(url) if each.verdict == "warning"]

    assert [each.seen for each in found] == [f"all users of this machine can access {file}"]
    assert found[0].advice.startswith(f"chmod o-rwx {file};")
    assert mode(file) == 0o644


def test_a_program_narrows_its_mask_and_never_widens_it(umask: int, tmp_path: Path) -> None:
    file_modes.restrict()
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()

    assert modes(tmp_path) == {"file": 0o640 & ~umask, "folder": 0o750 & ~umask}


def test_folders_that_are_created_are_private_or_shared_on_purpose(umask: int, tmp_path: Path) -> None:
    file_modes.make_folder(tmp_path / "own")
    file_modes.make_shared_folder(tmp_path / "a" / "b")

    assert modes(tmp_path) == {"own": 0o700, "a": 0o755}
    assert mode(tmp_path / "a" / "b") == 0o755


def test_what_belongs_to_another_user_or_is_a_link_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.touch(0o644)
    target.chmod(0o644)
    link.symlink_to(target)
    other = tmp_path / "other"
    other.touch()
    other.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(other, 4242, 4242)

    file_modes.close_to_others([link, tmp_path / "none", *([other] if os.geteuid() == 0 else [])])

    assert mode(target) == mode(other) == 0o644
    assert file_modes.open_to_others([target, tmp_path / "none"]) == [target]


def test_a_folder_that_a_setting_names_in_place_of_a_file_keeps_its_rights(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    for folder, rights in ((shared, 0o1777), (own, 0o755)):
        folder.mkdir()
        folder.chmod(rights)

    file_modes.close_to_others([shared, own])
    file_modes.close_folder_to_others(shared)
    assert (mode(shared), mode(own)) == (0o1777, 0o755)

    file_modes.close_folder_to_others(own)
    assert mode(own) == 0o750
