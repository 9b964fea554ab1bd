"""The verb `log`: events written down, in the store with its audit and as JSON lines in a file.

It is served in batches, in the transaction of the outcomes, and so has no handler that is called for each delivery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from pydantic import model_validator

from router.settings import Settings

from ...deliveries import Delivery, Report
from ...fields import AbsolutePath
from .. import Handler, Kinds, Remark, Surroundings, Verb
from .lines import LinesFile


class LogVerb(Verb):
    """Write the event down: in the store, with its audit, and as a line of JSON in *file*."""

    file: AbsolutePath | None = None
    store: bool = True

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.file is None and not self.store:
            raise ValueError("writes nowhere: give it a file, or leave out `store: false`")
        return self

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield that the folder of the file is missing."""
        if self.file and not self.file.parent.is_dir():
            message = f"the folder {self.file.parent} is not there: make it before an event comes"
            yield Remark(("file",), message, warning=True)

    def handler(self, surroundings: Surroundings) -> LogHandler:  # noqa: ARG002 - the protocol
        """Return what writes it."""
        return LogHandler(self)


class LogHandler(Handler):
    """Writes events down; *is_audited* says that the store has to as well."""

    def __init__(self, verb: LogVerb) -> None:
        """Write to the file of *verb*, where it has one."""
        self._verb = verb
        self._lines = LinesFile(verb.file) if verb.file else None
        self.is_audited = verb.store

    def write(self, deliveries: Sequence[Delivery]) -> None:
        """Write the events of *deliveries* to the file; raises OSError, and then has written none of them."""
        if self._lines and deliveries:
            self._lines.append(deliveries)

    def __call__(self, delivery: Delivery) -> Report:
        """Write one."""
        self.write([delivery])
        return Report()

    def plan(self, delivery: Delivery) -> Mapping[str, object]:  # noqa: ARG002 - the same for all
        """Return where it would be written."""
        file = {"file": str(self._verb.file)} if self._verb.file else {}
        return {"store": self.is_audited, **file}
