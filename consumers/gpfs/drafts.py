"""A callback as it is wanted: what was given, unchecked.  Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

from router.catalogue import Catalogue
from router.sources.gpfs.registered import Registered

CONTINUE = "continue"


@dataclass(frozen=True)
class Draft:
    """A callback as it is wanted.  *force* takes every danger, *accept* those that it names."""

    identifier: Any = ""
    command: Any = None
    events: tuple[Any, ...] = ()
    nodes: tuple[Any, ...] = ()
    parms: tuple[Any, ...] = ()
    priority: Any = None
    sync: Any = False
    timeout: Any = None
    onerror: Any = None
    accept: tuple[Any, ...] = ()
    force: bool = False
    file_system: str = ""

    @property
    def is_function(self) -> bool:
        """Whether its command is to be called, not run."""
        return callable(self.command)

    @property
    def words(self) -> tuple[str, ...]:
        """Its parms as GPFS has them: joined, and cut at blanks."""
        return tuple(" ".join(map(str, self.parms)).split())

    @property
    def seconds(self) -> int | None:
        """Its timeout."""
        return ceil(self.timeout.total_seconds()) if isinstance(self.timeout, timedelta) else self.timeout

    def registered(self, catalogue: Catalogue) -> Registered:
        """Return how GPFS would list it; for a draft that was found good, and has a path."""
        return Registered(
            identifier=self.identifier,
            command=os.fspath(self.command),
            events=tuple(dict.fromkeys(catalogue.event(each).name for each in self.events)),
            parms=" ".join(self.words),
            nodes=self.nodes,
            priority=None if self.priority in (None, -1) else float(self.priority),
            sync=bool(self.sync),
            timeout=self.seconds,
            onerror=None if self.onerror in (None, CONTINUE) else self.onerror,
        )
