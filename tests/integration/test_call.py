"""Functions over a real broker: one failing leaves the others alone."""

from datetime import timedelta
from pathlib import Path

import pytest

from consumers.policies.retry import RetryPolicy
from consumers.verbs.call.verb import CallVerb
from tests.consuming import Consumer, make_event, make_subscription, publish

FUNCTIONS = """
import sys, threading, time
from pathlib import Path

HERE = Path(__file__).parent

def _trace(name):
    with (HERE / name).open("a") as file:
        file.write("x")

def one(fsName):
    _trace("one")
    return fsName

def two(event, attempt):
    _trace("two")
    if attempt == 1:
        raise OSError("disk on fire")
    return attempt

def three(**variables):
    _trace("three")
    return sorted(variables)

def leaving():
    threading.Thread(target=time.sleep, args=(1,)).start()
    print("on my way")
    sys.exit(1)

def exiting():
    import os
    os._exit(0)
"""


@pytest.fixture
def function(tmp_path):
    """A function that returns the verb that calls a function of a file."""
    file = tmp_path / "site.py"
    file.write_text(FUNCTIONS)
    return lambda name, **fields: CallVerb(function=f"{file}:{name}", **fields)


def test_of_three_handlers_of_one_event_the_one_that_failed_is_retried_alone(
    vhost_url: str, tmp_path: Path, function
) -> None:
    event = make_event()
    subscriptions = [make_subscription(name, function(name)) for name in ("one", "two", "three")]

    with Consumer(vhost_url, tmp_path, subscriptions) as consumer:
        consumer.wait_ready()
        publish(vhost_url, [event])
        rows = consumer.wait_outcomes(4)

    outcomes = {(row.subscription, row.attempt): row.outcome for row in rows}
    assert outcomes == {("one", 1): "done", ("two", 1): "retry", ("two", 2): "done", ("three", 1): "done"}
    assert [(tmp_path / name).read_text() for name in ("one", "two", "three")] == ["x", "xx", "x"]
    assert next(row.reason for row in rows if row.outcome == "retry") == "OSError: disk on fire"


def test_no_function_takes_its_consumer_down(vhost_url: str, tmp_path: Path, function) -> None:
    retry = RetryPolicy(attempts=2, first=timedelta(seconds=1), growth=1)
    subscriptions = [
        make_subscription("leaving", function("leaving"), retry=retry),
        make_subscription("exiting", function("exiting", isolate=True), retry=retry),
        make_subscription("one", function("one")),
    ]

    with Consumer(vhost_url, tmp_path, subscriptions) as consumer:
        consumer.wait_ready()
        publish(vhost_url, [make_event()])
        consumer.wait_outcomes(2, subscription="leaving")
        consumer.wait_outcomes(2, subscription="exiting")
        publish(vhost_url, [make_event()])
        consumer.wait_outcomes(2, subscription="one")
        dead = consumer.attempts(outcome="dead")

        assert consumer.is_running
        assert {row.subscription for row in dead} == {"leaving", "exiting"}
        assert consumer.stop() == 0
