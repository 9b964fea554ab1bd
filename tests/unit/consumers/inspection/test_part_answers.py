"""Whatever a part of the doctor reads may be broken: it says so itself, and the others answer all the same."""

import os
from pathlib import Path

import pytest

from consumers.inspection.doctor import examination
from consumers.inspection.doctor.check_results import PARTS
from consumers.inspection.doctor.machine import machine_roles
from consumers.inspection.doctor.part_answers import failure
from consumers.inspection.status import overview
from router.errors import Unreachable
from router.settings.models import Settings

TOO_LONG = "x" * 300
"""A name at which every question about a file raises an error, also for root."""


def unreachable():
    raise Unreachable("the broker at mq1 does not answer")


def confused():
    raise RuntimeError("no such case")


def a_folder(place: Path) -> str:
    (place / "folder").mkdir()
    return str(place / "folder")


def rubbish(place: Path) -> str:
    (place / "rubbish").write_bytes(os.urandom(5000))
    return str(place / "rubbish")


def too_long(place: Path) -> str:
    return str(place / TOO_LONG)


@pytest.fixture
def settings(tmp_path):
    """A function that returns settings with which nothing is found, except as they say."""

    def made(**given):
        nothing = {
            "shim": {"spool": str(tmp_path / "spool")},
            "router": {"state": f"sqlite:///{tmp_path / 'router.db'}"},
            "consumers": {"store": f"sqlite:///{tmp_path / 'c.db'}", "subscriptions": str(tmp_path / "none.yaml")},
            "services": {"folder": str(tmp_path / "services")},
            "gpfs": {"commands": str(tmp_path / "bin")},
        }
        return Settings.model_validate({key: nothing.get(key, {}) | given.get(key, {}) for key in nothing | given})

    return made


@pytest.mark.thorough
@pytest.mark.parametrize("break_it", [a_folder, rubbish, too_long])
@pytest.mark.parametrize(
    ("part", "section", "name", "form"),
    [
        ("spool", "shim", "spool", "{}"),
        ("relay", "shim", "spool", "{}"),
        ("subscriptions", "consumers", "subscriptions", "{}/missing.yaml"),
        ("router", "router", "state", "sqlite:///{}"),
        ("store", "consumers", "store", "sqlite:///{}"),
    ],
)
def test_a_source_that_is_broken_costs_only_its_own_part(settings, tmp_path, break_it, part, section, name, form):
    broken = settings(**{section: {name: form.format(break_it(tmp_path))}})

    found = list(examination.examine(broken, None, unreachable, PARTS))

    mine = [each for each in found if each.part == part]
    assert any(each.verdict != "ok" and each.seen and each.advice for each in mine)
    assert any(each.part == "broker" and each.unreachable for each in found)
    assert {"spool", "relay", "router", "store"} <= {each.part for each in found}


@pytest.mark.thorough
def test_a_fault_of_our_own_in_one_part_costs_only_this_part(settings, monkeypatch):
    monkeypatch.setattr(examination, "services", confused)

    found = list(examination.examine(settings(), None, confused, PARTS))

    assert [each.seen for each in found if each.part in ("services", "broker")] == [
        "not known: RuntimeError('no such case')"
    ] * 2
    assert {"spool", "relay", "router", "store"} <= {each.part for each in found}


@pytest.mark.thorough
def test_status_knows_its_findings_also_where_the_store_fails_in_a_way_that_nobody_expected(settings, monkeypatch):
    monkeypatch.setattr(overview, "Store", lambda *_, **__: confused())

    found = overview.read(settings(), unreachable)

    assert found.unknown[-1] == "alerts and deliveries are not known: RuntimeError('no such case')"
    assert {"spool", "store"} <= {each.part for each in found.findings}
    assert not found.knows_alerts


def test_what_this_user_may_not_see_is_taken_for_there(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(machine_roles, "_RELAY_SETTINGS", tmp_path / TOO_LONG)
    monkeypatch.setattr(machine_roles, "_ENABLED", tmp_path / "wants")

    assert machine_roles.belonging(settings())[0].seen.startswith("this is a node;")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PermissionError(13, "Permission denied", "/x"), "as root"),
        (OSError(28, "No space left on device"), "free space"),
        (OSError(5, "Input/output error"), "dmesg"),
        (Unreachable("away"), "clusterbus settings"),
        (RuntimeError("x"), "report it"),
    ],
)
def test_each_failure_has_its_way_out(error, advice):
    found = failure("store", error)

    assert (found.part, found.verdict) == ("store", "error")
    assert advice in found.advice
