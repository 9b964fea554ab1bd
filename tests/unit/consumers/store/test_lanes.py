"""Lanes: who goes first is what the whole lane says, and to find that out costs the same for one as for thousands."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event as hooks
from sqlalchemy import func, select, text

from consumers.deliveries import Done, Key, Outcome, Retry, Waiting
from consumers.delivery.gates.order import OrderGate
from consumers.delivery.states import Admitted
from consumers.processes import cleanup
from consumers.store import attempts
from consumers.store.attempts import Attempt
from consumers.store.database import Store
from consumers.store.limits import lanes
from consumers.store.queries import again
from consumers.store.schema import deliveries
from router.model.ids import new_id
from tests.consuming import make_delivery, make_event
from tests.engines import START

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
NOW = START + 3 * DAY
QUICK = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class Undo(Exception):
    """Ends a transaction that a test does not want to keep."""


def wait(delay=MINUTE, **result):
    return Waiting(delay, "behind", result)


def put(transaction, outcome=None, *, at=NOW - MINUTE, number=1, event=None, lane="L"):
    """Write an attempt that ended *at* this moment; return it."""
    delivery = make_delivery(event or make_event(new_id()), "tell", attempt=number)
    attempt = Attempt(delivery, "x:1:2" if outcome is None else "", "d", at, at if outcome else None, outcome, lane)
    attempts.record(transaction, [attempt])
    return attempt


def ask(transaction, delivery, now=NOW, lane="L"):
    """Claim *delivery* as a consumer does; return what the gate makes of it, None if it may go on."""
    attempts.claim(transaction, [(Attempt(delivery, "me", "d", now, lane=lane), "")])
    return OrderGate("tell").ask(transaction, [Admitted(delivery, "", lane=lane)], now).get(delivery.key)


def in_lane(store):
    with store.reading() as transaction:
        return transaction.scalar(select(func.count()).where(deliveries.c.lane == "L"))


# the model: the whole lane, as a list


@dataclass(frozen=True)
class Known:
    """The latest attempt at a delivery, of which the model decides in memory."""

    attempt: Attempt

    @property
    def again(self):
        one = self.attempt
        return again("retry" if isinstance(one.outcome, Retry) else "wait", one.ended, one.outcome.delay)

    @property
    def is_gone(self):
        return (self.attempt.started if self.attempt.outcome is None else self.again) + DAY <= NOW

    @property
    def has_begun(self):
        one = self.attempt
        return one.delivery.attempt > 1 or not isinstance(one.outcome, Waiting) or bool(one.outcome.result)

    def comes_back(self):
        """Return the delivery that the broker brings next, and the moment that is its place then."""
        one = self.attempt
        if isinstance(one.outcome, Retry):
            return replace(one.delivery, attempt=one.delivery.attempt + 1), NOW
        return one.delivery, one.started


def precedes(one: Known, key: Key, number: int, started) -> bool:
    if one.has_begun != (number > 1):
        return one.has_begun
    return (one.attempt.started, one.attempt.delivery.event.id) < (started, key.event_id)


def refused(lane: list[Known], key: Key, number: int, started) -> bool:
    others = [one for one in lane if one.attempt.delivery.key != key]
    return any(precedes(one, key, number, started) and not one.is_gone for one in others)


ended: st.SearchStrategy[Outcome] = st.one_of(
    st.just(Done()),
    st.sampled_from([SECOND, MINUTE, timedelta(hours=6)]).map(lambda each: Retry(each, "failed")),
    st.sampled_from([SECOND, MINUTE, 2 * DAY]).map(wait),
    st.just(wait(interrupted=True)),
)
last: st.SearchStrategy[Outcome | None] = ended | st.just(wait()) | st.none()
ages = st.sampled_from([SECOND, MINUTE, 2 * MINUTE, 20 * timedelta(hours=1), DAY, DAY + MINUTE, 2 * DAY])


@pytest.mark.thorough
@QUICK
@given(found=st.lists(st.tuples(st.integers(1, 3), ages, last), max_size=8))
def test_the_same_delivery_goes_first_as_if_the_whole_lane_were_read_and_never_two(database, found):
    with Store(database(new_id())) as store:
        lane: list[Known] = []
        with store.writing() as transaction:
            for number, age, outcome in found:
                event = make_event(new_id())
                for before in range(1, number):
                    put(transaction, Retry(SECOND, "failed"), number=before, at=NOW - age - SECOND, event=event)
                attempt = put(transaction, outcome, number=number, at=NOW - age, event=event)
                if not isinstance(outcome, Done):
                    lane.append(Known(attempt))
        going = []
        for one in lane:
            if one.attempt.outcome is None or one.attempt.outcome.result:
                continue
            delivery, started = one.comes_back()
            with suppress(Undo), store.writing() as transaction:
                answer = ask(transaction, delivery)
                assert bool(answer) is refused(lane, delivery.key, delivery.attempt, started)
                assert answer is None or answer.delay >= SECOND / 10
                going += [one] if answer is None and not one.is_gone else []
                raise Undo
        assert len(going) <= 1


# what holds up nobody


@pytest.mark.thorough
def test_rows_that_hold_up_nobody_leave_their_lane_a_bounded_number_at_a_time(store):
    with store.writing() as transaction:
        for number in range(3000):
            put(transaction, wait(), at=NOW - 2 * DAY + number * SECOND)
        late = put(transaction, wait()).delivery

    with store.writing() as transaction:
        assert ask(transaction, late).delay >= SECOND
        attempts.record(transaction, [Attempt(late, "me", "d", NOW, NOW, wait(SECOND), "L")])
    assert in_lane(store) == 3001 - sum(lanes._LOOKS)
    with store.writing() as transaction:
        assert ask(transaction, late) is None
    assert in_lane(store) == 1


def test_what_left_its_lane_and_comes_back_after_all_keeps_its_place(store):
    with store.writing() as transaction:
        gone = put(transaction, wait(), at=NOW - 2 * DAY)
        second = put(transaction, wait(), at=NOW - 2 * MINUTE).delivery
        third = put(transaction, wait()).delivery
        assert ask(transaction, second) is None
        attempts.record(transaction, [Attempt(second, "me", "d", NOW, NOW, Done(), "L")])
        assert ask(transaction, gone.delivery) is None
        attempts.record(transaction, [Attempt(gone.delivery, "me", "d", NOW, NOW, wait(), "L")])
        answer = ask(transaction, third)

    assert gone.delivery.event.id in answer.reason


def test_one_that_waited_and_is_attempted_for_days_holds_up_others_while_its_consumer_lives(store):
    with store.writing() as transaction:
        long = put(transaction, wait(), at=NOW - 2 * DAY).delivery
        attempts.claim(transaction, [(Attempt(long, cleanup.owner(), "d", NOW - 2 * DAY, lane="L"), "")])
        answer = ask(transaction, put(transaction, wait()).delivery)

    assert long.event.id in answer.reason
    assert in_lane(store) == 2


def test_earlier_attempts_of_a_delivery_leave_its_lane(store):
    event = make_event()
    with store.writing() as transaction:
        for number in range(1, 100):
            put(transaction, Retry(SECOND, "failed"), number=number, event=event)
        assert ask(transaction, make_delivery(event, "tell", attempt=100)) is None

    assert in_lane(store) == 1


# what it costs


@pytest.fixture
def long_lane(store):
    """A store where 600 deliveries wait in a lane; its last one and the statements that are executed from now on."""
    with store.writing() as transaction:
        for number in range(600):
            last = put(transaction, wait(), at=NOW - 600 * SECOND + number * SECOND)
    seen = []
    hooks.listen(store._engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2:4]))
    return last.delivery, seen


def test_who_has_more_before_him_asks_later_and_reads_no_more(store, long_lane):
    delivery, seen = long_lane
    with store.writing() as transaction:
        answer = ask(transaction, delivery)

    assert timedelta(minutes=1) <= answer.delay - 599 * SECOND / 10 + timedelta(minutes=1) <= timedelta(minutes=2)
    assert sum(statement.startswith("SELECT") for statement, _ in seen) <= 4


def test_a_batch_of_deliveries_that_are_alone_in_their_lanes_costs_one_query(store, long_lane):
    _, seen = long_lane
    batch = [make_delivery(make_event(new_id()), "tell") for _ in range(50)]
    with store.writing() as transaction:
        rows = [(Attempt(each, "me", "d", NOW, lane=each.event.id), "") for each in batch]
        attempts.claim(transaction, rows)
        seen.clear()
        due = [Admitted(each, "", lane=each.event.id) for each in batch]
        assert OrderGate("tell").ask(transaction, due, NOW) == {}

    assert [statement.partition(" ")[0] for statement, _ in seen] == ["SELECT"]


def test_each_question_about_a_lane_reads_an_index_in_its_order(store, long_lane):
    delivery, seen = long_lane
    with store.writing() as transaction:
        ask(transaction, delivery)
    others, *asked = [each for each in seen if each[0].startswith("SELECT") and ".lane" in each[0]]
    plans = []
    with store.writing() as transaction:
        if transaction.dialect.name == "postgresql":
            # On a small table PostgreSQL would read and sort all of it; this is what it does on a large one.
            for each in ("seqscan", "bitmapscan", "sort"):
                transaction.execute(text(f"SET LOCAL enable_{each} = off"))
        for statement, parameters in (*asked, others):
            how = "EXPLAIN QUERY PLAN" if transaction.dialect.name == "sqlite" else "EXPLAIN"
            rows = transaction.exec_driver_sql(f"{how} {statement}", parameters)
            plans.append("\n".join(str(row) for row in rows))
    places = plans.pop()

    assert "deliveries_begun" in places
    assert "deliveries_waiting" in places
    assert len(plans) == 3
    assert ["deliveries_begun" in each for each in plans] == [True, False, False]
    assert ["deliveries_waiting" in each for each in plans] == [False, True, True]
    assert not any("TEMP B-TREE" in each or "Sort" in each for each in plans)
    assert "COVERING" in plans[2] or "Index Only Scan" in plans[2]
