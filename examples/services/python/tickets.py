"""Opens a ticket for each event, exactly once, whatever is killed: ticket and event id are committed together."""

import logging
import os
import sys

from clusterbus import BrokerError, Event, Rejected, SettingsError, events

log = logging.getLogger("tickets")
store = events.Store(os.environ.get("TICKETS_DATABASE", "tickets.db"))
store.database.execute(
    "CREATE TABLE IF NOT EXISTS tickets (number INTEGER PRIMARY KEY, event TEXT, title TEXT, opened TEXT)"
)
store.database.commit()

PRIORITY = {"warning": "low", "error": "normal", "critical": "high"}


@events.handler(store=store, attempts=5)
def open_ticket(event: Event) -> None:
    """Open a ticket; an exception here leads to another attempt, in the end to the dead-letter queue."""
    if event.severity not in PRIORITY:
        raise Rejected(f"no tickets for severity {event.severity}")
    title = f"[{PRIORITY[event.severity]}] {event.name} on {event.node}: {event.subject or event.cluster}"
    store.database.execute("INSERT INTO tickets (event, title, opened) VALUES (?, ?, ?)", (event.id, title, event.time))
    log.info("ticket opened: %s", title)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        open_ticket.run()
    except (BrokerError, SettingsError) as error:
        sys.exit(f"tickets: {error}")
