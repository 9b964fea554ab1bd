"""What every `Broker` promises, tried on RabbitMQ and on its stand-in alike."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import pytest

from router.broker import topology as names
from router.broker.client import Rabbit
from router.broker.interface import Arrival, Broker, Message, Settlement
from router.broker.topology import Binding, Exchange, Queue, Topology
from router.model.events import Event
from router.pipeline.messages import message_of
from tests.broker.memory import Memory
from tests.consuming import make_event
from tests.proxy import Proxy
from tests.waiting import wait_for

LIMIT = timedelta(seconds=15)
QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 20}


class Driven(Protocol):
    """A line to a broker, and how a test moves it."""

    broker: Broker

    def do(self, function: Callable[[], Any]) -> None: ...
    def until(self, condition: Callable[[], object], what: str) -> None: ...
    def until_ready(self, queue: str, count: int) -> None: ...
    def drop(self) -> None: ...
    def another(self) -> "Driven": ...


class DrivenMemory:
    """The stand-in: it runs when the test says so."""

    def __init__(self, memory: Memory) -> None:
        self.broker = memory

    def do(self, function: Callable[[], Any]) -> None:
        function()
        self.broker.run()

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = self.broker.now + LIMIT
        self.broker.run()
        while not condition():
            assert self.broker.now < end, what
            self.broker.advance(timedelta(milliseconds=100))

    def until_ready(self, queue: str, count: int) -> None:
        """Do nothing: what it was asked to do is done."""

    def drop(self) -> None:
        self.broker.drop()

    def another(self) -> "DrivenMemory":
        return DrivenMemory(self.broker.another(user="another"))


class DrivenRabbit:
    """RabbitMQ: it runs in a thread of its own."""

    def __init__(self, url: str, drop: Callable[[], None]) -> None:
        self._url, self.drop = url, drop
        self.others: list[DrivenRabbit] = []
        self.broker = Rabbit(url, name="contract", longest_pause=timedelta(milliseconds=300))
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.broker.run()
        except BaseException as error:  # noqa: BLE001 - shown to the test
            self.failure = error

    def do(self, function: Callable[[], Any]) -> None:
        done: Future[None] = Future()

        def called() -> None:
            try:
                done.set_result(function())
            except Exception as error:  # noqa: BLE001 - raised in the test
                done.set_exception(error)

        self.broker.call(called)
        done.result(LIMIT.total_seconds())

    def until(self, condition: Callable[[], object], what: str) -> None:
        wait_for(condition, LIMIT, what)

    def until_ready(self, queue: str, count: int) -> None:
        wait_for(lambda: self._ready(queue) == count, LIMIT, f"{count} messages in {queue}")

    def _ready(self, queue: str) -> int:
        told: Future[Any] = Future()
        self.broker.call(lambda: self.broker.questions.inspect(queue, told.set_result))
        return int(told.result(LIMIT.total_seconds()).messages)

    def another(self) -> "DrivenRabbit":
        self.others.append(DrivenRabbit(self._url, self.drop))
        return self.others[-1]

    def close(self) -> None:
        for each in (self, *self.others):
            each.broker.call(each.broker.stop)
            each._thread.join(LIMIT.total_seconds())
            assert not each._thread.is_alive()


@pytest.fixture(params=["memory", "rabbit"])
def driven(request: pytest.FixtureRequest) -> Iterator[Driven]:
    if request.param == "memory":
        yield DrivenMemory(Memory())
        return
    proxy: Proxy = request.getfixturevalue("proxy")(request.getfixturevalue("vhost_url"))
    driven = DrivenRabbit(proxy.url, proxy.reset)
    yield driven
    driven.close()


def message(key: str = "a", *, exchange: str = "bus", **more: Any) -> Message:
    return Message(exchange, key, more.pop("body", b"body"), more.pop("id", f"id-{key}"), **more)


def bus(*queues: str, pattern: str = "#") -> Topology:
    return Topology(
        exchanges=(Exchange("bus", "topic"),),
        queues=tuple(Queue(each, QUORUM) for each in queues),
        bindings=tuple(Binding("bus", each, pattern) for each in queues),
    )


class Listener:
    """Collects what arrives and what is settled; acknowledges, unless told not to."""

    def __init__(self, driven: Driven, *, ack: bool = True) -> None:
        self.broker, self.acks = driven.broker, ack
        self.arrivals: list[Arrival] = []
        self.settlements: list[Settlement] = []

    def receive(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)
        if self.acks:
            self.broker.ack(arrival)

    @property
    def keys(self) -> list[str]:
        return [arrival.key for arrival in self.arrivals]


def test_messages_arrive_and_are_confirmed_in_the_order_of_publishing(driven):
    listener = Listener(driven)
    order = []
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=50))

    def publish_all() -> None:
        for number in range(300):
            driven.broker.publish(message(f"k{number}"), lambda _, number=number: order.append(number))

    driven.do(publish_all)
    driven.until(lambda: len(order) == 300 and len(listener.arrivals) == 300, "all of 300")

    assert listener.keys == [f"k{number}" for number in range(300)]
    assert order == list(range(300))


def test_events_of_both_content_modes_arrive_alike(driven):
    listener = Listener(driven)
    events = [make_event(subject="gpfs1/é") for _ in range(4)]
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=50))

    for event, wire in zip(events, ("structured", "binary", "binary", "structured"), strict=True):
        sent = replace(message_of(event, {"topic": "a.b"}, wire=wire), exchange="bus")
        driven.do(lambda sent=sent: driven.broker.publish(sent, listener.settlements.append))
    driven.until(lambda: len(listener.arrivals) == 4, "all of 4")

    assert [Event.from_json(each.body) for each in listener.arrivals] == events
    assert {tuple(each.headers) for each in listener.arrivals} == {("topic",)}


def test_what_is_asked_for_before_run_is_done_when_it_runs(driven):
    listener = Listener(driven)
    driven.do(
        lambda: (
            driven.broker.publish(message(), listener.settlements.append),
            driven.broker.consume("q", listener.receive, prefetch=1),
            driven.broker.declare(bus("q")),
        )
    )

    driven.until(lambda: listener.arrivals and listener.settlements, "arrival and settlement")

    assert listener.settlements == [Settlement.CONFIRMED]


def test_a_message_that_no_queue_matches_is_settled_as_unrouted(driven):
    settled: dict[str, Settlement] = {}
    driven.do(lambda: driven.broker.declare(bus("q", pattern="wanted")))

    for key in ("x", "wanted", "y"):
        driven.do(lambda key=key: driven.broker.publish(message(key), lambda what: settled.update({key: what})))
    driven.until(lambda: len(settled) == 3, "three settlements")

    assert settled == {"x": Settlement.UNROUTED, "wanted": Settlement.CONFIRMED, "y": Settlement.UNROUTED}


def test_an_alternate_exchange_takes_what_no_queue_matches(driven):
    listener = Listener(driven)
    topology = Topology(
        exchanges=(Exchange("lost", "fanout"), Exchange("bus", "topic", {"alternate-exchange": "lost"})),
        queues=(Queue("lost", QUORUM),),
        bindings=(Binding("lost", "lost"),),
    )
    driven.do(lambda: driven.broker.declare(topology))
    driven.do(lambda: driven.broker.consume("lost", listener.receive, prefetch=1))

    driven.do(lambda: driven.broker.publish(message("nowhere"), listener.settlements.append))
    driven.until(lambda: listener.arrivals and listener.settlements, "arrival and settlement")

    assert listener.settlements == [Settlement.CONFIRMED]
    assert listener.keys == ["nowhere"]


def test_every_queue_that_matches_gets_the_message_and_only_those(driven):
    listeners = {name: Listener(driven) for name in ("all", "mounts", "quota")}
    topology = bus("all") + Topology(
        queues=(Queue("mounts", QUORUM), Queue("quota", QUORUM)),
        bindings=(Binding("bus", "mounts", "gpfs.*.mount"), Binding("bus", "quota", "gpfs.*.quota")),
    )
    driven.do(lambda: driven.broker.declare(topology))
    for name, listener in listeners.items():
        driven.do(lambda name=name, listener=listener: driven.broker.consume(name, listener.receive, prefetch=1))

    for key in ("gpfs.prod.mount", "gpfs.prod.quota", "gpfs.test.mount"):
        driven.do(lambda key=key: driven.broker.publish(message(key), listeners["all"].settlements.append))
    driven.until(lambda: sum(len(each.arrivals) for each in listeners.values()) >= 6, "six arrivals")

    assert listeners["mounts"].keys == ["gpfs.prod.mount", "gpfs.test.mount"]
    assert listeners["quota"].keys == ["gpfs.prod.quota"]
    assert len(listeners["all"].keys) == 3


def test_all_that_was_said_with_a_message_arrives_with_it(driven):
    listener = Listener(driven)
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=1))
    sent = message("k", id="01KAG2V0M3", body=bytes(range(256)), headers={"attempt": 3, "topic": "a.b", "again": True})

    driven.do(lambda: driven.broker.publish(sent, listener.settlements.append))
    driven.until(lambda: listener.arrivals, "arrival")

    [arrival] = listener.arrivals
    assert (arrival.queue, arrival.exchange, arrival.key, arrival.id) == ("q", "bus", "k", "01KAG2V0M3")
    assert arrival.body == bytes(range(256))
    assert {**arrival.headers} == {"attempt": 3, "topic": "a.b", "again": True}
    assert arrival.user
    assert not arrival.redelivered


def test_an_empty_body_arrives_empty(driven):
    listener = Listener(driven)
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=1))

    driven.do(lambda: driven.broker.publish(message(body=b""), listener.settlements.append))
    driven.until(lambda: listener.arrivals, "arrival")

    assert listener.arrivals[0].body == b""


def test_no_more_than_the_prefetch_are_unsettled_at_once(driven):
    listener = Listener(driven, ack=False)
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: [driven.broker.publish(message(f"k{n}"), listener.settlements.append) for n in range(10)])
    driven.until(lambda: len(listener.settlements) == 10, "ten confirms")

    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=3))
    driven.until(lambda: len(listener.arrivals) == 3, "three arrivals")
    driven.do(lambda: driven.broker.ack(listener.arrivals[1]))
    driven.until(lambda: len(listener.arrivals) == 4, "one more for the one that was acknowledged")

    assert listener.keys == ["k0", "k1", "k2", "k3"]


def test_what_is_given_back_is_delivered_again_and_says_so(driven):
    listener = Listener(driven, ack=False)
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=1))
    driven.do(lambda: driven.broker.publish(message(), listener.settlements.append))
    driven.until(lambda: listener.arrivals, "first arrival")

    driven.do(lambda: driven.broker.requeue(listener.arrivals[0]))
    driven.until(lambda: len(listener.arrivals) == 2, "second arrival")

    assert [each.redelivered for each in listener.arrivals] == [False, True]


def test_what_is_given_back_comes_again_in_the_order_in_which_it_was_given_back_before_all_others(driven):
    listener, after = Listener(driven, ack=False), Listener(driven)
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=3))
    for number in range(4):
        driven.do(lambda number=number: driven.broker.publish(message(f"k{number}"), listener.settlements.append))
    driven.until(lambda: len(listener.arrivals) == 3, "as many as the prefetch")

    def give_back() -> None:
        driven.broker.cancel("q")
        for each in listener.arrivals:
            driven.broker.requeue(each)

    driven.do(give_back)
    # It is given back over one channel and consumed over another: between these there is no order.
    driven.until_ready("q", 4)
    driven.do(lambda: driven.broker.consume("q", after.receive, prefetch=10))
    driven.until(lambda: len(after.arrivals) == 4, "all four")

    assert after.keys == ["k0", "k1", "k2", "k3"]


def test_settling_twice_harms_nobody(driven):
    listener = Listener(driven, ack=False)
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=1))
    driven.do(lambda: driven.broker.publish(message("k0"), listener.settlements.append))
    driven.until(lambda: listener.arrivals, "first arrival")

    first = listener.arrivals[0]
    driven.do(lambda: (driven.broker.ack(first), driven.broker.ack(first), driven.broker.requeue(first)))
    driven.do(lambda: driven.broker.publish(message("k1"), listener.settlements.append))
    driven.until(lambda: len(listener.arrivals) == 2, "second arrival")
    driven.do(lambda: driven.broker.ack(first))
    driven.do(lambda: driven.broker.ack(listener.arrivals[1]))

    assert listener.keys == ["k0", "k1"]


def test_settling_what_came_over_a_connection_that_is_gone_has_no_effect(driven):
    listener = Listener(driven, ack=False)
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=1))
    driven.do(lambda: driven.broker.publish(message(), listener.settlements.append))
    driven.until(lambda: listener.arrivals, "first arrival")

    driven.drop()
    driven.until(lambda: len(listener.arrivals) == 2, "the same again, over the next connection")
    driven.do(lambda: driven.broker.ack(listener.arrivals[0]))
    driven.drop()
    driven.until(lambda: len(listener.arrivals) == 3, "and again: it was not acknowledged")

    assert listener.arrivals[1].redelivered
    assert listener.arrivals[2].redelivered


def test_a_message_that_comes_back_too_often_is_dead_lettered(driven):
    listener, dead = Listener(driven, ack=False), Listener(driven)
    limited = {"x-queue-type": "quorum", "x-delivery-limit": 2, "x-dead-letter-exchange": "dead"}
    topology = Topology(
        exchanges=(Exchange("bus", "topic"), Exchange("dead", "fanout")),
        queues=(Queue("q", limited), Queue("dead", QUORUM)),
        bindings=(Binding("bus", "q", "#"), Binding("dead", "dead")),
    )
    driven.do(lambda: driven.broker.declare(topology))
    driven.do(lambda: driven.broker.consume("dead", dead.receive, prefetch=1))

    def give_back(arrival: Arrival) -> None:
        listener.receive(arrival)
        driven.broker.requeue(arrival)

    driven.do(lambda: driven.broker.consume("q", give_back, prefetch=1))
    driven.do(lambda: driven.broker.publish(message("poison"), listener.settlements.append))
    driven.until(lambda: dead.arrivals, "dead letter")

    assert len(listener.arrivals) == 3
    assert dead.keys == ["poison"]


def test_a_retry_waits_on_its_step_and_returns_to_its_subscription_alone(driven):
    mine, theirs = Listener(driven), Listener(driven)
    topology = names.base() + names.subscription("mine", ["#"]) + names.subscription("theirs", ["other.#"])
    driven.do(lambda: driven.broker.declare(topology))
    driven.do(lambda: driven.broker.consume(names.queue_of("mine"), mine.receive, prefetch=1))
    driven.do(lambda: driven.broker.consume(names.queue_of("theirs"), theirs.receive, prefetch=1))
    retry = Message(
        names.RETRY, "1s", b"{}", "id", headers={"subscription": "mine", "topic": "gpfs.prod.quota", "attempt": 2}
    )

    driven.do(lambda: driven.broker.publish(retry, mine.settlements.append))
    driven.until(lambda: mine.arrivals, "the return")

    [arrival] = mine.arrivals
    assert (arrival.exchange, arrival.key) == (names.RETURN, "1s")
    own = {name: value for name, value in arrival.headers.items() if not name.startswith("x-")}
    assert own == {"subscription": "mine", "topic": "gpfs.prod.quota", "attempt": 2}
    assert not theirs.arrivals


def test_a_return_to_a_subscription_that_is_gone_is_kept_as_unrouted(driven):
    kept = Listener(driven)
    driven.do(lambda: driven.broker.declare(names.base()))
    driven.do(lambda: driven.broker.consume(names.UNROUTED, kept.receive, prefetch=1))
    orphan = Message(names.RETURN, "1s", b"{}", "id", headers={"subscription": "removed"})

    driven.do(lambda: driven.broker.publish(orphan, kept.settlements.append))
    driven.until(lambda: kept.arrivals and kept.settlements, "the orphan and its confirm")

    assert kept.settlements == [Settlement.CONFIRMED]


def test_only_one_consumes_where_the_queue_says_so_and_the_standby_takes_over(driven):
    first, second = Listener(driven), Listener(driven)
    other = driven.another()
    second.broker = other.broker
    single = Topology(
        exchanges=(Exchange("bus", "topic"),),
        queues=(Queue("q", {**QUORUM, "x-single-active-consumer": True}),),
        bindings=(Binding("bus", "q", "#"),),
    )
    driven.do(lambda: driven.broker.declare(single))
    driven.do(lambda: driven.broker.consume("q", first.receive, prefetch=1))
    driven.do(lambda: driven.broker.publish(message("k0"), first.settlements.append))
    driven.until(lambda: first.arrivals, "the first is active")
    other.do(lambda: other.broker.declare(single))
    other.do(lambda: other.broker.consume("q", second.receive, prefetch=1))

    driven.do(lambda: [driven.broker.publish(message(f"k{n}"), first.settlements.append) for n in range(1, 5)])
    driven.until(lambda: len(first.arrivals) == 5, "all go to the first")
    driven.do(lambda: driven.broker.cancel("q"))
    driven.do(lambda: driven.broker.publish(message("k5"), first.settlements.append))
    other.until(lambda: second.arrivals, "the second takes over")

    assert second.keys == ["k5"]


def test_a_cancelled_queue_is_received_no_more_and_can_be_consumed_again(driven):
    listener = Listener(driven, ack=False)
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=1))
    driven.do(lambda: driven.broker.publish(message("k0"), listener.settlements.append))
    driven.until(lambda: listener.arrivals, "first arrival")

    driven.do(lambda: driven.broker.cancel("q"))
    driven.do(lambda: driven.broker.publish(message("k1"), listener.settlements.append))
    driven.until(lambda: len(listener.settlements) == 2, "both confirmed")
    assert listener.keys == ["k0"]
    driven.do(lambda: driven.broker.ack(listener.arrivals[0]))
    again = Listener(driven)
    driven.do(lambda: driven.broker.consume("q", again.receive, prefetch=1))
    driven.until(lambda: again.arrivals, "the second, to the second consumer")

    assert again.keys == ["k1"]


def test_a_stream_is_read_from_where_one_likes_and_keeps_what_was_read(driven):
    stream = Topology(
        exchanges=(Exchange("bus", "topic"),),
        queues=(Queue("history", {"x-queue-type": "stream"}),),
        bindings=(Binding("bus", "history", "#"),),
    )
    reader, again = Listener(driven, ack=False), Listener(driven, ack=False)
    driven.do(lambda: driven.broker.declare(stream))
    driven.do(lambda: [driven.broker.publish(message(f"k{n}"), reader.settlements.append) for n in range(20)])
    driven.until(lambda: len(reader.settlements) == 20, "twenty confirms")

    driven.do(lambda: driven.broker.consume("history", reader.receive, prefetch=5, offset="first"))
    driven.until(lambda: len(reader.arrivals) == 20, "all of the stream, four times the prefetch")
    driven.do(lambda: driven.broker.cancel("history"))
    driven.do(lambda: driven.broker.consume("history", again.receive, prefetch=5, offset="1h"))
    driven.until(lambda: len(again.arrivals) == 20, "all of the stream again")

    assert reader.keys == again.keys == [f"k{n}" for n in range(20)]
    assert [each.headers["x-stream-offset"] for each in reader.arrivals] == list(range(20))


def test_a_stream_goes_on_after_the_last_message_when_the_connection_was_lost(driven):
    stream = Topology(
        exchanges=(Exchange("bus", "topic"),),
        queues=(Queue("history", {"x-queue-type": "stream"}),),
        bindings=(Binding("bus", "history", "#"),),
    )
    reader = Listener(driven, ack=False)
    driven.do(lambda: driven.broker.declare(stream))
    driven.do(lambda: driven.broker.consume("history", reader.receive, prefetch=5, offset="first"))
    driven.do(lambda: [driven.broker.publish(message(f"k{n}"), reader.settlements.append) for n in range(7)])
    # What is not confirmed when the connection is lost is published again.
    driven.until(lambda: len(reader.arrivals) == len(reader.settlements) == 7, "seven arrivals")

    driven.drop()
    driven.do(lambda: [driven.broker.publish(message(f"k{n}"), reader.settlements.append) for n in range(7, 10)])
    driven.until(lambda: len(reader.settlements) == 10 and len(reader.arrivals) >= 10, "three more")

    assert reader.keys == [f"k{n}" for n in range(10)]


def test_another_thread_may_have_a_function_called(driven):
    seen: list[str] = []
    thread = threading.Thread(target=lambda: driven.broker.call(lambda: seen.append(threading.current_thread().name)))

    thread.start()
    thread.join()
    driven.until(lambda: seen, "the call")

    assert seen != [thread.name]


def test_later_calls_in_the_order_of_the_delays_and_can_be_taken_back(driven):
    seen: list[str] = []

    def plan() -> None:
        driven.broker.later(timedelta(milliseconds=60), lambda: seen.append("second"))
        driven.broker.later(timedelta(milliseconds=20), lambda: seen.append("first"))
        driven.broker.later(timedelta(milliseconds=30), lambda: seen.append("never"))()
        driven.broker.later(timedelta(milliseconds=100), lambda: seen.append("last"))

    driven.do(plan)
    driven.until(lambda: "last" in seen, "the last call")

    assert seen == ["first", "second", "last"]


def test_when_idle_comes_once_after_a_batch_not_after_each_message(driven):
    batches: list[list[str]] = []
    batch: list[str] = []
    driven.do(lambda: driven.broker.declare(bus("q")))
    listener = Listener(driven)
    driven.do(lambda: [driven.broker.publish(message(f"k{n}"), listener.settlements.append) for n in range(100)])
    driven.until(lambda: len(listener.settlements) == 100, "a hundred confirms")

    def done() -> None:
        batches.append(batch.copy())
        batch.clear()

    def receive(arrival: Arrival) -> None:
        if not batch:
            driven.broker.when_idle(done)
        batch.append(arrival.key)
        driven.broker.ack(arrival)

    driven.do(lambda: driven.broker.consume("q", receive, prefetch=100))
    driven.until(lambda: sum(map(len, batches)) == 100, "a hundred in batches")

    assert [key for each in batches for key in each] == [f"k{n}" for n in range(100)]
    assert len(batches) < 50


def test_declaring_twice_changes_nothing_and_a_stale_binding_is_gone(driven):
    listener = Listener(driven)
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.declare(bus("q")))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=1))
    change = Topology(bindings=(Binding("bus", "q", "new"),), stale=(Binding("bus", "q", "#"),))

    driven.do(lambda: driven.broker.declare(change))
    driven.do(lambda: [driven.broker.publish(message(key), listener.settlements.append) for key in ("old", "new")])
    driven.until(lambda: len(listener.settlements) == 2 and listener.arrivals, "settlements and an arrival")

    assert set(listener.settlements) == {Settlement.UNROUTED, Settlement.CONFIRMED}
    assert listener.keys == ["new"]


def test_stop_returns_when_what_was_published_is_settled(driven):
    listener = Listener(driven)
    driven.do(lambda: driven.broker.declare(bus("q")))

    def publish_and_stop() -> None:
        for number in range(200):
            driven.broker.publish(message(f"k{number}"), listener.settlements.append)
        driven.broker.stop()
        driven.broker.stop()

    driven.broker.call(publish_and_stop)
    driven.until(lambda: len(listener.settlements) == 200, "two hundred settlements")

    assert set(listener.settlements) == {Settlement.CONFIRMED}


def test_what_a_receiver_raises_is_raised_by_run(driven):
    driven.do(lambda: driven.broker.declare(bus("q")))

    def fail(arrival: Arrival) -> None:
        raise ArithmeticError(arrival.key)

    if isinstance(driven, DrivenRabbit):
        driven.do(lambda: driven.broker.consume("q", fail, prefetch=1))
        driven.do(lambda: driven.broker.publish(message("k"), lambda _: None))
        driven.until(lambda: driven.failure, "the failure")
        assert repr(driven.failure) == "ArithmeticError('k')"
    else:
        driven.broker.consume("q", fail, prefetch=1)
        driven.broker.publish(message("k"), lambda _: None)
        with pytest.raises(ArithmeticError, match="k"):
            driven.broker.run()


def test_a_queue_that_is_there_with_other_arguments_is_used_as_it_is_and_named(driven):
    listener = Listener(driven)
    driven.do(lambda: driven.broker.declare(bus("q")))
    other = Topology(queues=(Queue("q", {**QUORUM, "x-delivery-limit": 3}),))

    driven.do(lambda: driven.broker.publish(message("first"), listener.settlements.append))
    driven.until(lambda: listener.settlements, "the queue is there")
    driven.do(lambda: driven.broker.declare(other))
    driven.do(lambda: driven.broker.consume("q", listener.receive, prefetch=2))
    driven.do(lambda: driven.broker.publish(message("k"), listener.settlements.append))
    driven.until(lambda: len(listener.arrivals) == 2 and driven.broker.connection.differing, "arrivals and its name")

    (unlike,) = driven.broker.connection.differing
    assert "queue q exists, but differs" in unlike
    assert "x-delivery-limit is 20, wanted 3" in unlike
