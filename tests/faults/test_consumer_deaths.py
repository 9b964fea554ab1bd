"""Handlers that end the consumer's process: only their own delivery is charged for it."""

import textwrap
from collections import Counter
from datetime import timedelta

import pytest

from consumers.dead_letters.kept_letters import find
from consumers.policies.retry import RetryPolicy
from consumers.store.database import Store
from consumers.verbs.call.verb import CallVerb
from router.broker.topology import queue_of
from tests.consuming import effect, lines, make_event, make_subscription, making, publish
from tests.waiting import wait_for

SECOND = timedelta(seconds=1)
MINUTES = 60


@pytest.fixture
def consume(vhost_url, tmp_path, database):
    """A function that returns a consumer of these subscriptions, to be started and killed."""
    with making(vhost_url, tmp_path, store=database("store")) as make:
        yield make


@pytest.fixture
def function(tmp_path, monkeypatch):
    """Write a function that consumers can call; return its reference."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(body):
        source = f"import ctypes, os, time\n\ndef act(event):\n{textwrap.indent(textwrap.dedent(body), '    ')}"
        (tmp_path / "deadly.py").write_text(source)
        return "deadly:act"

    return write


def kept_running(consumer, is_done, timeout=60):
    """Start *consumer* again whenever it has ended, as systemd would, until *is_done*; return how often it ended."""
    deaths = 0

    def look():
        nonlocal deaths
        if not consumer.is_running:
            deaths += 1
            consumer.start()
        return is_done()

    wait_for(look, timeout, f"the end of it, after {deaths} deaths")
    return deaths


def letters(consumer):
    """Return the dead letters: of which subscription, and why."""
    store = Store(consumer.store_url)
    try:
        return [(each.subscription, each.reason) for each in find(store)]
    finally:
        store.close()


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("death", ["os._exit(7)", "ctypes.string_at(0)"], ids=["exit", "segfault"])
def test_a_function_that_ends_the_consumer_is_given_up_and_its_neighbours_are_done(
    consume, vhost_url, tmp_path, function, tap, death
):
    deadly = CallVerb(function=function(death))
    retry = RetryPolicy(attempts=8, first=SECOND, growth=1)
    slow = effect(tmp_path / "done", "time.sleep(0.5)")
    consumer = consume(
        make_subscription("deadly", deadly, on=("gpfs.#",), retry=retry, patterns=("gpfs.*.disk.#",)),
        make_subscription("innocent", slow, patterns=("gpfs.*.quota.#",)),
    )
    consumer.start().wait_ready()
    innocent = [make_event() for _ in range(20)]
    culprits = [make_event(type="gpfs.diskFailure", category="disk") for _ in range(4)]

    publish(vhost_url, [*culprits, *innocent])

    def is_done():
        all_done = consumer.count(subscription="innocent", outcome="done") == len(innocent)
        # What was unsettled at a death is requeued, in the broker's own time.
        return all_done and len(letters(consumer)) >= 4 and tap.count(queue_of("innocent")) == 0

    deaths = kept_running(consumer, is_done)

    assert deaths <= 2 * len(culprits)
    assert Counter(name for name, _ in letters(consumer)) == {"deadly": len(culprits)}
    assert all("2 consumers died during this delivery" in reason for _, reason in letters(consumer))
    assert {line.split()[0] for line in lines(tmp_path / "done")} == {each.id for each in innocent}


@pytest.mark.long
@pytest.mark.timeout(90)
def test_a_delivery_that_saw_others_kill_its_consumer_is_done(consume, vhost_url, tmp_path, function):
    bystander = tmp_path / "bystander"
    deadly = function(f"""
        if event.node == "culprit":
            time.sleep(1)
            os._exit(7)
        time.sleep(2)
        open({str(bystander)!r}, "a").write(event.id + "\\n")
    """)
    retry = RetryPolicy(attempts=2, first=SECOND, growth=1)
    consumer = consume(make_subscription("act", CallVerb(function=deadly), concurrency=2, retry=retry))
    consumer.start().wait_ready()
    innocent = make_event(node="innocent")

    publish(vhost_url, [make_event(node="culprit"), innocent])
    deaths = kept_running(consumer, lambda: consumer.count(outcome="done") == 1 and len(letters(consumer)) == 1)

    assert deaths == 2
    assert lines(bystander) == [innocent.id]


@pytest.mark.long
@pytest.mark.timeout(60)
def test_a_function_that_a_stop_interrupts_is_not_charged(consume, vhost_url, tmp_path, function):
    started = tmp_path / "started"
    slow = function(f"""
        open({str(started)!r}, "a").write(event.id + "\\n")
        time.sleep(60)
    """)
    consumer = consume(make_subscription("act", CallVerb(function=slow)))
    consumer.start().wait_ready()
    publish(vhost_url, [make_event()])
    wait_for(lambda: lines(started), 20, "the call")

    assert consumer.stop() == 0
    consumer.start().wait_ready()
    wait_for(lambda: len(lines(started)) == 2, 20, "the second call")

    assert [(row.attempt, row.outcome) for row in consumer.attempts()] == [(1, None)]
