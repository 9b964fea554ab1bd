"""Runs the actions that a `.qcb` file names, one after another, until one fails.

The guards of an action belong to subscriptions.  So an action that asks people or destroys is refused here, as is one
that must not run without its guards, or that runs as a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...deliveries import Delivery
from ...errors import Rejected, SubscriptionsError
from ..interface import Handler, Surroundings
from . import trust
from .folders import Program
from .qcb_file import Call


class ListedActions:
    """Runs the actions of the files of one subscription."""

    def __init__(self, surroundings: Surroundings) -> None:
        """Look for actions in the catalogue of *surroundings*."""
        self._surroundings = surroundings

    def plan(self, program: Program, delivery: Delivery) -> Mapping[str, object]:
        """Return what the actions of *program* would do, or why one is refused."""
        try:
            plans = [dict(self._handler(each, program).plan(delivery)) for each in program.calls()]
        except (trust.Refused, Rejected) as error:
            return {"file": str(program.path), "refused": str(error)}
        return {"file": str(program.path), "actions": plans}

    def run(self, program: Program, delivery: Delivery) -> tuple[tuple[str, str] | None, Mapping[str, Any]] | None:
        """Run the actions of *program*; return the failure and its reason, if any, and what they did.

        Return None if a stop interrupted one.  Raises trust.Refused if one must not run.
        """
        done: list[dict[str, object]] = []
        # All before the first: half of a list is nobody's wish.
        handlers = [(each, self._handler(each, program)) for each in program.calls()]
        for call, handler in handlers:
            try:
                report = handler(delivery)
            except Rejected as error:
                raise trust.Refused(f"{program.path}: {error}") from error
            if report is None:
                return None
            done.append({"name": call.name, **report.result})
            if report.failure:
                return (report.failure, f"{call.name}: {report.reason}"), {"actions": done}
        return None, {"actions": done}

    def _handler(self, call: Call, program: Program) -> Handler:
        found = self._surroundings.action(call.name, call.given)
        if isinstance(found, str):
            raise trust.Refused(f"{program.path}: {found}")
        try:
            return found.handler(self._surroundings)
        except SubscriptionsError as error:
            raise trust.Refused(f"{program.path}: {'; '.join(each.message for each in error.mistakes)}") from error
