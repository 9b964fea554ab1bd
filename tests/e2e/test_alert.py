"""From two events on the broker to an alert in Alertmanager, and to its end there: `consume` as it runs at a site."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pika.exceptions

from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import synthetic_event
from router.model.catalogue import Catalogues
from router.model.event_words import named
from router.model.events import Event
from tests.alertmanager import alertmanager
from tests.consuming import publish
from tests.flow import Running
from tests.waiting import wait_for

CATALOGUES = Catalogues.shipped()
SUBSCRIPTIONS = """\
version: 1
subscriptions:
  - name: to-alertmanager
    on: alerts
    alert: {{alertmanager: "{url}", every: 10s, proxy: none}}
"""


def event(name: str) -> Event:
    kind, made = named(name, CATALOGUES), Registrations(CATALOGUES)
    return synthetic_event(kind, {"eventNode": "n1"}, made, moment=datetime.now(UTC), node="nsd01", cluster="prod")


def is_taken(url: str, published: Event) -> bool:
    try:
        publish(url, [published])
    except (pika.exceptions.UnroutableError, pika.exceptions.ChannelClosedByBroker):
        return False
    return True


def test_a_node_that_leaves_is_an_alert_of_alertmanager_until_it_joins(tmp_path: Path, vhost_url: str) -> None:
    with alertmanager(tmp_path / "alertmanager") as server:
        file = tmp_path / "subscriptions.yaml"
        file.write_text(SUBSCRIPTIONS.format(url=server.url))
        environment = {
            "CLUSTERBUS_BROKER": vhost_url,
            "CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{tmp_path / 'store.db'}",
            "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(file),
        }
        words = [sys.executable, "-m", "consumers.cli.main", "consume"]
        consumer = Running("consume", words, environment, tmp_path).start()
        try:
            left = event("nodeLeave")
            wait_for(lambda: is_taken(vhost_url, left), 60, "a queue that takes the event")
            wait_for(lambda: len(server.open()) == 1, 60, "the alert there")
            (alert,) = server.open()
            # Alertmanager forgets everything, and is given it again.
            server.kill()
            server.start()
            wait_for(lambda: len(server.open()) == 1, 60, "the alert after a restart")
            publish(vhost_url, [event("nodeJoin")])
            wait_for(lambda: server.open() == [], 60, "its end")
            wait_for(
                lambda: server.notified()[-1:] == [("resolved", alert["annotations"]["alert"])], 60, "its end, told"
            )
        finally:
            consumer.kill()
            sys.stdout.write(consumer.words())

    assert alert["labels"]["alertname"] == "node-down"
