"""The options of the verb `log`: write events to the audit in the store, a file of JSON lines, and syslog.

`log` handles whole batches in the transaction of the outcomes, so its handler is not called for each delivery.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, model_validator

from router import network_folders
from router.settings.models import Settings

from ...config.event_samples import Kinds, Remark
from ...config.field_types import AbsolutePath
from ...processes import executables
from ...processes.service_unit import NAME, installed, runs_as
from ..interface import Verb
from .syslog import SyslogTarget

_SOMEWHERE: dict[str, Any] = {
    "if": {"properties": {"store": {"const": False}}, "required": ["store"]},
    "then": {
        "anyOf": [
            {"properties": {"file": {"type": "string"}}, "required": ["file"]},
            {"properties": {"syslog": {"type": "object"}}, "required": ["syslog"]},
        ]
    },
}
"""An event is written to at least one place."""


class LogOptions(Verb):
    """Write the event to the audit in the store, as a line of JSON to *file*, and as a line to *syslog*."""

    model_config = ConfigDict(json_schema_extra=_SOMEWHERE)

    file: AbsolutePath | None = None
    syslog: SyslogTarget | None = None
    store: bool = True
    """Whether to write to the audit."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.file is None and self.syslog is None and not self.store:
            raise ValueError("nothing to write to: set file or syslog, or remove `store: false`")
        return self

    @property
    def failures(self) -> Collection[str]:
        """What its reports may say: nothing, because it fails with exceptions only."""
        return ()

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield a warning if the folder of the file or the socket of syslog is missing."""
        if self.file:
            yield from _about(self.file)
        if self.syslog and self.syslog.address.startswith("/") and not Path(self.syslog.address).is_socket():
            message = f"no syslog listens at {self.syslog.address} on this machine: events wait until one does"
            yield Remark(("syslog", "address"), message, warning=True)


def _about(file: Path) -> Iterator[Remark]:
    """Yield why a consumer cannot write to *file*, or should not."""
    folder = file.parent
    if message := network_folders.warning(file):
        yield Remark(("file",), message, warning=True)
    if not folder.is_dir():
        message = f"the folder {folder} does not exist: create it before an event arrives"
        yield Remark(("file",), message, warning=True)
    elif file.exists() and not file.is_file():
        yield Remark(("file",), f"{file} is not a regular file", fault=True)
    elif not _may_write(file):
        yield Remark(("file",), f"the consumer's user may not write to {file}: change its owner or mode", fault=True)
    elif (unit := installed()) and not unit.may_write(file.resolve()):
        message = f"{NAME} may not write to {folder}: add ReadWritePaths={folder} (systemctl edit {NAME})"
        yield Remark(("file",), message, fault=True)


def _may_write(file: Path) -> bool:
    """Return whether the consumer's user may write to *file*, or create it."""
    user = runs_as()
    may_create = not file.exists() and executables.access(file.parent, os.W_OK | os.X_OK, user)
    return may_create or executables.access(file, os.W_OK, user)
