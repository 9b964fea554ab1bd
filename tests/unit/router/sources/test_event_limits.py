"""An event has a bounded size, and says what was cut to reach it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model.bounds import ARGUMENTS, EVENT, ITEMS, MESSAGE, SUBJECT, VARIABLES
from router.model.catalogue import EVENT_NAME, Catalogues, load
from router.model.events import Event
from router.model.records import Provenance, parse
from router.pipeline.mapping import event_of, event_type_of
from router.sources.arguments import Decoded
from router.sources.decoders import decode
from router.sources.event_limits import limited
from tests.nodes import Node

CATALOGUES = Catalogues.shipped()
UNITS = ["a", "\0", '"', "\\", "\N{SNOWMAN}", "\udce9", "\ud800", "a,", ",", " "]


def event(*arguments: str, name: str = "nodeLeave") -> Event:
    sent = Node("n1").record(name, *arguments)
    record = parse(sent.body, Provenance(sent.key, sent.user, sent.headers))
    return event_of(record, event_type_of(record, CATALOGUES, trusted=False), CATALOGUES.of("gpfs"))


def test_what_is_within_the_bounds_is_left_as_it_is() -> None:
    decoded = Decoded({"fsName": "gpfs1", "upNodes": ["n1"] * ITEMS}, ("x",))

    assert limited(decoded) is decoded


def test_variables_past_the_bound_are_left_out_and_the_event_says_so() -> None:
    words = [word for number in range(VARIABLES + 5) for word in (f"--v{number}", "1")]

    found = event(*words)

    assert (len(found.data), found.malformed) == (VARIABLES, "arguments")


def test_items_past_the_bound_are_left_out_and_the_event_names_the_list() -> None:
    found = event("--upNodes", ",".join(["n"] * (ITEMS + 1)), "--eventNode", "n9")

    assert found.data["upNodes"] == ["n"] * ITEMS
    assert (found.data["eventNode"], found.malformed) == (["n9"], "upNodes")


def test_of_an_event_that_is_too_large_the_largest_value_is_cut() -> None:
    found = limited(Decoded({"fsName": "gpfs1", "a": "x" * EVENT, "b": "y" * 1000, "n": 1}))

    assert found.malformed == ("a",)
    assert {name: found.data[name] for name in ("fsName", "b", "n")} == {"fsName": "gpfs1", "b": "y" * 1000, "n": 1}
    assert len(json.dumps(found.data)) > EVENT * 0.9


def test_a_long_subject_is_cut() -> None:
    found = event("--eventNode", ",".join(["n" * 50] * 1000))

    assert found.subject is not None
    assert (len(found.subject), found.malformed) == (SUBJECT, "subject")
    assert len(found.data["eventNode"]) == 1000  # type: ignore[arg-type]


def test_arguments_past_the_bound_are_cut_as_capture_cuts_them() -> None:
    found = event("--fsName", "gpfs1", "--reason", "x" * (ARGUMENTS // 2), "y" * (ARGUMENTS // 2), "--a", "1")

    assert found.data == {"eventName": "nodeLeave", "fsName": "gpfs1", "reason": "x" * (ARGUMENTS // 2)}
    assert found.malformed == "arguments"


WORD = st.builds(lambda unit, times: unit * times, st.sampled_from(UNITS), st.sampled_from([1, 10, 20_001, 300_000]))
# Each word takes microseconds to decode: few examples have more than all lists may hold.
MANY = st.sampled_from([*[0] * 6, 1001, 1001, 1001, ITEMS + 1])
FLAGS = st.sampled_from(["--upNodes", "--eventNode", "--reason", "--fsName", "--x.y", "--UPNODES", "--nothing", "--"])


@pytest.mark.thorough
@pytest.mark.long
@pytest.mark.parametrize("source", ["gpfs", "qube", "clusterbus", "slurm"])
@given(words=st.lists(FLAGS | WORD, max_size=8), many=MANY)
def test_no_arguments_make_a_larger_event(source: str, words: list[str], many: int) -> None:
    words = [*words, *(f"--v{number}" for number in range(many))]
    node = Node("n1")
    sent = node.record("x" * 100, *words, source=source)
    if len(sent.body) > MESSAGE:
        return
    record = parse(sent.body, Provenance(sent.key, sent.user, sent.headers))

    found = event_of(record, event_type_of(record, CATALOGUES, trusted=True), CATALOGUES.of(source))

    octets = found.to_json()
    assert len(octets) <= EVENT
    assert Event.from_json(octets) == found
    assert len(found.data) <= VARIABLES
    named = {EVENT_NAME: record.event} if source == "gpfs" else {}
    if found.data != named | decode(record.arguments, CATALOGUES.of(source)).data:
        assert found.malformed


def test_the_catalogues_keep_within_the_bounds() -> None:
    for catalogue in CATALOGUES.values():
        assert len(catalogue.variables) <= VARIABLES
    assert load("gpfs").variables
