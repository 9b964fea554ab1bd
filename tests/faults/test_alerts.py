"""Alerts while engines, brokers and hosts are killed: opened once, closed once, none forgotten."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from router.broker.topology import ALERTS
from tests.alert_process import MOMENTS, AlertProcess, changes, listen
from tests.alerting import NODE_DOWN, make_event
from tests.consuming import publish
from tests.rabbit import Tap, sync_queue_list
from tests.waiting import wait_for

ONCE = ["alertOpened", "alertClosed"]


@pytest.fixture
def engines(vhost_url, tmp_path):
    """A function that returns one more engine over the same store; all end."""
    made = []

    def make(url=vhost_url):
        made.append(AlertProcess(url, tmp_path, NODE_DOWN))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def pairs(number, ago=timedelta()):
    """Return events of *number* nodes that leave and join, each a second later."""
    begin = datetime.now(UTC) - ago - timedelta(seconds=60)
    names = enumerate(("nodeLeave", "nodeJoin"))
    return [
        make_event(name, begin + timedelta(seconds=second), node=f"n{each}")
        for second, name in names
        for each in range(number)
    ]


def by_alert(found):
    """Return the names of the changes of each alert, each change once, in their order."""
    alerts = {}
    for each in sorted({each.id: each for each in found}.values(), key=lambda each: each.data["change"]):
        alerts.setdefault(each.data["alert"], []).append(each.name)
    return [*alerts.values()]


@pytest.mark.long
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_engine_killed_at_any_moment_neither_opens_twice_nor_forgets_to_close(engines, vhost_url, tap, moment):
    engine = engines()
    engine.start(moment).wait_ready()
    listen(vhost_url)
    publish(vhost_url, pairs(3))
    engine.wait_killed()

    engine.start().wait_ready()
    rows = engine.wait_published(3)
    wait_for(lambda: tap.count(ALERTS) == 0, 20, "all events are read")
    assert engine.stop() == 0

    found = changes(tap)
    assert [each.state for each in rows] == ["closed"] * 3
    assert by_alert(found) == [ONCE] * 3
    # Subscribers know a change that comes again by its id.
    assert len({each.id for each in found}) == 6
    assert tap.count(ALERTS) == 0


@pytest.mark.long
def test_killed_again_and_again_it_gets_through_a_backlog(engines, vhost_url, tap):
    engine = engines()
    engine.start().wait_ready()
    listen(vhost_url)
    engine.kill()
    publish(vhost_url, pairs(200))

    for moment in MOMENTS:
        engine.start(moment)
        try:
            engine.process.wait(20)
        except TimeoutError:
            break
        if tap.count(ALERTS) == 0:
            break
    engine.kill()
    engine.start().wait_ready()
    rows = engine.wait_published(200)
    wait_for(lambda: tap.count(ALERTS) == 0, 40, "all events are read")
    assert engine.stop() == 0

    assert {each.state for each in rows} == {"closed"}
    assert by_alert(changes(tap)) == [ONCE] * 200


def test_of_two_engines_one_works_and_the_other_takes_over(engines, vhost_url, tap):
    first, second = engines(), engines()
    first.start().wait_ready()
    second.start().wait_ready()
    listen(vhost_url)
    down, up = pairs(50)[:50], pairs(50)[50:]

    publish(vhost_url, down)
    first.wait_published(50)
    first.kill()
    publish(vhost_url, up)
    rows = wait_for(
        lambda: (found := second.wait_published(50)) and {each.state for each in found} == {"closed"} and found,
        60,
        "the second closes them",
    )
    assert second.stop() == 0

    assert len(rows) == 50
    assert by_alert(changes(tap)) == [ONCE] * 50


@pytest.mark.long
def test_a_days_backlog_tells_only_what_is_still_open(engines, vhost_url, tap):
    engine = engines()
    engine.start().wait_ready()
    listen(vhost_url)
    assert engine.stop() == 0
    open_still = make_event("nodeLeave", datetime.now(UTC) - timedelta(hours=20), node="n999")
    publish(vhost_url, [*pairs(100, timedelta(days=1)), open_still])

    engine.start().wait_ready()
    wait_for(lambda: any(each.told for each in engine.alerts()), 60, "what is open is told")
    rows = engine.wait_published(101)
    assert engine.stop() == 0

    (change,) = changes(tap)
    assert (change.name, change.data["nodes"]) == ("alertOpened", "n999")
    assert [each.node for each in rows if each.state == "open"] == ["n999"]


@pytest.mark.long
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_alerts_go_on_after_the_broker_was_stopped_or_killed(own_broker, engines, end):
    engine = engines(own_broker.url)
    engine.start().wait_ready()
    down, up = pairs(5)[:5], pairs(5)[5:]
    publish(own_broker.url, down)
    engine.wait_published(5)

    sync_queue_list(own_broker)
    getattr(own_broker, end)()
    own_broker.start()
    publish(own_broker.url, up)
    wait_for(
        lambda: (found := engine.wait_published(5)) and {each.state for each in found} == {"closed"},
        60,
        "the alerts are closed",
    )
    assert engine.stop() == 0


@pytest.mark.long
def test_a_broker_killed_while_changes_are_published_loses_none_of_them(own_broker, engines):
    engine = engines(own_broker.url)
    engine.start().wait_ready()
    listen(own_broker.url)
    sync_queue_list(own_broker)
    events = pairs(300)

    publish(own_broker.url, events[:300])
    engine.wait_opened(1)
    own_broker.kill()
    own_broker.start()
    publish(own_broker.url, events[300:])
    wait_for(
        lambda: (found := engine.wait_published(300)) and {each.state for each in found} == {"closed"},
        120,
        "the alerts are closed",
    )
    assert engine.stop() == 0

    with closing(Tap(own_broker.url)) as tap:
        found = changes(tap)
    assert by_alert(found) == [ONCE] * 300
    assert len({each.id for each in found}) == 600
