"""Which callbacks clusterbus registers, and that the simulated mmaddcallback takes them."""

import pytest

from router.cluster.callbacks.gpfs.wanted import registrations
from router.errors import SettingsError
from router.model.catalogue import load
from router.settings.models import CallbackOptions, GpfsSettings
from router.simulator.commands.options import callback_of
from router.simulator.registered_callbacks import check
from router.simulator.setup.new_cluster import new_cluster
from router.simulator.switches import Behaviour

GPFS = load("gpfs")


def test_every_default_event_is_registered_once_and_no_other():
    registered = [event for each in registrations(GPFS) for event in each.events]

    assert sorted(registered) == sorted(event.name for event in GPFS.events.values() if event.default)


def test_families_without_a_default_event_are_left_out():
    identifiers = [each.identifier for each in registrations(GPFS)]

    assert "clusterbus-quota" in identifiers
    assert "clusterbus-internal" not in identifiers
    assert "clusterbus-config" not in identifiers


def test_a_timeout_is_rounded_up_to_the_whole_seconds_that_gpfs_takes():
    options = {"disk": {"sync": True, "timeout": "6500ms"}}
    settings = GpfsSettings.model_validate({"events": ["disk"], "options": options, "accept": ["sync"]})

    (disk,) = registrations(GPFS, settings)

    assert disk.timeout == 7


def test_each_variable_has_its_own_flag_after_the_event_name():
    for each in registrations(GPFS):
        first, *rest = each.parms.split()

        assert first == "%eventName"
        assert [flag.removeprefix("--") for flag in rest[::2]] == [value.removeprefix("%") for value in rest[1::2]]


def test_each_event_gets_all_its_own_variables():
    for each in registrations(GPFS):
        for event in each.events:
            assert {f"%{name}" for name in GPFS.events[event].variables} <= set(each.parms.split()), event


def test_what_may_hold_blanks_comes_last():
    for each in registrations(GPFS):
        names = [word.removeprefix("%") for word in each.parms.split() if word.startswith("%")]
        loose = [GPFS.variables[name].type == "text" for name in names]

        assert loose == sorted(loose), each.identifier


def test_long_lists_of_nodes_are_not_passed():
    assert not any("upNodes" in each.parms or "downNodes" in each.parms for each in registrations(GPFS))


def test_only_what_is_certainly_global_is_left_to_the_quorum_nodes():
    on_quorum = [each.identifier for each in registrations(GPFS) if each.nodes]

    assert on_quorum == ["clusterbus-node"]
    assert not any(each.nodes for each in registrations(GPFS, GpfsSettings(global_nodes=())))


@pytest.mark.parametrize("wanted", registrations(GPFS), ids=lambda each: each.identifier)
def test_gpfs_takes_the_registration(wanted):
    state = new_cluster("prod", 3, ["gpfs1"], up=True, behaviour=Behaviour())

    taken = check(callback_of(wanted.arguments()), state, GPFS)

    assert (taken.identifier, taken.events, taken.parms) == (wanted.identifier, wanted.events, wanted.parms)
    assert not taken.sync


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (GpfsSettings(events=("quota",), global_nodes=("nsd[01-02",)), "gpfs.global_nodes: nodes: 'nsd[01-02' is not"),
        (
            GpfsSettings(events=("quota",), options={"disk": CallbackOptions(nodes=("x[",))}),
            "gpfs.options.disk.nodes: nodes: 'x[' is not",
        ),
    ],
)
def test_nodes_that_are_none_are_refused_even_where_no_family_is_registered_on_them(settings, said):
    with pytest.raises(SettingsError) as refused:
        registrations(GPFS, settings)

    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
