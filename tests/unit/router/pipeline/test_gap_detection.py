"""Gaps, epochs and silence: told of once, and only where they are."""

from datetime import datetime, timedelta
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from router.pipeline.gap_detection import (
    GAPS,
    EpochStarted,
    Finding,
    GapAccepted,
    GapClosed,
    GapOpened,
    NodeBack,
    NodeSilent,
    NodeState,
    accepted,
    beat,
    observe,
    overdue,
    silent,
)
from tests.nodes import NOON

MINUTE = timedelta(minutes=1)


def after(*numbers: int, epoch: str = "A", state: NodeState | None = None, at: datetime = NOON) -> NodeState:
    for number in numbers:
        state, _ = observe(state, epoch, number, at)
    assert state is not None
    return state


def test_a_node_that_was_never_seen_begins_where_it_is_seen_first() -> None:
    state, findings = observe(None, "A", 1000, NOON)

    assert findings == [EpochStarted("A", None)]
    assert overdue(state, NOON + MINUTE, MINUTE) == (state, [])


def test_a_gap_is_told_of_once_and_only_after_a_while() -> None:
    state = after(1, 2, 7)

    early, nothing = overdue(state, NOON + MINUTE / 2, MINUTE)
    told, findings = overdue(early, NOON + MINUTE, MINUTE)

    assert nothing == []
    assert findings == [GapOpened("A", 3, 6)]
    assert told.missing == 4
    assert overdue(told, NOON + 9 * MINUTE, MINUTE)[1] == []


def test_a_gap_that_is_accepted_is_not_missing_and_its_records_may_still_come() -> None:
    state, _ = overdue(after(1, 2, 7), NOON + MINUTE, MINUTE)
    untold = after(9, state=state, at=NOON + MINUTE)

    left, findings = accepted(untold, "alice", "restored")

    assert findings == [GapAccepted("A", 3, 6, 4, "alice", "restored")]
    assert left.missing == 0
    assert observe(left, "A", 4, NOON + MINUTE)[1] == []
    assert overdue(left, NOON + 2 * MINUTE, MINUTE)[1] == [GapOpened("A", 8, 8)]


def test_a_gap_of_which_some_records_have_come_is_accepted_as_it_was_told_of() -> None:
    state, _ = overdue(after(1, 2, 7), NOON + MINUTE, MINUTE)
    state, _ = observe(state, "A", 4, NOON + MINUTE)

    _, findings = accepted(state, "alice", "restored")

    assert findings == [GapAccepted("A", 3, 6, 3, "alice", "restored")]


def test_a_gap_that_closes_in_time_is_never_told_of() -> None:
    state = after(1, 4, 3, 2)

    assert overdue(state, NOON + MINUTE, MINUTE)[1] == []
    assert state.missing == 0


def test_a_gap_that_was_told_of_is_closed_by_the_last_of_it() -> None:
    state, _ = overdue(after(1, 5), NOON + MINUTE, MINUTE)

    state, first = observe(state, "A", 3, NOON)
    state, second = observe(state, "A", 2, NOON)
    state, third = observe(state, "A", 4, NOON)

    assert (first, second, third) == ([], [], [GapClosed("A", 2, 4)])


def test_a_hole_that_is_being_filled_is_not_told_of() -> None:
    state = after(1, 1000)

    for second, number in enumerate(range(2, 200)):
        state, _ = observe(state, "A", number, NOON + timedelta(seconds=second))

    assert overdue(state, NOON + timedelta(seconds=210), MINUTE)[1] == []


def test_a_heartbeat_shows_what_is_missing_at_the_end() -> None:
    state, findings = beat(after(1, 2), "A", 5, NOON)

    assert findings == []
    assert overdue(state, NOON + MINUTE, MINUTE)[1] == [GapOpened("A", 3, 5)]


def test_a_heartbeat_of_an_unknown_node_misses_nothing_and_takes_no_number() -> None:
    state, _ = beat(None, "A", 5, NOON)

    state, findings = observe(state, "A", 6, NOON)

    assert findings == []
    assert overdue(state, NOON + MINUTE, MINUTE)[1] == []


def test_a_new_epoch_is_told_of_with_what_came_before_it() -> None:
    state, findings = observe(after(1, 2, 3), "B", 1, NOON)

    assert findings == [EpochStarted("B", "A")]
    assert observe(state, "B", 2, NOON)[1] == []


def test_the_first_number_of_a_later_epoch_is_one() -> None:
    state = after(4, epoch="B", state=after(1))

    assert overdue(state, NOON + MINUTE, MINUTE)[1] == [GapOpened("B", 1, 3)]


def test_late_records_of_an_old_epoch_fill_its_gaps_and_are_no_new_epoch() -> None:
    state = after(1, epoch="B", state=after(1, 3))

    state, findings = observe(state, "A", 2, NOON)

    assert findings == []
    assert overdue(state, NOON + MINUTE, MINUTE)[1] == []
    assert state.epochs[-1].id == "B"


def test_another_record_under_a_known_number_changes_nothing() -> None:
    assert observe(after(1, 2, 3), "A", 2, NOON) == (after(1, 2, 3), [])


def test_a_large_gap_is_one_range() -> None:
    state = after(1, 2**62)

    assert len(state.epochs[0].gaps) == 1


def test_the_number_of_gaps_is_bounded() -> None:
    state = after(*range(1, 4 * GAPS, 2))

    assert len(state.epochs[0].gaps) == GAPS
    assert state.may_forget


def test_a_gap_of_which_every_second_record_comes_does_not_become_gaps_without_end() -> None:
    state = after(1, 2**62)

    state = after(*range(10, 10 + 4 * GAPS, 2), state=state)

    assert len(state.epochs[0].gaps) == GAPS
    assert state.may_forget
    assert not after(1, 5).may_forget


def test_the_number_of_gaps_is_bounded_for_all_epochs_of_a_node_together() -> None:
    state = after(*range(1, 2 * GAPS, 2), epoch="A")

    state = after(1, 3, 5, epoch="B", state=state)

    assert [len(epoch.gaps) for epoch in state.epochs] == [GAPS - 2, 2]
    assert state.may_forget


def test_a_gap_of_which_a_part_is_forgotten_is_never_said_to_be_closed() -> None:
    state, _ = overdue(after(1, 4 * GAPS), NOON + MINUTE, MINUTE)
    for number in range(3, 4 * GAPS, 2):
        state, _ = observe(state, "A", number, NOON + MINUTE)

    findings: list[Finding] = []
    for number in range(2, 4 * GAPS, 2):
        state, found = observe(state, "A", number, NOON + MINUTE)
        findings += found

    assert state.missing == 0
    assert findings == []


def test_a_node_is_silent_once_and_back_when_it_is_heard() -> None:
    state, _ = beat(None, "A", 1, NOON)

    state, findings = silent(state, NOON + 3 * MINUTE, 3 * MINUTE, since=NOON)
    again = silent(state, NOON + 4 * MINUTE, 3 * MINUTE, since=NOON)[1]
    state, back = observe(state, "A", 2, NOON + 5 * MINUTE)

    assert (findings, again, back) == ([NodeSilent(NOON)], [], [NodeBack(NOON)])
    assert not state.silent


def test_a_node_that_sends_no_heartbeats_is_never_silent() -> None:
    assert silent(after(1), NOON + 60 * MINUTE, 3 * MINUTE, since=NOON)[1] == []


def test_a_node_is_not_silent_while_we_were_deaf() -> None:
    state, _ = beat(None, "A", 1, NOON)

    assert silent(state, NOON + 60 * MINUTE, 3 * MINUTE, since=NOON + 58 * MINUTE)[1] == []


@given(st.permutations(range(1, 12)), st.sets(st.integers(2, 11)))
def test_what_is_told_of_as_missing_is_what_never_came_in_any_order(order: list[int], lost: set[int]) -> None:
    state = after(1)
    for number in order:
        if number not in lost and number != 1:
            state, findings = observe(state, "A", number, NOON)
            assert findings == []

    state, findings = overdue(state, NOON + MINUTE, MINUTE)

    highest = max({1, *order} - lost)
    missing = {
        number for each in findings if isinstance(each, GapOpened) for number in range(each.first, each.last + 1)
    }
    assert missing == {number for number in lost if number < highest}
    for number in sorted(missing):
        state, closing = observe(state, "A", number, NOON)
        findings += closing
    opened = [(each.first, each.last) for each in findings if isinstance(each, GapOpened)]
    closed = [(each.first, each.last) for each in findings if isinstance(each, GapClosed)]
    assert sorted(opened) == sorted(closed)


SIGHTS = st.tuples(st.booleans(), st.sampled_from("ABC"), st.integers(0, 2**63 - 1) | st.integers(0, 8))


@given(st.lists(SIGHTS, max_size=40))
def test_any_history_keeps_gaps_apart_in_order_and_below_the_highest(sights: list[tuple[bool, str, int]]) -> None:
    state: NodeState | None = None
    for is_beat, epoch, number in sights:
        state, findings = (beat if is_beat else observe)(state, epoch, number, NOON)
        assert all(isinstance(each, get_args(Finding)) for each in findings)

    for known in state.epochs if state else ():
        edges = [edge for gap in known.gaps for edge in (gap.first, gap.last)]
        assert edges == sorted(edges)
        assert all(edge <= known.highest for edge in edges)
