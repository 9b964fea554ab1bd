"""The verb `scripts`: folders of programs, and in each a `handlers.conf` that says which of them an event starts.

In the manner of Qube's universal callbacks: `notify.py = quota`, one program a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from router.sections import Settings

from ...fields import AbsolutePath, Environment, User, listed
from ...retries import Duration, no_longer_than
from .. import Handler, Kinds, Remark, Surroundings, Verb


def _different(value: tuple[AbsolutePath, ...]) -> tuple[AbsolutePath, ...]:
    for at, each in enumerate(value):
        if each in value[:at]:
            raise ValueError(f"{each} is here twice")
    return value


Folders = Annotated[
    tuple[AbsolutePath, ...],
    BeforeValidator(listed),
    AfterValidator(_different),
    Field(strict=False, min_length=1, max_length=20),
]


class ScriptsVerb(Verb):
    """Run what the `handlers.conf` of each folder maps to the event, with the event on its standard input."""

    templates = ("environment",)

    folders: Folders
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=7)))] = timedelta(minutes=10)
    environment: Environment = Field(default={})
    user: User = None
    output: int = Field(default=65536, ge=1024, le=1_048_576)

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield what is wrong with the folders, the maps in them, and the programs that these name."""
        from .folders import remarks  # noqa: PLC0415 - what only reads a file looks into no folder

        return remarks(self.folders, kinds)

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what runs them.  Raises SubscriptionsError where `user` cannot be become."""
        from .programs import ScriptsHandler  # noqa: PLC0415 - what is only checked needs no processes

        return ScriptsHandler(self, surroundings)
