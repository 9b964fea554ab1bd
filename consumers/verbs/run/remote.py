"""Runs a command on a set of nodes, in a separate process per delivery; a retry runs only on nodes that failed.

The node set comes from the file or from the event; from the event it may contain only host names.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta

from router import interpreter
from router.cluster.fleet.runner import PROGRAM
from router.model import durations
from router.settings.models import ConsumersSettings

from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...expressions.templates import Template
from ...processes import child_process, cleanup
from ...processes.job_files import now
from ..interface import Handler, Surroundings
from . import local, node_outcomes, recording
from .detached import Detached, Ended
from .local import about, facts, identity, user_of
from .node_outcomes import NodeRun
from .node_targets import GroupsUnknown, fold, names_of, unfold
from .options import RunOptions

_OUTCOME = 64 * 1024 * 1024
"""Most octets of an outcome.  Its writer limits it already; this is a safety limit."""

_LONGEST_REMOTE = 120 * 1024
"""Most octets of a command for ssh, which passes it as one word: Linux allows 128 KiB."""

_LONGEST_LOCAL = 1024 * 1024
_LONGEST_TARGET = 200
_LONGEST = timedelta(days=8)
_FOR_THE_END = timedelta(seconds=20)
"""Time that the process has after its deadline to kill its commands and write the outcome."""


class FleetHandler(Handler):
    """Runs the command of one subscription on nodes; several threads may call it at once."""

    is_contained = True

    def __init__(self, verb: RunOptions, surroundings: Surroundings) -> None:
        """Use the transport of the settings.  Raises SubscriptionsError if the command cannot run as `user`."""
        self._verb, self._stopping = verb, surroundings.stopping
        self._settings: ConsumersSettings = surroundings.settings.consumers
        self._words = [Template(each) for each in verb.command]
        self._environment = {name: Template(text) for name, text in verb.environment.items()}
        self._nodes = Template(verb.nodes or "")
        self._is_remote = self._settings.transport == "ssh"
        self._user = None if self._is_remote else user_of(surroundings, verb.user)
        self._detached = Detached(surroundings) if verb.detach and self._settings.transport != "record" else None

    def __call__(self, delivery: Delivery) -> Report | None:
        """Run the command on all remaining nodes; return None if a stop interrupted it."""
        try:
            return self._attempt(delivery)
        except Rejected:
            raise
        except Exception as error:
            # Keep the nodes that succeeded earlier, or the next attempt would run on them again.
            if "nodes" not in delivery.earlier:
                raise
            name = type(error).__name__
            return Report(name, f"{name}: {error}", {"nodes": delivery.earlier["nodes"]})

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the command and its nodes; for a retry, also the nodes that succeeded already."""
        try:
            node_run = self._next_run(delivery)
        except GroupsUnknown as error:
            raise Rejected(str(error)) from error
        return {
            "command": self._rendered(delivery),
            "nodes": fold(node_run.todo),
            **({"succeeded": fold(node_run.before)} if node_run.before else {}),
            "transport": self._settings.transport,
            "fanout": self._verb.fanout,
            "timeout": durations.text(self._verb.timeout),
            "deadline": durations.text(self._deadline(len(node_run.todo))),
            "user": self._verb.user,
            "detach": self._verb.detach,
        }

    def targets(self, delivery: Delivery) -> Sequence[str]:
        """Return the program and all of its nodes, the same for every attempt."""
        try:
            return (self._target(delivery, ()),)
        except Rejected:
            return ()

    def _attempt(self, delivery: Delivery) -> Report | None:
        node_run = self._next_run(delivery)
        if not node_run.todo:
            return node_outcomes.nothing_left(node_run)
        process, feed = self._process(delivery, node_run)
        if self._settings.transport == "record":
            return self._record(delivery, node_run)
        if self._detached:
            facts_of_job = {**about(delivery), "command": self._rendered(delivery)}
            places = {"nodes": fold(node_run.todo), "before": fold(node_run.before)}
            ended = self._detached.run(process, feed, facts_of_job | places)
            return self._of_job(ended, node_run) if isinstance(ended, Ended) else ended
        if delivery.repeated:
            cleanup.end_leftovers(delivery.mark)
        return self._report(child_process.run(process, feed, self._stopping), node_run)

    def _next_run(self, delivery: Delivery) -> NodeRun:
        text = self._nodes.render(delivery)
        names = names_of(text, is_ours=self._verb.is_literal)
        target = self._target(delivery, names)
        return node_outcomes.next_run(names, delivery.earlier, target, is_remote=self._is_remote)

    def _target(self, delivery: Delivery, names: Sequence[str]) -> str:
        # Do not resolve groups here: people know them by name.
        text = self._verb.nodes or ""
        if not self._verb.is_literal:
            text = fold(names or names_of(self._nodes.render(delivery)))
        if len(text) > _LONGEST_TARGET:
            text = f"{text[:_LONGEST_TARGET]}..."
        return f"run {self._verb.command[0]} on {text}"

    def _process(self, delivery: Delivery, node_run: NodeRun) -> tuple[child_process.Command, bytes]:
        """Return the process of the fan-out, and its standard input."""
        words, own = self._rendered(delivery), self._own(delivery)
        self._check(words, own)
        deadline = self._deadline(len(node_run.todo))
        request = {
            "nodes": list(node_run.todo),
            "command": words,
            # ssh passes one text with a limited size, so variables are available only as words of the command.
            "environment": {**identity(delivery), **own} if self._is_remote else {**facts(delivery), **own},
            "transport": self._settings.transport,
            "fanout": self._verb.fanout,
            "connect_timeout": max(1, math.ceil(self._verb.connect_timeout.total_seconds())),
            "timeout": self._verb.timeout.total_seconds(),
            "deadline": deadline.total_seconds(),
            "grace": math.ceil(local.GRACE.total_seconds()),
            "output": self._verb.output,
            "user": self._verb.user if self._is_remote else None,
            "ssh": self._settings.ssh,
            "ssh_options": list(self._settings.ssh_options),
            "progress": self._verb.detach,
        }
        agent = os.environ.get("SSH_AUTH_SOCK")
        process = child_process.Command(
            words=interpreter.file(PROGRAM),
            environment=child_process.ENVIRONMENT | ({"SSH_AUTH_SOCK": agent} if agent and self._is_remote else {}),
            mark=delivery.mark,
            timeout=deadline + _FOR_THE_END,
            grace=local.GRACE,
            output=_OUTCOME,
            user=self._user,
        )
        return process, json.dumps(request).encode()

    def _check(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        """Raise Rejected if no node can run the command."""
        size = sum(len(each.encode()) + each.count("'") * 4 + 3 for each in (*words, *environment.values()))
        limit = _LONGEST_REMOTE if self._is_remote else _LONGEST_LOCAL
        if size > limit:
            raise Rejected(f"command {words[0]!r} has {size:,} octets, and the limit on nodes is {limit:,}")
        program = self._settings.ssh if self._is_remote else words[0]
        if self._settings.transport != "record" and shutil.which(program, path=child_process.PATH) is None:
            raise Rejected(f"command {program!r} cannot run: it does not exist on this machine, or is not executable")

    def _deadline(self, count: int) -> timedelta:
        """Return the time for all of *count* nodes: the option `deadline`, or the longest time of all rounds."""
        if self._verb.deadline is not None:
            return self._verb.deadline
        rounds = max(1, math.ceil(count / self._verb.fanout))
        return min(_LONGEST, rounds * (self._verb.timeout + self._verb.connect_timeout + timedelta(seconds=15)))

    def _report(self, ended: child_process.Ended, node_run: NodeRun) -> Report | None:
        if ended.stopped:
            return node_outcomes.interrupted(node_outcomes.read(bytes(ended.output)), node_run)
        return _reported(bytes(ended.output), ended.code, node_run)

    def _of_job(self, ended: Ended, node_run: NodeRun) -> Report:
        # Use the nodes at the start of the job: a group may have other members by now.
        begun = NodeRun(
            unfold(ended.about["nodes"]), unfold(ended.about["before"]), node_run.target, node_run.is_remote
        )
        if ended.lost:
            report = node_outcomes.lost(begun, "lost", ended.lost, ended.errors)
        else:
            report = _reported(ended.output, ended.result.get("exit"), begun)
        return Report(report.failure, report.reason, {**report.result, "job": ended.job.id}, blamed=report.blamed)

    def _record(self, delivery: Delivery, node_run: NodeRun) -> Report:
        path = self._settings.recorded
        line = {"at": now().isoformat(), **about(delivery), **self.plan(delivery), "environment": self._own(delivery)}
        recording.append(path, line)
        good = {"nodes": {"succeeded": fold([*node_run.before, *node_run.todo]), "failed": ""}}
        return Report(result={**good, "recorded": str(path)})

    def _rendered(self, delivery: Delivery) -> list[str]:
        return [each.render(delivery) for each in self._words]

    def _own(self, delivery: Delivery) -> dict[str, str]:
        return {name: each.render_text(delivery) for name, each in self._environment.items()}


def _reported(output: bytes, code: int | None, node_run: NodeRun) -> Report:
    outcome = node_outcomes.read(output)
    if outcome is None:
        reason = f"the process of the fan-out ended with exit code {code}, without an outcome"
        return node_outcomes.lost(node_run, "lost", reason, output)
    return node_outcomes.report(outcome, node_run)
