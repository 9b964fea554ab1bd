"""`clusterbus tail` and `why` on a real broker: what they show, in what order of time, and how they end."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from router.broker.interface import Message
from router.broker.session import Session
from router.broker.topology import EVENTS, base
from router.errors import Unreachable
from router.pipeline.messages import message_of
from tests.consuming import make_event, publish
from tests.operating import invoke, json_lines
from tests.proxy import Mode


@pytest.fixture
def set_up(vhost_url):
    """The topology."""
    with Session(vhost_url, name="test") as session:
        session.declare(base())


@pytest.fixture
def tail(vhost_url, set_up):
    """A function that runs `tail` to its end; returns exit code and output."""
    return lambda *words, url=vhost_url: invoke({"CLUSTERBUS_BROKER": url}, "tail", "--no-follow", *words)


def test_an_event_that_this_release_cannot_read_is_shown_and_those_after_it_too(tail, vhost_url):
    first, last = make_event(), make_event()
    strange = make_event().to_json().replace(b"{", b'{"later": [1], ', 1)
    publish(vhost_url, [first])
    with Session(vhost_url, name="test") as session:
        session.publish([Message(EVENTS, first.topic, strange, "S"), Message(EVENTS, first.topic, b"\xff", "G")])
    publish(vhost_url, [last])

    code, output = tail("--since", "1h", "--json")
    _, text = tail("--since", "1h")

    assert code == 0
    shown = json_lines(output)
    assert [each["id"] for each in shown] == [first.id, "S", "G", last.id]
    assert [bool(each.get("unreadable")) for each in shown] == [False, True, True, False]
    assert text.count("cannot be read by this release") == 2


def test_events_in_binary_mode_are_shown_like_the_others(tail, vhost_url):
    events = [make_event() for _ in range(2)]
    with Session(vhost_url, name="test") as session:
        session.publish([message_of(each, wire="binary") for each in events])

    code, output = tail("--since", "1h", "--json")

    assert (code, json_lines(output)) == (0, [json.loads(each.to_json()) for each in events])


def test_an_event_of_a_node_hours_behind_is_shown_because_it_arrived_now(tail, vhost_url):
    behind = make_event(time=(datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    publish(vhost_url, [behind])

    code, output = tail("--since", "1h", "--json")

    assert (code, [each["id"] for each in json_lines(output)]) == (0, [behind.id])


def test_a_history_without_events_is_read_to_its_end(tail):
    assert tail("--since", "1h") == (0, "")


@pytest.mark.long
def test_a_slow_broker_is_waited_for(tail, vhost_url, proxy):
    events = [make_event() for _ in range(5)]
    publish(vhost_url, events)
    slow = proxy(vhost_url)
    slow.mode = Mode.STALL
    timer = threading.Timer(6, lambda: setattr(slow, "mode", Mode.PASS))
    timer.start()

    code, output = tail("--since", "1h", "--json", url=slow.url)

    timer.join()
    assert (code, [each["id"] for each in json_lines(output)]) == (0, [each.id for each in events])


@pytest.mark.long
def test_a_broker_that_falls_silent_or_is_not_there_is_unreachable(vhost_url, set_up, proxy):
    settings = {"CLUSTERBUS_BROKER": "amqp://guest:guest@127.0.0.1:1/", "CLUSTERBUS_BROKER_PATIENCE": "2s"}
    with pytest.raises(Unreachable, match="no connection"):
        invoke(settings, "tail", "--since", "1h", "--no-follow")
    silent = proxy(vhost_url)
    # Before two questions can have been answered.
    timer = threading.Timer(1.2, lambda: setattr(silent, "mode", Mode.STALL))
    timer.start()

    with pytest.raises(Unreachable):
        invoke(settings | {"CLUSTERBUS_BROKER": silent.url}, "tail", "--since", "1h", "--no-follow", "nothing.#")
    timer.join()


def test_why_with_an_id_of_no_time_is_a_sentence(vhost_url, set_up, tmp_path):
    settings = {"CLUSTERBUS_BROKER": vhost_url, "CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{tmp_path}/store.db"}

    code, output = invoke(settings, "why", "7" + "Z" * 25)

    assert code == 1
    assert "is of a moment after the year 9999" in output


def test_a_wrong_log_level_is_told_without_the_librarys_words():
    code, output = invoke({}, "--log-level", "foo", "settings")

    assert code == 2
    assert "Value error" not in output
    assert "'foo' is not one of" in output
