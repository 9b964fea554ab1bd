"""The section `router` of the settings."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from ...model.events import Wire
from ..field_types import DEFAULTS, SECRET, Duration, ListenAddress, Names, SchemaAddress
from . import default_places
from .default_places import ROUTER
from .logins import ProgramLogin
from .section import Section


class RouterSettings(Section):
    """How records become events."""

    broker: ProgramLogin = DEFAULTS
    """Who the router logs in as at the broker; by default the user in `broker.url`."""
    state: Annotated[str, SECRET] = default_places.database(ROUTER, "router.db")
    """The router's database, as a URL of SQLite or PostgreSQL."""
    catalogue: Path = Path("/etc/clusterbus/catalogue.yaml")
    """Events and variables that this site adds to the catalogue; the file may be absent."""
    schemas: SchemaAddress = ""
    """The URL where this site serves what `clusterbus schema --all --to DIR` writes; events name their schema below it.

    Set it alike for the router and for consumers, which publish events of their own.
    """
    wire: Wire = "structured"
    """How events are published: `structured`, all in the body, or `binary`, with each attribute in a `ce-` header.

    Consumers publish their own events likewise.  All commands and consumers read both.
    """
    window: Duration = timedelta(seconds=120)
    """How long after the first capture copies of an event are recognised."""
    trusted_users: Names = frozenset()
    """Broker users that may publish records of any node."""
    silence: Duration = timedelta(minutes=3)
    """After how long without a heartbeat a node counts as silent."""
    keep: Duration = timedelta(days=30)
    """How long to keep what was decided about records."""
    metrics: ListenAddress = ""
    """Where to answer `/metrics`, `/healthz` and `/readyz`, such as 127.0.0.1:9464; nothing means nowhere."""
