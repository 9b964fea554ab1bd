"""Publishes the event `jobProgress` when the nodes of a running command begin or end, for consumers of this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

from router.broker.interface import Broker, Settlement
from router.model.catalogue import Catalogues
from router.pipeline.messages import message_of
from router.programs.regular_look import regularly
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues, read_again

from ..delivery.outcome_events import progress_event
from ..errors import ConsumerError
from ..inspection.running_jobs import states_of
from ..processes.attached_runs import of_all_kinds
from ..processes.job_files import REQUEST, RESULT, Job, Jobs

log = logging.getLogger(__name__)


class JobProgress:
    """Knows what was reported of each run.

    Consumers of one machine report the same; such events have the same id, so that each is delivered once.
    """

    def __init__(self, broker: Broker, settings: Settings, clock: Callable[[], datetime]) -> None:
        """Report on the runs in `consumers.jobs` over *broker*, whose thread publishes."""
        self._broker, self._jobs, self._clock = broker, Jobs(settings.consumers.jobs), clock
        self._settings = settings
        self._catalogues: Catalogues = catalogues(settings)
        self._wire = settings.router.wire
        self._reported: dict[str, Mapping[str, str]] = {}

    def follow(self) -> None:
        """Report by the site's catalogue as it is now, if that can be read."""
        self._catalogues = read_again(self._settings, self._catalogues)

    def look(self) -> None:
        """Report each run whose nodes are in other states than at the last look."""
        try:
            running = [each for each in of_all_kinds(self._jobs) if not (each.path / RESULT).exists()]
            states = {each: states_of(each) for each in running}
        except (ConsumerError, OSError) as error:
            log.warning("running jobs cannot be read", extra={"reason": str(error)})
            return
        for job, found in states.items():
            if found and self._reported.get(job.id) != found:
                self._report(job, found)
        self._reported = {job.id: found for job, found in states.items()}

    def _report(self, job: Job, states: Mapping[str, str]) -> None:
        about = job.read(REQUEST).get("about", {})
        event = progress_event(about, job.id, states, self._catalogues, self._clock())
        if event is not None:
            message = message_of(event, wire=self._wire)
            self._broker.call(partial(self._broker.publish, message, partial(_note, job.id)))


def _note(job_id: str, settlement: Settlement) -> None:
    if settlement is not Settlement.CONFIRMED:
        log.warning("progress of a job is not published", extra={"job": job_id, "reason": settlement.value})


@contextmanager
def reporting(progress: JobProgress, interval: timedelta | None) -> Iterator[None]:
    """Report in a thread of its own every *interval*, if there is one, until the block ends."""
    if interval is None:
        yield
        return
    with regularly("job progress", interval, progress.look):
        yield
