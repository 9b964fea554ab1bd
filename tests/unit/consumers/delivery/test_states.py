"""The states of a delivery: each knows what is true by then, and nothing that is not."""

from contextlib import contextmanager
from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta
from types import NoneType
from typing import get_args, get_type_hints

import pytest

from consumers.deliveries import FOLDED, DeadLetter, Delivery, Done, Report, Retry, Skipped
from consumers.delivery.states import Admitted, Arrived, Ended, Recorded, Running
from consumers.delivery.thread_pool import Ticket
from consumers.errors import StoreError
from consumers.folds import Fold
from consumers.policies.circuit_breaker import Breaker
from consumers.store import breakers
from tests.consuming import make_event
from tests.engines import START, subscription

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
STATES = (Arrived, Admitted, Running, Ended, Recorded)


@pytest.fixture
def arrived():
    """A delivery that has just arrived."""
    return Arrived(Delivery(make_event(), "s", "t", b""))


@pytest.fixture
def admitted(arrived):
    """The same, which an earlier consumer had begun."""
    return arrived.admit("node:1:2", {"job": "j1"}, is_begun=True, lane="gpfs1")


@pytest.fixture
def running(admitted):
    """The same, handed to a thread."""
    return replace(admitted, targets=("a", "b")).run(Ticket(lambda: None), START)


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("delivery", STATES),
        ("owner", {Admitted}),
        ("is_begun", {Admitted}),
        ("lane", {Admitted}),
        ("targets", {Admitted, Ended}),
        ("ticket", {Running}),
        ("called", {Running, Ended}),
        ("outcome", {Ended, Recorded}),
        ("started", {Ended}),
        ("ended", {Ended}),
        ("is_old", {Recorded}),
        ("is_repeated", {Recorded}),
    ],
)
def test_a_state_cannot_be_asked_for_what_is_not_true_yet(name, states):
    assert {state for state in STATES if hasattr(state, name)} == set(states)


def test_no_field_of_a_state_is_none_until_something_happens():
    optional = {
        (state.__name__, name)
        for state in STATES
        for name, kind in get_type_hints(state).items()
        if NoneType in get_args(kind)
    }

    # None is an answer there, and stays it: nobody has looked.
    assert optional == {("Admitted", "owner")}


def test_a_state_does_not_change(arrived, admitted, running):
    ended = running.end(Done(), START, START)
    for state in (arrived, admitted, running, ended, ended.record()):
        with pytest.raises(FrozenInstanceError):
            setattr(state, fields(state)[0].name, None)


def test_a_delivery_goes_from_arrived_to_recorded_and_takes_along_what_became_known(running):
    ended = running.end(Retry(SECOND, "exit code 1"), START + SECOND, START + MINUTE)

    assert running.delivery.repeated
    assert running.delivery.earlier == {"job": "j1"}
    assert (ended.called, ended.started, ended.ended) == (START, START + SECOND, START + MINUTE)
    assert ended.targets == ("a", "b")
    assert ended.delivery is running.delivery
    assert ended.record() == Recorded(running.delivery, Retry(SECOND, "exit code 1"))


def test_a_delivery_that_is_new_is_admitted_as_it_came(arrived):
    admitted = arrived.admit_as_new("")

    assert admitted.delivery is arrived.delivery
    assert (admitted.owner, admitted.is_begun, admitted.is_new) == (None, False, True)


def test_an_outcome_that_was_there_before_is_recorded_at_once(arrived):
    recorded = arrived.repeat(DeadLetter("exit code 1"), is_old=True)

    assert (recorded.is_repeated, recorded.is_old) == (True, True)


def test_what_is_refused_was_never_called(admitted):
    assert admitted.refuse(Skipped("silenced")) == Recorded(admitted.delivery, Skipped("silenced"))


def test_what_is_logged_is_done_at_once(admitted):
    assert admitted.log(START) == Ended(admitted.delivery, Done(), START, START, START)


@pytest.mark.parametrize(
    ("replay", "attempt", "is_begun", "is_new"),
    [
        ("", 1, False, True),
        (FOLDED, 1, False, True),
        (">other", 1, False, True),
        ("", 2, False, False),
        ("", 1, True, False),
        ("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", 1, False, False),
        (f"{FOLDED}-01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", 1, False, False),
    ],
)
def test_replays_retries_and_what_has_begun_are_not_new(replay, attempt, is_begun, is_new):
    delivery = Delivery(make_event(), "s", "t", b"", attempt=attempt, replay=replay)

    assert Arrived(delivery).admit("", {}, is_begun=is_begun, lane="").is_new is is_new


def test_gates_change_a_copy(admitted):
    fold = Fold(2, "n[1-2]", "", "")

    assert admitted.with_fold(fold).delivery.fold == fold
    assert replace(admitted, targets=("a", "b")).with_paused(frozenset({"a"})).delivery.paused_targets == {"a"}
    assert admitted.with_fold(fold).with_paused(frozenset({"a"})).delivery.fold == fold
    assert (admitted.delivery.folded, admitted.delivery.paused_targets, admitted.targets) == (None, frozenset(), ())


def test_what_gates_said_in_a_transaction_that_failed_is_forgotten(bench, monkeypatch):
    called = []
    bench.handler = lambda delivery: called.append(delivery.paused_targets) or Report()
    bench.depends_on = ("up", "down")
    with bench.store.writing() as transaction:
        breakers.write(transaction, [Breaker("down", 9, START + 10 * MINUTE, START, "refused")], START)
    bench.start(subscription())
    writing = bench.store.writing

    @contextmanager
    def failing():
        with writing() as transaction:
            yield transaction
            raise StoreError("database or disk is full")

    monkeypatch.setattr(bench.store, "writing", failing)
    bench.publish(make_event())
    assert called == []
    monkeypatch.undo()
    with bench.store.writing() as transaction:
        breakers.close(transaction, ["down"])
    bench.broker.advance(MINUTE)

    assert called == [frozenset()]
