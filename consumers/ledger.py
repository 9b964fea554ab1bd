"""The command `clusterbus deliveries`: the attempts that are recorded, and how they ended."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from router.command import Json, app, current, say

from .fingerprints import fingerprint
from .selection import ALL, LATEST, DeliverySelection, selecting
from .store import Store
from .store import attempts as table
from .store.attempts import Count, Row

_REASON = 80


@app.command("deliveries")
@selecting(DeliverySelection)
def deliveries(
    context: typer.Context,
    selection: DeliverySelection,
    *,
    summary: Annotated[bool, typer.Option("--summary", help="Count them by subscription and outcome.")] = False,
    all_of_them: Annotated[bool, typer.Option("--all", help="All that fit, not only the latest 100.")] = False,
    as_json: Json = False,
) -> None:
    """Show attempts at deliveries, newest first, those too that were skipped or wait."""
    filters = selection.filters()
    counts: list[Count] = []
    rows: list[Row] = []
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        if summary:
            counts = table.count(transaction, **filters)
        else:
            rows = table.find(transaction, limit=ALL if all_of_them else LATEST, **filters)
    if summary:
        _show_counts(counts, as_json=as_json)
    else:
        _show_rows(rows, as_json=as_json)


def _show_rows(rows: list[Row], *, as_json: bool) -> None:
    if as_json:
        for each in rows:
            say(_plain(each), as_json=True)
        return
    shown = Table(box=None, header_style="bold")
    for column in ("started", "event id", "event", "node", "subscription", "attempt", "outcome", "failure", "reason"):
        shown.add_column(column, overflow="fold")
    for each in rows:
        replayed = f"{each.attempt} (replay)" if each.replay else str(each.attempt)
        reason = (each.reason or "").splitlines() or [""]
        facts = (f"{each.started:%Y-%m-%d %H:%M:%S}", each.event_id, each.event, each.node, each.subscription)
        mark = fingerprint(each.reason or "") if each.outcome in ("retry", "dead") else ""
        shown.add_row(*facts, replayed, each.outcome or "open", mark, reason[0][:_REASON])
    Console().print(shown if rows else "no deliveries")


def _show_counts(counts: list[Count], *, as_json: bool) -> None:
    if as_json:
        for each in counts:
            say(asdict(each), as_json=True)
        return
    shown = Table(box=None, header_style="bold")
    for column in ("subscription", "outcome", "attempts", "events", "latest"):
        shown.add_column(column)
    for each in counts:
        numbers = (str(each.attempts), str(each.events))
        shown.add_row(each.subscription, each.outcome, *numbers, f"{each.latest:%Y-%m-%d %H:%M:%S}")
    Console().print(shown if counts else "no deliveries")


def _plain(row: Row) -> dict[str, Any]:
    facts = asdict(row)
    del facts["delay"]
    return facts | {"failure": fingerprint(row.reason or ""), "again": row.again}
