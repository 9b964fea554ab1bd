"""Finds jobs whose process is gone and that must clean up, as after a restart of the machine, and starts them again."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from router.programs.regular_look import attempted, regularly

from ..errors import JobsUnusable, StoreError
from .job_files import REQUEST, RESULT, STATE, Job, JobError, Jobs
from .job_runner import close, start

TakenOver = Callable[[Mapping[str, Any]], str]
"""Returns the machine that has begun the attempt of a job anew, given the facts about the job; empty if none has."""

_LOOK = timedelta(minutes=1)

log = logging.getLogger(__name__)


@contextmanager
def adopting(jobs: Jobs, taken_over: TakenOver) -> Iterator[None]:
    """Adopt lost *jobs* now and every minute, in a thread of its own, until the block ends."""
    with regularly("lost jobs", _LOOK, lambda: adopt(jobs, taken_over), at_once=True):
        yield


def adopt(jobs: Jobs, taken_over: TakenOver) -> None:
    """Start the program of each of *jobs* that has lost it; jobs without one of their own have nothing to clean up.

    A job that another machine has *taken_over* is closed: its clean-up would destroy what runs there now.
    """
    try:
        open_jobs = [each for each in jobs.all() if not (each.path / RESULT).exists()]
    except JobsUnusable as error:
        log.error("lost jobs cannot be looked for", extra={"reason": str(error)})  # noqa: TRY400 - the reason is enough
        return
    for job in open_jobs:
        # A folder that nobody could expect holds up no other job.
        attempted(f"lost job {job.id}", partial(_adopt, job, taken_over))


def _adopt(job: Job, taken_over: TakenOver) -> None:
    try:
        request = job.read(REQUEST)
        # What has never begun is left to its delivery.
        if "program" not in request or not job.read(STATE) or job.state() != "lost":
            return
        if machine := taken_over(request["about"]):
            close(job, {"ended": "lost", "failure": "lost", "reason": f"taken over by {machine}"})
            log.warning("a lost job was taken over", extra={"job": job.id, "by": machine})
        else:
            log.warning("a lost job cleans up", extra={"job": job.id})
            start(job)
    except (OSError, JobError, StoreError, subprocess.SubprocessError) as error:
        log.error("a lost job cannot clean up", extra={"job": job.id, "reason": str(error)})  # noqa: TRY400 - as above
