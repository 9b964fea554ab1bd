"""Which callbacks clusterbus registers, and that the simulated mmaddcallback takes them."""

import pytest

from router.catalogue import load
from router.sections import GpfsSettings
from router.sources.gpfs.registrations import registrations
from router.sources.gpfs.simulator import Behaviour
from router.sources.gpfs.simulator.births import newborn
from router.sources.gpfs.simulator.callbacks import check
from router.sources.gpfs.simulator.options import callback_of

GPFS = load("gpfs")


def test_every_default_event_is_registered_once_and_no_other():
    registered = [event for each in registrations(GPFS) for event in each.events]

    assert sorted(registered) == sorted(event.name for event in GPFS.events.values() if event.default)


def test_families_without_a_default_event_are_left_out():
    identifiers = [each.identifier for each in registrations(GPFS)]

    assert "clusterbus-quota" in identifiers
    assert "clusterbus-internal" not in identifiers
    assert "clusterbus-config" not in identifiers


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
    state = newborn("prod", 3, ["gpfs1"], up=True, behaviour=Behaviour())

    taken = check(callback_of(wanted.arguments()), state, GPFS)

    assert (taken.identifier, taken.events, taken.parms) == (wanted.identifier, wanted.events, wanted.parms)
    assert not taken.sync
