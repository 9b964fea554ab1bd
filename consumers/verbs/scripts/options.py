"""The options of the verb `scripts`: folders of programs, each with a `handlers.conf` that maps them to events.

The format is that of Qube's universal callbacks: `notify.py = quota`, one program per line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from router.settings.field_types import ONE_OR_SEVERAL
from router.settings.models import Settings

from ...config.event_samples import Kinds, Remark
from ...config.field_types import EACH_ONCE, AbsolutePath, Duration, Environment, User, no_longer_than
from ...processes.child_process import search_path
from ...processes.service_unit import runs_as
from ..interface import Verb

Folders = Annotated[
    tuple[AbsolutePath, ...],
    Field(strict=False, min_length=1, max_length=20),
    EACH_ONCE,
    ONE_OR_SEVERAL,
]


class ScriptsOptions(Verb):
    """Run the programs that the `handlers.conf` of each folder maps to the event; they get it on standard input."""

    templates = ("environment",)

    folders: Folders
    """Folders with a `handlers.conf`: one or several absolute paths."""
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(days=7)))] = timedelta(minutes=10)
    """The limit for one program, at most 7d."""
    environment: Environment = Field(default={})
    """Additional variables; their values are templates."""
    user: User = None
    """The user that runs the programs."""
    output: int = Field(default=65536, ge=1024, le=1_048_576)
    """How many octets of the output of each program to keep."""

    @property
    def failures(self) -> Collection[str]:
        """What its reports may say."""
        return ("exit", "signal", "timeout", "several")

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield mistakes in the folders, in their `handlers.conf`, and in the programs that it names."""
        from .folders import remarks  # noqa: PLC0415 - reading a file must not read folders

        yield from remarks(self.folders, kinds, runs_as(self.user), search_path(self.environment))
