"""Plans: from what is registered to what is wanted, by adding first and deleting then, and touching nobody else's."""

from dataclasses import replace

import pytest

from router.cluster.callbacks.gpfs.installed import Registered
from router.cluster.callbacks.gpfs.plan import plan, removal
from router.cluster.callbacks.gpfs.wanted import Registration, registrations
from router.cluster.gpfs.cluster_nodes import Member, covered, members
from router.cluster.gpfs.commands import Commands
from router.model.catalogue import load

GPFS = load("gpfs")
CLUSTER = [
    Member(f"nsd0{number}", f"nsd0{number}.ib.example", f"nsd0{number}.example", f"10.0.0.{number}", number < 3, True)
    for number in (1, 2, 3)
]
WANTED = {each.identifier: each for each in registrations(GPFS)}
DISK, MOUNT = WANTED["clusterbus-disk"], WANTED["clusterbus-mount"]
FOREIGN = Registered("site-disk", "/opt/site/disk", ("diskFailure",))


def as_registered(wanted, identifier=None, **changes):
    there = Registered(
        identifier or wanted.identifier,
        wanted.command,
        wanted.events,
        wanted.parms,
        wanted.nodes,
        wanted.priority,
        wanted.sync,
        wanted.timeout,
        wanted.onerror,
    )
    return replace(there, **changes)


def commands(found):
    return [" ".join(each.words[:2]) for each in found.steps]


def made(*registered, wanted=(DISK,)):
    return plan(list(wanted), list(registered), CLUSTER, GPFS)


def test_nodes_that_gpfs_knows_by_addresses_are_told_apart():
    row = "mmlscluster:clusterNode:0:1:::{0}:10.0.0.{0}:10.0.0.{0}:10.0.0.{0}:quorum:\n"
    header = "mmlscluster:clusterNode:HEADER:version:reserved:reserved:"
    header += "nodeNumber:daemonNodeName:ipAddress:adminNodeName:designation:\n"

    cluster = members(Commands(lambda _: header + row.format(1) + row.format(2)))

    assert [each.name for each in cluster] == ["10-0-0-1", "10-0-0-2"]
    assert covered(cluster, ["10.0.0.2"]) == {"10-0-0-2"}
    assert covered(cluster, ["10"]) is None


def test_what_is_missing_is_added():
    found = made(FOREIGN)

    assert [each.words for each in found.steps] == [("mmaddcallback", *DISK.arguments())]
    assert found.foreign == 1


def test_nothing_is_to_be_done_where_nothing_differs():
    assert made(as_registered(DISK), FOREIGN).steps == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("command", "/tmp/other"),
        ("events", ("diskFailure", "mount")),
        ("parms", "%eventName"),
        ("nodes", ("nsd01",)),
        ("priority", 1.5),
        ("sync", True),
        ("onerror", "shutdown"),
    ],
)
def test_each_field_that_differs_has_the_new_one_added_before_the_old_one_goes(field, value):
    found = made(as_registered(DISK, **{field: value}), as_registered(MOUNT), wanted=(DISK, MOUNT))

    assert commands(found) == ["mmaddcallback clusterbus-disk-2", "mmdelcallback clusterbus-disk"]
    assert found.standings[0].verdict == "differs"
    assert found.standings[1].verdict == "good"


def test_a_timeout_that_differs_is_seen_where_both_are_synchronous():
    wanted = replace(DISK, sync=True, timeout=30)

    assert made(as_registered(wanted), wanted=[wanted]).steps == ()
    assert made(as_registered(wanted, timeout=60), wanted=[wanted]).steps != ()


@pytest.mark.parametrize(
    "spelled",
    [
        {"events": ("DISKFAILURE",)},
        {"parms": f"  {DISK.parms.replace(' ', '  ')} "},
        {"onerror": "continue"},
    ],
)
def test_what_gpfs_spells_in_another_way_is_no_difference(spelled):
    assert made(as_registered(DISK, **spelled)).steps == ()


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ({"nodes": ("all",)}, {"nodes": ()}),
        ({"priority": 1234567.0}, {"priority": 1.23457e6}),
        ({"sync": True, "onerror": "quorumLoss"}, {"onerror": "quorumloss"}),
        ({"events": ("mount", "diskFailure")}, {"events": ("diskFailure", "MOUNT", "mount")}),
    ],
)
def test_what_is_wanted_in_a_way_that_gpfs_does_not_keep_is_no_difference(wanted, shown):
    changed = replace(DISK, **wanted)

    assert made(as_registered(changed, **shown), wanted=[changed]).steps == ()


def test_a_node_list_is_the_same_under_whatever_names_gpfs_shows():
    wanted = replace(DISK, nodes=("quorumNodes",))

    assert made(as_registered(wanted, nodes=("nsd01.example", "10.0.0.2")), wanted=[wanted]).steps == ()
    assert made(as_registered(wanted, nodes=("nsd01.example",)), wanted=[wanted]).steps != ()
    assert made(as_registered(wanted, nodes=("somebodysclass",)), wanted=[wanted]).steps != ()


def test_a_change_that_was_broken_off_between_its_commands_is_finished():
    found = made(as_registered(DISK, parms="%eventName"), as_registered(DISK, "clusterbus-disk-2"))

    assert commands(found) == ["mmdelcallback clusterbus-disk"]


def test_the_two_names_take_turns():
    found = made(as_registered(DISK, "clusterbus-disk-2", parms="%eventName"))

    assert commands(found) == ["mmaddcallback clusterbus-disk", "mmdelcallback clusterbus-disk-2"]


def test_what_is_ours_and_not_wanted_goes_after_all_that_is_added():
    found = made(Registered("clusterbus-old", "/x", ("mount",)), as_registered(MOUNT, sync=True), wanted=(DISK, MOUNT))

    assert commands(found) == [
        "mmaddcallback clusterbus-disk",
        "mmaddcallback clusterbus-mount-2",
        "mmdelcallback clusterbus-mount",
        "mmdelcallback clusterbus-old",
    ]


def test_a_single_event_s_registration_is_not_taken_for_its_family_s():
    single = DISK.singles()[0]

    assert commands(made(as_registered(single))) == [
        "mmaddcallback clusterbus-disk",
        "mmdelcallback clusterbus-disk-diskFailure",
    ]


@pytest.mark.parametrize("identifier", ["site-clusterbus-disk", "Clusterbus-disk", "clusterbus", "mmclusterbus-x"])
def test_others_are_never_touched(identifier):
    foreign = as_registered(DISK, identifier, parms="%eventName")

    assert made(foreign, as_registered(DISK)).steps == ()
    assert removal([foreign]).steps == ()


def test_a_removal_takes_all_of_ours():
    found = removal([as_registered(DISK), FOREIGN, as_registered(MOUNT, "clusterbus-mount-2")])

    assert commands(found) == ["mmdelcallback clusterbus-disk", "mmdelcallback clusterbus-mount-2"]


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ((), {"nsd01", "nsd02", "nsd03"}),
        (("ALL",), {"nsd01", "nsd02", "nsd03"}),
        (("quorumnodes",), {"nsd01", "nsd02"}),
        (("nsd03.ib.example", "nonQuorumNodes"), {"nsd03"}),
        (("nowhere",), None),
    ],
)
def test_whom_a_node_list_means(nodes, names):
    assert covered(CLUSTER, nodes) == names


def test_a_registration_by_itself_has_the_variables_of_its_event_only():
    single = next(each for each in MOUNT.singles() if each.events == ("mount",))
    nodes = WANTED["clusterbus-node"]

    assert single.identifier == "clusterbus-mount-mount"
    assert all(isinstance(each, Registration) and each.nodes == nodes.nodes for each in nodes.singles())
    assert "%clusterManager" not in nodes.singles()[0].parms
