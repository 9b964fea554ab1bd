import json
from datetime import timedelta

import pika
import pytest

from consumers.dead_letters.kept_letters import find, show
from consumers.dead_letters.replay import replay
from consumers.policies.retry import RetryPolicy
from consumers.store.database import Store
from router.broker.client import Rabbit
from router.broker.interface import Settlement
from router.broker.topology import DEAD, INGRESS, REJECTED, RETURN, UNROUTED, queue_of
from tests.consuming import Consumer, make_event, make_subscription, now, publish, python
from tests.waiting import wait_for

ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def flag(tmp_path):
    """A file whose presence lets the command of `consumer` succeed."""
    return tmp_path / "works"


@pytest.fixture
def consumer(vhost_url, tmp_path, flag):
    """A consumer whose subscription `act` fails, and `other` does not."""
    fails = f"import os,sys; sys.exit(0 if os.path.exists({str(flag)!r}) else 'the disk is gone')"
    act = make_subscription("act", python(fails), retry=ONCE, concurrency=2)
    with Consumer(vhost_url, tmp_path, [act, make_subscription("other")]) as consumer:
        yield consumer.wait_ready()


@pytest.fixture
def store(consumer):
    store = Store(consumer.store_url)
    yield store
    store.close()


def wait_letters(store, count):
    return wait_for(lambda: found if len(found := find(store)) >= count else None, 20, f"{count} letters")


def replay_all(store, url, letters):
    broker = Rabbit(url, name="replay", give_up=timedelta(seconds=10))
    return replay(store, broker, [each.id for each in letters], by="me", clock=now)


def test_a_dead_letter_is_replayed_to_its_subscription_alone(consumer, store, vhost_url, flag):
    events = [make_event() for _ in range(3)]
    publish(vhost_url, events)
    letters = wait_letters(store, 3)
    flag.touch()

    replayed = replay_all(store, vhost_url, letters)
    rows = consumer.wait_outcomes(6, subscription="act")

    assert {each.settlement for each in replayed} == {Settlement.CONFIRMED}
    assert {letter.reason for letter in letters} == {"exit code 1: the disk is gone"}
    done = [row for row in rows if row.outcome == "done"]
    assert {row.event_id for row in done} == {event.id for event in events}
    assert all(len(row.replay) == 26 for row in done)
    assert len(consumer.attempts(subscription="other")) == 3
    letter, attempts = show(store, letters[0].id)
    assert (letter.state, [row.outcome for row in attempts]) == ("replayed", ["dead"])


def test_a_replay_that_fails_again_is_another_letter(consumer, store, vhost_url):
    publish(vhost_url, [make_event()])
    (letter,) = wait_letters(store, 1)

    replay_all(store, vhost_url, [letter])
    (again,) = wait_letters(store, 1)

    assert again.id != letter.id
    assert again.event_id == letter.event_id
    assert show(store, again.id)[1][0].replay == again.headers["replay"]


def test_a_rejected_record_is_kept_and_replayed_under_its_claimed_key(consumer, store, vhost_url, tap):
    headers = {"reason": "user 'a' published as node 'b'", "claimed-key": "gpfs.prod.mount.b", "origin-user": "a"}
    body = json.dumps({"v": 1}).encode()
    tap.publish(REJECTED, "x", body, pika.BasicProperties(message_id="R", headers=headers, delivery_mode=2))
    (letter,) = wait_letters(store, 1)
    # The queue of ingress itself is for one consumer alone.
    tap.channel.queue_declare("seen", durable=True)
    tap.channel.queue_bind("seen", INGRESS, "#")

    replay_all(store, vhost_url, [letter])

    (record,) = tap.drain("seen")
    assert (record.key, record.body) == ("gpfs.prod.mount.b", body)
    assert record.headers == {"replayed-by": "me", "origin-user": "a"}
    assert record.properties.user_id == pika.URLParameters(vhost_url).credentials.username


def test_what_returns_to_a_removed_subscription_is_kept_and_finds_it_when_it_is_back(consumer, store, vhost_url, tap):
    event = make_event()
    headers = {"subscription": "gone", "attempt": 2, "topic": event.topic}
    properties = pika.BasicProperties(message_id=event.id, headers=headers, delivery_mode=2)
    tap.publish(RETURN, "5s", event.to_json(), properties)
    (letter,) = wait_letters(store, 1)
    tap.channel.queue_declare("late", durable=True)
    tap.channel.queue_bind("late", RETURN, "", {"x-match": "all", "subscription": "gone"})

    replay_all(store, vhost_url, [letter])

    assert (letter.kind, letter.exchange) == ("unrouted", RETURN)
    (message,) = tap.drain("late")
    assert headers.items() <= message.headers.items()
    assert message.body == event.to_json()


def test_what_the_broker_gives_up_is_kept_with_its_subscription(consumer, store, vhost_url, tap):
    event = make_event()
    consumer.kill()
    publish(vhost_url, [event])
    channel = tap.channel

    def deliver():
        method, _, _ = channel.basic_get(queue_of("act"))
        if method:
            channel.basic_reject(method.delivery_tag, requeue=True)
        return tap.count(DEAD)

    wait_for(deliver, 20, "the delivery limit")
    consumer.start()
    (letter,) = wait_letters(store, 1)

    assert (letter.kind, letter.event_id, letter.subscription) == ("delivery", event.id, "act")
    assert letter.topic == event.topic
    assert letter.reason.startswith("parked by the broker: delivered from clusterbus.sub.act")
    wait_for(lambda: tap.count(UNROUTED) == tap.count(DEAD) == 0, 10, "empty parking queues")
