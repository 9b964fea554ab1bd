"""The state of earlier releases gets its place and its owner of today, and nothing is lost or followed on the way."""

import os
import pwd
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from packages import move_state
from router.settings.sections import default_places

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

OWNERS = {"clusterbus-router": (4001, 4002), "clusterbus-consumer": (4003, 4004)}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def known(name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", *OWNERS[name], "", "/", "/bin/false"))

    monkeypatch.setattr(pwd, "getpwnam", known)
    folder = tmp_path / "state"
    for each in (folder, folder / "router", folder / "consumer"):
        each.mkdir()
    return folder


@pytest.fixture
def units(tmp_path: Path) -> Path:
    (tmp_path / "units").mkdir()
    return tmp_path / "units"


def database(path: Path, row: str) -> sqlite3.Connection:
    """A database whose only row is in its write-ahead log, with the connection that keeps it there."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL").fetchall()
    connection.execute("PRAGMA wal_autocheckpoint=0").fetchall()
    connection.execute("CREATE TABLE t AS SELECT ? AS x", (row,))
    assert path.with_name(f"{path.name}-wal").stat().st_size
    return connection


def killed(path: Path, row: str) -> None:
    """Leave the database of a program that was killed: its row is in the write-ahead log."""
    script = "import os, sqlite3, sys; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
    script += "from test_move_state import database; kept = database(Path(sys.argv[1]), sys.argv[2]); os._exit(0)"
    words = [sys.executable, "-c", script, str(path), row, str(Path(__file__).parent)]
    subprocess.run(words, check=True, timeout=60)


def rows(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [row for (row,) in connection.execute("SELECT x FROM t")]


def owner(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


@pytest.mark.thorough
def test_everything_moves_to_its_program_with_what_was_not_merged_yet(state: Path, units: Path) -> None:
    killed(state / "router.db", "of the router")
    killed(state / "store.db", "of the consumer")
    killed(state / "facts.db", "of the facts")
    (state / "recorded.jsonl").write_text("{}\n")
    (state / "jobs" / "a-1").mkdir(parents=True)
    (state / "jobs" / "a-1" / "result.json").write_text("{}")
    (state / "jobs" / "a-1" / "link").symlink_to("/etc/passwd")
    os.chown(state, 4005, 4005)
    state.chmod(0o750)

    assert move_state.main(state, units) == 0

    assert sorted(each.name for each in state.iterdir()) == ["consumer", "router"]
    assert (owner(state), state.stat().st_mode & 0o777) == ((0, 0), 0o755)
    assert rows(state / "router/router.db") == ["of the router"]
    assert rows(state / "consumer/store.db") == ["of the consumer"]
    assert rows(state / "consumer/facts.db") == ["of the facts"]
    assert owner(state / "router/router.db") == OWNERS["clusterbus-router"]
    moved = [*(state / "consumer").rglob("*.*"), *(state / "consumer").rglob("link"), state / "consumer/jobs/a-1"]
    assert {owner(each) for each in moved} == {OWNERS["clusterbus-consumer"]}
    assert owner(Path("/etc/passwd")) == (0, 0)
    assert move_state.main(state, units) == 0


def test_what_moves_is_what_the_settings_look_for(state: Path) -> None:
    assert {(folder, name) for name, folder, *_ in move_state.MOVES} == {
        (each.parent.name, each.name) for each in map(Path, default_places_of_settings())
    }
    assert move_state.STATE == default_places.STATE


def default_places_of_settings() -> list[str]:
    from router.settings.models import ConsumersSettings, FactsSettings  # noqa: PLC0415
    from router.settings.sections.router_section import RouterSettings  # noqa: PLC0415

    fields = [*(each.model_fields.values() for each in (RouterSettings, ConsumersSettings, FactsSettings))]
    extras = [field.json_schema_extra for group in fields for field in group if field.json_schema_extra]
    return [str(each["default"]) for each in extras if "default" in each]


@pytest.mark.parametrize("name", ["router.db", "router.db-wal"])
@pytest.mark.parametrize("plant", ["symlink_to", "hardlink_to"])
def test_links_that_the_user_of_the_folder_planted_are_not_followed(
    plant: str, name: str, state: Path, units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bait = tmp_path / "bait"
    bait.write_text("bait")
    (state / "router.db").touch()
    (state / name).unlink(missing_ok=True)
    getattr(state / name, plant)(bait)

    assert move_state.main(state, units) == 1

    assert owner(bait) == (0, 0)
    assert not list((state / "router").iterdir())
    assert f"{state}/router.db stays where it is: {state}/{name} is a link" in capsys.readouterr().err


def test_what_a_program_has_open_stays_and_the_program_is_named(
    state: Path, units: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = database(state / "store.db", "x")

    assert move_state.main(state, units) == 1
    assert f"the process {os.getpid()} has it open" in capsys.readouterr().err
    held.close()
    assert move_state.main(state, units) == 0

    assert rows(state / "consumer/store.db") == ["x"]


@pytest.mark.thorough
def test_state_stays_where_a_unit_of_the_site_uses_it(
    state: Path, units: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (units / "clusterbus-router.service").touch()
    killed(state / "router.db", "x")
    killed(state / "store.db", "x")

    assert move_state.main(state, units) == 1

    assert (state / "router.db").exists()
    assert (state / "consumer/store.db").exists()
    assert "is used, not the unit of the package: remove it, then run" in capsys.readouterr().err


@pytest.mark.thorough
def test_nothing_is_overwritten(state: Path, units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed(state / "router.db", "old")
    killed(state / "router" / "router.db", "new")

    assert move_state.main(state, units) == 1

    assert rows(state / "router/router.db") == ["new"]
    assert rows(state / "router.db") == ["old"]
    assert "exists already" in capsys.readouterr().err


def test_the_files_of_a_trial_with_up_stay(state: Path, units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "environment").touch()
    killed(state / "router.db", "x")

    assert move_state.main(state, units) == 1

    assert rows(state / "router.db") == ["x"]
    assert "it belongs to clusterbus up" in capsys.readouterr().err
