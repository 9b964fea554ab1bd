"""A flood of garbage is told of, and does not become a flood."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from router.pipeline.reports.rejection_reports import Rejected, Report, Tallies, count, due
from router.pipeline.reports.report_limits import INTERVAL
from tests.nodes import NOON


def bad(user: str | None = "nsd02", reason: str = "no JSON") -> Rejected:
    return Rejected("01", "a.b.c.d", user, reason)


def test_a_users_first_is_told_of_at_once_and_the_others_later_together() -> None:
    tallies, first = count({}, [bad(reason="1"), bad(reason="2")], NOON)
    tallies, second = count(tallies, [bad(reason="3")], NOON + INTERVAL / 2)

    assert first == [Report(bad(reason="1"), 1)]
    assert second == []
    assert due(tallies, NOON + INTERVAL / 2)[1] == []
    assert due(tallies, NOON + INTERVAL)[1] == [Report(bad(reason="3"), 2)]


def test_users_are_counted_apart() -> None:
    assert len(count({}, [bad("a"), bad("b"), bad(None)], NOON)[1]) == 3


def test_after_a_quiet_interval_the_next_one_is_told_of_at_once() -> None:
    tallies, _ = count({}, [bad()], NOON)

    tallies, held = due(tallies, NOON + INTERVAL)
    _, reports = count(tallies, [bad()], NOON + INTERVAL)

    assert held == []
    assert reports == [Report(bad(), 1)]


STEPS = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 30)), max_size=60)


@given(STEPS)
def test_all_are_told_of_at_two_a_minute_and_user_at_most(steps: list[tuple[str, int]]) -> None:
    tallies: Tallies = {}
    moment, reports = NOON, []
    for user, seconds in steps:
        moment += timedelta(seconds=seconds)
        tallies, told = due(tallies, moment)
        reports += [(moment, each) for each in told]
        tallies, told = count(tallies, [bad(user)], moment)
        reports += [(moment, each) for each in told]
    for _ in range(2):
        moment += INTERVAL
        tallies, told = due(tallies, moment)
        reports += [(moment, each) for each in told]

    assert sum(each.count for _, each in reports) == len(steps)
    for user in ("a", "b"):
        moments = [at for at, each in reports if each.example.user == user]
        assert all(later - earlier >= INTERVAL for earlier, later in zip(moments, moments[2:], strict=False))
    assert tallies == {}
