"""Runs a command on a set of nodes, in a separate process per delivery; a retry runs only on nodes that failed.

The node set comes from the file or from the event; from the event it may contain only host names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from router.model import durations
from router.settings.models import ConsumersSettings

from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...expressions.templates import Template
from ...processes import child_process
from ...processes.attached_runs import attached
from ...processes.job_files import NODES, Jobs, now
from ...processes.job_runner import id_of
from ..interface import Handler, Surroundings
from . import local, node_outcomes
from .attached import Attached, reject_cancelled
from .detached import Detached, Ended
from .local import about, facts, identity, user_of
from .node_outcomes import NodeRun
from .node_targets import GroupsUnknown, fold, names_of, unfold
from .options import RunOptions
from .transports import recording
from .transports.fanout_request import NodeCommand, Transport, deadline_of

_LONGEST_TARGET = 200


class FleetHandler(Handler):
    """Runs the command of one subscription on nodes; several threads may call it at once."""

    is_contained = True
    divides = True

    def __init__(self, verb: RunOptions, surroundings: Surroundings) -> None:
        """Use the transport of the settings.  Raises SubscriptionsError if the command cannot run as `user`."""
        self._verb = verb
        self._settings: ConsumersSettings = surroundings.settings.consumers
        self._words = [Template(each) for each in verb.command]
        self._environment = {name: Template(text) for name, text in verb.environment.items()}
        self._nodes = Template(verb.nodes or "")
        self._transport = Transport.of(self._settings)
        self._is_remote = self._transport.is_remote
        self._user = None if self._is_remote else user_of(surroundings, verb.user)
        self._detached = Detached(surroundings) if verb.detach and self._settings.transport != "record" else None
        self._attached = Attached(surroundings)

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

    def nodes(self, delivery: Delivery) -> Sequence[str]:
        """Return the nodes on which an earlier attempt has not succeeded."""
        return self._next_run(delivery).todo

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
            return node_outcomes.with_rest(self._record(delivery, node_run), node_run, delivery.portions, now())
        facts_of_job = {**about(delivery), "command": self._rendered(delivery)}
        facts_of_job |= {"nodes": fold(node_run.todo), "before": fold(node_run.before), **node_run.facts_of_rest}
        if self._detached:
            ended = self._detached.run(process, feed, facts_of_job)
            if isinstance(ended, Report):
                return node_outcomes.with_earlier(ended, delivery)
            return self._of_job(ended, node_run, delivery.portions) if ended else None
        waited = self._attached.run(delivery, process, feed, facts_of_job, is_shown_at_once=True)
        report = self._report(waited, node_run)
        report = report and node_outcomes.with_rest(report, node_run, delivery.portions, now())
        if report:
            reject_cancelled(waited, delivery.mark, report.result)
        return report

    def _next_run(self, delivery: Delivery) -> NodeRun:
        text = self._nodes.render(delivery)
        names = names_of(text, is_ours=self._verb.is_literal)
        target = self._target(delivery, names)
        node_run = node_outcomes.next_run(names, delivery.earlier, target, is_remote=self._is_remote)
        return node_run if delivery.portion is None else node_run.only(delivery.portion, delivery.portion_wait)

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
        verb, own = self._verb, self._own(delivery)
        command = NodeCommand(
            nodes=node_run.todo,
            words=self._rendered(delivery),
            # ssh passes one text with a limited size, so variables are available only as words of the command.
            environment={**identity(delivery), **own} if self._is_remote else {**facts(delivery), **own},
            fanout=verb.fanout,
            connect_timeout=verb.connect_timeout,
            timeout=verb.timeout,
            output=verb.output,
            grace=local.GRACE,
            deadline=verb.deadline,
            login=verb.user,
            user=self._user,
            progress=verb.detach,
            watch=str(self._folder(delivery.mark) / NODES),
        )
        command.check(self._transport)
        return command.process(self._transport, delivery.mark)

    def _folder(self, mark: str) -> Path:
        """Return where the run is shown while it runs."""
        jobs = Jobs(self._settings.jobs)
        return (jobs if self._verb.detach else attached(jobs)).path / id_of(mark)

    def _deadline(self, count: int) -> timedelta:
        verb = self._verb
        return deadline_of(count, verb.fanout, verb.timeout, verb.connect_timeout, verb.deadline)

    def _report(self, ended: child_process.Ended, node_run: NodeRun) -> Report | None:
        if ended.stopped:
            return node_outcomes.interrupted(node_outcomes.read(bytes(ended.output)), node_run)
        return _reported(bytes(ended.output), ended.code, node_run)

    def _of_job(self, ended: Ended, node_run: NodeRun, portions: int) -> Report:
        # Use the nodes at the start of the job: a group may have other members by now.
        begun = NodeRun(
            unfold(ended.about["nodes"]),
            unfold(ended.about["before"]),
            node_run.target,
            node_run.is_remote,
            unfold(ended.about.get("rest", "")),
            timedelta(seconds=ended.about.get("pause", 0)),
        )
        if ended.lost:
            report = node_outcomes.lost(begun, "lost", ended.lost, ended.errors)
        else:
            report = _reported(ended.output, ended.result.get("exit"), begun)
        result = {**report.result, "job": ended.job.id}
        if ended.cancelled:
            raise Rejected(ended.cancelled, result)
        report = Report(report.failure, report.reason, result, blamed=report.blamed)
        return node_outcomes.with_rest(report, begun, portions, now())

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
