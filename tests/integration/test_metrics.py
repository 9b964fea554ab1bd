"""Metrics and health of real programs on a real broker, compared with what happened."""

import sys
import threading
from datetime import timedelta
from pathlib import Path

import pika
import pytest

from router.broker.client import Rabbit
from router.broker.service_topology import service, service_exchanges
from router.broker.session import Session
from router.broker.topology import INGRESS, base, queue_of
from router.metrics import monitoring
from router.metrics.monitoring import Monitoring, Program
from tests import metrics_page
from tests.flow import Flow, Running
from tests.proxy import Mode, Proxy
from tests.scraping import addresses, api, get, prometheus, reached, scrape
from tests.waiting import wait_for

RULES = Path(__file__).parents[2] / "docker" / "prometheus" / "clusterbus.rules.yaml"
SUBSCRIPTIONS = """
version: 1
subscriptions:
  - {name: audit, on: "gpfs.#", log: {}}
  - {name: works, on: softQuotaExceeded, run: {command: [/bin/true]}}
  - {name: fails, on: diskFailure, run: {command: [/bin/false]}, retry: {attempts: 2, first: 1s}}
  - name: once
    on: lowDiskSpace
    once_per: {by: data.fsName, interval: 1h}
    run: {command: [/bin/true]}
  - {name: never, on: softQuotaExceeded, where: "data.fsName == 'other'", run: {command: [/bin/true]}}
"""


@pytest.fixture
def on():
    return addresses()


@pytest.fixture
def flow(tmp_path, vhost_url, on):
    folder = tmp_path / "services"
    folder.mkdir()
    (folder / "services.yaml").write_text('version: 1\nservices: [{name: tickets, on: "gpfs.#"}]\n')
    with Session(vhost_url, name="test") as session:
        session.declare(base() + service_exchanges() + service("tickets", ["gpfs.#"], 64 * 2**20))
    more = on | {"CLUSTERBUS_SERVICES_FOLDER": str(folder)}
    with Flow(tmp_path, vhost_url, subscriptions=SUBSCRIPTIONS, more=more) as flow:
        yield flow


@pytest.fixture
def router(on):
    return on["CLUSTERBUS_ROUTER_METRICS"]


@pytest.fixture
def consumer(on):
    return on["CLUSTERBUS_CONSUMERS_METRICS"]


def happen(flow, tap):
    """Let there be an event of each outcome, a rejected record too, and wait for all of them."""
    for _ in range(3):
        flow.captured("nsd01", "softQuotaExceeded", "--fsName", "gpfs1")
    flow.captured("nsd01", "diskFailure", "--fsName", "gpfs1")
    for _ in range(4):
        flow.captured("nsd01", "lowDiskSpace", "--fsName", "gpfs1")
    tap.publish(INGRESS, "gpfs.prod.mount.nsd01", b"no record", pika.BasicProperties(message_id="x"))
    flow.wait_audited(8)

    def is_over():
        outcomes = [row.outcome for row in flow.delivered()]
        return len(outcomes) == 8 + 3 + 2 + 4 and None not in outcomes and "dead" in outcomes

    wait_for(is_over, 60, "all deliveries have ended")


@pytest.mark.long
def test_metrics_are_what_happened(flow, tap, router, consumer):
    happen(flow, tap)
    wait_for(lambda: scrape(consumer).by("kind", "consumer_letters_kept_total").get("record"), 30, "the letter")
    wait_for(lambda: scrape(router).by("service", "service_waiting_events") == {"tickets": 8}, 60, "what waits")
    # Answers of database and broker are used for five seconds.
    wait_for(lambda: scrape(consumer).value("letters_waiting") == 2, 30, "both letters")

    of_router, of_consumer = scrape(router), scrape(consumer)

    assert of_router.by("outcome", "router_records_total") == {"event": 8, "rejected": 1}
    assert of_router.by("finding", "router_findings_total") == {"epochStarted": 1}
    assert of_router.value("router_captured_to_received_seconds_count") == 8
    assert of_router.value("router_received_to_published_seconds_count") == 8
    assert 0 < of_router.value("router_received_to_published_seconds_sum") < 600
    assert of_router.value("router_nodes") == 1
    assert of_router.value("router_unfinished_records") == of_router.value("broker_unconfirmed_messages") == 0
    outcomes = {
        name: of_consumer.by("outcome", "consumer_deliveries_total", subscription=name)
        for name in ("audit", "works", "fails", "once", "never")
    }
    assert outcomes == {
        "audit": {"done": 8},
        "works": {"done": 3},
        "fails": {"retry": 1, "dead": 1},
        "once": {"done": 1, "repeated": 3},
        "never": {},
    }
    assert of_consumer.by("why", "consumer_other_arrivals_total") == {"unmatched": 3}
    # Of `once`, only one was called; of `fails`, the retry was called, and waited on purpose.
    begun = of_consumer.by("subscription", "consumer_published_to_begun_seconds_count")
    assert begun == {"audit": 8, "works": 3, "fails": 1, "once": 1}
    recorded = of_consumer.by("subscription", "consumer_begun_to_recorded_seconds_count")
    assert recorded == {"audit": 8, "works": 3, "fails": 2, "once": 1}
    assert of_consumer.by("kind", "consumer_letters_kept_total") == {"delivery": 1, "record": 1}
    assert of_consumer.by("kind", "letters_by_failure") == {"delivery": 1, "record": 1}
    numbers = ("missed_events", "missed_events_dropped", "given_up_events", "consumers")
    assert [of_router.value(f"service_{each}", service="tickets") for each in numbers] == [0, 0, 0, 0]
    for each in (of_router, of_consumer):
        assert (each.value("ready"), each.value("database_up"), each.value("broker_connected")) == (1, 1, 1)
    # What the page says is what is there, but for breakers, of which none is open, and receivers of alerts.
    shown = of_router.names | of_consumer.names
    relay = {name for name in metrics_page.names() if name.startswith("clusterbus_relay_")}
    assert metrics_page.names() - relay - shown == {
        "clusterbus_breaker_open",
        "clusterbus_alert_receiver_failing",
        "clusterbus_alert_receiver_last_success_seconds",
    }
    assert shown <= metrics_page.names()


@pytest.mark.long
def test_a_real_prometheus_scrapes_both_and_raises_the_alert(flow, tap, router, consumer, tmp_path, require):
    binary = require("prometheus")
    targets = {"clusterbus-router": router, "clusterbus-consumers": consumer}
    with prometheus(binary, tmp_path, RULES, targets) as address:
        up = wait_for(
            lambda: len(api(address, "query?query=clusterbus_ready==1")["result"]) == 2, 60, "both are scraped"
        )
        assert up

        happen(flow, tap)

        def firing():
            alerts = api(address, "alerts")["alerts"]
            return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

        wait_for(lambda: "ClusterbusDeadLetters" in firing(), 60, "the alert fires")
        assert firing() <= {"ClusterbusDeadLetters", "ClusterbusRecordsRejected"}
        health = {each["labels"]["job"]: each["health"] for each in api(address, "targets")["activeTargets"]}
        assert health == dict.fromkeys(targets, "up")
        quantile = "histogram_quantile(0.99,sum(rate(clusterbus_consumer_begun_to_recorded_seconds_bucket[1m]))by(le))"
        # A rate needs two scrapes.
        wait_for(lambda: api(address, f"query?query={quantile}")["result"], 60, "a rate can be had")


@pytest.mark.long
def test_a_program_that_loses_the_broker_is_alive_and_not_ready_and_says_why(tmp_path, vhost_url, on, router):
    with Proxy(vhost_url) as proxy, Flow(tmp_path, vhost_url, router_url=proxy.url, more=on):
        assert reached(router, "/readyz", 200) == "ok loop\nok work\nok database\nok queues\n"

        proxy.mode = Mode.REFUSE
        proxy.cut()

        body = reached(router, "/readyz", 503)
        assert "error work: not connected to amqp://" in body
        assert get(router, "/healthz") == (200, "ok loop\n")
        found = scrape(router)
        assert (found.value("ready"), found.value("broker_connected"), found.value("database_up")) == (0, 0, 1)
        proxy.mode = Mode.PASS
        reached(router, "/readyz", 200, 60)
        assert scrape(router).value("broker_connected") == 1


@pytest.mark.long
def test_a_queue_that_was_deleted_makes_a_consumer_not_ready(flow, tap, consumer, router):
    # Both programs have declared what they need: neither makes the queue again.
    for each in (consumer, router):
        reached(each, "/readyz", 200, 60)

    tap.channel.queue_delete("clusterbus.retry.1h")

    assert "error queues: missing: clusterbus.retry.1h" in reached(consumer, "/readyz", 503)
    assert scrape(consumer).by("queue", "queue_consumers")[queue_of("works")] == 1


def test_a_second_router_stands_by_and_is_ready(flow, tmp_path, router, on):
    second = addresses()["CLUSTERBUS_ROUTER_METRICS"]
    standby = Running(
        "standby",
        [sys.executable, "-m", "consumers.cli.main", "router"],
        flow.environment | {"CLUSTERBUS_ROUTER_METRICS": second},
        tmp_path,
    )
    reached(router, "/readyz", 200, 60)
    standby.start()
    try:
        reached(second, "/readyz", 200, 60)
        flow.captured("nsd01", "lowDiskSpace", "--fsName", "gpfs1")
        flow.wait_audited(1)

        assert scrape(router).value("router_last_record_timestamp_seconds") > 0
        assert scrape(second).value("router_last_record_timestamp_seconds") == 0
        wait_for(
            lambda: scrape(second).value("queue_consumers", queue=INGRESS, subscription="") == 1, 30, "one is active"
        )
    finally:
        standby.kill()


@pytest.mark.parametrize("program", ["router", "consume"])
def test_a_port_that_is_taken_ends_the_start_with_what_to_do(flow, tmp_path, on, program):
    # The programs of the flow have both ports, once they have started.
    for address in on.values():
        reached(address, "/healthz", 200)
    another = Running("another", [sys.executable, "-m", "consumers.cli.main", program], flow.environment, tmp_path)
    another.start()
    assert another.process is not None

    assert another.process.wait(120) == 2
    setting = {"router": "router.metrics", "consume": "consumers.metrics"}[program]
    assert f"{setting}: cannot listen at 127.0.0.1:" in another.words()
    assert "another program listens there" in another.words()


class Stuck:
    """A client on a real broker in a thread, whose loop and database a test makes hang."""

    def __init__(self, url):
        self.broker = Rabbit(url, name="test", flush_limit=timedelta(seconds=1))
        self.free, self.answers = threading.Event(), threading.Event()
        self.answers.set()
        program = Program("test", self.broker, lambda: lambda _: None, self._read, tuple, str)
        self.monitoring = Monitoring("router.metrics", "127.0.0.1:0", program)
        self.address = f"127.0.0.1:{self.monitoring.port}"
        self.thread = threading.Thread(target=self.broker.run)

    def _read(self):
        self.answers.wait(120)
        return lambda _: None

    def __enter__(self):
        self._answering = self.monitoring.answering()
        self._answering.__enter__()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.free.set()
        self.answers.set()
        self._answering.__exit__(None, None, None)
        self.broker.call(self.broker.stop)
        self.thread.join(60)


@pytest.fixture
def stuck(vhost_url, monkeypatch):
    monkeypatch.setattr(monitoring, "STUCK", 1.0)
    monkeypatch.setattr(monitoring, "AWAY", 1.0)
    with Stuck(vhost_url) as stuck:
        reached(stuck.address, "/readyz", 200)
        yield stuck


def test_a_loop_that_does_not_turn_is_not_healthy_until_it_turns(stuck):
    stuck.broker.call(lambda: stuck.free.wait(120))

    assert "error loop: the program's loop has not turned for " in reached(stuck.address, "/healthz", 503)
    found = scrape(stuck.address)
    assert found.value("loop_unanswered_seconds") > 1
    # Old values would look like new ones.
    assert "clusterbus_broker_connected" not in found.names
    stuck.free.set()
    assert reached(stuck.address, "/healthz", 200) == "ok loop\n"


@pytest.mark.long
def test_a_database_that_hangs_holds_up_neither_health_nor_metrics(stuck):
    stuck.answers.clear()

    body = reached(stuck.address, "/readyz", 503)
    assert "error database: no answer for " in body
    assert "ok loop\n" in body
    assert get(stuck.address, "/healthz") == (200, "ok loop\n")
    found = scrape(stuck.address)
    assert (found.value("database_up"), found.value("broker_connected")) == (0, 1)
    stuck.answers.set()
    reached(stuck.address, "/readyz", 200)
