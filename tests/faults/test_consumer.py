"""The fourth moment, and everything that may go wrong around it: nothing lost, nothing that is done run again."""

import subprocess
from collections import Counter
from datetime import timedelta

import pika
import pytest

from consumers.dead_letters.kept_letters import find
from consumers.policies.retry import RetryPolicy
from consumers.store import audit
from consumers.store.database import Store
from consumers.verbs.log.verb import LogVerb
from consumers.verbs.run.verb import RunVerb
from router.broker.topology import DEAD, queue_of
from tests.consuming import (
    Consumer,
    effect,
    is_gone,
    make_event,
    make_subscription,
    making,
    publish,
    python,
    stop_for_good,
    wait_empty,
)
from tests.waiting import wait_for

SECOND = timedelta(seconds=1)


def effects(path):
    """Return how often each event left its line."""
    return Counter(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else Counter()


@pytest.fixture
def consume(vhost_url, tmp_path, database):
    """A function that returns a consumer of these subscriptions, to be started and killed."""
    with making(vhost_url, tmp_path, store=database("store")) as make:
        yield make


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounting.returncode:
        pytest.skip(f"no file system can be mounted here: {mounting.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("moment", ["before the outcome is recorded", "before the ack", "after the ack"])
def test_a_command_is_run_again_only_where_its_end_was_not_recorded(consume, vhost_url, tmp_path, tap, moment):
    consumer = consume(make_subscription("act", effect(tmp_path / "done")))
    event = make_event()
    consumer.start(moment).wait_ready()
    publish(vhost_url, [event])
    consumer.wait_killed()

    consumer.start().wait_ready()
    consumer.wait_outcomes(1)
    stop_for_good(consumer, tap, "act")
    rows = consumer.attempts()

    assert effects(tmp_path / "done") == {event.id: 2 if moment == "before the outcome is recorded" else 1}
    assert [row.outcome for row in rows] == ["done"]
    assert tap.count(queue_of("act")) == 0


@pytest.mark.parametrize("moment", ["before the outcome is recorded", "before the ack", "after the ack"])
def test_the_audit_has_each_event_once_however_its_writer_is_killed(consume, vhost_url, tap, moment):
    consumer = consume(make_subscription("audit"))
    events = [make_event() for _ in range(50)]
    consumer.start(moment).wait_ready()
    publish(vhost_url, events)
    consumer.wait_killed()

    consumer.start().wait_ready()
    consumer.wait_outcomes(50)
    stop_for_good(consumer, tap, "audit")

    store = Store(consumer.store_url)
    with store.reading() as transaction:
        assert sorted(each.id for each in audit.find(transaction)) == sorted(event.id for event in events)
        assert audit.verify(transaction) is None
    store.close()
    assert tap.count(queue_of("audit")) == 0


@pytest.mark.parametrize("moment", ["before it is handed over", "after it is handed over"])
def test_a_retry_is_never_lost_and_each_attempt_is_made_once(consume, vhost_url, tmp_path, tap, moment):
    fails_first = "sys.exit(os.environ['CLUSTERBUS_ATTEMPT'] == '1')"
    consumer = consume(make_subscription("act", effect(tmp_path / "done", fails_first)))
    event = make_event()
    consumer.start(moment).wait_ready()
    publish(vhost_url, [event])
    consumer.wait_killed()

    consumer.start().wait_ready()
    rows = consumer.wait_outcomes(2)
    stop_for_good(consumer, tap, "act")

    assert [(row.attempt, row.outcome) for row in rows] == [(1, "retry"), (2, "done")]
    assert effects(tmp_path / "done") == {event.id: 2}
    assert tap.count(queue_of("act")) == 0


def test_of_a_hundred_events_none_is_lost_or_done_twice_while_consumers_are_killed(consume, vhost_url, tmp_path, tap):
    consumer = consume(make_subscription("act", effect(tmp_path / "done"), concurrency=4), make_subscription("audit"))
    events = [make_event() for _ in range(100)]
    consumer.start().wait_ready()
    publish(vhost_url, events)

    for enough in (10, 30, 60):
        wait_for(lambda enough=enough: len(effects(tmp_path / "done")) >= enough, 30, f"{enough} effects")
        consumer.kill()
        recorded = {row.event_id for row in consumer.attempts(subscription="act", outcome="done")}
        before = effects(tmp_path / "done")
        consumer.start().wait_ready()
    consumer.wait_outcomes(200, timeout=60)
    wait_empty(tap, "act", "audit")

    after = effects(tmp_path / "done")
    assert set(after) == {event.id for event in events}
    assert all(after[event_id] == before[event_id] for event_id in recorded)
    done = [row.event_id for row in consumer.attempts(outcome="done")]
    assert Counter(done) == {event.id: 2 for event in events}


def test_what_a_killed_consumer_left_running_is_ended_and_the_attempt_repeated(consume, vhost_url, tmp_path):
    pids = tmp_path / "pids"
    notes = f"open({str(pids)!r},'a').write(str(os.getpid())+' ')"
    hangs_once = f"{notes}\nif open({str(pids)!r}).read().count(' ')==1: time.sleep(60)"
    consumer = consume(make_subscription("act", effect(tmp_path / "done", hangs_once), timeout=60 * SECOND))
    consumer.start().wait_ready()
    publish(vhost_url, [make_event()])
    first = int(wait_for(lambda: pids.exists() and pids.read_text(), 20, "the command"))
    consumer.kill()
    assert not is_gone(first)

    consumer.start().wait_ready()
    rows = consumer.wait_outcomes(1)

    assert [(row.attempt, row.outcome) for row in rows] == [(1, "done")]
    assert is_gone(first)


@pytest.mark.long
def test_handlers_that_misbehave_are_bounded_retried_and_given_up_and_the_rest_is_unharmed(
    consume, vhost_url, tmp_path
):
    quick = RetryPolicy(attempts=2, first=SECOND)
    hang = RunVerb(command=tuple(python("import time; time.sleep(60)")), timeout=SECOND)
    left = tmp_path / "left"
    child = f"os.setsid(); open({str(left)!r},'w').write(str(os.getpid())); time.sleep(60)"
    leaves = f"import os,time\nif os.fork()==0: {child}"
    waits = f"while not os.path.exists({str(left)!r}): time.sleep(0.01)"
    flood = "import os\nfor _ in range(1024): os.write(1, b'x' * (1 << 20))\nos._exit(1)"
    consumer = consume(
        make_subscription("hangs", hang, retry=quick),
        make_subscription("crashes", python("import os; os.kill(os.getpid(), 11)"), retry=quick),
        make_subscription("exits", python("import sys; sys.exit(3)"), retry=quick),
        make_subscription("floods", python(flood), retry=quick, timeout=60 * SECOND),
        make_subscription("leaves", python(f"{leaves}\n{waits}"), retry=quick),
        make_subscription("good", effect(tmp_path / "done")),
    )
    events = [make_event()]
    consumer.start().wait_ready()

    publish(vhost_url, events)
    rows = consumer.wait_outcomes(10, timeout=60)

    outcomes = {(row.subscription, row.attempt): (row.outcome, row.reason) for row in rows}
    assert outcomes["hangs", 2] == ("dead", "did not finish within 1s: killed")
    assert outcomes["crashes", 2] == ("dead", "ended by signal 11")
    assert outcomes["exits", 2] == ("dead", "exit code 3")
    assert outcomes["floods", 2][0] == "dead"
    assert outcomes["floods", 2][1].startswith("exit code 1: xxx")
    assert outcomes["leaves", 1] == ("done", None)
    assert outcomes["good", 1] == ("done", None)
    assert consumer.is_running
    assert int(_status(consumer.process.pid, "VmHWM")) < 200 * 1024
    assert is_gone(int(left.read_text()))


def _status(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123 - no path of ours
        return status.read().partition(f"{name}:")[2].split()[0]


def test_a_full_disk_under_the_store_loses_nothing_and_needs_no_help(consume, vhost_url, tmp_path, small_disk, tap):
    consumer = consume(make_subscription("audit"))
    consumer.store_url = f"sqlite:///{small_disk / 'store.db'}"
    consumer.start().wait_ready()
    filler = small_disk / "filler"
    _fill(filler)
    events = [make_event(note="x" * 500) for _ in range(200)]

    publish(vhost_url, events)
    wait_for(lambda: "database or disk is full" in consumer.words(), 20, "the store's error")
    store = Store(consumer.store_url)
    with store.reading() as transaction:
        while_full = len(audit.find(transaction, limit=1000))
    filler.unlink()
    wait_for(lambda: _audited(store) == 200, 30, "all events in the audit")
    wait_empty(tap, "audit")

    assert while_full < 200
    assert consumer.is_running
    with store.reading() as transaction:
        assert audit.verify(transaction) is None
    store.close()


def _audited(store):
    with store.reading() as transaction:
        return audit.head(transaction).sequence


def _fill(path):
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 1024)
        except OSError:
            return


def test_a_full_disk_under_a_log_file_leaves_no_half_line(consume, vhost_url, tmp_path, small_disk, tap):
    file, filler = small_disk / "events.jsonl", small_disk / "filler"
    consumer = consume(make_subscription("lines", LogVerb(file=file, store=False)), make_subscription("audit"))
    consumer.start().wait_ready()
    first = make_event()
    publish(vhost_url, [first])
    consumer.wait_outcomes(2)
    _fill(filler)
    events = [make_event(note="x" * 5000) for _ in range(20)]

    publish(vhost_url, events)
    wait_for(lambda: "cannot write to the log file" in consumer.words(), 20, "the file's error")
    consumer.wait_outcomes(21, subscription="audit")
    while_full = file.read_bytes()
    filler.unlink()
    consumer.wait_outcomes(21, subscription="lines")

    assert while_full == first.to_json() + b"\n"
    assert sorted(file.read_bytes().splitlines()) == sorted(each.to_json() for each in [first, *events])


def test_two_writers_of_one_file_leave_a_thousand_whole_lines(vhost_url, tmp_path, tap):
    file = tmp_path / "events.jsonl"
    subscriptions = [make_subscription("lines", LogVerb(file=file, store=False))]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    events = [make_event(note="x" * 2000) for _ in range(1000)]

    # Each with a store of its own, so that it is the file alone that they share.
    with Consumer(vhost_url, folders[0], subscriptions) as one, Consumer(vhost_url, folders[1], subscriptions) as two:
        one.wait_ready()
        two.wait_ready()
        wait_for(lambda: tap.consumers(queue_of("lines")) == 2, 20, "two consumers of the queue")
        publish(vhost_url, events)
        wait_for(lambda: one.count() + two.count() >= 1000, 60, "a thousand outcomes")
        shares = one.count(), two.count()
        # Before one is killed: the other would get what it has not acknowledged, and does not know that it is written.
        lines = file.read_bytes().splitlines()

    assert all(shares)
    assert sorted(lines) == sorted(event.to_json() for event in events)


def test_two_consumers_of_one_store_share_the_work_and_keep_one_chain(consume, vhost_url, tmp_path, tap):
    subscriptions = [make_subscription("act", effect(tmp_path / "done"), concurrency=2), make_subscription("audit")]
    one, two = consume(*subscriptions), consume(*subscriptions)
    one.start().wait_ready()
    two.start()
    events = [make_event() for _ in range(30)]
    wait_for(lambda: tap.consumers(queue_of("act")) == 2, 20, "two consumers of the queue")

    publish(vhost_url, events, times=2)
    one.wait_outcomes(60)
    wait_empty(tap, "act", "audit")

    assert effects(tmp_path / "done") == {event.id: 1 for event in events}
    store = Store(one.store_url)
    with store.reading() as transaction:
        assert audit.head(transaction).sequence == 30
        assert audit.verify(transaction) is None
    store.close()


def test_an_event_that_kills_every_consumer_is_given_up_by_the_broker_and_kept(consume, vhost_url, tmp_path, tap):
    consumer = consume(make_subscription("act", effect(tmp_path / "done")))
    event = make_event()
    consumer.start().wait_ready()
    consumer.stop()
    publish(vhost_url, [event])

    def crash():
        # What the broker sees of a consumer that dies of it, in a fraction of the time of starting twenty.
        connection = pika.BlockingConnection(pika.URLParameters(vhost_url))
        connection.channel().basic_get(queue_of("act"))
        connection.close()
        return tap.count(DEAD)

    wait_for(crash, 60, "the dead letter")
    consumer.start().wait_ready()
    store = Store(consumer.store_url)
    (letter,) = wait_for(lambda: find(store), 20, "the letter")
    store.close()

    assert (letter.event_id, letter.subscription) == (event.id, "act")
    assert effects(tmp_path / "done") == {}
