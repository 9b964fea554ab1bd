"""What capture gets from GPFS is decoded without a loss under every setting of what is not known of GPFS."""

import itertools
from functools import cache
from typing import get_args

import pytest

from router.cluster.callbacks.gpfs.wanted import registrations
from router.model.catalogue import load
from router.simulator.commands.options import callback_of
from router.simulator.events.parameters import arguments
from router.simulator.events.propagation import Occurrence, noticing
from router.simulator.events.variable_values import on_node
from router.simulator.registered_callbacks import check, to_run
from router.simulator.setup.new_cluster import new_cluster
from router.simulator.switches import Behaviour
from router.sources.gpfs.decoder import decode

GPFS = load("gpfs")

# Every switch is in one of these: one that is added has to be thought about.
TOUCHING = (
    *("value_with_blanks", "undefined", "inside_words", "node_names", "afm_scope"),
    *("unknown_variable", "snapshot_fileset"),
)
NOT_TOUCHING = {
    *("unknown_events", "release", "lacks", "event_case", "callback_case", "mixed_scopes", "missing_program"),
    *("program_in_gpfs", "quorum_reached", "new_nodes", "propagation", "environment", "output", "past_timeout"),
    *("listing", "rows", "percent"),
}
# The last two say how a registration or mmcrsnapshot is treated; the product is of those that make arguments.
PRODUCT = TOUCHING[:5]
SETTINGS = [
    dict(zip(PRODUCT, values, strict=True))
    for values in itertools.product(*(get_args(Behaviour.model_fields[name].annotation) for name in PRODUCT))
]
EVENTS = [event for event in GPFS.events.values() if event.default]
# Of those that are registered together and have the same variables, one.
DISTINCT = {(event.category, event.variables, event.scope): event for event in EVENTS}.values()
FAMILIES = registrations(GPFS)

# A value, what it is decoded as, and what it is decoded as where GPFS cuts values at blanks.
AWKWARD = [
    ("Ann Lee", "Ann Lee", "Ann Lee"),
    ("two  blanks\tand a tab ", "two  blanks\tand a tab ", "two blanks and a tab"),
    ("a,b", "a,b", "a,b"),
    ("'x' \"y\" \\z", "'x' \"y\" \\z", "'x' \"y\" \\z"),
    ("100% of %nope", "100% of %nope", "100% of %nope"),
    ("-x --", "-x --", "-x --"),
    ("$(id);`id`|&*?", "$(id);`id`|&*?", "$(id);`id`|&*?"),
    ("naïve Ωμέγα 日本", "naïve Ωμέγα 日本", "naïve Ωμέγα 日本"),
    ("a=b --", "a=b --", "a=b --"),
    # These say that nothing applies, and no switch can tell them from that.
    ("", None, None),
    ("UNDEFINED", None, None),
    ("%fsName", None, None),
]


def name_of(setting):
    return "-".join(setting.values())


def registered(setting):
    """Return a cluster with all families registered: a value, which no test changes."""
    return _registered(tuple(setting.items()))


@cache
def _registered(setting):
    setting = dict(setting)
    state = new_cluster("prod", 4, ["gpfs1"], up=True, behaviour=Behaviour(**setting))
    taken = [check(callback_of(each.arguments()), state, GPFS) for each in FAMILIES]
    return state.model_copy(update={"callbacks": {each.identifier: each for each in taken}})


def given(state, event, values):
    """Return the words that the command gets for *event*, on the first node that runs it."""
    place = None if event.scope == "global" and event.category != "afm" else "nsd01"
    occurrence = Occurrence(event, event.name, values, place)
    node = noticing(state, occurrence)[0]
    [callback] = to_run(state, event.name, node)
    return arguments(callback.parms, on_node(state, GPFS, occurrence, node), state.behaviour)


def flat(value):
    return ",".join(value) if isinstance(value, list) else value


def own(event):
    """Return the variables that whoever raises the event gives it."""
    return [name for name in event.variables if name not in {"eventName", "myNode"}]


def test_every_switch_is_known_to_touch_arguments_or_not():
    assert set(TOUCHING) | NOT_TOUCHING == set(Behaviour.model_fields)
    assert not set(TOUCHING) & NOT_TOUCHING


@pytest.mark.parametrize("setting", SETTINGS, ids=name_of)
def test_no_value_is_lost_or_shifted(setting):
    state = registered(setting)

    for event in EVENTS:
        # All values for each set of variables, some for each event.
        for value, kept, cut in AWKWARD if event in DISTINCT else AWKWARD[::5]:
            expected = cut if setting["value_with_blanks"] == "split" else kept
            names = own(event)

            word, *rest = given(state, event, dict.fromkeys(names, value))
            decoded = decode(rest, GPFS)

            assert word == event.name
            assert {name: flat(decoded.data[name]) for name in names} == dict.fromkeys(names, expected), value
            assert decoded.data["clusterName"] == "prod"
            assert "arguments" not in decoded.data
            assert set(decoded.data) == flags(event), value


@pytest.mark.parametrize("setting", SETTINGS, ids=name_of)
def test_a_value_among_others_that_do_not_apply_stays_where_it_belongs(setting):
    state = registered(setting)

    for event in DISTINCT:
        for name in own(event):
            _, *rest = given(state, event, {name: "Ann Lee, 100%"})
            data = decode(rest, GPFS).data

            told = {each: flat(data[each]) for each in flags(event) - ALWAYS - {"clusterManager", "quorumNodes"}}
            assert {each: value for each, value in told.items() if value is not None} == shown(name)


@pytest.mark.parametrize("setting", SETTINGS, ids=name_of)
def test_a_value_that_looks_like_a_flag_takes_nothing_from_the_others(setting):
    # What it says itself can't be told from a flag: it becomes a variable of that name, which has nothing to say.
    state = registered(setting)

    for event in DISTINCT:
        for name in own(event):
            sample = {each: str(GPFS.variables[each].example) for each in own(event) if each != name}
            _, *rest = given(state, event, sample | {name: "--force"})
            data = decode(rest, GPFS).data
            _, *plain = given(state, event, sample)
            expected = decode(plain, GPFS).data

            assert (data[name], data["force"]) == (None, None)
            assert {each: data[each] for each in sample} == {each: expected[each] for each in sample}


@pytest.mark.parametrize("setting", SETTINGS, ids=name_of)
def test_a_free_text_that_quotes_an_option_keeps_it(setting):
    state = registered(setting)
    event = GPFS.event("rgPanic")

    _, *rest = given(state, event, {"rgName": "rg1", "rgReason": "mmvdisk --force failed"})

    assert decode(rest, GPFS).data["rgReason"] == "mmvdisk --force failed"


@pytest.mark.parametrize("snapshot_fileset", ["global", "undefined"])
def test_a_snapshot_of_a_file_system_says_so_or_nothing(snapshot_fileset):
    state = registered({"snapshot_fileset": snapshot_fileset})
    values = {"fsName": "gpfs1", "snapshotName": "daily", "snapshotID": "1"}
    values |= {"filesetName": "global"} if snapshot_fileset == "global" else {}

    _, *rest = given(state, GPFS.event("snapshotCreated"), values)

    assert decode(rest, GPFS).data["filesetName"] == ("global" if snapshot_fileset == "global" else None)


ALWAYS = {"eventNode", "myNode", "clusterName"}


def flags(event):
    """Return the names of the variables that the family of *event* is registered with."""
    [family] = [each for each in FAMILIES if event.name in each.events]
    return {word.removeprefix("%") for word in family.parms.split()[2::2]}


def shown(name):
    return {} if name in ALWAYS | {"clusterManager", "quorumNodes"} else {name: "Ann Lee, 100%"}
