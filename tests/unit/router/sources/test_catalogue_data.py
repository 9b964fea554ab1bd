"""The shipped catalogues: complete, and true to their own rules."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

import router
from router.model.catalogue import Catalogue, Catalogues, Kind, load
from router.model.events import Scope, Severity

SOURCES = ("gpfs", "clusterbus", "qube")

# What a public API for GPFS documents: its events and variables have to be there under these names.
DOCUMENTED_EVENTS = """
    afmFilesetExpired afmFilesetUnexpired afmHomeConnected afmHomeDisconnected afmManualResyncComplete afmPrepopEnd
    afmRecoveryEnd afmRecoveryStart clusterManagerTakeover deadlockDetected deadlockOverload diskFailure
    filesetLimitExceeded lowDiskSpace mmProtocolTraceFileChange mount noDiskSpace nodeJoin nodeLeave preMount
    preShutdown preStartup preUnmount quorumLoss quorumNodeJoin quorumNodeLeave quorumReached sendRequestToNodes
    shutdown snapshotCreated softQuotaExceeded startup tiebreakerCheck unmount usageUnderSoftQuota
""".split()  # noqa: SIM905 - a page of names, not a page of quotes
DOCUMENTED_VARIABLES = """
    blockLimit blockQuota blockUsage clusterManager clusterName diskName downNodes eventName eventNode filesLimit
    filesQuota filesUsage filesetName filesetSize fsName homeServer myNode nodeNames prepopCompletedReads prepopData
    quorumNodes quotaID quotaOwnerName quotaType reason requestType snapshotID snapshotName storagePool upNodes
    userName waiterLength
""".split()  # noqa: SIM905 - a page of names, not a page of quotes


@pytest.fixture(scope="module", params=SOURCES)
def catalogue(request: pytest.FixtureRequest) -> Catalogue:
    return load(request.param)


@pytest.fixture(scope="module")
def gpfs() -> Catalogue:
    return load("gpfs")


def raw(source: str) -> dict[str, Any]:
    path = Path(router.__file__).parent / "sources" / source / "catalogue.json"
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    return fields


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a name stands twice in {names}"
    return dict(pairs)


def test_gpfs_has_all_events_and_variables_that_are_known(gpfs):
    assert len(gpfs.events) == 57
    assert len(gpfs.variables) == 71


@pytest.mark.parametrize("name", DOCUMENTED_EVENTS)
def test_each_documented_event_is_found(gpfs, name):
    assert gpfs.get(name) is not None


@pytest.mark.parametrize("name", DOCUMENTED_VARIABLES)
def test_each_documented_variable_is_there(gpfs, name):
    assert name in gpfs.variables


def test_clusterbus_has_the_events_that_it_raises_itself():
    assert set(load("clusterbus").events) == {
        "heartbeat",
        "recordUnreadable",
        "eventsLost",
        "gapOpened",
        "gapClosed",
        "gapAccepted",
        "epochStarted",
        "nodeSilent",
        "nodeBack",
        "recordRejected",
        "nodeFlooding",
        "nodeFloodEnded",
        "reportConfirmed",
        "queueRefusing",
        "queueRefusingEnded",
        "serviceBehind",
        "serviceBehindEnded",
        "actionStopped",
        "actionResumed",
        "runFinished",
        "runFailed",
        "deliveryDone",
        "deliveryDead",
        "targetGone",
        "jobProgress",
        "actionRequested",
        "alertOpened",
        "alertRepeated",
        "alertAcknowledged",
        "alertReminded",
        "alertEscalated",
        "alertFlapping",
        "alertNoted",
        "alertClosed",
        "timerDue",
    }


@pytest.mark.parametrize("source", SOURCES)
def test_no_name_stands_twice_in_a_file(source):
    assert raw(source)["source"] == source


@pytest.mark.parametrize("source", SOURCES)
def test_every_event_has_every_field(source):
    shapes = {frozenset(each) for each in raw(source)["events"].values()}

    assert shapes == {
        frozenset(
            (
                *("category", "scope", "severity", "variables", "optional", "subject", "meaning", "runs_on", "since"),
                *("rate", "default", "aliases", "status", "notes"),
            )
        )
    }


def test_no_two_events_share_a_spelling(catalogue):
    spellings = [each.lower() for event in catalogue.events.values() for each in (event.name, *event.aliases)]

    # An alias that differs by case only is the same spelling for us, and worth keeping for people.
    own = {event.name.lower(): {each.lower() for each in event.aliases} for event in catalogue.events.values()}
    repeats = {each for each in spellings if spellings.count(each) > 1}

    assert all(each in own[each] for each in repeats)


def test_names_are_words_that_fit_a_topic(catalogue):
    names = [*catalogue.events, *catalogue.variables, *catalogue.categories]

    assert [each for each in names if not re.fullmatch(r"[a-z][A-Za-z]{1,63}", each)] == []


def test_every_category_is_used_and_every_used_one_is_explained(catalogue):
    assert {event.category for event in catalogue.events.values()} == set(catalogue.categories)
    assert all(catalogue.categories.values())


def test_scopes_and_severities_are_known_ones(catalogue):
    assert {event.scope for event in catalogue.events.values()} <= set(get_args(Scope))
    assert {event.severity for event in catalogue.events.values()} <= set(get_args(Severity))


def test_every_variable_of_an_event_is_described(catalogue):
    used = {name for event in catalogue.events.values() for name in event.variables}

    assert used | set(catalogue.common) | set(catalogue.reporting) <= set(catalogue.variables)


def test_only_what_has_no_known_event_is_a_variable_of_none(gpfs):
    used = {name for event in gpfs.events.values() for name in event.variables} | set(gpfs.common)

    assert set(gpfs.variables) - used == {"userName"}


def test_an_event_lists_no_variable_twice(catalogue):
    assert [each.name for each in catalogue.events.values() if len(set(each.variables)) != len(each.variables)] == []


def test_the_subject_is_made_of_what_comes_with_the_event(catalogue):
    astray = {
        event.name: set(event.subject) - {*event.variables, *catalogue.common}
        for event in catalogue.events.values()
        if set(event.subject) - {*event.variables, *catalogue.common}
    }

    assert astray == {}


def test_an_event_of_a_file_system_has_it_as_the_first_of_its_subject(gpfs):
    of_file_systems = [event for event in gpfs.events.values() if "fsName" in event.variables]

    assert len(of_file_systems) > 20
    assert {event.subject[0] for event in of_file_systems} == {"fsName"}


def test_the_first_of_a_subject_never_is_free_text(catalogue):
    first = {event.subject[0] for event in catalogue.events.values() if event.subject}

    assert [each for each in first if catalogue.variables[each].type == "text"] == []


def test_types_are_known_and_lists_say_what_separates_them(catalogue):
    for variable in catalogue.variables.values():
        assert variable.type in get_args(Kind), variable.name
        assert (variable.separator is not None) == (variable.type in ("names", "nodes")), variable.name


def test_every_example_is_of_its_type(catalogue):
    for variable in catalogue.variables.values():
        value = variable.value(variable.example)

        assert value is not None
        assert isinstance(value, list) == (variable.type in ("names", "nodes")), variable.name


def test_qualifiers_are_for_nodes_only(gpfs):
    qualified = {each.name for each in gpfs.variables.values() if each.qualifiers}
    nodes = {each.name for each in gpfs.variables.values() if each.type in ("node", "nodes")}

    assert qualified == nodes


def test_everything_says_how_sure_it_is(catalogue):
    degrees = {"confirmed", "partly confirmed", "unconfirmed"}

    assert {each.status for each in catalogue.variables.values()} <= degrees
    for event in catalogue.events.values():
        assert set(event.status) == {"name", "scope", "variables"}, event.name
        assert set(event.status.values()) <= degrees | {"inferred"}, event.name


def test_everything_has_a_meaning(catalogue):
    assert all(each.meaning for each in catalogue.variables.values())
    assert all(each.meaning and each.runs_on and each.rate for each in catalogue.events.values())
    assert all(isinstance(text, str) for each in catalogue.events.values() for text in (each.since, each.notes))


def test_variables_of_the_reporting_node_are_common_ones(gpfs):
    assert "myNode" in gpfs.reporting
    assert set(gpfs.reporting) <= set(gpfs.common)


def test_who_left_is_what_copies_of_a_leave_are_compared_by(gpfs):
    assert set(gpfs.events["nodeLeave"].variables) - set(gpfs.reporting) == {"eventNode"}


def test_membership_is_global_and_what_happens_on_a_node_is_local(gpfs):
    scopes = {category: set() for category in gpfs.categories}
    for event in gpfs.events.values():
        scopes[event.category].add(event.scope)

    assert scopes.pop("node") == {"global"}
    assert scopes.pop("afm") == {"global", "local"}
    assert all(each == {"local"} for each in scopes.values())


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("quorumLoss", "critical"),
        ("noDiskSpace", "critical"),
        ("fsstruct", "critical"),
        ("diskFailure", "error"),
        ("nodeLeave", "warning"),
        ("softQuotaExceeded", "warning"),
        ("lowDiskSpace", "warning"),
        ("nodeJoin", "info"),
        ("mount", "info"),
        ("snapshotCreated", "info"),
    ],
)
def test_severity_is_what_an_administrator_would_say(gpfs, name, severity):
    assert gpfs.events[name].severity == severity


@pytest.mark.parametrize(
    "name", ["tiebreakerCheck", "sendRequestToNodes", "ccrVarChange", "filesetLimitExceeded", "afmCmdRequeued"]
)
def test_what_is_dangerous_doubled_or_internal_is_off_by_default(gpfs, name):
    assert not gpfs.events[name].default


def test_a_variable_that_is_always_one_of_several_words_has_such_an_example():
    chosen = [
        each for catalogue in Catalogues.shipped().values() for each in catalogue.variables.values() if each.values
    ]

    assert {each.name for each in chosen} >= {"quotaType", "ckRole", "final"}
    assert all(each.example in each.values and each.type == "word" for each in chosen)
