"""What mmaddcallback refuses, what is listed, and what runs in which order."""

import pytest

from router.model.catalogue import load
from router.simulator.cluster_state import CallbackState
from router.simulator.commands.options import callback_of, callbacks_of_file
from router.simulator.errors import CommandRefused
from router.simulator.listings.callback_listing import callbacks_for_people, callbacks_for_programs
from router.simulator.listings.node_listings import cluster_for_programs
from router.simulator.registered_callbacks import SYSTEM, check, to_run
from router.simulator.setup.new_cluster import new_cluster
from router.simulator.setup.node_lookup import checked, covers
from router.simulator.switches import Behaviour

GPFS = load("gpfs")
NEEDED = ["--command", "/bin/true", "--event", "mount"]


def make_state(*callbacks, up=True, **behaviour):
    state = new_cluster("prod", 12, ["gpfs1"], up=up, behaviour=Behaviour(**behaviour))
    return state.model_copy(update={"callbacks": {each.identifier: each for each in callbacks}})


def make_callback(identifier="test", **facts):
    return CallbackState(**{"identifier": identifier, "command": "/bin/true", "events": ("mount",), **facts})


def accept(argv, **behaviour):
    return check(callback_of(argv), make_state(**behaviour), GPFS)


@pytest.mark.parametrize(
    ("identifier", "says"),
    [
        ("a:b", "':'"),
        ("a;b", "';'"),
        ("a b", "' '"),
        ("a\tb", "tab"),
        ("a,b", "','"),
        ("", "empty"),
        ("x" * 256, "256 characters"),
        ("gpfsThing", "reserved"),
        ("mmThing", "reserved"),
    ],
)
def test_an_identifier_against_the_rules_is_refused_with_the_rule(identifier, says):
    with pytest.raises(CommandRefused, match=says):
        accept([identifier, *NEEDED])


def test_the_longest_identifier_is_taken():
    assert accept(["x" * 255, *NEEDED]).identifier == "x" * 255


def test_an_identifier_is_taken_once():
    with pytest.raises(CommandRefused, match="'test' exists already"):
        check(make_callback(), make_state(make_callback()), GPFS)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["a", "--event", "mount"], "--command is missing"),
        (["a", "--command", "/bin/true"], "--event is missing"),
        (["--command", "/bin/true", "--event", "mount"], "one callback identifier"),
        (["a", "b", *NEEDED], "one callback identifier"),
        (["a", "--command", "bin/true", "--event", "mount"], "'bin/true' is not an absolute path"),
        (["a", "--command", "/bin/true", "--event", ","], "no event"),
        (["a", "--command", "/bin/true", "--event", "mount,nodeLeft"], "did you mean nodeLeave"),
        (["a", *NEEDED, "--onerror", "panic"], "'panic' is not one of continue, quorumLoss, shutdown"),
        (["a", *NEEDED, "--sync", "--onerror", "Shutdown"], "did you mean shutdown"),
        (["a", *NEEDED, "--timeout", "5"], "--timeout 5 needs --sync"),
        (["a", *NEEDED, "--async", "--timeout", "5"], "--timeout 5 needs --sync"),
        (["a", *NEEDED, "--onerror", "shutdown"], "--onerror shutdown needs --sync"),
        (["a", *NEEDED, "--sync", "--async"], "exclude each other"),
        (["a", *NEEDED, "--sync", "--timeout", "0"], "whole number of seconds"),
        (["a", *NEEDED, "--sync", "--timeout", "1.5"], "whole number of seconds"),
        (["a", *NEEDED, "--sync", "--timeout", "9" * 5000], "whole number of seconds"),
        (["a", *NEEDED, "--priority", "high"], "'high' is not a number"),
        (["a", *NEEDED, "--priority", "nan"], "not a finite number"),
        (["a", *NEEDED, "--log", "x"], "no option '--log'"),
        (["a", *NEEDED, "--parms=x"], "no option '--parms=x'"),
        (["a", *NEEDED, "--event", "unmount"], "given 2 times"),
        (["a", *NEEDED, "--parms"], "--parms has no value"),
        (["a", *NEEDED, "--parms", "%fsNam"], "no variable %fsNam; did you mean fsName"),
        (["a", *NEEDED, "--parms", "%fsName.ip"], "accepts the qualifiers none"),
        (["a", *NEEDED, "--parms", "%myNode.long"], "accepts the qualifiers ip, name, shortName"),
        (["a", *NEEDED, "--parms", "a\nb\x07"], "--parms .* cannot be printed"),
        (["a\n", *NEEDED], "identifier .* cannot be printed"),
        (["a", "--command", "/bin/\udce9", "--event", "mount"], "--command .* cannot be printed"),
    ],
)
def test_a_wrong_registration_is_refused_with_what_is_wrong(argv, says):
    with pytest.raises(CommandRefused, match=says):
        accept(argv)


def test_a_full_registration_is_taken_as_it_is_given():
    argv = ["a", *NEEDED, "--priority", "1.5", "--sync", "--timeout", "30", "--onerror", "continue", "-N", "cl01"]

    taken = accept([*argv, "--parms", "%eventName", "--parms", "--fs %fsName"])

    assert taken == make_callback(
        "a", priority=1.5, sync=True, timeout=30, on_error="continue", nodes=("cl01",), parms="%eventName --fs %fsName"
    )


def test_a_value_may_look_like_an_option():
    assert accept(["a", *NEEDED, "--parms", "--event"]).parms == "--event"


def test_an_event_has_to_be_spelled_exactly_unless_the_switch_says_so():
    argv = ["a", "--command", "/bin/true", "--event", "LowDiskSpace,clusterManagerTakeover,lowDiskSpace"]

    with pytest.raises(CommandRefused, match="did you mean lowDiskSpace"):
        accept(argv)
    assert accept(argv, event_case="any").events == ("lowDiskSpace", "clusterManagerTakeOver")


def test_an_unknown_variable_is_taken_where_the_switch_says_so():
    assert accept(["a", *NEEDED, "--parms", "%whatever"], unknown_variable="literal").parms == "%whatever"


def test_tiebreaker_check_needs_the_cluster_down():
    wanted = make_callback(events=("tiebreakerCheck",))

    with pytest.raises(CommandRefused, match="GPFS must be down on all nodes"):
        check(wanted, make_state(), GPFS)
    assert check(wanted, make_state(up=False), GPFS) == wanted


def test_a_file_holds_one_definition_a_line():
    text = "a --command /bin/true --event mount --parms '%eventName %fsName'\n\nb --command /bin/true --event unmount\n"

    first, second = callbacks_of_file(text)

    assert (first.identifier, first.parms, second.events) == ("a", "%eventName %fsName", ("unmount",))


@pytest.mark.parametrize(
    ("text", "says"),
    [("a --event mount\n", "line 1: option --command"), ("\n'a\n", "line 2: No closing"), ("\n", "defines no")],
)
def test_a_wrong_file_is_refused_with_its_line(text, says):
    with pytest.raises(CommandRefused, match=says):
        callbacks_of_file(text)


def test_smaller_priority_runs_first_and_unset_last():
    callbacks = [make_callback("none"), make_callback("two", priority=2), make_callback("half", priority=0.5)]
    state = make_state(*callbacks, make_callback("other", events=("unmount",)), make_callback("late"))

    order = [each.identifier for each in to_run(state, "mount", state.nodes["cl01"])]

    assert order == ["half", "two", "none", "late"]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ("all", 12),
        ("quorumNodes", 3),
        ("quorumnodes,cl01", 4),
        ("nonQuorumNodes", 9),
        ("managerNodes", 4),
        ("clientNodes", 8),
        ("nsdNodes", 4),
        ("cl01,cl02.prod.example,10.0.0.7", 3),
    ],
)
def test_a_node_list_takes_names_addresses_and_classes(wanted, count):
    state = make_state()

    nodes = checked(state, wanted)

    assert sum(covers(state, nodes, each) for each in state.nodes.values()) == count


@pytest.mark.parametrize("wanted", ["cl1", "cl01,,cl02", "/does/not/exist", "quorum nodes"])
def test_a_wrong_node_list_is_refused(wanted):
    with pytest.raises(CommandRefused):
        checked(make_state(), wanted)


def test_the_listing_for_people_has_the_documented_form():
    callbacks = [
        make_callback("test1", command="/tmp/myScript", events=("startup",)),
        make_callback("test2", command="/tmp/myScript2", events=("shutdown",), parms="%upNodes"),
    ]

    assert callbacks_for_people(callbacks) == (
        "test1\n"
        "        command       = /tmp/myScript\n"
        "        event         = startup\n"
        "test2\n"
        "        command       = /tmp/myScript2\n"
        "        event         = shutdown\n"
        "        parms         = %upNodes\n"
    )


def test_the_listing_for_programs_encodes_what_would_break_a_line():
    callback = make_callback("a", parms="%daName x:y (1)", events=("mount", "unmount"), sync=True, timeout=5)

    header, row = (line.split(":") for line in callbacks_for_programs([callback], Behaviour()).splitlines())
    fields = dict(zip(header[6:], row[6:], strict=True))

    assert fields["parms"] == "%25daName x%3Ay %281%29"
    assert fields["event"] == "mount%2Cunmount"
    assert (fields["sync"], fields["timeout"], fields["priority"]) == ("yes", "5", "")
    assert (header[-1], row[-1]) == ("", "")


def test_the_percent_sign_may_stay_as_it_is():
    assert ":%daName:" in callbacks_for_programs([make_callback(parms="%daName")], Behaviour(percent="kept"))


def test_the_cluster_for_programs_has_the_known_columns():
    lines = [line.split(":") for line in cluster_for_programs(make_state()).splitlines()]
    header = next(each for each in lines if each[1:3] == ["clusterNode", "HEADER"])
    nodes = [dict(zip(header, row, strict=True)) for row in lines if row[1:3] == ["clusterNode", "0"]]

    assert len(nodes) == 12
    assert nodes[0] | {"designation": "quorumManager", "daemonNodeName": "nsd01.prod.example"} == nodes[0]
    assert [each["otherNodeRoles"] for each in nodes[1:5]] == ["Z", "G%2CX%2CZ", "G%2CX%2CZ", ""]
    assert nodes[3]["otherNodeRolesAlias"] == "gateway%2Cces%2Cperfmon"


def test_the_cluster_for_programs_has_all_headers_before_the_rows():
    lines = [line.split(":") for line in cluster_for_programs(make_state()).splitlines()]

    assert [each[2] for each in lines] == ["HEADER"] * 8 + ["0"] * (1 + 12 + 2)
    assert {each[1] for each in lines[8:]} == {"clusterSummary", "clusterNode", "cesNode"}


def test_the_callbacks_of_gpfs_itself_could_not_be_added_by_anybody():
    for each in SYSTEM:
        with pytest.raises(CommandRefused, match="reserved"):
            check(each, make_state(), GPFS)
