"""A wanted callback: its unchecked arguments.  Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

from router.cluster.callbacks.gpfs.installed import Registered
from router.model.catalogue import Catalogue

CONTINUE = "continue"


@dataclass(frozen=True)
class Draft:
    """A wanted callback.  *force* accepts every danger, *accept* lists those that are accepted."""

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
    fileset: str = ""

    @property
    def is_function(self) -> bool:
        """Whether the command is a Python function."""
        return callable(self.command)

    @property
    def words(self) -> tuple[str, ...]:
        """The parms as in GPFS: joined, and split at blanks."""
        return tuple(" ".join(map(str, self.parms)).split())

    @property
    def seconds(self) -> int | None:
        """The timeout in seconds, or None."""
        return ceil(self.timeout.total_seconds()) if isinstance(self.timeout, timedelta) else self.timeout

    def registered(self, catalogue: Catalogue) -> Registered:
        """Return the callback as GPFS would list it; only for a valid draft of a program."""
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
