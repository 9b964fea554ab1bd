"""The systemd unit of the consumer: its user and its sandbox, as `check` sees them."""

import os
from pathlib import Path

import pytest

from consumers.config import secrets
from consumers.config.event_samples import Kinds
from consumers.config.registrations import Registrations
from consumers.processes import service_unit
from consumers.subscriptions import validation
from consumers.verbs.log.verb import LogVerb
from router.model.catalogue import Catalogues
from router.settings.models import Settings

SHIPPED = (Path(__file__).parents[4] / "consumers" / "units" / service_unit.NAME).read_text()
NOBODY = 65534


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    vendor, own = tmp_path / "usr", tmp_path / "etc"
    for each in (vendor, own / f"{service_unit.NAME}.d"):
        each.mkdir(parents=True)
    monkeypatch.setattr(service_unit, "FOLDERS", (vendor, own))
    (vendor / service_unit.NAME).write_text(SHIPPED.replace("User=clusterbus-consumer", "User=nobody"))
    return vendor, own


def messages(file: Path) -> list[str]:
    kinds = Kinds(Registrations(Catalogues.shipped()))
    return [each.message for each in LogVerb(file=file).remarks_here(kinds, Settings()) if each.fault]


def test_a_machine_without_the_unit_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_unit, "FOLDERS", (tmp_path,))

    assert service_unit.installed() is None
    assert service_unit.runs_as() is None


def test_the_shipped_unit_writes_to_its_own_folders_only(units: tuple[Path, Path]) -> None:
    unit = service_unit.installed()

    assert unit is not None
    assert unit.user is not None
    assert unit.user.user == NOBODY
    assert unit.may_write(Path("/var/log/clusterbus/events.jsonl"))
    assert unit.may_write(Path("/var/lib/clusterbus/consumer/x"))
    assert not unit.may_write(Path("/var/lib/clusterbus/x"))
    assert not unit.may_write(Path("/srv/reports/x"))
    assert not unit.may_write(Path("/var/log/clusterbus2"))


def test_drop_ins_add_to_the_unit_and_replace_it(units: tuple[Path, Path]) -> None:
    folder = units[1] / f"{service_unit.NAME}.d"
    (folder / "a.conf").write_text("[Service]\nReadWritePaths=/srv/reports -/srv/more\nUser=root\n")

    unit = service_unit.installed()
    (folder / "b.conf").write_text("[Service]\nReadWritePaths=\nProtectSystem=full\n")
    free = service_unit.installed()

    assert unit is not None
    assert unit.user is None
    assert unit.may_write(Path("/srv/reports/x"))
    assert unit.may_write(Path("/srv/more"))
    assert free is not None
    assert free.may_write(Path("/etc"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read what its consumer may not")
def test_root_sees_what_the_user_of_the_unit_may_not_read(units: tuple[Path, Path], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)

    assert "the consumer's user may not read it" in secrets.problem(f"file:{secret}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start what its consumer may not")
@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ("guard: {only_if: [%s]}, run: {command: [/bin/true]}", "guard.only_if"),
        ("run: {command: ['true'], nodes: nsd01}", "run.nodes"),
    ],
)
def test_a_program_that_the_user_of_the_unit_may_not_start_is_found(
    units: tuple[Path, Path], tmp_path: Path, entry: str, field: str
) -> None:
    program, file = tmp_path / "program", tmp_path / "subscriptions.yaml"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    file.write_text(f"version: 1\nsubscriptions: [{{name: a, on: diskFailure, {entry.replace('%s', str(program))}}}]")
    settings = Settings.model_validate({"consumers": {"ssh": str(program), "callbacks": str(tmp_path / "none")}})

    warnings = validation.check(file, Catalogues.shipped(), settings).warnings

    assert [each.field for each in warnings if "by the user 65534" in each.message] == [field]


def test_a_log_file_outside_of_the_sandbox_is_found(
    units: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.verbs.log.options.runs_as", lambda: None)

    (message,) = messages(tmp_path / "events.jsonl")
    (units[1] / f"{service_unit.NAME}.d" / "a.conf").write_text(f"[Service]\nReadWritePaths={tmp_path}\n")

    assert f"add ReadWritePaths={tmp_path}" in message
    assert messages(tmp_path / "events.jsonl") == []
    assert messages(tmp_path) == [f"{tmp_path} is not a regular file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees with the eyes of another user")
def test_a_log_file_that_the_user_of_the_unit_may_not_write_is_found(units: tuple[Path, Path], tmp_path: Path) -> None:
    (message,) = messages(tmp_path / "events.jsonl")

    assert "the consumer's user may not write to" in message
