"""Where events happen in the simulated cluster, what they say there, and what they change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model.catalogue import load
from router.simulator.errors import CommandRefused
from router.simulator.events.propagation import Occurrence, after, before, noticing, stepped_back
from router.simulator.events.variable_values import on_node
from router.simulator.setup.new_cluster import new_cluster
from router.simulator.switches import Behaviour

GPFS = load("gpfs")


def make_state(nodes=12, up=True, **behaviour):
    return new_cluster("prod", nodes, ["gpfs1", "gpfs2"], up=up, behaviour=Behaviour(**behaviour))


def make_occurrence(name, node=None, **values):
    return Occurrence(GPFS.event(name), name, values, node)


def places(state, name, node=None, **values):
    return [each.name for each in noticing(state, make_occurrence(name, node, **values))]


def left(state, *nodes):
    return before(state, make_occurrence("nodeLeave", eventNode=",".join(nodes)))


def test_a_global_event_is_noticed_on_every_node_that_is_up():
    state = left(make_state(), "cl03")

    assert len(places(state, "nodeLeave", eventNode="cl03")) == 11
    assert "cl03" not in places(state, "nodeLeave", eventNode="cl03")


def test_a_global_event_may_be_the_report_of_one_node_alone():
    assert places(make_state(), "nodeLeave", "cl05", eventNode="cl03") == ["cl05"]


@pytest.mark.parametrize("name", ["softQuotaExceeded", "lowDiskSpace", "diskFailure", "snapshotCreated", "fsstruct"])
def test_an_event_of_a_file_system_happens_on_its_manager(name):
    assert places(make_state(), name, fsName="gpfs2") == ["nsd02"]


def test_a_file_system_that_is_not_there_is_refused():
    with pytest.raises(CommandRefused, match="no file system 'gpfs9': name one of gpfs1, gpfs2"):
        places(make_state(), "diskFailure", fsName="gpfs9")


def test_the_manager_of_a_file_system_moves_when_its_node_leaves():
    state = left(make_state(), "nsd01")

    assert state.file_systems["gpfs1"] == "nsd02"
    assert state.manager == "nsd02"
    assert places(state, "diskFailure", fsName="gpfs1") == ["nsd02"]


@pytest.mark.parametrize("name", ["mount", "preUnmount", "startup", "shutdown", "deadlockDetected", "diskIOHang"])
def test_what_happens_on_one_node_has_to_be_told_where(name):
    with pytest.raises(CommandRefused, match="name it with --node"):
        places(make_state(), name, fsName="gpfs1")
    assert places(make_state(), name, "cl02", fsName="gpfs1") == ["cl02"]


@pytest.mark.parametrize(
    ("name", "node"), [("afmHomeDisconnected", "nsd03"), ("rgPanic", "nsd01"), ("ccrFileChange", "nsd01")]
)
def test_other_local_events_happen_on_the_node_of_that_role(name, node):
    assert places(make_state(), name) == [node]


def test_quorum_reached_runs_on_the_manager_unless_the_switch_says_everywhere():
    assert places(make_state(), "quorumReached") == ["nsd01"]
    assert len(places(make_state(quorum_reached="all"), "quorumReached")) == 12


def test_nothing_runs_on_a_node_that_is_down():
    state = left(make_state(), "cl01")

    assert places(state, "mount", "cl01", fsName="gpfs1") == []


def test_a_cluster_that_is_down_comes_up_node_by_node():
    state = make_state(up=False)
    assert (state.manager, state.up()) == (None, [])

    for name in ("nsd02", "nsd01.prod.example", "cl01"):
        state = before(state, make_occurrence("nodeJoin", eventNode=name))

    assert [each.name for each in state.up()] == ["nsd01", "nsd02", "cl01"]
    assert state.manager == "nsd02"
    assert state.file_systems == {"gpfs1": "nsd02", "gpfs2": "nsd02"}


def test_several_nodes_leave_at_once_and_lose_their_mounts():
    state = left(make_state(), "cl01", "10.0.0.6", "cl03.prod.example", "unknown")

    assert [each.name for each in state.nodes.values() if not each.up] == ["cl01", "cl02", "cl03"]
    assert state.nodes["cl01"].mounts == frozenset()


def test_mounting_and_unmounting_are_kept():
    state = after(make_state(), make_occurrence("unmount", "cl01", fsName="gpfs1"))
    assert state.nodes["cl01"].mounts == {"gpfs2"}

    state = after(state, make_occurrence("mount", "cl01", fsName="gpfs1"))
    assert state.nodes["cl01"].mounts == {"gpfs1", "gpfs2"}


def test_shutdown_runs_on_the_node_before_it_is_down():
    shutdown = make_occurrence("shutdown", "nsd01")
    state = before(make_state(), shutdown)

    assert [each.name for each in noticing(state, shutdown)] == ["nsd01"]
    assert not after(state, shutdown).nodes["nsd01"].up
    assert after(state, shutdown).manager == "nsd02"


def test_a_manager_that_steps_back_hands_over():
    assert stepped_back(make_state(), "nsd01").manager == "nsd02"
    assert stepped_back(make_state(), "nsd02").manager == "nsd01"


def test_the_common_variables_are_filled_in():
    state = left(make_state(nodes=3), "cl02")
    say = on_node(state, GPFS, make_occurrence("nodeLeave", eventNode="cl02"), state.nodes["cl01"])

    assert say("eventName", None) == "nodeLeave"
    assert say("eventNode", None) == "cl02.prod.example"
    assert say("eventNode", "shortName") == "cl02"
    assert say("eventNode", "ip") == "10.0.0.3"
    assert say("myNode", None) == "cl01.prod.example"
    assert say("clusterName", None) == "prod"
    assert say("clusterManager", "shortName") == "nsd01"
    assert say("upNodes", "shortName") == "nsd01,cl01"
    assert say("downNodes", "ip") == "10.0.0.3"
    assert say("fsName", None) is None


def test_lists_of_nodes_keep_their_separator():
    state = make_state()
    request = make_occurrence("sendRequestToNodes", "cl01", nodeNames="cl02  cl03", eventNode="cl02,stranger")
    say = on_node(state, GPFS, request, state.nodes["cl01"])

    assert say("nodeNames", None) == "cl02.prod.example cl03.prod.example"
    assert say("eventNode", None) == "cl02.prod.example,stranger"


def test_a_local_event_is_about_the_node_where_it_happens():
    state = make_state(node_names="short")
    say = on_node(state, GPFS, make_occurrence("startup", "cl01"), state.nodes["cl01"])

    assert say("eventNode", None) == "cl01"


def test_the_daemon_spells_the_event_as_it_was_raised():
    state = make_state()
    say = on_node(state, GPFS, Occurrence(GPFS.event("LOWDISKSPACE"), "LowDiskSpace"), state.nodes["nsd01"])

    assert say("eventName", None) == "LowDiskSpace"


@pytest.mark.parametrize(("name", "qualifier"), [("nothing", None), ("fsName", "ip")])
def test_what_is_no_variable_is_not_looked_up(name, qualifier):
    state = make_state()
    say = on_node(state, GPFS, make_occurrence("startup", "cl01"), state.nodes["cl01"])

    with pytest.raises(KeyError):
        say(name, qualifier)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=20))
def test_whoever_holds_an_office_is_up_as_long_as_anybody_could(moves):
    state = make_state(nodes=6)

    for joining, which in moves:
        name = list(state.nodes)[which]
        state = before(state, make_occurrence("nodeJoin" if joining else "nodeLeave", eventNode=name))

        for holder, role in [(state.manager, "quorum"), *((each, "manager") for each in state.file_systems.values())]:
            assert (holder is None) == (not state.up(role))
            assert holder is None or state.nodes[holder].up


@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 24, 5000])
def test_a_cluster_of_any_size_has_every_role(nodes):
    state = new_cluster("prod", nodes, ["gpfs1"], up=True, behaviour=Behaviour())

    assert len(state.nodes) == len({each.address for each in state.nodes.values()}) == nodes
    assert all(state.up(role) for role in ("quorum", "manager", "gateway", "server"))
    assert len(state.up("quorum")) % 2 == 1


def test_a_cluster_has_as_many_servers_as_are_asked_for():
    state = new_cluster("prod", 4, ["gpfs1"], up=True, behaviour=Behaviour(), servers=2)

    assert list(state.nodes) == ["nsd01", "nsd02", "cl01", "cl02"]
    for servers in (0, 5):
        with pytest.raises(CommandRefused, match="4 nodes cannot have"):
            new_cluster("prod", 4, ["gpfs1"], up=True, behaviour=Behaviour(), servers=servers)


@pytest.mark.parametrize(
    ("name", "nodes", "systems"), [("prod", 0, []), ("prod", 5001, []), ("a b", 1, []), ("", 1, []), ("p", 1, ["a/b"])]
)
def test_a_cluster_that_cannot_be_is_refused(name, nodes, systems):
    with pytest.raises(CommandRefused):
        new_cluster(name, nodes, systems, up=True, behaviour=Behaviour())
