"""The tests of the service: they need no broker.  Run them with `TICKETS_DATABASE=:memory: pytest`."""

from tickets import open_ticket, store

from clusterbus import events


def titles():
    return [title for (title,) in store.database.execute("SELECT title FROM tickets ORDER BY number")]


def test_each_event_gets_one_ticket():
    disk = events.example("gpfs.diskFailure", node="nsd01", cluster="prod")
    before = len(titles())

    with events.double([disk, disk]) as double:
        open_ticket.run()

    assert titles()[before:] == [f"[normal] diskFailure on nsd01: {disk.subject or 'prod'}"]
    assert not double.rejected


def test_events_without_severity_get_none():
    with events.double([events.example("gpfs.mount")]) as double:
        open_ticket.run()

    assert len(double.rejected) == 1
