"""The command `clusterbus broker setup`, and the group of all commands of `clusterbus broker`."""

from dataclasses import asdict
from typing import Annotated

import typer

from ...broker.size_limit import SETTING, wrong_limit
from ..app import Json, open_session, topology
from ..output import note, rows
from .remove import remove
from .users import users

broker_app = typer.Typer(help="Exchanges, queues, bindings and users at the broker.", no_args_is_help=True)
broker_app.command("users")(users)
broker_app.command("remove")(remove)


@broker_app.command("setup")
def setup(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be declared, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Declare exchanges, queues and bindings; existing ones are not changed."""
    wanted = topology(context)
    if not dry_run:
        with open_session(context, "clusterbus-setup") as session:
            session.declare(wanted)
            if wrong := wrong_limit(session):
                note(f"{wrong}: write {SETTING!r} into its rabbitmq.conf")
    rows(
        [
            {"object": type(each).__name__.lower(), **asdict(each)}
            for part in (wanted.exchanges, wanted.queues, wanted.bindings)
            for each in part
        ],
        {
            "object": lambda each: each["object"],
            "as": lambda each: " ".join(f"{name}={value}" for name, value in [*each.items()][1:] if value),
        },
        as_json=as_json,
        facts=lambda each: each,
    )
