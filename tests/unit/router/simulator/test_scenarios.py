"""Scenarios as steps, how they are played, and the switches that say where and when callbacks run."""

from datetime import timedelta

import pytest

from router.model.catalogue import load
from router.simulator.cluster_state import CallbackState
from router.simulator.errors import CommandRefused
from router.simulator.events.propagation import Occurrence, before, noticing
from router.simulator.registered_callbacks import check, dated, is_lacking, to_run, without
from router.simulator.scenarios.player import play
from router.simulator.scenarios.scenarios import SCENARIOS, steps
from router.simulator.setup.new_cluster import grown, new_cluster
from router.simulator.simulated_cluster import Cluster
from router.simulator.switches import Behaviour

GPFS = load("gpfs")


def make_state(nodes=12, **behaviour):
    return new_cluster("prod", nodes, ["gpfs1", "gpfs2"], up=True, behaviour=Behaviour(**behaviour))


def make_callback(*events, **facts):
    return CallbackState(**{"identifier": "a", "command": "/bin/true", "events": events or ("mount",), **facts})


def registered(state, callback):
    taken = dated(check(callback, state, GPFS), state)
    return state.model_copy(update={"callbacks": {taken.identifier: taken}})


def running(state, event="mount"):
    return [node.number for node in state.nodes.values() if to_run(state, event, node)]


def happened(state):
    return before(state, Occurrence(GPFS.event("deadlockDetected"), "deadlockDetected", node="cl01"))


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("nodes", [1, 12])
def test_a_scenario_says_only_what_gpfs_could(name, nodes):
    state = make_state(nodes)

    told = list(steps(name, state))

    assert told
    assert [each.moment for each in told] == sorted(each.moment for each in told)
    for each in told:
        assert bool(each.event) != bool(each.command)
        if each.event:
            event = GPFS.event(each.event)
            assert event.name == each.event
            assert set(each.values) <= {variable.name for variable in GPFS.of(event)}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_seed_gives_the_same_steps(name):
    state = make_state()

    assert list(steps(name, state, seed=7)) == list(steps(name, state, seed=7))
    assert list(steps(name, state, seed=7)) != list(steps(name, state, seed=8))


def test_a_rate_spreads_the_steps_evenly():
    told = list(steps("disk-failure", make_state(), rate=4))

    assert [each.moment.total_seconds() for each in told] == [place / 4 for place in range(len(told))]


def test_a_scenario_that_nobody_knows_is_refused_with_what_is_near():
    with pytest.raises(CommandRefused, match="did you mean disk failure"):
        steps("disk failur", make_state())


@pytest.mark.parametrize("name", ["AFM home lost", "afm-home-lost", " Afm Home Lost"])
def test_a_scenario_is_found_in_any_case_and_with_dashes(name):
    assert next(steps(name, make_state())).event == "afmHomeDisconnected"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_leaves_the_cluster_as_it_should_be(name, tmp_path):
    cluster = Cluster.create(tmp_path / "cluster", nodes=9, up=name != "cluster start")

    played = list(play(cluster, steps(name, cluster.state), speed=1e9))

    state = cluster.state
    assert [each.refused for each in played if each.refused] == []
    assert all(node.up and node.mounts == {"gpfs1", "gpfs2"} for node in state.nodes.values())
    assert all(disk.availability == "up" for disk in state.disks.values())
    assert state.quorum
    assert all(quota.block_usage <= quota.block_quota for quota in state.quotas.values())


def test_steps_wait_for_their_moment_as_fast_as_wanted_and_say_how_late_they_are(tmp_path):
    cluster = Cluster.create(tmp_path / "cluster", nodes=3)
    now, slept = [100.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    told = list(steps("disk failure", cluster.state, rate=2))
    punctual = list(play(cluster, told, speed=4, clock=lambda: now[0], sleep=sleep))

    assert slept == [pytest.approx(1 / 8)] * (len(told) - 1)
    assert {each.late for each in punctual} == {timedelta()}
    ticks = iter(range(0, 1000, 10))
    assert list(play(cluster, told, clock=lambda: next(ticks), sleep=sleep))[-1].late > timedelta(seconds=10)


def test_a_step_that_is_refused_does_not_end_the_play(tmp_path):
    cluster = Cluster.create(tmp_path / "cluster", nodes=3)
    told = list(steps("disk failure", cluster.state))
    cluster.raise_event("nodeLeave", {"eventNode": "nsd01"})

    played = list(play(cluster, told, speed=1e9))

    assert any("no quorum" in each.refused for each in played)
    assert len(played) == len(told)


def test_registrations_reach_slow_nodes_some_events_later():
    state = registered(make_state(propagation=2), make_callback())

    reached = []
    for _ in range(4):
        state = happened(state)
        reached.append(len(running(state)))

    assert reached == [4, 8, 12, 12]


def test_slow_nodes_go_by_a_deleted_registration_for_some_events():
    state = make_state(propagation=2)
    state = registered(state, make_callback())
    for _ in range(3):
        state = happened(state)

    state = without(state, ["a"])
    still = []
    for _ in range(4):
        state = happened(state)
        still.append(len(running(state)))

    assert still == [8, 4, 0, 0]
    assert state.callbacks == {}


@pytest.mark.parametrize(("new_nodes", "count"), [("covered", 14), ("left_out", 12)])
def test_a_registration_without_nodes_covers_those_added_later_or_not(new_nodes, count):
    state = registered(make_state(new_nodes=new_nodes), make_callback())

    assert len(running(grown(state, 2))) == count


def test_an_explicit_list_never_covers_those_added_later():
    state = registered(make_state(), make_callback(nodes=("cl01",)))

    assert len(running(grown(state, 2))) == 1


@pytest.mark.parametrize(("afm_scope", "count"), [("global", 12), ("local", 1)])
def test_an_expired_cache_is_told_everywhere_or_on_the_gateway(afm_scope, count):
    state = make_state(afm_scope=afm_scope)

    assert len(noticing(state, Occurrence(GPFS.event("afmFilesetExpired"), "afmFilesetExpired"))) == count


def test_events_of_both_scopes_are_taken_together_or_refused():
    mixed = make_callback("nodeLeave", "mount")

    assert check(mixed, make_state(), GPFS).events == ("nodeLeave", "mount")
    with pytest.raises(CommandRefused, match="nodeLeave is a global event and mount a local one"):
        check(mixed, make_state(mixed_scopes="refused"), GPFS)


@pytest.mark.parametrize(
    ("switches", "lacking"),
    [
        ({}, set()),
        ({"release": "4.2"}, {"afmRPOMiss", "rgPanic", "diskIOHang"}),
        ({"release": "5.0"}, {"rgPanic", "diskIOHang"}),
        ({"lacks": "mount,afmRPOMiss"}, {"mount", "afmRPOMiss"}),
    ],
)
def test_a_release_lacks_events(switches, lacking):
    asked = ("mount", "afmRPOMiss", "rgPanic", "diskIOHang", "preRGTakeover", "deadlockDetected")

    assert {each for each in asked if is_lacking(GPFS.event(each), Behaviour(**switches))} == lacking


def test_an_event_that_the_release_lacks_is_refused_or_taken_and_never_happens():
    wanted = make_callback("afmRPOMiss")

    with pytest.raises(CommandRefused, match="no event 'afmRPOMiss'"):
        check(wanted, make_state(release="4.2"), GPFS)
    assert check(wanted, make_state(release="4.2", unknown_events="taken"), GPFS).events == ("afmRPOMiss",)
    assert check(make_callback("nodeLeft"), make_state(unknown_events="taken"), GPFS).events == ("nodeLeft",)


def test_identifiers_that_differ_in_case_are_two_or_one():
    other = make_callback(identifier="A")

    assert check(other, registered(make_state(), make_callback()), GPFS).identifier == "A"
    with pytest.raises(CommandRefused, match="'a' exists already"):
        check(other, registered(make_state(callback_case="ignored"), make_callback()), GPFS)


def test_a_command_in_a_file_system_of_the_cluster_is_refused_or_taken():
    wanted = make_callback(command="/gpfs/gpfs1/bin/handler")

    with pytest.raises(CommandRefused, match="lies in the file system gpfs1"):
        check(wanted, make_state(), GPFS)
    assert check(wanted, make_state(program_in_gpfs="taken"), GPFS) == wanted


@pytest.mark.parametrize(("nodes", "more"), [(12, 0), (12, 4989)])
def test_a_cluster_does_not_grow_without_end(nodes, more):
    with pytest.raises(CommandRefused, match="cannot grow"):
        grown(make_state(nodes), more)
