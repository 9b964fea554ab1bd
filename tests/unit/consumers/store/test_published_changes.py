"""What the store says was published of alerts, on both databases."""

from datetime import UTC, datetime, timedelta

from consumers.store.alerts import published_changes
from tests.alerts import ALERT, OTHER, change
from tests.kept_alerts import publish

THIRD = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RD"
NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)


def test_the_first_and_the_last_change_of_an_alert_are_found(store):
    first = publish(store, change("alertOpened", severity="warning"))
    publish(store, change("alertRepeated", change=2, severity="error"))
    last = publish(store, change("alertAcknowledged", change=3, severity="error"))

    with store.reading() as transaction:
        assert published_changes.of_alert(transaction, ALERT) == (first, last)
        assert published_changes.of_alert(transaction, OTHER) is None


def test_what_is_open_and_what_was_closed_lately_is_present_page_after_page(store, monkeypatch):
    monkeypatch.setattr(published_changes, "_PAGE", 1)
    publish(store, change("alertOpened", alert=ALERT))
    for alert, until in ((OTHER, "2026-11-20T14:59:00Z"), (THIRD, "2026-11-20T13:00:00Z")):
        publish(store, change("alertOpened", alert=alert))
        publish(store, change("alertClosed", alert=alert, change=2, until=until))

    with store.reading() as transaction:
        found = [*published_changes.present(transaction, closed_after=NOW - timedelta(minutes=15))]

    assert [(each.alert, each.state, each.first.name) for each in found] == [
        (OTHER, "closed", "alertOpened"),
        (ALERT, "open", "alertOpened"),
    ]
