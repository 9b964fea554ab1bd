"""What a line to RabbitMQ survives: nothing confirmed is lost, everything is settled exactly once, in bounded time."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from router.broker.amqp.pika_connection import Connection
from router.broker.interface import Arrival, Settlement
from router.broker.session import Session
from router.broker.topology import HISTORY, Queue, Topology, base
from router.local_broker.private_broker import PrivateBroker
from tests.lines import QUORUM, Running, bus
from tests.proxy import Mode, Proxy
from tests.rabbit import Tap, keeps_queues_in_mnesia
from tests.waiting import wait_for

Before = Callable[[str], Proxy]

SOON = timedelta(seconds=3)
"""A progress limit that a test can wait for, and that a broker on a busy machine keeps."""


def ids(count: int, prefix: str = "m") -> list[str]:
    return [f"{prefix}{number:05}" for number in range(count)]


@pytest.mark.parametrize("state", ["INIT", "PROTOCOL", "START", "TUNE", "OPEN"])
def test_stop_in_each_moment_of_the_handshake_ends_without_an_error(
    vhost_url: str, proxy: Before, monkeypatch: pytest.MonkeyPatch, state: str
):
    between = proxy(vhost_url)
    seen: list[str] = []
    running = Running(between.url)
    set_state = Connection._set_connection_state

    def stop_at_state(connection: Connection, number: int) -> None:
        set_state(connection, number)
        seen.append(connection._STATE_NAMES[number])
        if seen[-1] == state:
            between.mode = Mode.STALL_IN
            running.rabbit.call(running.rabbit.stop)

    monkeypatch.setattr(Connection, "_set_connection_state", stop_at_state)

    with running:
        wait_for(lambda: running.ended, 60, "the end of the line")

    assert running.failure is None
    assert state in seen


@pytest.mark.long
@pytest.mark.timeout(180)
def test_nothing_confirmed_is_lost_when_the_broker_restarts_three_times_under_load(own_broker: PrivateBroker):
    stopping = threading.Event()
    with Running(own_broker.url, window=200, progress_limit=3 * SOON) as line:
        # One active consumer, as the ingress queue has: else RabbitMQ 4 gives a new consumer what comes next before it
        # takes back what a kill had left with the old one.
        line.declare(bus("q", single_active_consumer=True))
        line.consume("q", prefetch=50)

        def load() -> None:
            for number in range(100_000):
                if stopping.is_set():
                    return
                line.publish(f"m{number:05}")
                wait_for(lambda: len(line.settlements) - line.settled < 500, 120, "room for more")

        loader = threading.Thread(target=load)
        loader.start()
        # In order first: RabbitMQ 3.10 does not find a quorum queue again that was declared within a second of a kill.
        for restart in (own_broker.stop, own_broker.kill, own_broker.kill):
            before = line.settled
            wait_for(lambda before=before: line.settled > before + 100, 30, "progress")
            restart()
            own_broker.start()
        before = line.settled
        wait_for(lambda: line.settled > before + 100, 30, "progress after the last restart")
        stopping.set()
        loader.join(120)
        line.wait_settled(len(line.settlements), 30)
        wait_for(lambda: set(line.ids) == set(line.settlements), 30, "everything arrived")

        line.assert_each_settled_once()
        assert line.ids == sorted(line.ids)


def test_a_broker_that_swallows_its_confirms_gets_all_again_within_the_progress_limit(
    vhost_url: str, proxy: Before, tap: Tap, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "router")
    between = proxy(vhost_url)
    wanted = ids(50)
    with Running(between.url, progress_limit=SOON) as line:
        line.declare(bus("q"))
        line.publish("first")
        line.wait_settled(1)

        between.mode = Mode.SWALLOW_IN
        line.publish(*wanted)
        wait_for(lambda: tap.count("q") == 51, 10, "the broker has all")
        assert line.settled == 1
        # Until then: the last confirm tells for all before it, and the broker may send it after the queue has all.
        wait_for(lambda: "the broker confirms nothing" in caplog.messages, 10, "the limit is noticed")
        between.mode = Mode.PASS
        line.wait_settled(51, 30)

        line.assert_each_settled_once()
    arrived = [taken.properties.message_id for taken in tap.drain("q")]
    assert list(dict.fromkeys(arrived)) == ["first", *wanted]
    assert len(arrived) <= 101


def test_a_black_hole_is_left_for_another_host_within_the_progress_limit(
    vhost_url: str, proxy: Before, tap: Tap, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "router")
    hole, clear = proxy(vhost_url), proxy(vhost_url)
    with Running([hole.url, clear.url], progress_limit=SOON) as line:
        line.declare(bus("q"))
        line.publish("first")
        line.wait_settled(1)
        swallowing = hole if hole.open_connections else clear

        swallowing.mode = Mode.BLACK_HOLE
        line.publish(*ids(50))
        line.wait_settled(51, 15)

        line.assert_each_settled_once()
    # By the limit, not by a heartbeat that is missed.
    assert "the broker confirms nothing" in caplog.messages
    assert {taken.properties.message_id for taken in tap.drain("q")} == {"first", *ids(50)}


def test_a_connection_that_stalls_is_dropped_and_all_is_sent_again(vhost_url: str, proxy: Before, tap: Tap):
    between = proxy(vhost_url)
    with Running(between.url, progress_limit=SOON) as line:
        line.declare(bus("q"))
        before = between.connections

        between.mode = Mode.STALL
        line.publish(*ids(50))
        wait_for(lambda: between.connections > before, 10, "another connection")
        between.mode = Mode.PASS
        line.wait_settled(50, 20)

        line.assert_each_settled_once()
    assert {taken.properties.message_id for taken in tap.drain("q")} == set(ids(50))


def test_a_reset_in_the_middle_of_publishing_loses_nothing_and_keeps_the_order(vhost_url: str, proxy: Before, tap: Tap):
    between = proxy(vhost_url)
    wanted = ids(2000)
    with Running(between.url, window=100) as line:
        line.declare(bus("q"))
        for at in range(0, 2000, 500):
            line.publish(*wanted[at : at + 500])
            between.reset()
        line.wait_settled(2000)

        line.assert_each_settled_once()
    arrived = [taken.properties.message_id for taken in tap.drain("q")]
    assert list(dict.fromkeys(arrived)) == wanted


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_broker_short_of_disk_blocks_publishing_not_acknowledging_and_all_goes_on_after(
    own_broker: PrivateBroker, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "router")
    with Running(own_broker.url, progress_limit=SOON) as line:
        line.declare(bus("q"))
        line.publish(*ids(10, "before"))
        line.wait_settled(10)

        own_broker.ctl("set_disk_free_limit", "900GB")
        line.publish(*ids(50))
        wait_for(lambda: "the broker blocks publishing" in caplog.messages, 10, "blocked")
        line.consume("q", prefetch=1)
        wait_for(lambda: len(line.arrivals) >= 10, 10, "consuming goes on, so the acknowledgements are heard")
        time.sleep((SOON * 3).total_seconds())  # longer than the progress limit
        # Once it accepts them again, a slow broker may well need longer than the limit.
        assert "the broker confirms nothing" not in caplog.messages
        own_broker.ctl("set_disk_free_limit", "50MB")
        line.wait_settled(60)
        wait_for(lambda: len(line.ids) == 60, 10, "all arrived")

        line.assert_each_settled_once()
    assert caplog.messages.count("the broker blocks publishing") == 1
    assert caplog.messages.count("the broker accepts messages again") == 1


_LOST = 'mnesia:dirty_delete(rabbit_queue, rabbit_misc:r(<<"/">>, queue, <<"lost">>)).'
_FOUND = (
    '[Q] = mnesia:dirty_read(rabbit_durable_queue, rabbit_misc:r(<<"/">>, queue, <<"lost">>)),'
    " mnesia:dirty_write(rabbit_queue, Q)."
)
"""What a broker with Mnesia knows of a queue that is there, but that it cannot reach, and of one that it reaches."""


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_queue_that_the_broker_cannot_reach_holds_up_nothing_else_and_is_taken_up_once_it_can(
    own_broker: PrivateBroker, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "router")
    without, again = "the broker cannot reach queues, going on without them; run: clusterbus doctor", "reaches all"
    with Running(own_broker.url) as line:
        line.declare(bus("q", "lost"))
        if not keeps_queues_in_mnesia(own_broker):
            pytest.skip("this RabbitMQ keeps no queues in Mnesia, so it always reaches those of its own node")
        line.consume("q")
        line.consume("lost")
        line.publish("before")
        wait_for(lambda: len(line.arrivals) == 2, 10, "both have it")

        own_broker.ctl("eval", _LOST)
        own_broker.ctl("close_all_connections", "as after a restart")
        line.publish(*ids(10))
        line.wait_settled(11, 60)
        wait_for(lambda: len(line.arrivals) == 12, 10, "the other queue has them")
        wait_for(lambda: without in caplog.messages and line.rabbit.connection.unread, 20, "it is named")
        assert line.rabbit.connection == replace(line.rabbit.connection, problem="", unread=("lost",))
        assert {each.queue for each in line.arrivals[2:]} == {"q"}

        own_broker.ctl("eval", _FOUND)
        wait_for(lambda: sum(again in each for each in caplog.messages) == 2, 30, "both connections know")
        line.publish("after")
        wait_for(lambda: len(line.arrivals) == 14, 30, "both have it")
        assert line.rabbit.connection == replace(line.rabbit.connection, unread=(), down=())

        line.assert_each_settled_once()
    assert caplog.messages.count(without) == 2  # once for each connection, though it was tried again and again


@pytest.mark.long
def test_a_command_right_after_a_start_of_the_broker_waits_for_its_streams(
    own_broker: PrivateBroker, caplog: pytest.LogCaptureFixture
):
    with Session(own_broker.url, name="test") as session:
        session.declare(base())
    # Until it has written where the stream is, a kill would lose it; an orderly stop writes that.
    own_broker.stop()
    own_broker.start()

    with Session(own_broker.url, name="test") as session:
        session.declare(base())
        assert session.queue_facts(HISTORY) is not None
    # What people see: not what pika logs.
    assert [each.message for each in caplog.records if each.levelno > logging.INFO and "router" in each.name] == []


@pytest.mark.long
def test_a_queue_that_breaks_the_connection_of_who_consumes_it_is_left_and_others_are_consumed(
    own_broker: PrivateBroker, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "router")
    left = "the broker breaks the connection when it is to give us a queue: all others are consumed"
    others = [f"q{number}" for number in range(5)]
    with Running(own_broker.url) as line:
        line.declare(bus(*others, "lost"))
        line.publish("m")
        line.wait_settled(1)
        # The broker does not know any more where its messages are.
        own_broker.ctl("eval", 'ra:force_delete_server(quorum_queues, {list_to_atom("%2F_lost"), node()}).')
        for queue in ("lost", *others):
            line.consume(queue)

        wait_for(lambda: left in caplog.messages, 30, "it is found")
        wait_for(lambda: {each.queue for each in line.arrivals} == {*others}, 30, "all others are consumed")
        wanted = replace(line.rabbit.connection, problem="", unread=("lost",), is_settled=True)
        wait_for(lambda: line.rabbit.connection == wanted, 10, "the connection is back, and the queue named")
        lost = caplog.messages.count("lost the connection to the broker")
        line.do(lambda: line.rabbit.cancel("lost"))
        line.do(lambda: line.rabbit.cancel("q0"))
        line.consume("q0")
        wait_for(lambda: not line.rabbit.connection.unread, 10, "nothing else is missing")

    (found,) = [each for each in caplog.records if each.message == left]
    assert found.__dict__["queue"] == "lost"
    assert lost == caplog.messages.count("lost the connection to the broker") == 2


def test_a_queue_that_is_deleted_under_its_consumer_is_declared_and_consumed_again(vhost_url: str, tap: Tap):
    with Running(vhost_url) as line:
        line.declare(bus("q"))
        line.consume("q")
        line.publish("before")
        wait_for(lambda: line.ids == ["before"], 10, "first arrival")

        tap.channel.queue_delete("q")
        wait_for(lambda: tap.exists("q"), 10, "the queue is there again")
        wait_for(lambda: tap.channel.queue_declare("q", passive=True).method.consumer_count, 10, "and its consumer")
        line.publish("after")
        wait_for(lambda: line.ids == ["before", "after"], 10, "second arrival")


def test_a_channel_that_the_broker_closes_is_opened_again_and_others_are_not_disturbed(vhost_url: str):
    with Running(vhost_url) as line:
        line.declare(bus("q", "other"))
        line.consume("q", ack=False, prefetch=1)
        line.consume("other", ack=False)
        line.publish("m")
        wait_for(lambda: len(line.arrivals) == 2, 10, "one arrival of each queue")
        mine: Arrival = next(each for each in line.arrivals if each.queue == "q")

        # The broker closes the channel of who acknowledges what was never delivered, as it does after its ack timeout.
        line.do(lambda: mine.tag[0].channel.basic_ack(4711, False))  # type: ignore[index]
        wait_for(lambda: len(line.arrivals) == 3, 10, "the same again, over another channel")
        line.do(lambda: line.rabbit.ack(mine))

        assert [each.redelivered for each in line.arrivals if each.queue == "q"] == [False, True]
        assert [each.redelivered for each in line.arrivals if each.queue == "other"] == [False]


def test_of_two_hosts_one_may_be_dead(vhost_url: str):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    dead = f"amqp://guest:guest@127.0.0.1:{port}/"

    with Running([dead, vhost_url]) as line:
        line.declare(bus("q"))
        line.consume("q")
        line.publish(*ids(10))
        wait_for(lambda: line.ids == ids(10), 15, "all arrived")


def test_what_the_broker_nacks_is_sent_again_in_order_once_there_is_room(vhost_url: str, tap: Tap):
    with Running(vhost_url) as line:
        line.declare(bus("q", max_length=5, overflow="reject-publish"))
        line.publish(*ids(30))

        taken: list[str] = []
        for _ in range(60):
            # While nothing is under way: what is would find the room that is made here.
            wait_for(lambda: line.is_pausing or line.settled == 30, 15, "the queue is full")
            taken += [each.properties.message_id for each in tap.drain("q")]
            if line.settled == 30:
                break
            wait_for(lambda: not line.is_pausing, 15, "it goes on")
        taken += [each.properties.message_id for each in tap.drain("q")]

        line.assert_each_settled_once()
    assert list(dict.fromkeys(taken)) == ids(30)


def test_what_is_not_to_be_sent_again_is_settled_where_a_full_queue_refuses_it_and_holds_nothing_up(vhost_url: str):
    full = bus("q", max_length=1, overflow="reject-publish")
    free = Topology(queues=(Queue("free", QUORUM),))
    with Running(vhost_url) as line:
        line.declare(full + free)

        def refused() -> bool:
            line.publish(f"marker{len(line.settlements)}", again=False)
            line.wait_settled(len(line.settlements))
            return Settlement.REFUSED in next(reversed(line.settlements.values()))

        wait_for(refused, 15, "the queue is full")
        line.publish("event", exchange="", key="free")
        line.wait_settled(len(line.settlements))

        assert line.settlements["event"] == [Settlement.CONFIRMED]
        assert {len(each) for each in line.settlements.values()} == {1}


def test_an_exchange_that_was_deleted_is_declared_again_and_nothing_is_lost(vhost_url: str, tap: Tap):
    with Running(vhost_url) as line:
        line.declare(bus("q"))
        line.publish("before")
        line.wait_settled(1)

        tap.channel.exchange_delete("bus")
        line.publish(*ids(20))
        line.wait_settled(21)

        line.assert_each_settled_once()
    assert [each.properties.message_id for each in tap.drain("q")][-20:] == ids(20)


def test_a_message_that_the_broker_will_never_take_is_found_among_many_and_the_others_pass(vhost_url: str, tap: Tap):
    wanted = ids(40)
    with Running(vhost_url) as line:
        line.declare(bus("q"))

        def publish_all() -> None:
            line.publish(*wanted[:20])
            # A CC header has to be a list: the broker closes the channel over it.
            line.publish("bad", headers={"CC": "elsewhere"})
            line.publish("worse", headers={"CC": "elsewhere"})
            line.publish(*wanted[20:])

        publish_all()
        line.wait_settled(42)

        assert line.settlements.pop("bad") == line.settlements.pop("worse") == [Settlement.REFUSED]
        line.assert_each_settled_once()
    assert list(dict.fromkeys(each.properties.message_id for each in tap.drain("q"))) == wanted


def test_stop_is_bounded_when_the_broker_is_gone(vhost_url: str, proxy: Before):
    between = proxy(vhost_url)
    with Running(between.url, flush_limit=timedelta(milliseconds=300)) as line:
        line.declare(bus("q"))
        between.mode = Mode.BLACK_HOLE
        line.publish("m")

    assert line.ended
    assert line.settled == 0
