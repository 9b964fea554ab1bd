"""Where state is by default: in the folder of its program, or where an earlier release has left it."""

import os
from pathlib import Path

import pytest

from router.settings import loading
from router.settings.sections import default_places


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all state of a machine that an earlier release may have run on."""
    monkeypatch.setattr(default_places, "STATE", tmp_path)
    for folder in ("router", "consumer"):
        (tmp_path / folder).mkdir()
    return tmp_path


def shown(folder: Path) -> dict[str, str]:
    rows = loading.load(system=folder.with_name("none.yaml"), environment={}).rows()
    names = ("router.state", "consumers.store", "consumers.jobs", "consumers.recorded", "facts.store")
    return {
        name: value.removeprefix("sqlite:///").removeprefix(f"{folder}/") for name, value, _ in rows if name in names
    }


CURRENT = {
    "router.state": "router/router.db",
    "consumers.store": "consumer/store.db",
    "consumers.jobs": "consumer/jobs",
    "consumers.recorded": "consumer/recorded.jsonl",
    "facts.store": "consumer/facts.db",
}
FORMER = {setting: path.partition("/")[2] for setting, path in CURRENT.items()}


def test_a_new_machine_keeps_state_in_the_folder_of_each_program(state: Path) -> None:
    assert shown(state) == CURRENT


def test_what_an_earlier_release_left_is_used_until_it_is_moved(state: Path) -> None:
    for name in FORMER.values():
        (state / name).touch()
    assert shown(state) == FORMER

    for setting, name in FORMER.items():
        (state / name).rename(state / CURRENT[setting])

    assert shown(state) == CURRENT


def test_a_folder_without_those_of_the_programs_such_as_a_volume_has_all_state_itself(state: Path) -> None:
    for folder in ("router", "consumer"):
        (state / folder).rmdir()

    assert shown(state) == FORMER


def test_a_machine_that_has_no_state_yet_shows_where_it_will_be(state: Path) -> None:
    (state / "router").rmdir()
    (state / "consumer").rmdir()
    state.rmdir()

    assert shown(state) == CURRENT


def test_state_that_is_in_its_place_is_used_whatever_is_in_the_former_one(state: Path) -> None:
    for name in (*FORMER.values(), *CURRENT.values()):
        (state / name).touch()

    assert shown(state) == CURRENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of two owners")
def test_the_files_of_a_trial_with_up_are_not_those_of_the_service(state: Path) -> None:
    (state / "environment").touch()
    (state / "router.db").touch()
    (state / "store.db").touch()
    os.chown(state / "store.db", 12345, 12345)

    assert shown(state) == CURRENT | {"consumers.store": "store.db"}


def test_the_schema_shows_the_default_of_a_new_machine() -> None:
    fields = loading.Settings.model_json_schema(mode="validation")["$defs"]

    assert (
        fields["RouterSettings"]["properties"]["state"]["default"] == "sqlite:////var/lib/clusterbus/router/router.db"
    )
    assert fields["ConsumersSettings"]["properties"]["jobs"]["default"] == "/var/lib/clusterbus/consumer/jobs"
