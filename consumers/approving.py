"""The commands on approvals: `clusterbus jobs pending | approve | refuse`."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from router.command import Json, current, fail, say

from .people import who
from .store import Store
from .store import approvals as table

Ids = Annotated[list[str], typer.Argument(help="Questions by id, as `jobs pending` shows them.")]


def pending(context: typer.Context, as_json: Json = False) -> None:  # noqa: FBT002 - typer makes an option of it
    """Show the deliveries that wait for somebody's word, with what they would do."""
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        found = table.pending(transaction, datetime.now(UTC))
    if as_json:
        for each in found:
            say(asdict(each) | {"plan": json.loads(each.plan)}, as_json=True)
        return
    rows = Table(box=None, header_style="bold")
    for column in ("id", "asked", "until", "subscription", "event", "would do"):
        rows.add_column(column, overflow="fold")
    for each in found:
        moments = (f"{moment.astimezone():%m-%d %H:%M:%S}" for moment in (each.asked, each.until))
        rows.add_row(each.id, *moments, each.subscription, each.event, each.plan)
    Console().print(rows if found else "nothing waits for approval")


def approve(context: typer.Context, ids: Ids, as_json: Json = False) -> None:  # noqa: FBT002 - typer makes an option of it
    """Let deliveries go ahead; they do within a quarter of a minute."""
    _answer(context, ids, "approved", as_json=as_json)


def refuse(context: typer.Context, ids: Ids, as_json: Json = False) -> None:  # noqa: FBT002 - typer makes an option of it
    """Have deliveries skipped."""
    _answer(context, ids, "refused", as_json=as_json)


def _answer(context: typer.Context, ids: list[str], state: table.State, *, as_json: bool) -> None:
    with Store(current(context).consumers.store) as store, store.writing() as transaction:
        answered = {each: table.answer(transaction, each, state, who(), datetime.now(UTC)) for each in ids}
    for each, is_good in answered.items():
        word = state if is_good else "not there, answered already, or too late"
        say({"id": each, "done": word}, as_json=as_json, text=f"{each}: {word}")
    if not all(answered.values()):
        fail("`clusterbus jobs pending` shows what can be answered")
