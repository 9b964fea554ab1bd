"""Whatever one node claims, what honest nodes report becomes an event: the whole router, over a broker in memory."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from router.broker.topology import HISTORY, REJECTED
from router.model.events import Event
from router.model.records import Provenance, parse, written
from router.pipeline.deduplication import MOST, TOGETHER
from router.pipeline.state import State
from router.pipeline.state_schema import observers, occurrences
from tests.nodes import Node, Sent
from tests.unit.router.pipeline.test_router import SECOND, Bench, leave


@pytest.fixture
def bench(database: Callable[[str], str]) -> Iterator[Bench]:
    """A router that has run from the beginning."""
    bench = Bench(database("router"))
    yield bench
    bench.state.close()


WINDOW = timedelta(seconds=120)
FOREVER = "9999-12-31T23:59:59.999999999Z"

CLAIMS = st.one_of(
    st.integers(-(10**9), 10**9),
    st.integers(-130, 130),
    st.sampled_from(["0001-01-01T00:00:00.000000000Z", "1970-01-01T00:00:00.000000000Z", FOREVER]),
)
"""The time of capture that a lie claims: seconds after it is sent, or the text itself."""

LIES = st.lists(
    st.tuples(st.integers(0, 40), CLAIMS, st.integers(-1, 2**63), st.booleans()),
    max_size=30,
)
"""Seconds since the lie before, the claim, the sequence number, and whether it says what the one before said."""


def lie(bench: Bench, evil: Node, about: str, claim: int | str, sequence: int) -> Sent:
    now = bench.now()
    moment = claim if isinstance(claim, str) else written(now + timedelta(seconds=claim))
    sent = leave(evil, now, about).saying(captured_at=moment)
    return sent.but(headers=sent.headers | {"sequence": sequence})


@pytest.mark.thorough
@pytest.mark.parametrize("at_once", [True, False], ids=["in one batch", "one after another"])
def test_honest_reports_become_an_event_after_anything_that_one_node_claims(tmp_path: Path, at_once: bool) -> None:
    bench = Bench(f"sqlite:///{tmp_path / 'router.db'}")
    numbers = count(1)

    def published() -> list[Event]:
        """Return the global events since it was last asked."""
        found = [Event.from_json(each.body) for each in bench.memory.model.queue(HISTORY).ready]
        bench.memory.model.queue(HISTORY).ready.clear()
        return [each for each in found if each.name == "nodeLeave"]

    @settings(max_examples=50, suppress_health_check=list(HealthCheck))
    @given(LIES, st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 40))
    def check(lies: list[tuple[int, int | str, int, bool]], late: list[int], pause: int) -> None:
        number = next(numbers)
        about, evil = f"gone{number}", Node(f"evil{number}")
        sent: Sent | None = None
        last = first = None
        for gap, claim, sequence, is_again in lies:
            bench.memory.advance(timedelta(seconds=gap))
            sent = sent if sent and is_again else lie(bench, evil, about, claim, sequence)
            bench.send(sent)
            last = bench.now() if published() else last
            claimed = min(parse(sent.body, Provenance(sent.key, sent.user, sent.headers)).moment, bench.now())
            first = first or (bench.now(), claimed)
        bench.memory.advance(timedelta(seconds=pause))
        moments = [bench.now() + each * SECOND for each in late]
        reports = [leave(Node(f"good{number}x{each}"), moment, about) for each, moment in enumerate(moments)]
        bench.memory.advance(timedelta(seconds=max(late)))
        for some in [reports] if at_once else [[each] for each in reports]:
            bench.send(*some)

        new = published()
        # What was published just before cannot be told apart from an honest node's report, unless the same node has
        # reported it before.
        just_before = last is not None and min(moments) - last <= TOGETHER
        before = first is not None and min(moments) - first[0] > TOGETHER and max(moments) - first[1] <= 2 * WINDOW
        assert len(new) == 1 or (not new and just_before and not before)
        assert bench.owed() == 0
        assert not [each for each in bench.stored(REJECTED) if ".good" in each.key]

    check()
    bench.state.close()


@pytest.mark.parametrize("ahead", [-90, -30, 0, 29, 299], ids=lambda each: f"{each} s ahead")
def test_one_node_that_reports_the_same_every_few_seconds_silences_nobody(bench: Bench, ahead: int) -> None:
    evil = Node("evil")
    for _ in range(7):
        bench.send(lie(bench, evil, "n9", ahead, 1))
        bench.memory.advance(10 * SECOND)

    bench.send(*(leave(Node(f"n{number}"), bench.now(), "n9") for number in range(4)))

    told = bench.told("nodeLeave")
    assert [each.node == "evil" for each in told] == [True] * 7 + [False]
    assert all(each.moment <= bench.now() for each in told)


def test_a_flood_of_one_occurrence_is_remembered_in_a_few_rows_and_others_still_report_one(
    bench: Bench, database: Callable[[str], str]
) -> None:
    evil, good = Node("evil"), [Node(f"n{number}") for number in range(5)]
    for _ in range(10):
        bench.send(*(leave(evil, bench.now()) for _ in range(30)))
        bench.memory.advance(SECOND)
    assert len(bench.told("nodeLeave")) == 300, "each is an event"
    bench.memory.advance(TOGETHER)

    bench.send(*(leave(node, bench.now()) for node in good))

    assert len(bench.told("nodeLeave")) == 301
    with State(database("router")) as state, state.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(occurrences)) == MOST + 1
        assert connection.scalar(select(func.count()).select_from(observers)) == MOST + len(good)
