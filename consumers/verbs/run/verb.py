"""The verb `run`: its options, and the handler made from them."""

from __future__ import annotations

from ..interface import Handler, Surroundings
from .options import RunOptions


class RunVerb(RunOptions):
    """Run a command on this machine, with the event on its standard input, or on *nodes*; its exit code decides.

    *fanout* nodes run in parallel; each has *timeout*, all together have *deadline*.  A retry runs only on nodes that
    failed.  *detach* runs the command as a job, which survives a stop of the consumer.

    *steps* run one after another in one job, and *always* after them, whatever happens.
    """

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return the handler.  Raises SubscriptionsError if the command cannot run as `user`."""
        # A check needs no processes, and a local command needs no ClusterShell.
        if self.steps:
            from .steps.steps_handler import StepsHandler  # noqa: PLC0415

            return StepsHandler(self, surroundings)
        if self.nodes is None:
            from .local import CommandHandler  # noqa: PLC0415

            return CommandHandler(self, surroundings)
        from .remote import FleetHandler  # noqa: PLC0415

        return FleetHandler(self, surroundings)
