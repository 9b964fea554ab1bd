"""Run commands that the consumer waits for, shown among the jobs meanwhile; people can cancel them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ...deliveries import Delivery
from ...errors import Rejected
from ...processes import child_process, cleanup
from ...processes.attached_runs import AttachedRun, cancelled_before
from ...processes.job_files import Jobs
from ...processes.job_runner import cancellation, id_of, log_facts
from ..interface import Surroundings

log = logging.getLogger(__name__)


class Attached:
    """Runs the commands of one handler, which waits for each."""

    def __init__(self, surroundings: Surroundings) -> None:
        """Show runs in the folder `consumers.jobs`; end them when the consumer stops."""
        self._jobs, self._stopping = Jobs(surroundings.settings.consumers.jobs), surroundings.stopping

    def run(
        self,
        delivery: Delivery,
        command: child_process.Command,
        feed: bytes,
        about: Mapping[str, object],
        *,
        is_shown_at_once: bool = False,
    ) -> child_process.Ended:
        """Return how *command* ended.  Raises OSError if it cannot start, Rejected if it was cancelled before."""
        if delivery.repeated:
            cleanup.end_leftovers(delivery.mark)
            if before := cancelled_before(self._jobs, delivery.mark):
                job = id_of(delivery.mark)
                raise Rejected(cancellation(before["by"], job), {"job": job})
        with AttachedRun(self._jobs, command, about) as shown:
            if is_shown_at_once:
                shown.show()
            facts = log_facts(shown.job.id, about)
            log.debug("command begins", extra=facts)
            ended = child_process.run(command, feed, self._stopping, shown)
            log.debug("command has ended", extra={**facts, "code": ended.code, "seconds": round(ended.seconds, 3)})
            if ended.cancelled_by:
                shown.write_cancelled(ended, ended.cancelled_by)
        return ended


def reject_cancelled(ended: child_process.Ended, mark: str, result: Mapping[str, object]) -> None:
    """Raise Rejected with *result* if somebody has cancelled the run *mark*, which *ended*."""
    if ended.cancelled_by:
        job = id_of(mark)
        raise Rejected(cancellation(ended.cancelled_by, job), {**result, "job": job})
