from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from consumers.dead_letters import keeper
from consumers.dead_letters.keeper import Keeper, letter_of
from consumers.dead_letters.kept_letters import drop, find, show
from consumers.dead_letters.replay import message_of, plan, replay
from consumers.deliveries import Delivery, Retry
from consumers.errors import LetterError, StoreError
from consumers.store import attempts
from consumers.store.database import Store
from router.broker.interface import Arrival, Message, Settlement
from router.broker.topology import (
    DEAD,
    EVENTS,
    INGRESS,
    OWN_EVENTS,
    REJECTED,
    RETURN,
    UNROUTED,
    base,
    queue_of,
    subscription,
)
from tests.broker.memory import Memory, fits
from tests.consuming import make_event

MOMENT = datetime(2026, 11, 20, 15, 22, tzinfo=UTC)
EVENT = make_event()
KEY = "gpfs.prod.mount.nsd01"
DEATHS = [
    {"queue": "clusterbus.retry.5s", "reason": "expired", "count": 1},
    {"queue": "clusterbus.sub.act", "reason": "delivery_limit", "count": 1},
]


def now():
    return MOMENT


class Desk:
    """A keeper over a broker in memory, and a store."""

    def __init__(self, url):
        self.store = Store(url)
        self.broker = Memory(user="consumer")
        self.broker.declare(base() + subscription("act", ["none"]) + subscription("other", ["none"]))
        Keeper(self.broker, self.store, now).start()

    def send(self, *messages):
        for message in messages:
            self.broker.another(user="router").publish(message, lambda _: None)
        self.broker.run()

    def replay(self, *letter_ids):
        return replay(self.store, self.broker.another(user="consumer"), letter_ids, by="me", clock=now)

    def ready(self, queue):
        return list(self.broker.model.queue(queue).ready)


@pytest.fixture
def desk(database):
    desk = Desk(database("store"))
    yield desk
    desk.store.close()


def dead(event=EVENT, **headers):
    own = {"subscription": "act", "attempt": 3, "topic": event.topic, "reason": "exit code 3"}
    return Message(DEAD, "", event.to_json(), event.id, event.type, headers=own | headers)


def rejected(body=b"{", **headers):
    own = {"reason": "the body is not JSON", "claimed-key": KEY, "origin-user": "nsd01", "epoch": "E", "sequence": 7}
    return Message(REJECTED, KEY, body, "R", headers=own | headers)


def arrive(queue, *, exchange="", key="", **headers):
    body = EVENT.to_json()
    return Arrival(
        queue, exchange, key, body, EVENT.id, None, {k.replace("_", "-"): v for k, v in headers.items()}, False, None
    )


def test_a_dead_letter_is_kept_with_all_that_is_known_of_it(desk):
    desk.send(dead())

    (letter,) = find(desk.store)

    assert (letter.kind, letter.event_id, letter.event) == ("delivery", EVENT.id, "gpfs.softQuotaExceeded")
    assert (letter.subscription, letter.attempt, letter.topic) == ("act", 3, EVENT.topic)
    assert (letter.reason, letter.body, letter.kept_at) == ("exit code 3", EVENT.to_json(), MOMENT)
    assert desk.ready(DEAD) == []


def test_what_the_broker_gave_up_is_no_attempt_that_goes_on(desk):
    begun, done = (Delivery(EVENT, "act", EVENT.topic, EVENT.to_json(), attempt=each) for each in (3, 2))
    with desk.store.writing() as transaction:
        attempts.claim(transaction, [(attempts.Attempt(begun, "gone", "", MOMENT), "")])
        attempts.record(transaction, [attempts.Attempt(done, "gone", "", MOMENT, MOMENT, Retry(timedelta(1), "once"))])

    desk.send(dead(), dead(attempt=2))

    with desk.store.reading() as transaction:
        found = {row.attempt: (row.outcome, row.reason) for row in attempts.find(transaction)}
    assert found == {3: ("dead", "exit code 3"), 2: ("retry", "once")}


def test_copies_of_one_letter_are_one_and_other_attempts_are_others(desk):
    desk.send(dead(), dead(), dead(attempt=4), dead(replay="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"), dead(subscription="other"))
    desk.send(dead())

    assert len(find(desk.store)) == 4


def test_two_records_under_one_id_are_two_letters(desk):
    desk.send(rejected(b"{"), rejected(b"forged"))

    assert {letter.body for letter in find(desk.store)} == {b"{", b"forged"}


def test_what_the_broker_gave_up_names_its_subscription_and_why():
    letter = letter_of(arrive(DEAD, exchange=DEAD, key=EVENT.topic, x_death=DEATHS[1:]), MOMENT)

    assert (letter.subscription, letter.attempt, letter.topic) == ("act", 1, EVENT.topic)
    assert (
        letter.reason == "parked by the broker: delivered from clusterbus.sub.act too often without an acknowledgement"
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"x-death": "no"},
        {"x-death": [1, {"queue": 5}]},
        {"attempt": "x", "subscription": 5, "reason": b"\xff", "topic": 7},
        {"attempt": True, "replay": ["a"]},
        {"deep": {"a": datetime(2026, 1, 1, tzinfo=UTC)}, "bytes": b"\xff"},
    ],
)
@pytest.mark.parametrize("queue", [DEAD, REJECTED, UNROUTED])
@pytest.mark.parametrize("body", [b"", b"\xff\xfe", EVENT.to_json()])
def test_nothing_that_is_parked_is_refused(desk, queue, headers, body):
    letter = letter_of(Arrival(queue, "", "k", body, "", None, headers, False, None), MOMENT)

    with desk.store.writing() as transaction:
        from consumers.store import letters  # noqa: PLC0415 - the name is taken here

        letters.keep(transaction, [letter])
    assert [each.id for each in find(desk.store)] == [letter.id]


def test_a_letter_that_cannot_be_written_stays_on_the_broker_until_it_can(desk, monkeypatch):
    writing = desk.store.writing
    failures = [StoreError("database or disk is full")] * 2

    def sometimes():
        if failures:
            raise failures.pop()
        return writing()

    monkeypatch.setattr(desk.store, "writing", sometimes)
    desk.send(dead())
    before = find(desk.store)
    desk.broker.advance(timedelta(seconds=5))

    assert before == []
    assert len(find(desk.store)) == 1


def test_a_letter_at_fault_waits_and_the_others_are_kept(desk, monkeypatch):
    events = [make_event() for _ in range(3)]
    made = keeper.letter_of

    def failing(arrival, moment):
        if arrival.id == events[1].id:
            raise OverflowError("no such date")
        return made(arrival, moment)

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "letter_of", failing)
        desk.send(*map(dead, events))
        kept = {each.event_id for each in find(desk.store)}
    desk.broker.advance(timedelta(minutes=6))

    assert kept == {events[0].id, events[2].id}
    assert {each.event_id for each in find(desk.store)} == {each.id for each in events}
    assert desk.ready(DEAD) == []


def test_a_replayed_delivery_goes_to_its_own_subscription_under_a_nonce(desk):
    desk.send(dead(traceparent="00-a-b-01"))
    (letter,) = find(desk.store)

    (replayed,) = desk.replay(letter.id)

    assert replayed.settlement is Settlement.CONFIRMED
    (message,) = desk.ready(queue_of("act"))
    assert desk.ready(queue_of("other")) == []
    assert (message.exchange, message.body, message.id) == (RETURN, EVENT.to_json(), EVENT.id)
    own = {name: message.headers[name] for name in ("subscription", "attempt", "topic", "traceparent")}
    assert own == {"subscription": "act", "attempt": 1, "topic": EVENT.topic, "traceparent": "00-a-b-01"}
    assert len(message.headers["replay"]) == 26
    assert "reason" not in message.headers
    kept, _ = show(desk.store, letter.id)
    assert (kept.state, kept.by, kept.settled_at, kept.replay) == ("replayed", "me", MOMENT, message.headers["replay"])


def test_a_replay_that_was_cut_short_is_finished_under_the_same_nonce(desk):
    desk.send(dead())
    (letter,) = find(desk.store)
    line = desk.broker.another(user="consumer")
    line.blocked = True

    (cut_short,) = replay(desk.store, line, [letter.id], by="me", clock=now)
    (finished,) = desk.replay(letter.id)

    assert cut_short.settlement is None
    assert finished.settlement is Settlement.CONFIRMED
    assert finished.message.headers["replay"] == cut_short.message.headers["replay"]


def test_a_replayed_record_goes_to_ingress_under_its_claimed_key(desk):
    desk.send(rejected())
    (letter,) = find(desk.store)

    desk.replay(letter.id)

    (message,) = desk.ready(INGRESS)
    assert (message.key, message.body, message.id, message.user) == (KEY, b"{", "R", "consumer")
    assert message.headers == {"epoch": "E", "sequence": 7, "replayed-by": "me", "origin-user": "nsd01"}


def test_a_record_that_is_rejected_again_after_its_replay_is_kept_again(desk):
    desk.send(rejected())
    (letter,) = find(desk.store)
    desk.replay(letter.id)

    desk.send(rejected())

    assert [each.id for each in find(desk.store)] == [letter.id]


@pytest.mark.parametrize("exchange", [EVENTS, OWN_EVENTS])
def test_what_was_unrouted_goes_to_where_it_was_going(exchange):
    letter = letter_of(arrive(UNROUTED, exchange=exchange, key=EVENT.topic, traceparent="x", x_death=DEATHS), MOMENT)

    message = message_of(letter, "", "me")

    assert (letter.kind, letter.reason) == ("unrouted", "no queue on clusterbus.events is bound to its topic")
    assert (message.exchange, message.key, message.body) == (EVENTS, EVENT.topic, EVENT.to_json())
    assert message.headers == {"traceparent": "x", "replayed-by": "me"}


def test_a_plan_says_what_would_be_published_and_does_nothing(desk):
    desk.send(dead(), rejected())

    planned = plan(desk.store, [letter.id for letter in find(desk.store)], by="me")

    assert {each.message.exchange for each in planned} == {RETURN, INGRESS}
    assert desk.ready(queue_of("act")) == desk.ready(INGRESS) == []
    assert {each.replay for each in find(desk.store)} == {""}


def test_a_dropped_letter_stays_with_who_and_when(desk):
    desk.send(dead())
    (letter,) = find(desk.store)

    drop(desk.store, [letter.id], by="me", clock=now)

    assert find(desk.store) == []
    (kept,) = find(desk.store, state="dropped")
    assert (kept.by, kept.settled_at, kept.body) == ("me", MOMENT, EVENT.to_json())


def test_a_letter_is_settled_only_once(desk):
    desk.send(dead())
    (letter,) = find(desk.store)
    desk.replay(letter.id)

    with pytest.raises(LetterError, match="was already replayed by me at 2026-11-20"):
        drop(desk.store, [letter.id], by="you", clock=now)
    with pytest.raises(LetterError, match="was already replayed by me"):
        desk.replay(letter.id)


def test_a_letter_that_is_not_there_is_told_with_the_way_out(desk):
    with pytest.raises(LetterError, match="`clusterbus dead list` shows"):
        desk.replay("nothing")


@pytest.mark.parametrize("queue", [DEAD, UNROUTED])
def test_what_has_nowhere_to_go_cannot_be_replayed(queue):
    letter = letter_of(arrive(queue), MOMENT)

    with pytest.raises(LetterError, match="drop it instead"):
        message_of(letter, "N", "me")


# what was cut, and who published it


def test_a_letter_that_is_cut_says_so_and_is_not_replayed(desk):
    desk.send(replace(rejected(), headers={**rejected().headers, "cut": 70000, "sha256": "0" * 64}))

    (letter,) = find(desk.store)

    assert letter.reason.endswith(" (cut: 1 of 70000 octets are kept)")
    with pytest.raises(LetterError, match="it is cut, 1 of 70000 octets are kept; drop it instead"):
        desk.replay(letter.id)
    assert desk.ready(INGRESS) == []
    drop(desk.store, [letter.id], by="me", clock=lambda: MOMENT)


def test_a_rejected_record_is_kept_with_the_user_who_published_it_whatever_its_headers_say():
    by_broker = replace(arrive(REJECTED, key=KEY, x_death=DEATHS, origin_user="n1"), user="liar")
    by_router, by_nobody = arrive(REJECTED, key=KEY, origin_user="liar"), arrive(REJECTED, key=KEY)

    assert [letter_of(each, MOMENT).publisher for each in (by_broker, by_router, by_nobody)] == ["liar", "liar", "-"]
    assert letter_of(arrive(DEAD, key=EVENT.topic), MOMENT).publisher is None


def test_a_long_reason_leaves_room_to_say_that_the_letter_is_cut():
    letter = letter_of(arrive(REJECTED, key=KEY, reason="x" * 5000, cut=70000), MOMENT)

    assert len(letter.reason) == 2048
    assert "of 70000 octets are kept" in letter.reason


@pytest.mark.parametrize(
    ("queue", "exchange", "deaths", "origin"),
    [
        (REJECTED, REJECTED, None, "claimed"),
        (REJECTED, REJECTED, DEATHS, "real"),
        (UNROUTED, INGRESS, None, "real"),
    ],
)
def test_a_replay_names_who_published_the_record_as_the_router_or_the_broker_says(queue, exchange, deaths, origin):
    headers = {"origin-user": "claimed"} | ({"x-death": deaths} if deaths else {})
    arrival = replace(arrive(queue, exchange=exchange, key=KEY), user="real", headers=headers)

    message = message_of(letter_of(arrival, MOMENT), "nonce", "me")

    assert (message.exchange, message.headers["origin-user"]) == (INGRESS, origin)


def test_a_replay_of_a_record_without_a_user_gives_it_none():
    letter = replace(letter_of(arrive(REJECTED, key=KEY), MOMENT), headers={})

    assert message_of(letter, "nonce", "me").headers["origin-user"] == ""


def test_a_replay_fits_into_a_frame_whatever_name_of_a_subscription_the_letter_has():
    arrival = replace(arrive(DEAD, key=KEY), headers={"subscription": "x" * 100_000, "replay": "r"})

    message = message_of(letter_of(arrival, MOMENT), "nonce", "me")

    assert len(message.headers["subscription"]) == 255
    assert fits(message)
