"""The command `clusterbus deliveries`: the recorded attempts and their outcomes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from router.cli.app import Json, current
from router.cli.output import rows

from ..policies.failure_fingerprints import fingerprint
from ..store import queries as table
from ..store.database import Store
from ..store.queries import Count, Row
from .options import ALL, LATEST, DeliverySelection, selecting


@selecting(DeliverySelection)
def deliveries(
    context: typer.Context,
    selection: DeliverySelection,
    *,
    summary: Annotated[bool, typer.Option("--summary", help="Count attempts by subscription and outcome.")] = False,
    all_of_them: Annotated[bool, typer.Option("--all", help="All that match, not only the latest 100.")] = False,
    as_json: Json = False,
) -> None:
    """Show attempts, newest first; also deliveries that were skipped or that wait."""
    filters = selection.filters()
    counts: list[Count] = []
    found: list[Row] = []
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        if summary:
            counts = table.count(transaction, **filters)
        else:
            found = table.find(transaction, limit=ALL if all_of_them else LATEST, **filters)
    if summary:
        _show_counts(counts, as_json=as_json)
    else:
        _show_rows(found, as_json=as_json)


def _show_rows(found: list[Row], *, as_json: bool) -> None:
    rows(
        found,
        {
            "started": lambda each: f"{each.started:%Y-%m-%d %H:%M:%S}",
            "event id": lambda each: each.event_id,
            "event": lambda each: each.event,
            "node": lambda each: each.node,
            "subscription": lambda each: each.subscription,
            "attempt": lambda each: f"{each.attempt} (replay)" if each.replay else each.attempt,
            "outcome": lambda each: each.outcome or "open",
            "failure": lambda each: fingerprint(each.reason or "") if each.outcome in ("retry", "dead") else "",
            "reason": lambda each: each.reason,
        },
        as_json=as_json,
        facts=_plain,
        empty="no deliveries",
        cut=True,
    )


def _show_counts(counts: list[Count], *, as_json: bool) -> None:
    rows(
        counts,
        {
            "subscription": lambda each: each.subscription,
            "outcome": lambda each: each.outcome,
            "attempts": lambda each: each.attempts,
            "events": lambda each: each.events,
            "latest": lambda each: f"{each.latest:%Y-%m-%d %H:%M:%S}",
        },
        as_json=as_json,
        empty="no deliveries",
    )


def _plain(row: Row) -> dict[str, Any]:
    return row.as_dict() | {"failure": fingerprint(row.reason or "")}
