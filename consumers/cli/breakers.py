"""The commands on circuit breakers: `clusterbus breakers list | close`."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from router.cli.app import Json, current
from router.cli.output import fail, note, rows, say

from ..policies.circuit_breaker import Breaker
from ..store import breakers as table
from ..store.database import Store

breakers_app = typer.Typer(help="Circuit breakers: targets paused after repeated failures.", no_args_is_help=True)


_LONG = timedelta(days=1)


def state(breaker: Breaker, now: datetime) -> str:
    """Return the state of *breaker*: `closed`, `open`, `half-open`, or `gone` until a person closes it.

    It is `unused` if its pause ended a day ago, and nothing has called its target since: then probably no subscription
    has that target any more.

    >>> noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    >>> state(Breaker("a", 2), noon), state(Breaker("a", 5, noon), noon), state(Breaker("a", 5, noon - _LONG), noon)
    ('closed', 'half-open', 'unused')
    """
    if breaker.until is None:
        return "closed"
    if breaker.is_gone:
        return "gone"
    if breaker.until > now:
        return "open"
    return "half-open" if now - breaker.until < _LONG else "unused"


@breakers_app.command("list")
def list_breakers(context: typer.Context, as_json: Json = False) -> None:
    """Show the targets that failed recently; targets that work are not listed."""
    now = datetime.now(UTC)
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        found = [*table.find(transaction).values()]
    rows(
        found,
        {
            "target": lambda each: each.target,
            "state": lambda each: state(each, now),
            "failed": lambda each: f"{each.failed} in a row",
            "open since": lambda each: _moment(each.opened),
            "next try": lambda each: _moment(each.next_try),
            "reason": lambda each: each.reason,
        },
        as_json=as_json,
        facts=lambda each: asdict(each) | {"until": each.next_try, "state": state(each, now)},
        empty="no target failed recently",
    )
    if any(state(each, now) == "unused" for each in found):
        note("unused: nothing has called these targets for a day; clusterbus breakers close TARGET forgets one")


def _moment(moment: datetime | None) -> str:
    return f"{moment.astimezone():%m-%d %H:%M:%S}" if moment else ""


@breakers_app.command()
def close(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="The target, as `clusterbus breakers list` shows it.")],
    as_json: Json = False,
) -> None:
    """Reset the failures of a target; each waiting delivery is attempted again when its delay ends."""
    with Store(current(context).consumers.store) as store, store.writing() as transaction:
        is_closed = table.close(transaction, [target])
    if not is_closed:
        fail(f"target {target!r} has no circuit breaker: `clusterbus breakers list` shows all")
    say({"target": target, "done": "closed"}, as_json=as_json, text=f"closed {target}")
