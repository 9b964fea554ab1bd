"""How the simulator makes arguments of parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.simulator.events.parameters import arguments, variables
from router.simulator.switches import Behaviour

VALUES = {"eventName": "diskFailure", "fsName": "gpfs1", "rgReason": "server  node failed", "reason": None, "empty": ""}


def lookup(name, qualifier):
    value = VALUES[name]
    return value if qualifier is None else f"{value}/{qualifier}"


def test_words_between_variables_are_handed_on():
    assert arguments("-e %eventName -f %fsName", lookup, Behaviour()) == ["-e", "diskFailure", "-f", "gpfs1"]


def test_any_white_space_cuts_and_quotes_mean_nothing():
    given = arguments("'a b'\t\n \"%fsName\"  %fsName", lookup, Behaviour())

    assert given == ["'a", "b'", '"%fsName"', "gpfs1"]


def test_a_value_with_blanks_is_one_argument_by_default():
    assert arguments("--x %rgReason --y", lookup, Behaviour()) == ["--x", "server  node failed", "--y"]


def test_a_value_with_blanks_is_cut_again_where_the_switch_says_so():
    behaviour = Behaviour(value_with_blanks="split")

    assert arguments("--x %rgReason --y", lookup, behaviour) == ["--x", "server", "node", "failed", "--y"]


@pytest.mark.parametrize(
    ("undefined", "expected"),
    [
        ("word", ["--r", "UNDEFINED", "--f", "gpfs1"]),
        ("empty", ["--r", "", "--f", "gpfs1"]),
        ("literal", ["--r", "%reason", "--f", "gpfs1"]),
        ("missing", ["--r", "--f", "gpfs1"]),
    ],
)
def test_a_variable_that_does_not_apply_is_told_in_the_four_ways(undefined, expected):
    assert arguments("--r %reason --f %fsName", lookup, Behaviour(undefined=undefined)) == expected


@pytest.mark.parametrize("value_with_blanks", ["kept", "split"])
def test_an_empty_value_stays_an_argument(value_with_blanks):
    assert arguments("--e %empty", lookup, Behaviour(value_with_blanks=value_with_blanks)) == ["--e", ""]


def test_what_is_no_variable_stays_as_it_is():
    assert arguments("%nothing 100% % %fsName.", lookup, Behaviour()) == ["%nothing", "100%", "%", "%fsName."]


def test_a_qualifier_reaches_the_look_up():
    assert arguments("%fsName.ip", lookup, Behaviour()) == ["gpfs1/ip"]


def test_inside_a_word_nothing_is_replaced_unless_the_switch_says_so():
    parms = "fs=%fsName,%eventName"

    assert arguments(parms, lookup, Behaviour()) == [parms]
    assert arguments(parms, lookup, Behaviour(inside_words="replaced")) == ["fs=gpfs1,diskFailure"]


def test_only_what_would_be_replaced_counts_as_variable():
    parms = "%eventName x=%fsName %node.shortName"

    assert variables(parms, Behaviour()) == [("eventName", None), ("node", "shortName")]
    assert ("fsName", None) in variables(parms, Behaviour(inside_words="replaced"))


def test_only_blanks_of_ascii_cut():
    behaviour = Behaviour(value_with_blanks="split")

    assert arguments("a\u00a0b\u2028c %v", lambda *_: "x\u00a0y z", behaviour) == ["a\u00a0b\u2028c", "x\u00a0y", "z"]


@given(st.text(), st.sampled_from(["kept", "replaced"]))
def test_no_parameter_string_is_too_strange(parms, inside_words):
    given = arguments(parms, lambda *_: "value", Behaviour(inside_words=inside_words))

    assert given == arguments(" ".join(given), lambda *_: "value", Behaviour(inside_words=inside_words))


@given(st.lists(st.text(min_size=1), max_size=6))
def test_a_value_is_never_looked_at_again(values):
    names = [f"v{chr(ord('a') + place)}" for place in range(len(values))]
    by_name = dict(zip(names, values, strict=True))

    given = arguments(" ".join(f"%{each}" for each in names), lambda name, _: by_name[name], Behaviour())

    assert given == values
