"""Runs a command on a set of nodes, through a process of its own for each delivery; a retry only where it failed.

The nodes come from the file, or from the event; those from the event may be names of hosts only.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta

from router import durations
from router.fleet import PROGRAM
from router.sections import ConsumersSettings

from ... import children, processes
from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...jobs.folders import now
from ...templates import Template
from .. import Handler, Surroundings
from . import RunVerb, command, outcomes, recording
from .command import about, facts, identity, user_of
from .detached import Detached, Ended
from .nodes import GroupsUnknown, fold, names_of, unfold
from .outcomes import Aim

log = logging.getLogger(__name__)

_OUTCOME = 64 * 1024 * 1024
"""Octets of an outcome at the most; it is bounded where it is made, this is for what goes wrong."""

_LONGEST_REMOTE = 120 * 1024
"""Octets of a command for ssh, which is one word there: Linux takes 128 KiB."""

_LONGEST_LOCAL = 1024 * 1024
_LONGEST_TARGET = 200
_LONGEST = timedelta(days=8)
_FOR_THE_END = timedelta(seconds=20)
"""What the process has after its deadline, to end its commands and to tell."""


class FleetHandler(Handler):
    """Runs the command of one subscription on nodes; may be called from several threads at once."""

    def __init__(self, verb: RunVerb, surroundings: Surroundings) -> None:
        """Reach nodes as the settings say.  Raises SubscriptionsError where `user` cannot be become."""
        self._verb, self._stopping = verb, surroundings.stopping
        self._settings: ConsumersSettings = surroundings.settings.consumers
        self._words = [Template(each) for each in verb.command]
        self._environment = {name: Template(text) for name, text in verb.environment.items()}
        self._nodes = Template(verb.nodes or "")
        self._is_remote = self._settings.transport == "ssh"
        self._user = None if self._is_remote else user_of(surroundings, verb.user)
        self._detached = Detached(surroundings) if verb.detach and self._settings.transport != "record" else None

    def __call__(self, delivery: Delivery) -> Report | None:
        """Run the command for *delivery* where it is still to be run.  None where it was broken off by a stop."""
        try:
            return self._attempt(delivery)
        except Rejected:
            raise
        except Exception as error:
            # What succeeded before has to be told on, or the attempt after this one would do it again.
            if "nodes" not in delivery.earlier:
                raise
            name = type(error).__name__
            return Report(name, f"{name}: {error}", {"nodes": delivery.earlier["nodes"]})

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the command, and where it would be run; of a retry, where it would not be run again."""
        try:
            aim = self._aim(delivery)
        except GroupsUnknown as error:
            raise Rejected(str(error)) from error
        return {
            "command": self._rendered(delivery),
            "nodes": fold(aim.todo),
            **({"succeeded": fold(aim.before)} if aim.before else {}),
            "transport": self._settings.transport,
            "fanout": self._verb.fanout,
            "timeout": durations.text(self._verb.timeout),
            "deadline": durations.text(self._deadline(len(aim.todo))),
            "user": self._verb.user,
            "detach": self._verb.detach,
        }

    def targets(self, delivery: Delivery) -> Sequence[str]:
        """Return the program and its nodes, all of them whichever attempt it is."""
        try:
            return (self._target(delivery, ()),)
        except Rejected:
            return ()

    def _attempt(self, delivery: Delivery) -> Report | None:
        aim = self._aim(delivery)
        if not aim.todo:
            return outcomes.nothing_left(aim)
        process, feed = self._process(delivery, aim)
        if self._settings.transport == "record":
            return self._record(delivery, aim)
        if self._detached:
            told = {**about(delivery), "command": self._rendered(delivery)}
            places = {"nodes": fold(aim.todo), "before": fold(aim.before)}
            ended = self._detached.run(process, feed, told | places)
            return self._of_job(ended, aim) if isinstance(ended, Ended) else ended
        if delivery.repeated and (left := children.end(delivery.mark)):
            log.warning("ended what a killed consumer left running", extra={"mark": delivery.mark, "processes": left})
        return self._report(processes.run(process, feed, self._stopping), aim)

    def _aim(self, delivery: Delivery) -> Aim:
        text = self._nodes.render(delivery)
        names = names_of(text, is_ours=self._verb.is_literal)
        target = self._target(delivery, names)
        return outcomes.aim_of(names, delivery.earlier, target, is_remote=self._is_remote)

    def _target(self, delivery: Delivery, names: Sequence[str]) -> str:
        # Groups are not looked up for this: what they are called is what people know.
        text = self._verb.nodes or ""
        if not self._verb.is_literal:
            text = fold(names or names_of(self._nodes.render(delivery)))
        if len(text) > _LONGEST_TARGET:
            text = f"{text[:_LONGEST_TARGET]}..."
        return f"run {self._verb.command[0]} on {text}"

    def _process(self, delivery: Delivery, aim: Aim) -> tuple[processes.Command, bytes]:
        """Return the process that does it, and what it is to read."""
        words, own = self._rendered(delivery), self._own(delivery)
        self._check(words, own)
        deadline = self._deadline(len(aim.todo))
        request = {
            "nodes": list(aim.todo),
            "command": words,
            # What ssh carries is one text, and bounded: the variables are for the words of the command there.
            "environment": {**identity(delivery), **own} if self._is_remote else {**facts(delivery), **own},
            "transport": self._settings.transport,
            "fanout": self._verb.fanout,
            "connect_timeout": max(1, math.ceil(self._verb.connect_timeout.total_seconds())),
            "timeout": self._verb.timeout.total_seconds(),
            "deadline": deadline.total_seconds(),
            "grace": math.ceil(command.GRACE.total_seconds()),
            "output": self._verb.output,
            "user": self._verb.user if self._is_remote else None,
            "ssh": self._settings.ssh,
            "ssh_options": list(self._settings.ssh_options),
            "progress": self._verb.detach,
        }
        agent = os.environ.get("SSH_AUTH_SOCK")
        process = processes.Command(
            words=[sys.executable, "-I", str(PROGRAM)],
            environment={"PATH": processes.PATH, "LANG": "C.UTF-8", "HOME": "/"}
            | ({"SSH_AUTH_SOCK": agent} if agent and self._is_remote else {}),
            mark=delivery.mark,
            timeout=deadline + _FOR_THE_END,
            grace=command.GRACE,
            output=_OUTCOME,
            user=self._user,
        )
        return process, json.dumps(request).encode()

    def _check(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        """Raise Rejected where no node could run it, whatever else it answers."""
        size = sum(len(each.encode()) + each.count("'") * 4 + 3 for each in (*words, *environment.values()))
        limit = _LONGEST_REMOTE if self._is_remote else _LONGEST_LOCAL
        if size > limit:
            raise Rejected(f"command {words[0]!r} would have {size:,} octets: {limit:,} at the most on nodes")
        program = self._settings.ssh if self._is_remote else words[0]
        if self._settings.transport != "record" and shutil.which(program, path=processes.PATH) is None:
            raise Rejected(f"command {program!r} cannot be run: it is not on this machine, or not executable")

    def _deadline(self, count: int) -> timedelta:
        """Return the time for all of *count* nodes: as told, or what they take one after another at the longest."""
        if self._verb.deadline is not None:
            return self._verb.deadline
        rounds = max(1, math.ceil(count / self._verb.fanout))
        return min(_LONGEST, rounds * (self._verb.timeout + self._verb.connect_timeout + timedelta(seconds=15)))

    def _report(self, ended: processes.Ended, aim: Aim) -> Report | None:
        if ended.stopped:
            return None
        return _told(bytes(ended.output), ended.code, aim)

    def _of_job(self, ended: Ended, aim: Aim) -> Report:
        # As it was begun: a group may have other members by now.
        begun = Aim(unfold(ended.about["nodes"]), unfold(ended.about["before"]), aim.target, aim.is_remote)
        if ended.lost:
            report = outcomes.lost(begun, "lost", ended.lost, ended.errors)
        else:
            report = _told(ended.output, ended.result.get("exit"), begun)
        return Report(report.failure, report.reason, {**report.result, "job": ended.job.id}, blamed=report.blamed)

    def _record(self, delivery: Delivery, aim: Aim) -> Report:
        path = self._settings.recorded
        line = {"at": now().isoformat(), **about(delivery), **self.plan(delivery), "environment": self._own(delivery)}
        recording.append(path, line)
        good = {"nodes": {"succeeded": fold([*aim.before, *aim.todo]), "failed": ""}}
        return Report(result={**good, "recorded": str(path)})

    def _rendered(self, delivery: Delivery) -> list[str]:
        return [each.render(delivery) for each in self._words]

    def _own(self, delivery: Delivery) -> dict[str, str]:
        return {name: each.render_text(delivery) for name, each in self._environment.items()}


def _told(output: bytes, code: int | None, aim: Aim) -> Report:
    outcome = outcomes.read(output)
    if outcome is None:
        reason = f"the fan-out's own process ended with {code} and told nothing"
        return outcomes.lost(aim, "lost", reason, output)
    return outcomes.report(outcome, aim)
