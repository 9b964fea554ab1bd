"""The verb `run`: a command, as a list of words filled in from the event; its exit code is the outcome."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from router.settings import Settings

from ...fields import Command, Environment, User
from ...retries import Duration
from .. import Handler, Kinds, Remark, Surroundings, Verb


def _within_a_week(value: timedelta) -> timedelta:
    if value > timedelta(days=7):
        raise ValueError("is longer than 7d")
    return value


class RunVerb(Verb):
    """Run a command on this machine, with the event on its standard input; its exit code is the outcome."""

    templates = ("command", "environment")

    command: Command
    timeout: Annotated[Duration, AfterValidator(_within_a_week)] = timedelta(minutes=10)
    environment: Environment = Field(default={})
    user: User = None
    output: int = Field(default=65536, ge=1024, le=16_777_216)

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield that the program is not there."""
        if self.command[0].startswith("/") and not os.access(self.command[0], os.X_OK):
            message = f"no program {self.command[0]} can be run on this machine"
            yield Remark(("command",), message, warning=True)

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what runs it.  Raises SubscriptionsError where `user` cannot be become."""
        from .command import CommandHandler  # noqa: PLC0415 - what is only checked needs no processes

        return CommandHandler(self, surroundings)
