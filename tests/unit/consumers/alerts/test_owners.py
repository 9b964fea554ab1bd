"""Who is responsible for what an event is about."""

from datetime import UTC, datetime
from typing import Any

import pytest

from consumers.alerts.owners import Owners
from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import synthetic_event
from router.cluster.facts.views import Known
from router.model.catalogue import Catalogues
from router.model.event_words import named
from router.model.events import Event
from router.settings.sections.owner_row import OwnerRow

CATALOGUES = Catalogues.shipped()
KNOWN = Known({"node_classes": {"ces": ["nsd03", "nsd04"], "login": ["nsd04.example.org"]}})
ROWS = [
    {"to": "everybody"},
    {"cluster": "test", "to": "dev"},
    {"node_class": "ces", "to": "protocols"},
    {"nodes": "nsd[01-04]", "to": "hpc"},
    {"nodes": ["nsd02"], "to": "second"},
    {"file_system": "gpfs1", "to": "storage"},
    {"file_system": "gpfs1", "fileset": ["projects", "scratch"], "to": "projects"},
    {"fileset": "home", "to": "home"},
    {"file_system": "gpfs1", "cluster": "test", "to": "test-storage"},
]


def owners(*rows: dict[str, Any]) -> Owners:
    return Owners([OwnerRow.model_validate(each) for each in rows], CATALOGUES)


def event(name: str, cluster: str = "prod", **data: Any) -> Event:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    event_type = named(name, CATALOGUES)
    return synthetic_event(event_type, data, Registrations(CATALOGUES), moment=moment, node="nsd01", cluster=cluster)


@pytest.mark.parametrize(
    ("name", "data", "owner"),
    [
        ("softQuotaExceeded", {"fsName": "gpfs1", "filesetName": "projects"}, "projects"),
        ("softQuotaExceeded", {"fsName": "gpfs1", "filesetName": "other"}, "storage"),
        ("softQuotaExceeded", {"fsName": "gpfs2", "filesetName": "home"}, "home"),
        ("lowDiskSpace", {"fsName": "gpfs1"}, "storage"),
        ("lowDiskSpace", {"cluster": "test", "fsName": "gpfs1"}, "test-storage"),
        ("lowDiskSpace", {"cluster": "test", "fsName": "gpfs2"}, "dev"),
        # The manager of a file system that nobody owns is not what the event is about.
        ("lowDiskSpace", {"fsName": "gpfs2"}, "everybody"),
        ("nodeLeave", {"eventNode": "NSD02.example.org"}, "second"),
        ("nodeLeave", {"eventNode": "nsd04.example.org"}, "hpc"),
        ("nodeLeave", {"eventNode": "cl7"}, "everybody"),
        ("shutdown", {}, "hpc"),
    ],
)
def test_the_most_specific_row_wins(name, data, owner):
    won = owners(*ROWS).of(event(name, **data))

    assert won is not None
    assert won.to == owner


def test_members_of_node_classes_are_those_of_the_facts():
    rows = owners(ROWS[0], ROWS[2])

    assert rows.needs_facts
    assert rows.of(event("nodeLeave", eventNode="nsd03"), KNOWN).to == "protocols"
    assert rows.of(event("nodeLeave", eventNode="nsd03")).to == "everybody"
    assert rows.of(event("nodeLeave", eventNode="nsd01"), KNOWN).to == "everybody"


def test_the_row_that_won_is_said():
    won = owners(*ROWS).of(event("softQuotaExceeded", fsName="gpfs1", filesetName="projects"))

    assert (won.number, won.what) == (7, "fileset projects, scratch; file_system gpfs1")
    assert owners(ROWS[0]).of(event("shutdown")).what == "the rest"
    assert owners().of(event("shutdown")) is None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"to": "dve"}], (1, "to", "no contact 'dve'; did you mean dev?")),
        ([{"nodes": "n[1", "to": "dev"}], (1, "nodes", "nodes: 'n[1' is not a host name")),
        ([{"to": "dev"}, {"to": "hpc"}], (2, "", "row 1 is as specific, and both match everything")),
        (
            [{"file_system": ["a", "b"], "to": "dev"}, {"file_system": ["b"], "to": "hpc"}],
            (2, "", "row 1 is as specific, and both match file_system b"),
        ),
        (
            [{"nodes": "n[1-2]", "to": "dev"}, {"nodes": "n[2-3]", "to": "hpc"}],
            (2, "", "row 1 is as specific, and both match nodes n2"),
        ),
        (
            [{"node_class": "ces", "to": "dev"}, {"node_class": "login", "to": "hpc"}],
            (2, "", "row 1 is as specific, and both match node_class nsd04"),
        ),
    ],
)
def test_what_nothing_decides_is_a_mistake(rows, said):
    ((number, field, problem),) = owners(*rows).mistakes(["dev", "hpc"], [KNOWN])

    assert (number, field) == said[:2]
    assert problem.startswith(said[2])


@pytest.mark.parametrize(
    "rows",
    [
        [{"file_system": "a", "to": "dev"}, {"file_system": "b", "to": "hpc"}],
        [{"nodes": "n[1-2]", "to": "dev"}, {"nodes": "n2", "to": "hpc"}],
        [{"file_system": "a", "to": "dev"}, {"file_system": "a", "cluster": "test", "to": "hpc"}],
        [{"file_system": "a", "to": "dev"}, {"file_system": "a", "to": "dev"}],
        [{"fileset": "x", "cluster": "p", "to": "dev"}, {"fileset": "x", "cluster": "t", "to": "hpc"}],
    ],
)
def test_what_is_decided_is_no_mistake(rows):
    assert [*owners(*rows).mistakes(["dev", "hpc"], [KNOWN])] == []


def test_a_file_system_is_found_by_the_name_of_its_device():
    found = owners({"to": "everybody"}, {"to": "storage", "file_system": ["/dev/gpfs1", "gpfs2"]})

    assert [found.of(event("softQuotaExceeded", fsName=each)).to for each in ("gpfs1", "gpfs2", "gpfs3")] == [
        *("storage", "storage", "everybody")
    ]
