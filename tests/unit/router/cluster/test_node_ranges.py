"""Node sets: folded and unfolded they are the same nodes, and the work grows with their number, not faster."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cluster.fleet.errors import InvalidNodeSet
from router.cluster.fleet.node_ranges import AXES, in_order, size
from router.cluster.fleet.node_sets import MOST_UNFOLDED, fold, unfold

numbers = st.one_of(
    st.integers(0, 12).map(str), st.integers(0, 120).map("{:03}".format), st.from_regex(r"[0-9]{1,12}", fullmatch=True)
)
parts = st.lists(st.tuples(st.sampled_from(["", "n", "r", "a-b"]), numbers), max_size=AXES + 2)
names = st.builds(
    lambda each, end: "x" + "".join(map("".join, each)) + end,
    parts,
    st.sampled_from(["", "-ib"]),
)


@given(st.lists(names, max_size=40))
def test_what_was_folded_unfolds_to_the_same_names_in_order(given_names: list[str]) -> None:
    text = fold(given_names)

    assert list(unfold(text)) == sorted({*given_names}, key=in_order)
    assert size(text) == len({*given_names})


def test_nodes_are_folded_by_each_of_their_numbers() -> None:
    racks = [f"r{rack}n{node:02}-ib0" for rack in range(1, 9) for node in range(1, 33)]

    assert fold(racks) == "r[1-8]n[01-32]-ib0"


def test_names_with_two_arbitrary_numbers_take_about_as_long_as_plain_ones() -> None:
    choice = random.Random(7)
    nodes = [f"a{choice.randrange(9999)}b{choice.randrange(9999)}" for _ in range(10_000)]

    begun = time.process_time()
    text = fold(nodes)
    found = unfold(text)

    # It was more than two minutes for half as many.
    assert time.process_time() - begun < 20
    assert {*found} == {*nodes}


def test_a_text_that_stands_for_too_many_names_is_refused_before_they_are_made() -> None:
    with pytest.raises(InvalidNodeSet, match=rf"'n\[0-99999999\]' names 100,000,000 nodes.* {MOST_UNFOLDED:,}"):
        unfold("n[0-99999999]")
