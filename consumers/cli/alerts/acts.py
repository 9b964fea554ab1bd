"""What people do to alerts: `clusterbus alerts ack | unack | note | close`.

An act takes effect in the store at once, with who did it and why; a consumer publishes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from router.cli.app import Json, author_of, current
from router.cli.output import fail, fault, say
from router.settings.site_catalogue import catalogues

from ...alerts.alert_row import AlertRow
from ...alerts.life.observations import Act
from ...errors import AlertIsClosed, AlertNotFound
from ...store.alerts import alerts
from ...store.database import Store

Ids = Annotated[list[str], typer.Argument(help="The alerts' ids, or how they begin.")]
Comment = Annotated[
    str, typer.Option("--comment", "--why", help="Why; shown to everybody who is notified of the alert.")
]
By = Annotated[str | None, typer.Option("--by", help="Who does it; by default your user name.")]

_LONGEST = 1000
_DONE = {"ack": "acknowledged", "unack": "no longer acknowledged", "note": "noted", "close": "closed"}


def ack(context: typer.Context, ids: Ids, *, comment: Comment = "", by: By = None, as_json: Json = False) -> None:
    """Say that somebody takes care of these alerts: no more reminders, no escalation."""
    _act(context, "ack", ids, comment, by, as_json=as_json)


def unack(context: typer.Context, ids: Ids, *, comment: Comment = "", by: By = None, as_json: Json = False) -> None:
    """Say that nobody takes care of these alerts any more."""
    _act(context, "unack", ids, comment, by, as_json=as_json)


def note(context: typer.Context, ids: Ids, *, comment: Comment, by: By = None, as_json: Json = False) -> None:
    """Write a note on these alerts; their state stays."""
    _act(context, "note", ids, comment, by, as_json=as_json)


def close(context: typer.Context, ids: Ids, *, comment: Comment, by: By = None, as_json: Json = False) -> None:
    """Close these alerts by hand; what opens them next opens new ones."""
    _act(context, "close", ids, comment, by, as_json=as_json)


def _act(context: typer.Context, what: Act, ids: Sequence[str], comment: str, by: str | None, *, as_json: bool) -> None:
    if what in ("note", "close") and not comment.strip():
        fail("--comment is empty: say why", 2)
    if len(comment) > _LONGEST:
        fail(f"--comment has {len(comment)} characters, and the limit is {_LONGEST}", 2)
    who, failed, settings = author_of("--by", by), False, current(context)
    known = catalogues(settings)
    with Store(settings.consumers.store) as store:
        for each in dict.fromkeys(ids):
            try:
                how: dict[str, Any] = {"by": who, "comment": comment.strip(), "catalogues": known}
                alert = _written(store, what, each, how)
            except (AlertNotFound, AlertIsClosed, ValueError) as error:
                failed = True
                fault(str(error))
                continue
            facts = {"id": alert.id, "done": what, "by": who, "comment": comment.strip(), "state": alert.state}
            say(facts, as_json=as_json, text=f"{alert.id} {_DONE[what]}: {alert.summary}")
    if failed:
        raise typer.Exit(1)


def _written(store: Store, what: Act, alert_id: str, how: Mapping[str, Any]) -> AlertRow:
    """Do *what* to an alert, and return it.  Raises AlertNotFound, AlertIsClosed, or ValueError if it has no effect."""
    with store.writing() as transaction:
        alert = alerts.find(transaction, alert_id)
        if what == "unack" and alert.state == "open":
            raise ValueError(f"alert {alert.id} is open: nobody has acknowledged it")
        return alerts.act(transaction, alert.id, what, at=datetime.now(UTC), **how)
