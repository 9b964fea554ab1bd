"""The verb `scripts`: its options, and the handler made from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from router.model.catalogue import Catalogues
from router.settings.yaml_documents import Place

from ..interface import Handler, Surroundings
from .options import ScriptsOptions

if TYPE_CHECKING:
    from .folders import Program
    from .qcb_file import Call


class ScriptsVerb(ScriptsOptions):
    """Run the programs that the `handlers.conf` of each folder maps to the event; they get it on standard input."""

    def listed(self, catalogues: Catalogues) -> Iterator[tuple[Place, Program, Call]]:
        """Yield the actions that its `.qcb` files name, each with the place of the folder and the file."""
        from . import folders, trust  # noqa: PLC0415 - reading a file must not read folders

        for program in folders.survey(self.folders, catalogues)[0]:
            place = ("folders", self.folders.index(program.path.parent))
            # What is wrong with the file itself is a remark of its own.
            with suppress(trust.Refused):
                yield from ((place, program, each) for each in (program.calls() if program.names_actions else ()))

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return the handler.  Raises SubscriptionsError if programs cannot run as `user`."""
        from .scripts_handler import ScriptsHandler  # noqa: PLC0415 - a check needs no processes

        return ScriptsHandler(self, surroundings)
