"""A service that was away until both its queues were full: it knows what it missed, and gets all of it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pika
import pytest

from router.broker.client import Rabbit
from router.broker.service_topology import LOST, lost_queue, missed_queue, service_queue
from router.model.catalogue import Catalogues
from router.pipeline.reports.service_watch import ServiceWatch
from router.pipeline.state import State
from tests.consuming import make_event, publish
from tests.integration.test_service_replays import disk_events, ids_of, reading
from tests.service_site import ServiceSite
from tests.waiting import wait_for

TICKETS = {"name": "tickets", "on": "disk", "max_bytes": "4MiB"}


def counts(site: ServiceSite) -> list[int]:
    return [site.tap.count(each("tickets")) for each in (service_queue, missed_queue, lost_queue)]


def watch(site: ServiceSite, state: str, moment: datetime) -> None:
    """Look once or more, as a router does at that moment."""
    with State(state) as opened:
        broker = Rabbit(site.url, name="test", give_up=timedelta(seconds=30))
        catalogues = Catalogues.shipped()
        ServiceWatch(
            broker, opened, catalogues, lambda: ["tickets"], clock=lambda: moment, period=timedelta(milliseconds=50)
        ).start()
        broker.later(timedelta(seconds=1), broker.stop)
        broker.run()


@pytest.fixture
def state(service_site: ServiceSite, database: Callable[[str], str]) -> str:
    """The router's state, which the settings of the commands name."""
    url = database("state")
    told = json.loads(service_site.settings.read_text()) | {"router": {"state": url}}
    service_site.settings.write_text(json.dumps(told))
    return url


@pytest.fixture
def away(service_site: ServiceSite, state: str) -> tuple[ServiceSite, list[str]]:
    """A service that had some events and was away while six times as many came as both its queues hold; their ids."""
    service_site.define(TICKETS)
    service_site.run("apply")
    before = disk_events(5)
    publish(service_site.url, before)
    with reading(service_site, "tickets") as got:
        wait_for(lambda: len(got) == 5, 30, "what it has had")
    wait_for(lambda: counts(service_site) == [0, 0, 0], 30, "an empty queue")
    begin = datetime.now(UTC)
    watch(service_site, state, begin)
    events = disk_events(1200, "x" * 40_000)
    for at in range(0, len(events), 100):
        publish(service_site.url, events[at : at + 100])
    wait_for(lambda: counts(service_site)[2] == 1 and sum(counts(service_site)) < 300, 60, "both queues are full")
    watch(service_site, state, begin + timedelta(hours=24))
    return service_site, [each.id for each in events]


@pytest.mark.long
def test_a_service_that_was_away_beyond_both_queues_gets_all_of_it(away: tuple[ServiceSite, list[str]]):
    site, ids = away
    status = site.run("status")[-1]
    shown = [each["id"] for each in site.run("missed", "tickets")]
    said = site.text("status")
    wait_for(lambda: counts(site)[1] == len(shown), 30, "what was looked at is back")

    waiting, replays = counts(site)[0], [each.split()[2:] for each in status["commands"]]
    with reading(site, "tickets") as got:
        replayed = sum(site.run(*words)[-1]["replayed"] for words in replays)
        # What it holds without having handled it would go back to its queue when it ends, and fill that again.
        wait_for(lambda: len(got) == waiting + replayed, 60, "all that waited and was replayed")

    newest = status["lost_until"]
    assert {*ids} <= {*ids_of(got)}
    assert [words[:3] for words in replays] == [["replay", "tickets", "--missed"], ["replay", "tickets", "--since"]]
    assert all(each in said for each in status["commands"])
    assert status["missed"] == len(shown)
    assert newest in {*ids} - {*shown}
    repeated = [each for at, each in enumerate(ids_of(got)) if each in ids_of(got)[:at]]
    marked = {properties.message_id for _, properties in got if "replay" in (properties.headers or {})}
    assert {*repeated} <= marked
    assert site.run("status") == [{"service": "tickets", "does": "keep", "what": [], "paused": False}]


@pytest.mark.long
def test_a_replay_that_has_not_all_of_it_says_so_and_forgets_nothing(away: tuple[ServiceSite, list[str]]):
    site, _ = away
    with reading(site, "tickets"):
        site.text("replay", "tickets", "--since", "1s ago", "--apply")

    assert site.run("status")[-1]["lost_until"]


@pytest.mark.long
def test_what_the_history_no_longer_has_is_said(service_site: ServiceSite, state: str):
    service_site.define(TICKETS)
    service_site.run("apply")
    watch(service_site, state, datetime.now(UTC))
    lost = make_event(type="gpfs.diskFailure", category="disk")
    body, known = lost.to_json(), pika.BasicProperties(message_id=lost.id)
    service_site.tap.channel.basic_publish(LOST, lost_queue("tickets"), body, known)
    wait_for(lambda: counts(service_site)[2] == 1, 30, "the lost event")

    status = service_site.run("status")[-1]
    service_site.run(*status["commands"][0].split()[2:], code=1)

    assert status == {"service": "tickets", "missed": 0, "lost_until": lost.id, "commands": status["commands"]}
    assert counts(service_site)[2] == 1
