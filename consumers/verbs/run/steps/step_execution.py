"""Runs one step, here or on nodes, and returns its result.  It raises nothing that a command or a value can cause."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ....deliveries import Report
from ....errors import Rejected, TemplateError
from ....expressions.templates import Template
from ....processes import child_process
from ....processes.job_files import now
from .. import command_outcomes, node_outcomes
from ..detached import HOPELESS
from ..node_outcomes import NodeRun
from ..node_targets import GroupsUnknown, fold, names_of
from ..transports import recording
from ..transports.fanout_request import NodeCommand
from . import file_copy
from .sequence import Result, interrupted
from .step_values import About, Results
from .steps_request import Late, StepRequest, StepsRequest

VARIABLE = "CLUSTERBUS_STEP"
"""The environment variable that holds the name of the step."""


class Stop(threading.Event):
    """Says when a command is to be broken off; *why* says the reason, and is empty before."""

    why = ""


class Show(Protocol):
    """Shows people what a step prints."""

    def __call__(self, chunk: bytes, *, is_error: bool) -> None:
        """Show *chunk* of the output, or of stderr."""


class _Live:
    """Shows what a command prints as it comes."""

    def __init__(self, show: Show) -> None:
        self.keep = show

    def cancelled_by(self) -> str:
        """Return nobody: a `Stop` ends commands here."""
        return ""


class Execution:
    """Runs steps of one job, whose processes carry *mark*; a command here reads *feed*."""

    def __init__(self, request: StepsRequest, mark: str, feed: bytes, show: Show, watch: str) -> None:
        """Run the steps of *request*; *show* what commands here print, and append what nodes do to the file *watch*."""
        self._request, self._mark, self._feed, self._show, self._watch = request, mark, feed, show, watch

    def run(self, step: StepRequest, results: Results, stop: Stop) -> Result:
        """Run *step*, whose templates may read *results*, until it ends or *stop* is set."""
        try:
            about = About(self._request.values, results)
            report = self._report(step, about, stop)
        except TemplateError as error:
            if unknown := [name for name in _read(step) if "state" not in results.get(name, {})]:
                return {"state": "skipped", "reason": f"step {unknown[0]} did not run, and this one reads its value"}
            return _failed(error)
        except (Rejected, GroupsUnknown, OSError, ValueError, subprocess.SubprocessError) as error:
            return _failed(error)
        if stop.is_set() and report.failure:
            return interrupted(stop.why, report.result)
        if report.failure is None:
            return {**report.result, "state": "done"}
        return {**report.result, "state": "failed", "failure": report.failure, "reason": report.reason}

    def _report(self, step: StepRequest, about: About, stop: Stop) -> Report:
        words = [_filled(each, about) for each in step.words]
        own = {name: _filled(each, about, is_word=False) for name, each in step.environment.items()}
        if step.nodes is None:
            return self._here(step, words, own, stop)
        return self._on_nodes(step, words, own, about, stop)

    def _here(self, step: StepRequest, words: Sequence[str], own: Mapping[str, str], stop: Stop) -> Report:
        command = child_process.Command(
            words=words,
            environment={**child_process.ENVIRONMENT, **own, **self._request.variables, VARIABLE: step.name},
            mark=self._mark,
            timeout=step.timeout,
            grace=child_process.GRACE,
            output=step.output,
            user=step.user,
            apart=True,
        )
        ended = child_process.run(command, self._feed, stop, _Live(self._show))
        report = command_outcomes.report(ended, step.timeout, command_outcomes.this_machine())
        return report if report.failure or not ended.stopped else Report(result=report.result)

    def _on_nodes(
        self, step: StepRequest, words: Sequence[str], own: Mapping[str, str], about: About, stop: Stop
    ) -> Report:
        transport = self._request.transport
        names = names_of(_filled(step.nodes, about)) if isinstance(step.nodes, Late) else step.nodes or ()
        node_run = NodeRun([each for each in names if each not in step.before], step.before, "", transport.is_remote)
        if not node_run.todo:
            return node_outcomes.nothing_left(node_run)
        variables = self._request.identity if transport.is_remote else self._request.variables
        content = b""
        if step.copied:
            words, content = file_copy.command(
                step.copied.source, step.copied.target, step.copied.mode, step.copied.owner
            )
        command = NodeCommand(
            nodes=node_run.todo,
            words=words,
            environment={**variables, **own, VARIABLE: step.name},
            fanout=step.fanout,
            connect_timeout=step.connect_timeout,
            timeout=step.timeout,
            output=step.output,
            grace=child_process.GRACE,
            deadline=step.deadline,
            login=step.login,
            user=step.user,
            content=content,
            watch=self._watch,
        )
        command.check(transport)
        if transport.name == "record":
            return self._record(step, words, node_run)
        ended = child_process.run(*command.process(transport, self._mark), stop)
        outcome = node_outcomes.read(bytes(ended.output))
        if outcome is None:
            reason = f"the process of the fan-out ended with exit code {ended.code}, without an outcome"
            return node_outcomes.lost(node_run, "lost", reason, bytes(ended.output))
        return node_outcomes.report(outcome, node_run)

    def _record(self, step: StepRequest, words: Sequence[str], node_run: NodeRun) -> Report:
        from pathlib import Path  # noqa: PLC0415 - most transports do not record

        path = self._request.transport.recorded
        line = {"at": now().isoformat(), "step": step.name, "command": list(words), "nodes": fold(node_run.todo)}
        recording.append(Path(path), line | {"mark": self._mark})
        nodes = {"succeeded": fold([*node_run.before, *node_run.todo]), "failed": ""}
        return Report(result={"nodes": nodes, "recorded": path})


def _filled(word: str | Late | Any, about: About, *, is_word: bool = True) -> str:  # noqa: ANN401
    return about.render(word.template, is_word=is_word) if isinstance(word, Late) else word


def _read(step: StepRequest) -> list[str]:
    """Return the names of the steps that *step* reads."""
    texts = [each.template for each in (*step.words, *step.environment.values(), step.nodes) if isinstance(each, Late)]
    return [name for text in texts for name, _ in Template(text).steps]


def _failed(error: Exception) -> Result:
    if isinstance(error, Rejected):
        return {"state": "failed", "failure": "rejected", "reason": str(error), "hopeless": True}
    is_hopeless = isinstance(error, OSError) and error.errno in HOPELESS
    name = type(error).__name__
    reason = f"cannot run: {error.strerror}" if isinstance(error, OSError) and error.strerror else f"{name}: {error}"
    return {"state": "failed", "failure": name, "reason": reason, **({"hopeless": True} if is_hopeless else {})}
