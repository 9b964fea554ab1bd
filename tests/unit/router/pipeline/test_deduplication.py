"""Copies of one occurrence become one event, whatever the order in which they arrive."""

from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from router.model.catalogue import load
from router.pipeline.deduplication import TOGETHER, Occurrence, belongs_to, key_of
from tests.nodes import NOON

WINDOW = timedelta(seconds=120)
GPFS = load("gpfs")
LATER = NOON + timedelta(days=1)
"""When the records are received whose relays were offline."""

LEAVE = GPFS.event("nodeLeave")

Report = tuple[str, int]
"""A node and the second in which it captured."""


def told(reports: list[Report]) -> list[Occurrence]:
    """Return the occurrences after *reports* have arrived, in this order."""
    known: list[Occurrence] = []
    for number, (node, second) in enumerate(reports):
        captured = NOON + timedelta(seconds=second)
        found = belongs_to(captured, node, known, WINDOW)
        if found is None:
            known.append(Occurrence(f"{number:04d}", "k", captured, LATER, frozenset({node})))
        else:
            assert node not in found.observers
            known[known.index(found)] = found.observed_by(node)
    return known


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[list[Report], int]:
    """Reports of some nodes on some occurrences: each node's own in order, the nodes' mixed in any way."""
    seconds = sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=5)))
    seconds = [second * 20 for second in seconds]
    nodes = [f"n{number}" for number in range(draw(st.integers(1, 6)))]
    late = {(node, second): draw(st.integers(0, 9)) for node in nodes for second in seconds}
    queues = {node: [(node, second + late[node, second]) for second in seconds] for node in nodes}
    reports = []
    while queues:
        node = draw(st.sampled_from(sorted(queues)))
        reports.append(queues[node].pop(0))
        queues = {name: queue for name, queue in queues.items() if queue}
    return reports, len(seconds)


@given(interleaved())
def test_k_occurrences_told_by_n_nodes_are_k_events(case: tuple[list[Report], int]) -> None:
    reports, occurrences = case

    known = told(reports)

    assert len(known) == occurrences
    assert all(len(each.observers) == len({node for node, _ in reports}) for each in known)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 119)), max_size=30))
def test_within_one_window_any_order_gives_as_many_events_as_the_busiest_node_told(reports: list[Report]) -> None:
    nodes = [node for node, _ in reports]

    assert len(told(reports)) == max((nodes.count(node) for node in nodes), default=0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2000)), max_size=20))
def test_every_report_is_told_once_and_no_node_observes_one_twice(reports: list[Report]) -> None:
    known = told(reports)

    assert sum(len(each.observers) for each in known) == len(reports)


@given(st.permutations([(f"n{number}", burst * 1000 + number) for burst in range(3) for number in range(4)]))
def test_bursts_further_apart_than_the_window_never_mix_in_any_order(reports: list[Report]) -> None:
    assert len(told(reports)) == 3


def test_the_window_reaches_both_ways_and_no_further() -> None:
    first = [Occurrence("e", "k", NOON, LATER, frozenset({"a"}))]

    assert belongs_to(NOON + WINDOW, "b", first, WINDOW) == first[0]
    assert belongs_to(NOON - WINDOW, "b", first, WINDOW) == first[0]
    assert belongs_to(NOON + WINDOW + timedelta(microseconds=1), "b", first, WINDOW) is None


def test_a_node_that_tells_twice_tells_of_two() -> None:
    assert len(told([("a", 0), ("b", 1), ("a", 30), ("b", 31)])) == 2


def test_the_key_ignores_who_reports_and_in_which_order_names_are_listed() -> None:
    one = key_of("prod", LEAVE, {"eventNode": ["n3", "n4"], "myNode": "n1", "upNodes": ["n1"]}, GPFS)
    other = key_of("prod", LEAVE, {"upNodes": None, "myNode": "n2", "eventNode": ["n4", "n3"]}, GPFS)

    assert one == other


def test_the_key_differs_by_cluster_event_and_values() -> None:
    data = {"eventNode": ["n3"]}
    keys = {
        key_of("prod", LEAVE, data, GPFS),
        key_of("test", LEAVE, data, GPFS),
        key_of("prod", GPFS.event("nodeJoin"), data, GPFS),
        key_of("prod", LEAVE, {"eventNode": ["n4"]}, GPFS),
        key_of("prod", LEAVE, {"eventNode": "n3"}, GPFS),
        key_of("prod", LEAVE, {"eventNode": None}, GPFS),
    }

    assert len(keys) == 6


def test_another_new_cluster_manager_is_another_occurrence() -> None:
    manager = GPFS.event("clusterManagerTakeOver")

    one = key_of("prod", manager, {"clusterManager": "n1"}, GPFS)

    assert one != key_of("prod", manager, {"clusterManager": "n2"}, GPFS)
    assert one == key_of("prod", replace(manager), {"clusterManager": "n1", "myNode": "n7"}, GPFS)


@dataclass(frozen=True)
class Arrived:
    """A record that *node* sent: what it claims as time of capture, and when it was received, in seconds."""

    node: str
    claimed: int
    received: int


def routed(reports: list[Arrived]) -> list[Occurrence]:
    """Return the occurrences, each of which is an event, after the router has received *reports*, in this order."""
    known: list[Occurrence] = []
    for number, each in enumerate(reports):
        received = NOON + timedelta(seconds=each.received)
        captured = min(NOON + timedelta(seconds=each.claimed), received)
        found = belongs_to(captured, each.node, known, WINDOW)
        if found is None:
            known.append(Occurrence(f"{number:04d}", "k", captured, received, frozenset({each.node})))
        else:
            known[known.index(found)] = found.observed_by(each.node)
    return known


LIES = st.lists(st.tuples(st.integers(0, 600), st.integers(-1000, 10**6)), max_size=40)
"""When one node reports, and how much later than that it claims to have captured."""


@given(LIES, st.integers(0, 900), st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(0, 40))
def test_no_records_of_one_node_silence_what_honest_nodes_report(
    lies: list[tuple[int, int]], happened: int, late: list[int], offline: int
) -> None:
    planted = [Arrived("evil", at + ahead, at) for at, ahead in sorted(lies) if at <= happened]
    honest = [Arrived(f"n{number}", happened + each, happened + each + offline) for number, each in enumerate(late)]
    honest.sort(key=lambda each: each.received)

    events = routed(planted + honest)

    # Either an event is published once an honest node has reported, or one was just before: what honest nodes cannot
    # be told apart from.
    just_before = NOON + timedelta(seconds=min(each.claimed for each in honest)) - TOGETHER
    assert [each for each in events if each.received >= just_before]


def test_what_one_node_alone_reported_earlier_is_an_event_again_when_others_report_it() -> None:
    events = routed([Arrived("evil", 0, 0), *(Arrived(f"n{number}", 60 + number, 60 + number) for number in range(6))])

    assert [len(each.observers) for each in events] == [1, 6]


REPETITIONS = st.lists(st.tuples(st.integers(0, 90), st.integers(-1000, 10**6)), max_size=12)
"""When a node reports the same again, and how much later than that it claims to have captured."""


@given(st.integers(-60, 400), REPETITIONS, st.integers(31, 90), st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_what_one_node_repeats_and_nobody_confirms_silences_nobody(
    ahead: int, again: list[tuple[int, int]], happened: int, late: list[int]
) -> None:
    repeated = [Arrived("evil", at + later, at) for at, later in sorted(again) if at <= happened]
    planted = [Arrived("evil", ahead, 0), *repeated]
    honest = [Arrived(f"n{number}", happened + each, happened + each) for number, each in enumerate(sorted(late))]

    events = routed(planted + honest)

    assert len(events) == len(planted) + 1
    assert events[-1].observers == {each.node for each in honest}


def test_what_was_confirmed_may_be_reported_first_by_the_same_node_again() -> None:
    reports = [Arrived(node, at, at) for at in (0, 50, 100) for node in ("n1", "n2", "n3")]
    late = [Arrived(node, at, 1000) for node in ("n1", "n2", "n3") for at in (0, 50, 100)]

    assert [len(each.observers) for each in routed(reports)] == [3, 3, 3]
    assert [len(each.observers) for each in routed(late)] == [3, 3, 3]


def test_what_two_nodes_reported_is_not_an_event_again_within_the_window() -> None:
    events = routed([Arrived("n1", 0, 0), Arrived("n2", 1, 1), Arrived("n3", 100, 100)])

    assert [len(each.observers) for each in events] == [3]


def test_a_claim_of_the_future_is_an_occurrence_of_when_it_was_received() -> None:
    planted = [Arrived("evil", 200 + number, number) for number in range(16)]
    honest = [Arrived(f"n{number}", 210, 210) for number in range(6)]

    assert len(routed(planted + honest)) == 17


def test_a_clock_that_is_ahead_makes_no_second_event() -> None:
    assert len(routed([Arrived("n1", 0, 0), Arrived("ahead", 100, 1), Arrived("n3", 2, 2)])) == 1
