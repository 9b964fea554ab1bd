"""Runs the steps of one subscription as a job: starts it or finds it again, and reports how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ....deliveries import Delivery, Report
from ....errors import Rejected
from ....processes import child_process, cleanup
from ....processes.job_files import REQUEST, STATE, Job, Jobs, now
from ....processes.job_runner import Runner, cancellation, close, id_of, request_of
from ...interface import Handler, Surroundings
from ..command_outcomes import this_machine
from ..detached import AT_FIRST
from ..local import about
from ..node_targets import GroupsUnknown
from ..options import RunOptions
from .sequence import LOST, PARTS
from .step_values import shortened
from .steps_rendering import Rendering
from .steps_request import Late

PROGRAM = "consumers.verbs.run.steps.steps_program"

_TEXTS = 8
"""How many times the option `output` all texts of an outcome may have together."""

ELSEWHERE = "another machine"
"""The host of a job whose consumer ended before it could say where it began it."""

_SOONEST, _LATEST = timedelta(seconds=1), timedelta(minutes=1)
_ELSEWHERE = timedelta(minutes=5)
"""How long after its time limits a job of another machine that has not ended counts as gone."""


class StepsHandler(Handler):
    """Runs the steps of one subscription; several threads may call it at once."""

    is_contained = True

    def __init__(self, verb: RunOptions, surroundings: Surroundings) -> None:
        """Prepare the steps.  Raises SubscriptionsError if one cannot run as its user."""
        settings = surroundings.settings.consumers
        self._verb, self._stopping, self._name = verb, surroundings.stopping, surroundings.name
        self._rendering = Rendering(verb, surroundings)
        self._jobs = Jobs(settings.jobs)
        self._runner = Runner(self._jobs)

    def __call__(self, delivery: Delivery) -> Report | None:
        """Start the steps of *delivery*, or report on them; None if a stop interrupted the wait."""
        if waits := _runs_elsewhere(delivery):
            return waits
        job = self._runner.known(delivery.mark)
        if job is None:
            # The next call waits for it: by then the store knows on which machine it runs.
            return (
                self._may_run_elsewhere(delivery)
                or self._waits_for_the_attempt_before(delivery)
                or self._begin(delivery)
            )
        result = self._runner.wait(job, AT_FIRST, self._stopping)
        if result is None:
            return None if self._stopping.is_set() else _later(job)
        return self._report(job, result)

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the steps that would run; what reads earlier steps is shown as it is written."""
        try:
            request = self._rendering.request(delivery)
        except GroupsUnknown as error:
            raise Rejected(str(error)) from error
        return self._rendering.plan(request)

    def nodes(self, delivery: Delivery) -> Sequence[str]:
        """Return the nodes of all steps; those that a step is yet to name are not known."""
        request = self._rendering.request(delivery)
        steps = (*request.steps, *request.always)
        known = (each.nodes for each in steps if each.nodes is not None and not isinstance(each.nodes, Late))
        return list(dict.fromkeys(name for nodes in known for name in nodes))

    def targets(self, delivery: Delivery) -> Sequence[str]:  # noqa: ARG002 - the same for all
        """Return the steps as one target: some of them cannot be left out."""
        return (self._target,)

    @property
    def _target(self) -> str:
        return f"run steps of {self._name}"

    def _waits_for_the_attempt_before(self, delivery: Delivery) -> Report | None:
        """Return a report that waits for the clean-up of the attempt before, if that is still to come."""
        before = self._before(delivery)
        if before and before.read(STATE) and not self._runner.wait(before, AT_FIRST, self._stopping):
            reason = f"job {before.id} of the attempt before still cleans up"
            return Report(again=_SOONEST, reason=reason, result=delivery.earlier)
        return None

    def _may_run_elsewhere(self, delivery: Delivery) -> Report | None:
        """Return a report that waits for the steps that another machine may have begun before it could say so."""
        job = id_of(delivery.mark)
        if not delivery.begun_by or cleanup.is_of_here(delivery.begun_by) or delivery.earlier.get("job") == job:
            return None
        until = now() + self._rendering.limit(self._rendering.request(delivery, cleans_first=True))
        facts = {"job": job, "host": ELSEWHERE, "until": until.isoformat()}
        return Report(again=_SOONEST, reason=f"job {job} may run on {ELSEWHERE}", result={**delivery.earlier, **facts})

    def _before(self, delivery: Delivery) -> Job | None:
        return self._jobs.of(id_of(replace(delivery, attempt=delivery.attempt - 1).mark))

    def _begin(self, delivery: Delivery) -> Report:
        cleans_first = delivery.repeated or delivery.earlier.get("job") == id_of(delivery.mark)
        if (before := self._before(delivery)) and not before.read(STATE):
            # Its process could not be started, and must not be from now on; it may have had to clean up.
            close(before, {"ended": LOST, "failure": LOST, "reason": "never begun"})
            cleans_first = True
        request = self._rendering.request(delivery, cleans_first=cleans_first)
        limit = self._rendering.limit(request)
        command = child_process.Command(
            words=[],
            environment={},
            mark=delivery.mark,
            timeout=limit,
            # How long a cancellation may take: the clean-up runs to its end.
            grace=self._rendering.limit(request, parts=("always",)) + child_process.GRACE,
            output=self._verb.output,
        )
        facts = {**about(delivery), "command": ["steps", *(each.name for each in (*request.steps, *request.always))]}
        asked = request_of(command, facts) | {"program": PROGRAM, "sequence": request.model_dump(mode="json")}
        return _later(self._runner.begin(asked, delivery.to_json()))

    def _report(self, job: Job, result: Mapping[str, Any]) -> Report:
        parts: dict[str, object] = shortened(
            {part: result[part] for part in PARTS if part in result}, _TEXTS * self._verb.output
        )
        found: dict[str, object] = {**parts, "job": job.id, "host": job.read(STATE).get("host", this_machine())}
        if "seconds" in result:
            found["seconds"] = result["seconds"]
        if result["ended"] == "cancelled":
            raise Rejected(cancellation(result.get("by"), job.id), found)
        if result.get("hopeless"):
            raise Rejected(result["reason"], found)
        failure = result.get("failure") or ("" if result["ended"] == "finished" else LOST)
        if not failure:
            return Report(result=found)
        blamed = () if failure.startswith(("exit", "signal")) else (self._target,)
        return Report(failure, result.get("reason", ""), found, blamed=blamed)


def _runs_elsewhere(delivery: Delivery) -> Report | None:
    """Return a report that waits while another machine runs the steps of *delivery*, or may do so."""
    earlier = delivery.earlier
    if earlier.get("job") != id_of(delivery.mark) or earlier.get("host") == this_machine():
        return None
    left = datetime.fromisoformat(str(earlier["until"])) + _ELSEWHERE - now()
    reason = f"job {earlier['job']} runs on {earlier['host']}"
    return Report(again=min(_LATEST, left), reason=reason, result=earlier) if left > timedelta() else None


def _later(job: Job) -> Report:
    """Return a report that asks to be called again, and says where and until when the job may run."""
    asked = job.read(REQUEST)
    begun = datetime.fromisoformat(asked["asked"])
    pause = min(_LATEST, max(_SOONEST, (now() - begun) / 4))
    until = begun + timedelta(seconds=asked["timeout"])
    facts = {"job": job.id, "host": this_machine(), "until": until.isoformat()}
    return Report(again=pause, reason=f"job {job.id} runs", result=facts)
