"""Timers of subscriptions: due once, whatever happens to consumers and clocks."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter

from consumers.policies.schedules.timed_events import pattern
from consumers.policies.schedules.timers import WrittenEvery
from consumers.programs.due_timers import DueTimers
from consumers.programs.job_progress import JobProgress
from consumers.store import rates_and_folds
from consumers.store.database import Store
from consumers.store.retention import old_rows
from consumers.store.schema import passes
from consumers.subscriptions.models import Subscriptions
from router.broker.interface import Settlement
from router.model.topics import matches
from router.settings.models import Settings
from tests.consuming import make_subscription

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Broker:
    """A broker that takes everything, unless the test says otherwise; what it took is in `published`."""

    def __init__(self):
        self.published, self.answer = [], Settlement.CONFIRMED

    def call(self, work):
        work()

    def publish(self, message, note):
        if self.answer is Settlement.CONFIRMED:
            self.published.append(message)
        note(self.answer)


class Site:
    """One store and one broker for several consumers, each with a clock that the test moves."""

    def __init__(self, url):
        self.store, self.broker, self.now = Store(url), Broker(), NOON
        self.subscriptions = [timed("tidy", "1h")]

    def consumer(self):
        return DueTimers(self.broker, self.store, Settings(), self.serving(), lambda: self.now)

    def serving(self):
        return Subscriptions(subscriptions=tuple(self.subscriptions))

    def due(self):
        """Return when the timers of what is published were due, each once in effect."""
        known = {message.id: json.loads(message.body)["data"]["due"] for message in self.broker.published}
        return [each[11:16] for each in sorted(known.values())]


def timed(name, every, **fields):
    topic = pattern(name)
    return make_subscription(
        name, on=(topic,), patterns=(topic,), every=TypeAdapter(WrittenEvery).validate_python(every), **fields
    )


@pytest.fixture
def site(database):
    made = Site(database("store"))
    with made.store:
        yield made


def pass_time(site, consumer, hours, step=timedelta(minutes=30)):
    for _ in range(int(hours * HOUR / step)):
        site.now += step
        consumer.look()


def test_a_new_timer_begins_with_its_next_moment_and_is_due_once_each_time(site):
    consumer = site.consumer()
    consumer.look()
    assert site.due() == []
    pass_time(site, consumer, 2.5)

    assert site.due() == ["13:00", "14:00"]
    (message, _) = site.broker.published
    assert matches(pattern("tidy"), message.key)
    assert json.loads(message.body)["time"].startswith("2026-11-20T13:00:00")


def test_what_was_missed_while_nobody_ran_is_due_once(site):
    site.consumer().look()
    site.now += 5 * HOUR + timedelta(minutes=10)
    again = site.consumer()
    again.look()
    again.look()

    assert site.due() == ["17:00"]


def test_several_consumers_publish_one_event_in_effect(site):
    first, second = site.consumer(), site.consumer()
    for each in (first, second):
        each.look()
    site.now += HOUR
    for each in (first, second):
        each.look()

    assert site.due() == ["13:00"]
    assert len({message.body for message in site.broker.published}) == 1


def test_a_consumer_that_is_killed_between_publishing_and_remembering_repeats_the_same_event(site, monkeypatch):
    consumer = site.consumer()
    consumer.look()
    site.now += HOUR
    monkeypatch.setattr(consumer, "_remember", lambda *_: None)
    consumer.look()
    site.consumer().look()

    assert len(site.broker.published) == 2
    assert site.due() == ["13:00"]


def test_what_the_broker_does_not_take_is_due_at_the_next_look(site):
    consumer = site.consumer()
    consumer.look()
    site.now += HOUR
    site.broker.answer = Settlement.UNROUTED
    consumer.look()
    site.broker.answer = Settlement.CONFIRMED
    consumer.look()

    assert site.due() == ["13:00"]


def test_a_clock_that_jumps_ahead_causes_one_event_and_back_again_no_flood_and_no_hole(site):
    consumer = site.consumer()
    consumer.look()
    site.now += DAY
    consumer.look()
    assert len(site.broker.published) == 1
    site.now -= DAY
    pass_time(site, consumer, 3)

    of_today = [each for each in site.broker.published if "2026-11-20T" in json.loads(each.body)["data"]["due"]]
    assert len({each.id for each in of_today}) == 3
    assert len(site.broker.published) == 4


def test_a_changed_timer_begins_anew_and_one_that_is_off_is_not_due(site):
    consumer = site.consumer()
    consumer.look()
    site.subscriptions = [timed("tidy", "2h"), timed("idle", "1h", mode="off")]
    consumer.follow(site.serving())
    site.now += HOUR
    consumer.look()
    assert site.due() == []
    pass_time(site, consumer, 1)

    assert site.due() == ["14:00"]


def test_little_is_remembered_and_retention_keeps_it(site):
    site.subscriptions = [timed("monthly", {"at": "06:00", "month_days": [31], "zone": "UTC"})]
    consumer = site.consumer()
    consumer.look()
    for _ in range(45):
        site.now += DAY
        consumer.look()
        with site.store.writing() as transaction:
            old_rows.delete_old(transaction, passes.c.at, site.now - timedelta(days=32), 200)

    assert site.due() == ["06:00"]
    what = site.subscriptions[0].every.text
    with site.store.reading() as transaction:
        (known,) = rates_and_folds.passed(transaction, "monthly", "every", [what], NOON).values()
    assert len(known) == 1


@pytest.mark.parametrize("kind", ["timers", "progress"])
def test_a_reload_reads_the_catalogue_of_the_site_again_and_keeps_it_while_it_cannot_be_read(site, tmp_path, kind):
    file = tmp_path / "catalogue.yaml"
    file.write_text("version: 1\n")
    settings = Settings.model_validate({"router": {"catalogue": str(file)}})
    timers = DueTimers(site.broker, site.store, settings, site.serving(), lambda: site.now)
    progress = JobProgress(site.broker, settings, lambda: site.now)
    made, reload = {"timers": (timers, lambda: timers.follow(site.serving())), "progress": (progress, progress.follow)}[
        kind
    ]
    before = made._catalogues

    file.write_text("no: catalogue\n")
    reload()
    assert made._catalogues is before
    file.write_text("version: 1\n")
    reload()

    assert made._catalogues is not before
