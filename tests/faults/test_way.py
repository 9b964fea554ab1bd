"""The promise, over the whole way: real captures, relays, router, consumer and broker, and something broken."""

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consumers.store.audit import Entry
from router.local_broker.private_broker import PrivateBroker
from tests.flow import AUDIT, Flow
from tests.proxy import Mode, Proxy
from tests.waiting import wait_for

COUNTING = AUDIT + (
    "  - name: effects\n"
    "    on: softQuotaExceeded\n"
    "    retry: {attempts: 5, first: 1s}\n"
    '    run: {command: ["@COUNT@", "{{ data.filesetName }}"], timeout: 10s}\n'
)


def capture_many(flow: Flow, node: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        flow.captured(node, "softQuotaExceeded", "--fsName", "gpfs1", "--filesetName", f"f{number}")


def numbers(entries: list[Entry], node: str) -> list[int]:
    """Return the numbers that *node* put into its events, in the order in which they were audited."""
    bodies = [json.loads(each.body) for each in entries]
    return [int(body["data"]["filesetName"][1:]) for body in bodies if body["node"] == node]


def counting(folder: Path) -> str:
    """Return subscriptions whose command writes a line for each call, and fails now and then for the first time."""
    program = folder / "count"
    program.write_text(f'#!/bin/sh\necho "$CLUSTERBUS_EVENT_ID $CLUSTERBUS_ATTEMPT" >>"{folder}/effects"\n')
    program.chmod(0o755)
    return COUNTING.replace("@COUNT@", str(program))


@pytest.mark.long
@pytest.mark.timeout(180)
def test_what_is_captured_while_the_broker_is_down_arrives_in_order_when_it_is_back(
    tmp_path: Path, own_broker: PrivateBroker
) -> None:
    nodes = ("nsd01", "nsd02", "cl01", "cl02")
    with Flow(tmp_path, own_broker.url, nodes=nodes) as flow:
        for node in nodes:
            flow.captured(node, "startup")
        flow.wait_audited(len(nodes))
        own_broker.stop()

        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(lambda node: capture_many(flow, node, 250), nodes))
        own_broker.start()

        entries = flow.wait_audited(len(nodes) + 1000)
        quota = [each for each in entries if each.event.endswith("softQuotaExceeded")]
        assert len(quota) == 1000
        for node in nodes:
            assert numbers(quota, node) == list(range(250))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_twenty_broker_restarts_under_load_lose_nothing_and_keep_each_nodes_order(
    tmp_path: Path, own_broker: PrivateBroker
) -> None:
    captured = 0
    with Flow(tmp_path, own_broker.url) as flow:
        flow.captured("nsd01", "startup")
        flow.wait_audited(1)
        leave = threading.Event()

        def load() -> None:
            nonlocal captured
            while not leave.wait(0.1):
                capture_many(flow, "nsd01", 1, captured)
                captured += 1

        loader = threading.Thread(target=load)
        loader.start()
        try:
            for number in range(20):
                seen = len(flow.audited())
                if number % 2:
                    own_broker.kill()
                else:
                    own_broker.stop()
                own_broker.start()
                wait_for(lambda seen=seen: len(flow.audited()) > seen, 60, "the flow goes on")
        finally:
            leave.set()
            loader.join(120)

        entries = flow.wait_audited(1 + captured)
        assert numbers([each for each in entries if "Quota" in each.event], "nsd01") == list(range(captured))


@pytest.mark.long
@pytest.mark.timeout(180)
def test_programs_killed_at_any_moment_lose_nothing_and_repeat_nothing_that_is_finished(
    tmp_path: Path, vhost_url: str
) -> None:
    with Flow(tmp_path, vhost_url, nodes=("nsd01", "nsd02"), subscriptions=counting(tmp_path)) as flow:
        victims = itertools.cycle([flow.relays["nsd01"], flow.router, flow.consumer, flow.relays["nsd02"]])
        for turn in range(12):
            captures = [
                flow.capture(node, "softQuotaExceeded", "--fsName", "gpfs1", "--filesetName", f"f{turn * 10 + each}")
                for each in range(10)
                for node in flow.nodes
            ]
            victim = next(victims)
            victim.kill()
            assert [each.wait(120) for each in captures] == [0] * 20
            victim.start()

        entries = flow.wait_audited(240)

        assert len(entries) == len({each.id for each in entries}) == 240
        for node in flow.nodes:
            assert sorted(numbers(entries, node)) == list(range(120))

        def finished() -> bool:
            done = [each for each in flow.delivered("effects") if each.outcome == "done"]
            return len({each.event_id for each in done}) == 240

        wait_for(finished, 60, "all deliveries of the command are done")
        done = Counter(each.event_id for each in flow.delivered("effects") if each.outcome == "done")
        assert set(done.values()) == {1}
        # A command that was cut off half way runs again; one that is finished never: kill and start once more to see.
        calls = (tmp_path / "effects").read_text()
        flow.consumer.kill()
        flow.router.kill()
        flow.start()
        flow.captured("nsd01", "startup")
        flow.wait_audited(241)
        assert (tmp_path / "effects").read_text() == calls


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "fault",
    [lambda line: setattr(line, "mode", Mode.STALL), Proxy.reset, lambda line: line.swallow_in_after(0)],
    ids=["stalled", "reset", "confirms swallowed"],
)
def test_a_line_that_is_broken_costs_captures_no_time_and_nothing_is_lost(
    tmp_path: Path, vhost_url: str, proxy: Callable[[str], Proxy], fault: Callable[[Proxy], None]
) -> None:
    relays, router = proxy(vhost_url), proxy(vhost_url)
    with Flow(tmp_path, vhost_url, relay_url=relays.url, router_url=router.url) as flow:
        capture_many(flow, "nsd01", 5)
        flow.wait_audited(5)

        for each in (relays, router):
            fault(each)
        capture_many(flow, "nsd01", 40, 5)
        for each in (relays, router):
            each.mode = Mode.PASS
            each.cut()
        capture_many(flow, "nsd01", 5, 45)

        entries = flow.wait_audited(50)
        assert numbers(entries, "nsd01") == list(range(50))
        assert len({each.id for each in entries}) == 50


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_broker_blocked_by_its_disk_alarm_resumes_without_loss(tmp_path: Path, own_broker: PrivateBroker) -> None:
    with Flow(tmp_path, own_broker.url) as flow:
        capture_many(flow, "nsd01", 5)
        flow.wait_audited(5)

        own_broker.ctl("set_disk_free_limit", "9000GB")
        capture_many(flow, "nsd01", 30, 5)
        wait_for(lambda: "blocked" in flow.relays["nsd01"].words(), 30, "the relay notices that it is blocked")
        assert len(flow.audited()) < 35
        own_broker.ctl("set_disk_free_limit", "50MB")

        assert numbers(flow.wait_audited(35), "nsd01") == list(range(35))
