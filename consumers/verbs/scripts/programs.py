"""Runs the programs that an event starts, one after another, and on a retry only those that failed."""

from __future__ import annotations

import errno
import logging
import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from router import durations
from router.catalogue import Catalogues

from ... import children, processes
from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...templates import Template
from .. import Handler, Surroundings
from ..run.command import facts, user_of
from . import ScriptsVerb, trust
from .folders import ConfUnusable, Folders, Program

log = logging.getLogger(__name__)

_DONE, _FAILED = "done", "failed"
_HOPELESS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP, errno.E2BIG}
_LONGEST_LINE = 300
_AFTER_A_STOP = timedelta(seconds=1)


class ScriptsHandler(Handler):
    """Runs the programs of one subscription's folders; may be called from several threads at once."""

    def __init__(self, verb: ScriptsVerb, surroundings: Surroundings) -> None:
        """Break off what runs when the consumer stops.  Raises SubscriptionsError where `user` cannot be become."""
        self._verb, self._stopping = verb, surroundings.stopping
        self._environment = {name: Template(text) for name, text in verb.environment.items()}
        self._user = user_of(surroundings, verb.user, "scripts.user")
        self._folders = Folders(verb.folders, Catalogues.shipped())

    def __call__(self, delivery: Delivery) -> Report | None:
        """Run what is mapped; done when all is done.  Each one's outcome is in the result, by its name.

        Raises Rejected, before any is run, where one of them may not be.
        """
        if delivery.repeated and (left := children.end(delivery.mark)):
            log.warning("ended what a killed consumer left running", extra={"mark": delivery.mark, "processes": left})
        outcomes = _carried(delivery)
        try:
            programs = self._folders.programs(delivery.topic)
        except ConfUnusable as error:
            return Report("ConfUnusable", str(error), {"handlers": outcomes})
        names = [each.name for each in programs]
        outcomes = {name: outcome for name, outcome in outcomes.items() if name in names}
        due = [each for each in programs if each.name not in outcomes]
        for each in due:
            _words(each)
        environment = self._variables(delivery) if due else {}
        for each in due:
            outcome = self._run(each, delivery, environment)
            if outcome is None:
                # What has been done by then is not done again.
                result = {"matched": names, "handlers": outcomes}
                return Report(result=result, reason="broken off by a stop", again=_AFTER_A_STOP) if outcomes else None
            outcomes[each.name] = outcome
        return _report(names, outcomes)

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the commands as they would be run."""
        try:
            programs = self._folders.programs(delivery.topic)
        except ConfUnusable as error:
            return {"scripts": [], "problem": str(error)}
        done = _carried(delivery)
        due = [each for each in programs if each.name not in done]
        return {
            "scripts": [{"file": str(each.path), "command": list(_words(each))} for each in due],
            "user": self._verb.user,
        }

    def _run(self, program: Program, delivery: Delivery, environment: Mapping[str, str]) -> Mapping[str, Any] | None:
        """Return the outcome of *program*; None where a stop broke it off."""
        if self._stopping.is_set():
            return None
        command = processes.Command(
            # Looked at once more: the others may have run for hours.
            words=_words(program),
            environment={**environment, "CLUSTERBUS_SCRIPT": str(program.path)},
            mark=delivery.mark,
            timeout=self._verb.timeout,
            grace=processes.GRACE,
            output=self._verb.output,
            user=self._user,
        )
        try:
            ended = processes.run(command, delivery.event.to_json(), self._stopping)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            if isinstance(error, OSError) and error.errno not in _HOPELESS:
                return _failure(type(error).__name__, f"cannot be started: {error.strerror}", {})
            raise Rejected(f"{program.path} cannot be run: {getattr(error, 'strerror', error)}") from error
        return _outcome(ended, self._verb.timeout)

    def _variables(self, delivery: Delivery) -> dict[str, str]:
        own = {name: each.render_text(delivery) for name, each in self._environment.items()}
        return {"PATH": processes.PATH, "LANG": "C.UTF-8", "HOME": "/", **own, **facts(delivery)}


def _carried(delivery: Delivery) -> dict[str, Any]:
    """Return the outcomes of the attempt before that need no other."""
    earlier = delivery.earlier.get("handlers")
    if not isinstance(earlier, Mapping):
        return {}
    return {name: each for name, each in earlier.items() if isinstance(each, Mapping) and each.get("outcome") == _DONE}


def _words(program: Program) -> Sequence[str]:
    try:
        return program.words()
    except trust.Refused as error:
        raise Rejected(str(error)) from error


def _outcome(ended: processes.Ended, timeout: timedelta) -> Mapping[str, Any] | None:
    if ended.is_broken_off:
        return None
    failure = ended.failure(durations.text(timeout), _LONGEST_LINE)
    return _failure(*failure, ended.facts) if failure else {"outcome": _DONE, **ended.facts}


def _failure(word: str, reason: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"outcome": _FAILED, "failure": word, "reason": reason, **facts}


def _report(names: Sequence[str], outcomes: Mapping[str, Mapping[str, Any]]) -> Report:
    """Return what all *outcomes* come to: a failure where one failed, by its word where all that failed share it."""
    result: dict[str, Any] = {"matched": list(names)} | ({"handlers": dict(outcomes)} if outcomes else {})
    failed = {name: each for name, each in outcomes.items() if each["outcome"] == _FAILED}
    if not failed:
        return Report(result=result)
    words = {each["failure"] for each in failed.values()}
    # Where they differ, no word of a policy may give up all for what one of them said.
    word = words.pop() if len(words) == 1 else "several"
    return Report(word, "; ".join(f"{name}: {each['reason']}" for name, each in failed.items()), result)
