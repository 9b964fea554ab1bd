"""The services that are wanted, as people write them in files.  `service_files` reads these.

```yaml
version: 1
services:
  - name: tickets
    on: ["gpfs.*.disk.#", softQuotaExceeded]
    severity: warning
    owner: tickets-team@example.com
```
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..model.catalogue import Catalogues
from ..model.events import Severity
from ..settings.catalogue_file import SourceName
from ..settings.field_types import ONE_OR_SEVERAL, Size, matching
from ..sources.event_selectors import restricted, select

SMALLEST = 4 * 2**20
"""The smallest queue in octets: one event may have 2 MiB."""

Name = Annotated[
    str,
    matching(
        "[a-z0-9][a-z0-9-]{0,49}", "is not a name: write 1 to 50 characters of a-z, 0-9 and -, not beginning with -"
    ),
]
Cluster = Annotated[str, matching("[A-Za-z0-9_-]{1,100}", "is not a cluster's name: write A-Z, a-z, 0-9, _ and -")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Service(_Part):
    """A program of another team, which reads a queue of its own."""

    name: Name
    """Names its queue and its broker user; a new name is a new service."""
    on: Annotated[tuple[str, ...], Field(max_length=100), ONE_OR_SEVERAL] = ()
    """Event types, categories or patterns of topics: one or several; none for a service that only publishes."""
    severity: Severity | None = None
    """Only events of this severity or above."""
    clusters: Annotated[tuple[Cluster, ...], Field(max_length=100), ONE_OR_SEVERAL] = ()
    """Only events of these clusters, also of those that it publishes; by default, of all."""
    history: bool = False
    """Whether it may read `clusterbus.history`, which has the events of everybody."""
    max_bytes: Annotated[Size, Field(ge=SMALLEST, le=2**40)] = 2**30
    """How much waits for it at most; beyond that, its oldest events are dropped and recorded as missed."""
    owner: Annotated[str, Field(max_length=200)] = ""
    """Whom to ask about it."""
    login: Literal["password", "certificate"] = "password"
    """How it logs in: with a password that we create, or with a client certificate whose name is its user."""

    publishes: SourceName | None = None
    """The source whose events it may publish; no other service has it."""

    def patterns(self, catalogues: Catalogues) -> tuple[str, ...]:
        """Return the patterns of the events that it gets, with the event types of *catalogues*."""
        selected = [pattern for each in self.on for pattern in select(each, catalogues).patterns]
        return restricted(selected, catalogues, clusters=self.clusters, severity=self.severity)


class ServicesFile(_Part):
    """A file of services."""

    version: Literal[1]
    """The version of the format."""
    services: tuple[Service, ...]
    """The services that are wanted."""
