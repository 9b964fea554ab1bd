"""A queue of somebody else answers nothing, as one without majority does: ours get all events, and it is named."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.broker.topology import EVENTS, queue_of, subscription
from router.local_broker.private_broker import PrivateBroker
from router.model.events import Event
from tests.faults.test_foreign_queues import copies, history, mounts, queued_until
from tests.rabbit import RabbitAdmin, SharedBroker, Tap, new_broker
from tests.routing import Site, declare
from tests.waiting import wait_for

_PATIENCE = 120.0
_QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture
def own_broker(broker: SharedBroker) -> Iterator[PrivateBroker]:
    with new_broker(broker, plugins=["rabbitmq_management"]) as own:
        yield own


@pytest.fixture
def site(tmp_path: Path, own_broker: PrivateBroker) -> Iterator[Site]:
    limits = {"CLUSTERBUS_BROKER_PROGRESS_LIMIT": "30s"}
    admin = RabbitAdmin(own_broker.http_url)
    with Site(tmp_path, own_broker.url, admin, environment=limits, watched=[]) as site:
        declare(site.tap, subscription("audit", ["gpfs.#"]))
        declare(site.tap, subscription("reports", ["clusterbus.#"]))
        wait_for(site.consumers, _PATIENCE, "the router consumes")
        yield site


def hold(broker: PrivateBroker, queue: str, *, still: bool) -> None:
    """Have the only replica of *queue* answer nothing, or again."""
    word = "suspend" if still else "resume"
    broker.ctl("eval", f'sys:{word}(whereis(list_to_atom("%2F_{queue}"))).')


def reports(site: Site) -> list[str]:
    """Take the names of what the router reported."""
    return [Event.from_json(each.body).name for each in site.tap.drain(queue_of("reports"))]


@pytest.mark.long
def test_a_queue_of_others_that_answers_nothing_holds_nothing_of_ours_up_for_long(
    site: Site, own_broker: PrivateBroker
) -> None:
    node = site.node("n1")
    other = Tap(own_broker.url)
    for name in ("theirs", "honest"):
        other.channel.queue_declare(name, durable=True, arguments=_QUORUM)
        other.channel.queue_bind(name, EVENTS, "gpfs.#")
    site.send(*mounts(node, 3))
    wait_for(lambda: other.count("theirs") >= 3, _PATIENCE, "it works")
    hold(own_broker, "theirs", still=True)
    sent = mounts(node, 300)

    begun = time.monotonic()
    site.send_many(sent)
    found = copies(queued_until(site.tap, queue_of("audit"), sent[-1]), sent)
    print(f"300 events when it begins: {time.monotonic() - begun:.1f} s")
    beside = []
    for each in mounts(node, 20):
        begun = time.monotonic()
        site.send(each)
        queued_until(site.tap, queue_of("audit"), each)
        beside.append(time.monotonic() - begun)
    print(f"median beside it {statistics.median(beside):.3f} s, longest {max(beside):.1f} s")

    assert found.keys() == {each.id for each in sent}
    assert max(found.values()) <= 2
    wait_for(lambda: "queueRefusing" in reports(site), _PATIENCE, "the report")

    hold(own_broker, "theirs", still=False)
    last = mounts(node, 50)

    def is_over() -> bool:
        site.send(*mounts(node, 1))
        time.sleep(1)  # one a second is enough
        return "queueRefusingEnded" in reports(site)

    wait_for(is_over, _PATIENCE, "the end of it")
    site.send_many(last)
    assert set(copies(queued_until(site.tap, queue_of("audit"), last[-1]), last).values()) == {1}
    for name in ("theirs", "honest"):
        assert copies(queued_until(other, name, last[-1]), last).keys() == {each.id for each in last}
    assert copies(history(site.tap, own_broker.url), sent).keys() == found.keys()
    other.close()
