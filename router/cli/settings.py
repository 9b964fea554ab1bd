"""The command `clusterbus settings`: the effective settings, and where each comes from."""

import typer

from .app import Json, loaded
from .output import note, rows


def settings(context: typer.Context, as_json: Json = False) -> None:
    """Show each effective setting and where it comes from; secrets are omitted."""
    for each in loaded(context).ignored:
        note(f"warning: {each}")
    rows(
        loaded(context).rows(),
        {"setting": lambda each: each[0], "value": lambda each: each[1], "from": lambda each: each[2]},
        as_json=as_json,
        facts=lambda each: dict(zip(("setting", "value", "from"), each, strict=True)),
    )
