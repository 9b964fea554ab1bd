"""The patterns made from `on` select on a real exchange what `topics.matches` says."""

import itertools

import pytest

from router.broker.topology import EVENTS
from router.model.catalogue import UNKNOWN, Catalogues
from router.model.topics import matches, topic
from router.sources.event_selectors import narrow, select
from tests.rabbit import Tap

SHIPPED = Catalogues.shipped()

ONS = [
    ("#",),
    ("softQuotaExceeded",),
    ("quota",),
    ("quota", "softQuotaExceeded", "disk"),
    ("continuity", "relay"),
    ("unknown",),
    ("gpfs.prod.#",),
    ("gpfs.*.*.*.gpfs1.*",),
    ("#.nsd01",),
    ("#.quota.#",),
    ("*.*.quota.#.nsd01",),
    ("#.gpfs1.#.nsd01",),
    ("*.*.*.*.*.*", "#"),
    ("gpfs.#.prod.#",),
]


def topics() -> list[str]:
    """Return a topic of each event type in two clusters, with and without a subject, and some of unknown types."""
    kinds = [(each.source, each.category, each.name) for each in SHIPPED.all()] + [("gpfs", UNKNOWN, "brandNew")]
    places = itertools.cycle([("prod", "gpfs1", "nsd01"), ("test", None, "nsd01"), ("prod", "quota", "quota")])
    return [
        topic(source, cluster, category, name, subject, node)
        for (source, category, name), (cluster, subject, node) in zip(kinds * 2, places, strict=False)
    ]


@pytest.fixture(scope="module")
def published() -> list[str]:
    return sorted(set(topics()))


def test_the_broker_brings_to_each_subscription_what_its_patterns_say(tap: Tap, published: list[str]) -> None:
    tap.channel.exchange_declare(EVENTS, "topic")
    queues = {}
    for on in ONS:
        patterns = narrow(pattern for text in on for pattern in select(text, SHIPPED).patterns)
        queue = tap.channel.queue_declare("", exclusive=True).method.queue
        for pattern in patterns:
            tap.channel.queue_bind(queue, EVENTS, pattern)
        queues[queue] = patterns

    for each in published:
        tap.publish(EVENTS, each, b"")

    for queue, patterns in queues.items():
        brought = sorted(taken.key for taken in tap.drain(queue))
        assert brought == [each for each in published if any(matches(one, each) for one in patterns)], patterns


def test_each_event_type_is_brought_by_its_own_name(tap: Tap, published: list[str]) -> None:
    tap.channel.exchange_declare(EVENTS, "topic")
    queues = {}
    for each in SHIPPED.all():
        queues[each.type] = tap.channel.queue_declare("", exclusive=True).method.queue
        for pattern in select(each.name, SHIPPED).patterns:
            tap.channel.queue_bind(queues[each.type], EVENTS, pattern)
    known = [each for each in published if f".{UNKNOWN}." not in each]

    for one in known:
        tap.publish(EVENTS, one, b"")

    for event_type in SHIPPED.all():
        names = {taken.key.split(".")[3] for taken in tap.drain(queues[event_type.type])}
        assert names == {event_type.name}
