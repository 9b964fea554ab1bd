"""The promised exit code where what a command reads cannot be opened."""

import subprocess
from pathlib import Path

import pytest

from tests.flow import CLUSTERBUS
from tests.processes import environment

OF_THE_STORE = ["deliveries", "dead list", "why 01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "jobs pending", "silences list"]


def ended(words: str, folder: Path, **variables: str) -> tuple[int, str]:
    """Return the exit code and the output of a command."""
    near = {"CLUSTERBUS_BROKER": "amqp://guest:guest@127.0.0.1:1/", "CLUSTERBUS_BROKER_PATIENCE": "1s"}
    facts = environment(**near | variables)
    command = [CLUSTERBUS, *words.split()]
    done = subprocess.run(command, check=False, env=facts, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("words", OF_THE_STORE)
def test_a_store_that_cannot_be_opened_is_out_of_reach(words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_text("no database, and long enough to be seen as none of its kind at all\n" * 3)

    code, text = ended(words, tmp_path, CLUSTERBUS_CONSUMERS_STORE=f"sqlite:///{tmp_path / 'bad.db'}")

    assert code == 3, text
    assert f"consumers.store sqlite:///{tmp_path / 'bad.db'}: file is not a database" in text


@pytest.mark.parametrize(("part", "name"), [("store", "CONSUMERS_STORE"), ("router", "ROUTER_STATE")])
def test_a_database_alone_that_cannot_be_opened_is_out_of_reach_for_the_doctor(
    part: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.db").write_text("no database, and long enough to be seen as none of its kind at all\n" * 3)

    code, text = ended(f"doctor --part {part}", tmp_path, **{f"CLUSTERBUS_{name}": f"sqlite:///{tmp_path / 'bad.db'}"})

    assert (code, "file is not a database" in text) == (3, True), text


def test_facts_that_cannot_be_opened_are_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "facts.db").mkdir()

    code, text = ended("facts show", tmp_path, CLUSTERBUS_FACTS_STORE=f"sqlite:///{tmp_path / 'facts.db'}")

    assert (code, "facts.store sqlite://" in text) == (3, True), text


@pytest.mark.parametrize("words", ["jobs list", "jobs show x", "jobs wait x", "jobs cancel x"])
def test_a_folder_of_jobs_that_is_none_is_out_of_reach(words: str, tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("")

    code, text = ended(words, tmp_path, CLUSTERBUS_CONSUMERS_JOBS=str(tmp_path / "jobs"))

    assert code == 3, text
    assert f"jobs folder {tmp_path / 'jobs'} cannot be read: Not a directory" in text


def test_a_url_that_is_none_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    code, text = ended("deliveries", tmp_path, CLUSTERBUS_CONSUMERS_STORE="mysql://db/bus")

    assert (code, "the database mysql is not supported" in text) == (2, True), text


def test_a_history_without_a_broker_is_out_of_reach(tmp_path: Path) -> None:
    code, text = ended("tail --since 1h --no-follow", tmp_path)

    assert (code, "no connection" in text) == (3, True), text
