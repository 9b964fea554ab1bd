import time
from datetime import timedelta

import pytest

from consumers.policies.retry import RetryPolicy
from consumers.verbs.log.verb import LogVerb
from router.broker.topology import DEAD, queue_of
from tests.consuming import is_gone, lines, make_event, make_subscription, making, publish, python, stop_for_good
from tests.waiting import wait_for


@pytest.fixture
def consume(vhost_url, tmp_path, database):
    """A function that starts a consumer of these subscriptions, and ends it."""
    with making(vhost_url, tmp_path, store=database("store")) as make:
        yield lambda *subscriptions: make(*subscriptions).start().wait_ready()


def append(tmp_path, *, fail="False"):
    """Return the command that appends the event's id to `done`, or fails."""
    path = str(tmp_path / "done")
    code = f"import os,sys\nif {fail}: sys.exit(3)\nopen({path!r},'a').write(os.environ['CLUSTERBUS_EVENT_ID']+'\\n')"
    return python(code)


def test_an_event_reaches_a_log_a_file_and_a_command(consume, vhost_url, tmp_path):
    file = tmp_path / "events.jsonl"
    consumer = consume(
        make_subscription("audit"),
        make_subscription("lines", LogVerb(file=file, store=False)),
        make_subscription("act", append(tmp_path)),
    )
    event = make_event()

    publish(vhost_url, [event])
    rows = consumer.wait_outcomes(3)

    assert {(row.subscription, row.outcome, row.attempt) for row in rows} == {
        ("audit", "done", 1),
        ("lines", "done", 1),
        ("act", "done", 1),
    }
    assert lines(file) == [event.to_json().decode()]
    assert lines(tmp_path / "done") == [event.id]


def test_of_three_subscriptions_only_the_one_that_fails_is_retried(consume, vhost_url, tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    flaky = append(tmp_path / "two", fail="os.environ['CLUSTERBUS_ATTEMPT'] == '1'")
    consumer = consume(
        make_subscription("one", append(tmp_path / "one")),
        make_subscription("two", flaky),
        make_subscription("three", append(tmp_path / "three")),
    )
    event = make_event()

    publish(vhost_url, [event])
    rows = consumer.wait_outcomes(4)

    assert [lines(tmp_path / name / "done") for name in ("one", "two", "three")] == [[event.id]] * 3
    assert {(row.subscription, row.attempt, row.outcome) for row in rows} == {
        ("one", 1, "done"),
        ("two", 1, "retry"),
        ("two", 2, "done"),
        ("three", 1, "done"),
    }


def test_duplicates_under_one_id_call_the_handler_once(consume, vhost_url, tmp_path, tap):
    consumer = consume(make_subscription("act", append(tmp_path)), make_subscription("audit"))
    events = [make_event() for _ in range(3)]

    publish(vhost_url, events, times=5)
    consumer.wait_outcomes(6)
    stop_for_good(consumer, tap, "act", "audit")

    assert sorted(lines(tmp_path / "done")) == sorted(event.id for event in events)
    assert tap.count(queue_of("act")) == 0


def test_what_fails_for_good_is_kept_as_a_letter_with_its_reason(consume, vhost_url, tmp_path, tap):
    policy = RetryPolicy(attempts=2, first=timedelta(seconds=1))
    consumer = consume(make_subscription("act", append(tmp_path, fail="True"), retry=policy))

    publish(vhost_url, [make_event()])
    rows = consumer.wait_outcomes(2)
    wait_for(lambda: "letters kept" in consumer.words(), 10, "the letter in the store")

    assert [(row.attempt, row.outcome, row.reason) for row in rows] == [
        (1, "retry", "exit code 3"),
        (2, "dead", "exit code 3"),
    ]
    assert tap.count(DEAD) == 0


def test_a_pattern_that_left_the_file_brings_nothing_any_more(consume, vhost_url, tmp_path):
    consume(make_subscription("audit", patterns=("gpfs.*.quota.#", "gpfs.*.disk.#"))).stop()

    consumer = consume(make_subscription("audit", patterns=("gpfs.*.disk.#",)))
    publish(vhost_url, [make_event(), make_event(category="disk", type="gpfs.diskFailure")])
    rows = consumer.wait_outcomes(1)
    assert consumer.stop() == 0

    assert [row.event for row in rows] == ["gpfs.diskFailure"]


def test_what_no_filter_lets_pass_is_acknowledged_and_leaves_no_trace(consume, vhost_url, tap):
    consumer = consume(make_subscription("big", where="data.blockUsage > data.blockLimit"), make_subscription("all"))

    publish(vhost_url, [make_event()])
    consumer.wait_outcomes(1)
    assert consumer.stop() == 0

    assert tap.count(queue_of("big")) == 0
    assert [row.subscription for row in consumer.attempts()] == ["all"]


def test_a_stop_waits_for_what_runs_and_begins_nothing_new(consume, vhost_url, tmp_path, tap):
    slow = python(f"import time; open({str(tmp_path / 'began')!r}, 'a').write('x'); time.sleep(3)")
    consumer = consume(make_subscription("act", slow))
    publish(vhost_url, [make_event(), make_event()])
    wait_for((tmp_path / "began").exists, 10, "the first command")

    assert consumer.stop() == 0

    assert [row.outcome for row in consumer.attempts() if row.outcome] == ["done"]
    assert (tmp_path / "began").read_text() == "x"
    wait_for(lambda: tap.count(queue_of("act")) == 1, 10, "the second delivery, given back")


@pytest.mark.long
def test_a_stop_gives_back_what_outlasts_its_limit_and_ends_its_command(consume, vhost_url, tmp_path, tap):
    began = tmp_path / "began"
    consumer = consume(
        make_subscription(
            "act", python(f"import os,time; open({str(began)!r},'w').write(str(os.getpid())); time.sleep(60)")
        )
    )
    publish(vhost_url, [make_event()])
    pid = int(wait_for(lambda: began.exists() and began.read_text(), 10, "the command"))

    assert consumer.stop() == 0

    assert [row.outcome for row in consumer.attempts()] == [None]
    assert tap.count(queue_of("act")) == 1
    assert is_gone(pid)


@pytest.mark.long
def test_a_long_lane_drains_in_order_and_another_subscription_does_not_wait_for_it(consume, vhost_url, tmp_path):
    ready, done = tmp_path / "ready", tmp_path / "done"
    # A shell begins ten times as fast as Python.
    code = f"[ -e {ready} ] || exit 3; echo $CLUSTERBUS_EVENT_ID >> {done}"
    policy = RetryPolicy(attempts=50, first=timedelta(seconds=1), longest=timedelta(seconds=1))
    lane = [make_event(fsName="gpfs1") for _ in range(200)]
    ordered = make_subscription("ordered", ["/bin/sh", "-c", code], order_by=("data.fsName",), retry=policy)
    consumer = consume(ordered, make_subscription("other", LogVerb(), patterns=("qube.#",), on=("qube.#",)))

    def seconds_of_another() -> float:
        before, began = consumer.count(subscription="other"), time.monotonic()
        publish(vhost_url, [make_event(source="qube", type="qube.jobDone")])
        wait_for(lambda: consumer.count(subscription="other") > before, 60, "the other subscription")
        return time.monotonic() - began

    publish(vhost_url, lane)
    waiting = consumer.wait_outcomes(150, timeout=120, outcome="wait")
    took = [seconds_of_another() for _ in range(3)]
    ready.touch()
    took += [seconds_of_another() for _ in range(5)]
    wait_for(lambda: len(lines(done)) >= len(lane), 180, "the whole lane")

    assert {row.subscription for row in waiting} == {"ordered"}
    assert lines(done) == [event.id for event in lane]
    assert max(took) < 10
