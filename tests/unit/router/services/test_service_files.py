"""Files of services: what they may say, and what is said about mistakes."""

import os
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from router.errors import SettingsError
from router.model.catalogue import Catalogues
from router.services.definitions import Service
from router.services.service_files import checked, read, write

SHIPPED = Catalogues.shipped()
NO_NAME = "is not a name: write 1 to 50 characters of a-z, 0-9 and -, not beginning with -"


def mistakes(folder: Path, text: str) -> list[str]:
    (folder / "a.yaml").write_text(text)
    return [each.removeprefix(f"{folder}/") for each in read(folder, SHIPPED).mistakes]


def test_an_absent_folder_has_no_services(tmp_path: Path):
    assert read(tmp_path / "absent", SHIPPED).valid() == {}


def test_a_file_says_what_is_wanted(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(
        "version: 1\nservices:\n"
        "  - {name: tickets, on: softQuotaExceeded, max_bytes: 2 GiB, clusters: prod}\n"
        "  - name: pager\n    on: ['gpfs.#']\n    severity: critical\n"
    )

    found = read(tmp_path, SHIPPED).valid()

    assert found["tickets"].service.max_bytes == 2 * 2**30
    assert found["tickets"].patterns == ("gpfs.prod.quota.softQuotaExceeded.*.*",)
    assert all(each.startswith("gpfs.*.") for each in found["pager"].patterns)
    assert (found["pager"].line, found["pager"].others) == (4, 1)


def test_all_mistakes_are_told_with_their_lines(tmp_path: Path):
    text = (
        "version: 2\nextra: 1\nservices:\n"
        "  - name: A_b\n    on: [diskFailur]\n"
        "  - name: small\n    on: quota\n    max_bytes: 1KiB\n    colour: red\n"
        "  - name: nothing\n    on: mount\n    severity: critical\n"
        "  - 3\n"
        "  - {name: twice, on: disk}\n  - {name: twice, on: disk}\n"
    )

    assert mistakes(tmp_path, text) == [
        "a.yaml:1: version: must be 1",
        "a.yaml:2: extra: unknown key",
        f"a.yaml:4: services.1.name: 'A_b' {NO_NAME}",
        "a.yaml:5: services.1.on.1: no event type, category or pattern 'diskFailur'; did you mean diskFailure?",
        "a.yaml:8: services.2.max_bytes: must be greater than or equal to 4194304",
        "a.yaml:9: services.2.colour: unknown key",
        "a.yaml:10: services.3: selects no event: no event of `on` is of these clusters and this severity",
        "a.yaml:13: services.4: must be a mapping with `name` and `on`",
        f"a.yaml:15: services.6.name: the name twice is already used at {tmp_path}/a.yaml:14",
    ]


def test_a_service_may_only_publish_and_each_source_is_published_by_one(tmp_path: Path):
    text = (
        "version: 1\nservices:\n"
        "  - {name: jobs, publishes: slurm}\n"
        "  - {name: others, on: disk, publishes: slurm}\n"
        "  - {name: nodes, publishes: gpfs}\n"
        "  - {name: own, publishes: clusterbus}\n"
        "  - {name: none}\n"
        "  - {name: odd, publishes: 'a.b'}\n"
    )

    assert mistakes(tmp_path, text) == [
        "a.yaml:4: services.2.publishes: jobs publishes slurm already: one service for each source",
        "a.yaml:5: services.3.publishes: gpfs is a source of clusterbus itself: choose another name",
        "a.yaml:6: services.4.publishes: clusterbus is a source of clusterbus itself: choose another name",
        "a.yaml:7: services.5.on: is missing: write which events it gets, or what it `publishes`",
        "a.yaml:8: services.6.publishes: 'a.b' is not a source: write small letters, digits and -",
    ]
    (tmp_path / "a.yaml").write_text("version: 1\nservices: [{name: jobs, publishes: slurm}]\n")
    found = read(tmp_path, SHIPPED)
    assert (found.valid()["jobs"].patterns, len(found.warnings)) == ((), 1)
    assert "slurm is in no catalogue" in found.warnings[0]


@pytest.mark.parametrize("text", ["", "[]", "version: 1", "version: 1\nservices: {}"])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str):
    (tmp_path / "a.yaml").write_text(text)

    with pytest.raises(SettingsError, match="must be a mapping with `version: 1` and a list of `services:`"):
        read(tmp_path, SHIPPED).valid()


def test_what_is_written_is_read_again(tmp_path: Path):
    service = Service(name="tickets", on=("disk", "gpfs.*.quota.#"), history=True, owner='a: "b" #', severity="error")

    path = write(tmp_path / "services", service)

    assert read(tmp_path / "services", SHIPPED).valid()["tickets"].service == service
    with pytest.raises(SettingsError, match="cannot be written: File exists"):
        write(path.parent, service)


def test_what_is_written_is_for_the_router_too_whatever_the_mask(tmp_path: Path):
    before = os.umask(0o077)
    try:
        path = write(tmp_path / "services", Service(name="tickets", on=("disk",)))
    finally:
        os.umask(before)

    assert (stat.S_IMODE(path.parent.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o755, 0o644)


def test_options_are_checked_like_files():
    with pytest.raises(SettingsError) as refused:
        checked({"name": "x y", "on": ["nothing"]}, SHIPPED)

    assert str(refused.value).startswith("name: 'x y' is not a name")
    assert "on.1: no event type, category or pattern 'nothing'" in str(refused.value)


@pytest.mark.parametrize("size", ["1", "1GB", "GiB", "0GiB", "-1GiB", "1.5GiB", "1 gib", True, None, "9999999TiB"])
def test_a_size_has_a_unit_or_is_a_number(size: object):
    with pytest.raises(ValidationError):
        Service.model_validate({"name": "a", "on": ["#"], "max_bytes": size})


def test_a_size_that_cannot_be_read_says_what_to_write_and_a_mistake_of_all_parts_begins_with_no_part():
    with pytest.raises(SettingsError, match="max_bytes: is not a size: write a number and KiB, MiB, GiB or TiB"):
        checked({"name": "a", "on": ["disk"], "max_bytes": "lots"}, SHIPPED)
    with pytest.raises(SettingsError, match=r"^selects no event"):
        checked({"name": "a", "on": ["disk"], "severity": "critical"}, SHIPPED)


def test_a_severity_selects_event_types_also_those_that_no_catalogue_has():
    patterns = Service(name="a", on=("gpfs.#",), severity="warning").patterns(SHIPPED)
    severe = Service(name="a", on=("gpfs.#",), severity="error").patterns(SHIPPED)

    assert "gpfs.*.unknown.*.*.*" in patterns
    assert "gpfs.*.unknown.*.*.*" not in severe
    named = {each.split(".")[3] for each in severe}
    wanted = {each.name for each in SHIPPED.of("gpfs").events.values() if each.severity in ("error", "critical")}
    assert named == wanted
