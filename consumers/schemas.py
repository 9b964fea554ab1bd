"""The command `clusterbus schema`: the JSON Schema of what people and programs write and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from router.command import app, fail
from router.events import Event

from . import subscriptions

_DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def _event() -> dict[str, Any]:
    return Event.model_json_schema() | _DRAFT


@app.command("schema")
def schema(
    what: Annotated[str, typer.Argument(help="subscriptions (the file), or event (as it is on the wire).")],
) -> None:
    """Print a JSON Schema: of subscription files, for editors, or of events."""
    found: Mapping[str, Callable[[], dict[str, Any]]] = {"subscriptions": subscriptions.schema, "event": _event}
    if what not in found:
        fail(f"no schema of {what!r}: there are {' and '.join(found)}", 2)
    typer.echo(json.dumps(found[what](), indent=2))
