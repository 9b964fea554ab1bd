"""Storms on a real broker: what is folded is counted once whatever is killed, and what is down is left alone."""

import threading
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from consumers.delivery.engine import Engine
from consumers.policies import circuit_breaker
from consumers.policies.retry import RetryPolicy
from consumers.policies.throttling import Folding
from consumers.store import audit as books
from consumers.store import breakers as table
from consumers.store.database import Store
from consumers.subscriptions.models import Subscriptions
from consumers.verbs.post.verb import PostVerb
from router.broker.client import Rabbit
from router.broker.topology import EVENTS, queue_of
from router.model.ids import new_id
from tests.consuming import make_event, make_subscription, making, now, publish, python, stop_for_good
from tests.operating import Consumer, Program
from tests.waiting import wait_for
from tests.webhooks import answering, webhook

SECOND = timedelta(seconds=1)


@pytest.fixture
def consume(vhost_url, tmp_path, database):
    """A function that returns a consumer of these subscriptions, to be started and killed; their store is one."""
    with making(vhost_url, tmp_path, Consumer, store=database("store")) as make:
        yield make


@pytest.mark.long
@pytest.mark.timeout(180)
def test_of_a_folded_storm_each_event_is_told_once_though_consumers_are_killed(consume, vhost_url, tmp_path, tap):
    told = tmp_path / "told"
    line = "os.environ['CLUSTERBUS_EVENT_ID']+' '+sys.argv[1]+'\\n'"
    command = [*python(f"import os,sys,time\nopen({str(told)!r},'a').write({line})\ntime.sleep(0.5)")]
    fold = Folding(by=("data.fsName",), wait=2 * SECOND)
    consumer = consume(
        make_subscription("audit"), make_subscription("told", [*command, "{{ fold.count }}"], fold=fold, concurrency=2)
    )
    events = [make_event(fsName=f"gpfs{number % 2}", node=f"n{number % 400:03}") for number in range(2000)]
    consumer.start().wait_ready()
    storm = threading.Thread(target=publish, args=(vhost_url, events))
    began = time.monotonic()

    storm.start()
    wait_for(lambda: consumer.count(subscription="told", outcome="folded") > 500, 30, "a part of the storm")
    consumer.kill()
    consumer.start()
    storm.join(120)
    wait_for(told.exists, 60, "the first that is told")
    consumer.kill()
    consumer.start().wait_ready()

    def lines():
        return [line.split() for line in told.read_text().splitlines()]

    wait_for(lambda: sum(int(count) for _, count in {*map(tuple, lines())}) >= 2000, 60, "all of them told")
    took = time.monotonic() - began
    folds = consumer.wait_outcomes(len({head for head, _ in lines()}), subscription="told", outcome="done")
    stop_for_good(consumer, tap, "told", "audit")

    counts = defaultdict(set)
    for head, count in lines():
        counts[head].add(int(count))
    assert all(len(each) == 1 for each in counts.values())
    assert sum(sum(each) for each in counts.values()) == 2000
    assert {row.event_id for row in folds} == set(counts)
    # Each of the two file systems has one fold in two seconds; each of the two kills interrupts at most two commands.
    assert len(lines()) <= 2 * (took / 2 + 1) + 4
    assert consumer.count(subscription="told", outcome="folded") == 2000
    with consumer.store.reading() as transaction:
        assert books.head(transaction).sequence == 2000
        assert books.verify(transaction) is None
    assert tap.count(queue_of("told")) == 0


class _Threaded:
    """An engine in a thread of the test's own process, whose numbers a test can change."""

    def __init__(self, url, store, *subscriptions):
        self.rabbit = Rabbit(url, name="consumer", longest_pause=SECOND)
        self.store = Store(store)
        self.engine = Engine(self.rabbit, self.store, Subscriptions(subscriptions=subscriptions), clock=now)
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        self.engine.start()
        self.rabbit.run()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.rabbit.call(self.engine.stop)
        self._thread.join(120)
        self.store.close()
        assert not self._thread.is_alive()


def test_a_webhook_that_was_down_gets_everything_when_it_is_back_in_a_bounded_number_of_calls(
    vhost_url, tmp_path, monkeypatch, tap, database
):
    monkeypatch.setattr(circuit_breaker, "FIRST", SECOND)
    opened = recorded_breakers(monkeypatch)
    settings = Program(vhost_url, tmp_path, "version: 1\nsubscriptions: []\n", store=database("store"))
    events = [make_event() for _ in range(40)]
    policy = RetryPolicy(attempts=5, first=SECOND, growth=1)
    with webhook() as hook:
        hook.behave = answering(503)
        posted = make_subscription("hook", PostVerb(url=hook.url), retry=policy, concurrency=4)
        with settings, _Threaded(vhost_url, database("store"), posted) as running:
            publish_when_served(vhost_url, running, events)
            wait_for(lambda: open_breaker(settings.store), 20, "an open breaker")
            began = len(hook.received)
            (shown,) = settings.command("breakers", "list", "--json")
            wait_for(lambda: len(hook.received) > began, 20, "it is tried now and then")
            hook.behave = answering(200)
            wait_for(lambda: done(settings) == 40, 40, "all delivered")
            closed = settings.command("breakers", "list", "--json")
            rows = settings.rows()

    calls = Counter(each.headers["webhook-id"] for each in hook.received)
    outcomes = Counter(row.outcome for row in rows)
    assert shown["target"] == f"post {hook.url}"
    assert shown["state"] in ("open", "half-open")
    # However many were under way when it opened, and however long it takes to look: the first that was written.
    first = opened[0]
    assert (first.failed, first.until - first.opened) == (circuit_breaker.PATIENCE, SECOND)
    assert closed == []
    assert outcomes["dead"] == 0
    assert outcomes["retry"] <= 16
    assert len(hook.received) == 40 + outcomes["retry"]
    assert len(calls) == 40
    assert max(row.attempt for row in rows) <= 3
    assert tap.count(queue_of("hook")) == 0


@pytest.mark.timeout(180)
def test_a_webhook_that_is_gone_is_called_no_more_until_a_person_says_so_and_that_is_reported_once(
    vhost_url, tmp_path, monkeypatch, tap, database
):
    monkeypatch.setattr(circuit_breaker, "LONGEST", SECOND)
    settings = Program(vhost_url, tmp_path, "version: 1\nsubscriptions: []\n", store=database("store"))
    with webhook() as gone, webhook() as there:
        hooks = [
            make_subscription(name, PostVerb(url=f"{each.url}/{name}"))
            for name, each in (("gone", gone), ("same-host", gone), ("there", there))
        ]
        gone.behave = lambda request: answering(410 if request.path.endswith("/gone") else 200)(request)
        with settings, _Threaded(vhost_url, database("store"), *hooks) as running:
            served(running)
            tap.channel.queue_declare("reports")
            tap.channel.queue_bind("reports", EVENTS, "clusterbus.*.action.targetGone.#")
            publish(vhost_url, [make_event() for _ in range(10)])
            wait_for(lambda: done(settings) == 20, 60, "the others have everything")
            wait_for(lambda: len(waiting(settings)) >= 5, 60, "its deliveries wait")
            called = [each.path for each in gone.received].count("/hook/gone")
            (shown,) = settings.command("breakers", "list", "--json")
            publish(vhost_url, [make_event()])
            wait_for(lambda: done(settings) == 22, 60, "the others have that too")
            after = [each.path for each in gone.received].count("/hook/gone")
            gone.behave = answering(200)
            settings.command("breakers", "close", shown["target"])
            wait_for(lambda: done(settings) == 33 - called, 60, "what waited is delivered")
            outcomes = Counter(each.outcome for each in settings.rows() if each.subscription == "gone")
        reports = tap.drain("reports")

    assert (shown["state"], shown["target"]) == ("gone", f"post {gone.url}/gone")
    assert called == after <= 4, "those that were under way at the first answer"
    assert outcomes["dead"] == called
    assert len({each.properties.message_id for each in reports}) == 1


def waiting(settings):
    latest = {each.event_id: each for each in settings.rows() if each.subscription == "gone"}
    return [each for each in latest.values() if each.outcome == "wait"]


def publish_when_served(url, running, events):
    """Publish when the queue of the engine in the thread is bound."""
    served(running)
    publish(url, events)


def served(running):
    ready = threading.Event()
    running.rabbit.call(lambda: running.rabbit.questions.when_ready(ready.set))
    assert ready.wait(120)


def recorded_breakers(monkeypatch):
    """Return a list to which each open breaker is added as it is written."""
    seen, write = [], table.write

    def recording(transaction, breakers, now):
        breakers = list(breakers)
        seen.extend(each for each in breakers if each.until)
        write(transaction, breakers, now)

    monkeypatch.setattr(table, "write", recording)
    return seen


def open_breaker(store):
    with store.reading() as transaction:
        found = table.find(transaction).values()
    return next((each for each in found if each.until), None)


def done(program):
    return sum(row.outcome == "done" for row in program.rows())


@pytest.mark.long
@pytest.mark.timeout(120)
def test_each_key_keeps_its_order_and_others_go_on_though_a_consumer_is_killed(consume, vhost_url, tmp_path, tap):
    done = tmp_path / "done"
    # Every third fails at first: the order has to hold over its wait.
    code = f"""import os,sys
if sys.argv[2] == 'fails' and os.environ['CLUSTERBUS_ATTEMPT'] == '1': sys.exit(3)
open({str(done)!r},'a').write(sys.argv[1] + ' ' + os.environ['CLUSTERBUS_EVENT_ID'] + chr(10))
"""
    act = make_subscription(
        "act",
        [*python(code), "{{ data.fsName }}", "{{ data.how }}"],
        order_by=("data.fsName",),
        concurrency=4,
        retry=RetryPolicy(attempts=5, first=SECOND, growth=1),
    )
    began = datetime.now(UTC)
    events = [
        make_event(
            # The clocks of some nodes are ahead: it is the order of arrival that counts.
            new_id(began + timedelta(seconds=number // 3 % 2 * 30, milliseconds=number)),
            fsName=f"gpfs{number % 3}",
            how="fails" if number % 3 and number // 3 % 3 == 1 else "works",
        )
        for number in range(24)
    ]
    one, two = consume(act), consume(act)
    one.start().wait_ready()
    two.start()
    wait_for(lambda: two.words().count("connected to the broker") >= 2, 20, "the second consumer")

    publish(vhost_url, events)
    wait_for(lambda: done.exists() and len(done.read_text().split()) >= 8, 20, "the first few")
    one.kill()
    two.wait_outcomes(24, outcome="done", timeout=60)
    wait_for(lambda: tap.count(queue_of("act")) == 0, 20, "an empty queue")

    lines = [line.split() for line in done.read_text().splitlines()]
    firsts = {key: list(dict.fromkeys(each for other, each in lines if other == key)) for key, _ in lines}
    assert firsts == {f"gpfs{key}": [each.id for each in events[key::3]] for key in range(3)}
    # Of gpfs0 none fails: it has not waited for the others.
    last = {key: max(at for at, (other, _) in enumerate(lines) if other == key) for key in firsts}
    assert last["gpfs0"] < min(last["gpfs1"], last["gpfs2"])
