"""A node that invents spools or gaps is told of, and does not become a flood of events."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from router.model.bounds import FINDINGS
from router.pipeline.gap_detection import EpochStarted, GapOpened
from router.pipeline.reports.finding_reports import FindingTallies, Report, count, due
from router.pipeline.reports.report_limits import INTERVAL
from tests.nodes import NOON

ONE, OTHER = ("prod", "n1"), ("prod", "n2")


def test_the_first_few_are_published_and_the_others_counted_for_a_minute() -> None:
    epochs = [EpochStarted(f"e{number}", None) for number in range(FINDINGS + 3)]

    tallies, first = count({}, [(ONE, each) for each in epochs], NOON)

    assert first == [(ONE, Report(each)) for each in epochs[:FINDINGS]]
    assert due(tallies, NOON + INTERVAL / 2)[1] == []
    assert due(tallies, NOON + INTERVAL)[1] == [(ONE, Report(epochs[-1], 3))]


def test_nodes_and_kinds_are_counted_apart() -> None:
    found = [(ONE, EpochStarted("e", None))] * FINDINGS
    tallies, _ = count({}, found, NOON)

    _, reports = count(tallies, [(OTHER, EpochStarted("e", None)), (ONE, GapOpened("e", 1, 2))], NOON)

    assert len(reports) == 2


@given(st.lists(st.tuples(st.sampled_from([ONE, OTHER]), st.integers(0, 30)), max_size=80))
def test_all_are_told_of_at_a_few_and_one_a_minute_at_most(steps: list[tuple[tuple[str, str], int]]) -> None:
    tallies: FindingTallies = {}
    moment, told = NOON, []
    for place, seconds in steps:
        moment += timedelta(seconds=seconds)
        tallies, held = due(tallies, moment)
        tallies, reports = count(tallies, [(place, EpochStarted("e", None))], moment)
        told += [(moment, each) for each in held + reports]
    for _ in range(2):
        moment += INTERVAL
        tallies, held = due(tallies, moment)
        told += [(moment, each) for each in held]

    assert sum(report.count for _, (_, report) in told) == len(steps)
    for place in (ONE, OTHER):
        moments = [at for at, (where, _) in told if where == place]
        # The end of one interval and the beginning of the next may be told of one after the other.
        for earlier, later in zip(moments, moments[2 * FINDINGS + 1 :], strict=False):
            assert later - earlier >= INTERVAL
    assert tallies == {}
