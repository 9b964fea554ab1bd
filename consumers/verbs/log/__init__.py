"""The verb `log`: events written down, in the store with its audit, as JSON lines in a file, in syslog.

It is served in batches, in the transaction of the outcomes, and so has no handler that is called for each delivery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from pydantic import model_validator

from router.sections import Settings

from ...deliveries import Delivery, Report
from ...fields import AbsolutePath
from .. import Handler, Kinds, Remark, Surroundings, Verb
from .lines import LinesFile
from .syslog import Syslog, SyslogTarget


class LogVerb(Verb):
    """Write the event down: in the store, with its audit, as a line of JSON in *file*, as a line of *syslog*."""

    file: AbsolutePath | None = None
    syslog: SyslogTarget | None = None
    store: bool = True

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.file is None and self.syslog is None and not self.store:
            raise ValueError("writes nowhere: give it a file or syslog, or leave out `store: false`")
        return self

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield that the folder of the file is missing, or the socket of syslog."""
        if self.file and not self.file.parent.is_dir():
            message = f"the folder {self.file.parent} is not there: make it before an event comes"
            yield Remark(("file",), message, warning=True)
        if self.syslog and self.syslog.address.startswith("/") and not Path(self.syslog.address).is_socket():
            message = f"no syslog listens at {self.syslog.address} on this machine: events would wait for it"
            yield Remark(("syslog", "address"), message, warning=True)

    def handler(self, surroundings: Surroundings) -> LogHandler:  # noqa: ARG002 - the protocol
        """Return what writes it."""
        return LogHandler(self)


class LogHandler(Handler):
    """Writes events down; *is_audited* says that the store has to as well."""

    def __init__(self, verb: LogVerb) -> None:
        """Write to the file and the syslog of *verb*, where it has them."""
        self._verb = verb
        self._syslog = Syslog(verb.syslog) if verb.syslog else None
        self._lines = LinesFile(verb.file) if verb.file else None
        self.is_audited = verb.store

    def write(self, deliveries: Sequence[Delivery]) -> None:
        """Write the events of *deliveries* to the syslog and the file.

        Raises OSError, and then all have to be written again: what syslog has taken comes there twice.
        """
        # Syslog first: what it refuses has not changed the file.
        if self._syslog and deliveries:
            self._syslog.append(deliveries)
        if self._lines and deliveries:
            self._lines.append(deliveries)

    def __call__(self, delivery: Delivery) -> Report:
        """Write one."""
        self.write([delivery])
        return Report()

    def plan(self, delivery: Delivery) -> Mapping[str, object]:  # noqa: ARG002 - the same for all
        """Return where it would be written."""
        file = {"file": str(self._verb.file)} if self._verb.file else {}
        syslog = {"syslog": self._verb.syslog.address} if self._verb.syslog else {}
        return {"store": self.is_audited, **file, **syslog}

    def close(self) -> None:
        """Close the socket of the syslog."""
        if self._syslog:
            self._syslog.close()
