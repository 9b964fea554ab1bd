"""The commands on breakers: `clusterbus breakers list | close`."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from router.command import Json, current, fail, say

from .breakers import Breaker
from .store import Store
from .store import breakers as table

breakers_app = typer.Typer(help="What failed of late, and is left alone for a time.", no_args_is_help=True)


def state(breaker: Breaker, now: datetime) -> str:
    """Return the state of *breaker* in a word.

    >>> noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    >>> state(Breaker("a", 2), noon), state(Breaker("a", 5, noon), noon)
    ('closed', 'half-open')
    """
    if breaker.until is None:
        return "closed"
    return "open" if breaker.until > now else "half-open"


@breakers_app.command("list")
def list_breakers(context: typer.Context, as_json: Json = False) -> None:  # noqa: FBT002 - typer makes an option of it
    """Show the targets that failed of late; those that work are not here."""
    now = datetime.now(UTC)
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        found = table.find(transaction).values()
    if as_json:
        for each in found:
            say(asdict(each) | {"state": state(each, now)}, as_json=True)
        return
    rows = Table(box=None, header_style="bold")
    for column in ("target", "state", "failed", "open since", "next try", "reason"):
        rows.add_column(column, overflow="fold")
    for each in found:
        moments = [f"{moment.astimezone():%m-%d %H:%M:%S}" if moment else "" for moment in (each.opened, each.until)]
        rows.add_row(each.target, state(each, now), f"{each.failed} in a row", *moments, each.reason)
    Console().print(rows if found else "no target has failed of late")


@breakers_app.command()
def close(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="The target, as it is listed.")],
    as_json: Json = False,  # noqa: FBT002 - typer makes an option of it
) -> None:
    """Forget the failures of a target: what waits for it is tried when it comes back from its wait."""
    with Store(current(context).consumers.store) as store, store.writing() as transaction:
        is_closed = table.close(transaction, [target])
    if not is_closed:
        fail(f"no breaker of {target!r}: `clusterbus breakers list` shows those that there are")
    say({"target": target, "done": "closed"}, as_json=as_json, text=f"closed {target}")
