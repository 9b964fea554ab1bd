"""From two events on the broker to an alert in Alertmanager, and to its end there: `consume` as it runs at a site."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import synthetic_event
from router.broker.session import Session
from router.broker.topology import base
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


def publish_until(url: str, name: str, is_seen: Callable[[], bool]) -> None:
    """Publish events of this *name* until one has reached Alertmanager: the first may come before the queues."""

    def seen() -> bool:
        publish(url, [event(name)])
        with suppress(AssertionError):
            wait_for(is_seen, 2, name)
        return is_seen()

    wait_for(seen, 60, f"{name} in Alertmanager")


@pytest.mark.long
def test_a_node_that_leaves_is_an_alert_of_alertmanager_until_it_joins(tmp_path: Path, vhost_url: str) -> None:
    with alertmanager(tmp_path / "alertmanager") as server:
        file = tmp_path / "subscriptions.yaml"
        file.write_text(SUBSCRIPTIONS.format(url=server.url))
        environment = {
            "CLUSTERBUS_BROKER": vhost_url,
            "CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{tmp_path / 'store.db'}",
            "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(file),
        }
        with Session(vhost_url, name="test") as session:
            session.declare(base())
        words = [sys.executable, "-m", "consumers.cli.main", "consume"]
        consumer = Running("consume", words, environment, tmp_path).start()
        try:
            publish_until(vhost_url, "nodeLeave", lambda: len(server.open()) == 1)
            (alert,) = server.open()
            # Alertmanager forgets everything, and is given it again.
            server.kill()
            server.start()
            wait_for(lambda: len(server.open()) == 1, 60, "the alert after a restart")
            publish_until(vhost_url, "nodeJoin", lambda: server.open() == [])
            wait_for(
                lambda: server.notified()[-1:] == [("resolved", alert["annotations"]["alert"])], 60, "its end, told"
            )
        finally:
            consumer.kill()
            sys.stdout.write(consumer.words())

    assert alert["labels"]["alertname"] == "node-down"
