"""Runs the programs that an event starts, one after another; one that cannot run keeps no other from running.

A retry runs only those that failed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from router.model import durations
from router.settings.site_catalogue import catalogues

from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...expressions.templates import Template
from ...processes import child_process, cleanup
from ...processes.job_runner import cancellation, id_of
from ..interface import Handler, Surroundings
from ..run.attached import Attached
from ..run.detached import HOPELESS
from ..run.local import about, facts, user_of
from . import trust
from .folders import Folders, Program
from .listed_actions import ListedActions
from .options import ScriptsOptions

_DONE, _FAILED = "done", "failed"
_REFUSED, _CANCELLED, _UNUSABLE = "refused", "cancelled", "ConfUnusable"
_LONGEST_LINE = 300
_AFTER_A_STOP = timedelta(seconds=1)


class ScriptsHandler(Handler):
    """Runs the programs of one subscription's folders; several threads may call it at once."""

    is_contained = True

    def __init__(self, verb: ScriptsOptions, surroundings: Surroundings) -> None:
        """Prepare the environment and the user.  Raises SubscriptionsError if programs cannot run as `user`."""
        self._verb, self._stopping = verb, surroundings.stopping
        self._environment = {name: Template(text) for name, text in verb.environment.items()}
        self._user = user_of(surroundings, verb.user, "scripts.user")
        self._folders = Folders(verb.folders, catalogues(surroundings.settings))
        self._actions = ListedActions(surroundings)
        self._attached = Attached(surroundings)

    def __call__(self, delivery: Delivery) -> Report | None:
        """Run the matching programs; the result has the outcome of each under its name.

        Raises Rejected after all others ended, if nothing but refused programs is left.
        """
        if delivery.repeated:
            cleanup.end_leftovers(delivery.mark)
        programs, wrong = self._folders.programs(delivery.topic)
        names = [each.name for each in programs]
        outcomes = _carried(delivery)
        if not wrong:
            outcomes = {name: outcome for name, outcome in outcomes.items() if name in names}
        due = [each for each in programs if each.name not in outcomes]
        environment = self._variables(delivery) if due else {}
        for each in due:
            outcome = self._run(each, delivery, environment)
            if outcome is None:
                # Keep the outcomes so far, so that finished programs do not run again.
                result = {"matched": names, "handlers": outcomes}
                return Report(result=result, reason="interrupted by a stop", again=_AFTER_A_STOP) if outcomes else None
            outcomes[each.name] = outcome
            if outcome.get("failure") == _CANCELLED:
                result = {"matched": names, "handlers": outcomes, "job": id_of(delivery.mark)}
                raise Rejected(outcome["reason"], result)
        return _report(names, outcomes, wrong)

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the commands that would run."""
        programs, wrong = self._folders.programs(delivery.topic)
        done = _carried(delivery)
        due = [each for each in programs if each.name not in done]
        search = self._variables(delivery)["PATH"] if due else ""
        scripts = [
            self._actions.plan(each, delivery) if each.names_actions else self._planned(each, search) for each in due
        ]
        return {"scripts": scripts, "user": self._verb.user, **({"problem": wrong} if wrong else {})}

    def _planned(self, program: Program, search: str) -> Mapping[str, object]:
        try:
            words = program.words(self._user, search)
        except trust.Refused as error:
            return {"file": str(program.path), "refused": str(error)}
        return {"file": str(program.path), "command": list(words)}

    def _run(self, program: Program, delivery: Delivery, environment: Mapping[str, str]) -> Mapping[str, Any] | None:
        """Return the outcome of *program*, or None if a stop interrupted it."""
        if self._stopping.is_set():
            return None
        if program.names_actions:
            return self._run_actions(program, delivery)
        try:
            # Check the file again: the other programs may have run for hours.
            words = program.words(self._user, environment["PATH"])
        except trust.Refused as error:
            return _failure(_REFUSED, str(error), {})
        command = child_process.Command(
            words=words,
            environment={**environment, "CLUSTERBUS_SCRIPT": str(program.path)},
            mark=delivery.mark,
            timeout=self._verb.timeout,
            grace=child_process.GRACE,
            output=self._verb.output,
            user=self._user,
        )
        try:
            shown = {**about(delivery), "command": list(words)}
            ended = self._attached.run(delivery, command, delivery.to_json(), shown)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            if isinstance(error, OSError) and error.errno not in HOPELESS:
                return _failure(type(error).__name__, f"cannot start: {error.strerror}", {})
            return _failure(_REFUSED, f"{program.path} cannot run: {getattr(error, 'strerror', error)}", {})
        return _outcome(ended, self._verb.timeout, delivery.mark)

    def _run_actions(self, program: Program, delivery: Delivery) -> Mapping[str, Any] | None:
        try:
            ended = self._actions.run(program, delivery)
        except trust.Refused as error:
            return _failure(_REFUSED, str(error), {})
        if ended is None:
            return None
        failure, facts_of_actions = ended
        return _failure(*failure, facts_of_actions) if failure else {"outcome": _DONE, **facts_of_actions}

    def _variables(self, delivery: Delivery) -> dict[str, str]:
        own = {name: each.render_text(delivery) for name, each in self._environment.items()}
        return {**child_process.ENVIRONMENT, **own, **facts(delivery)}


def _carried(delivery: Delivery) -> dict[str, Any]:
    """Return the outcomes of programs that succeeded in the previous attempt."""
    earlier = delivery.earlier.get("handlers")
    if not isinstance(earlier, Mapping):
        return {}
    return {name: each for name, each in earlier.items() if isinstance(each, Mapping) and each.get("outcome") == _DONE}


def _outcome(ended: child_process.Ended, timeout: timedelta, mark: str) -> Mapping[str, Any] | None:
    if ended.cancelled_by:
        return _failure(_CANCELLED, cancellation(ended.cancelled_by, id_of(mark)), ended.facts)
    if ended.was_interrupted:
        return None
    failure = ended.failure(durations.text(timeout), _LONGEST_LINE)
    return _failure(*failure, ended.facts) if failure else {"outcome": _DONE, **ended.facts}


def _failure(word: str, reason: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"outcome": _FAILED, "failure": word, "reason": reason, **facts}


def _report(names: Sequence[str], outcomes: Mapping[str, Mapping[str, Any]], wrong: str) -> Report:
    """Return the report of all *outcomes*: a failure if any failed, with their word if all failures share one.

    *wrong* says what cannot be used in the folders.  Raises Rejected if all that failed are refused.
    """
    result: dict[str, Any] = {"matched": list(names)} | ({"handlers": dict(outcomes)} if outcomes else {})
    failed = {name: each for name, each in outcomes.items() if each["outcome"] == _FAILED}
    words = {each["failure"] for each in failed.values()} | ({_UNUSABLE} if wrong else set())
    if not words:
        return Report(result=result)
    reasons = [wrong] if wrong else []
    if words == {_REFUSED}:
        # Their reasons begin with their paths.
        raise Rejected("; ".join(each["reason"] for each in failed.values()), result)
    reasons += [f"{name}: {each['reason']}" for name, each in failed.items()]
    # If they differ, the failure of one program must not decide for all of them.
    return Report(words.pop() if len(words) == 1 else "several", "; ".join(reasons), result)
