"""Turns the options of steps and a delivery into the request of their job.

Whatever can be wrong is found here, before anything has begun: texts that cannot be filled in, programs that do not
exist, node sets that name nothing.  Only what reads earlier steps waits for them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from router.model import durations

from ....deliveries import Delivery
from ....errors import Rejected
from ....expressions.templates import Template
from ....processes.child_process import search_path
from ...interface import Surroundings
from .. import node_outcomes
from ..command_checks import is_literal
from ..local import facts, identity, user_of
from ..node_targets import fold, names_of
from ..options import RunOptions
from ..step_options import Step
from ..transports.fanout_request import Transport, deadline_of
from .steps_request import CopyRequest, Late, StepRequest, StepsRequest

_ROUND = timedelta(seconds=30)
"""Time beyond its limits that a step may take to end."""


class Rendering:
    """Makes the requests of one subscription."""

    def __init__(self, verb: RunOptions, surroundings: Surroundings) -> None:
        """Use the transport of the settings.  Raises SubscriptionsError if a step cannot run as its user."""
        self._verb = verb
        self._transport = Transport.of(surroundings.settings.consumers)
        self._users = {
            each.name: None if self._logs_in(each) else user_of(surroundings, each.user or verb.user, f"run.{part}")
            for part, steps in (("steps", verb.steps), ("always", verb.always))
            for each in steps
        }

    def _logs_in(self, step: Step) -> bool:
        return step.nodes is not None and self._transport.is_remote

    def request(self, delivery: Delivery, *, cleans_first: bool = False) -> StepsRequest:
        """Return the request for *delivery*.  Raises Rejected if it can never run, GroupsUnknown if not now."""
        earlier = _earlier(delivery.earlier, "steps")
        unclean = any(each.get("state") != "done" for each in _earlier(delivery.earlier, "always").values())
        resumes = self._verb.on_retry == "resume"
        done = {name: each for name, each in earlier.items() if resumes and each.get("state") == "done"}
        steps = [self._step(each, delivery, earlier.get(each.name, {}) if resumes else {}) for each in self._verb.steps]
        always = [self._step(each, delivery, {}) for each in self._verb.always]
        is_late = any(isinstance(each, Late) for step in (*steps, *always) for each in _words(step))
        return StepsRequest(
            steps=tuple(steps),
            always=tuple(always),
            done=done,
            cleans_first=cleans_first or unclean,
            deadline=self._verb.deadline,
            variables=facts(delivery),
            identity=identity(delivery),
            values=json.loads(json.dumps(delivery.as_dict(), default=str)) if is_late else {},
            transport=self._transport,
        )

    def _step(self, step: Step, delivery: Delivery, earlier: Mapping[str, Any]) -> StepRequest:
        verb = self._verb
        nodes = self._nodes(step, delivery)
        before: Sequence[str] = ()
        if nodes and not isinstance(nodes, Late):
            before = node_outcomes.next_run(nodes, earlier, "", is_remote=self._transport.is_remote).before
        environment = {**verb.environment, **step.environment}
        found = StepRequest(
            name=step.name,
            words=tuple(_word(each, delivery) for each in step.command),
            copied=_copied(step),
            nodes=nodes,
            before=tuple(before),
            environment={name: _word(text, delivery, is_word=False) for name, text in environment.items()},
            timeout=step.timeout or verb.timeout,
            connect_timeout=step.connect_timeout or verb.connect_timeout,
            deadline=step.deadline,
            fanout=step.fanout or verb.fanout,
            output=step.output or verb.output,
            login=step.user or verb.user,
            user=self._users[step.name],
        )
        if step.command and (nodes is None or self._transport.name == "local"):
            self._check(step, environment)
        return found

    def _nodes(self, step: Step, delivery: Delivery) -> tuple[str, ...] | Late | None:
        if step.nodes is None:
            return None
        text = _word(step.nodes, delivery)
        return text if isinstance(text, Late) else names_of(text, is_ours=is_literal(step.nodes))

    def _check(self, step: Step, environment: Mapping[str, str]) -> None:
        if shutil.which(step.command[0], path=search_path(environment)) is None:
            raise Rejected(
                f"step {step.name}: command {step.command[0]!r} cannot run: it does not exist on this machine"
            )

    def limit(self, request: StepsRequest, parts: Sequence[str] = ("always", "steps", "always")) -> timedelta:
        """Return the longest time that *parts* of *request* can take."""
        steps = [each for part in parts for each in (request.steps if part == "steps" else request.always)]
        return sum((_limit(each) for each in steps), timedelta())

    def plan(self, request: StepsRequest) -> Mapping[str, object]:
        """Return *request* as plain values, as `clusterbus route` shows it."""
        parts = {
            "steps": [self._planned(each) for each in request.steps],
            "always": [self._planned(each) for each in request.always],
        }
        skipped = {"done": [*request.done]} if request.done else {}
        deadline = {"deadline": durations.text(request.deadline)} if request.deadline else {}
        transport = {"transport": self._transport.name} if any(each.nodes for each in _all(request)) else {}
        return {**parts, **skipped, "on_retry": self._verb.on_retry, **deadline, **transport}

    def _planned(self, step: StepRequest) -> dict[str, object]:
        shown: dict[str, object] = {"name": step.name}
        if step.copied:
            copied = step.copied
            owner = {"owner": copied.owner} if copied.owner else {}
            shown["copy"] = {"from": copied.source, "to": copied.target, "mode": copied.mode, **owner}
        else:
            shown["command"] = [_shown(each) for each in step.words]
        if step.nodes is not None:
            shown["nodes"] = _shown(step.nodes) if isinstance(step.nodes, Late) else fold(step.nodes)
        user = {"user": step.login} if step.login else {}
        return {**shown, "timeout": durations.text(step.timeout), **user}


def _copied(step: Step) -> CopyRequest | None:
    if step.copied is None:
        return None
    source, target, mode, owner = step.copied.source, step.copied.target, step.copied.mode, step.copied.owner
    return CopyRequest(source=str(source), target=target, mode=mode, owner=owner or "")


def _all(request: StepsRequest) -> tuple[StepRequest, ...]:
    return (*request.steps, *request.always)


def _words(step: StepRequest) -> tuple[object, ...]:
    return (*step.words, *step.environment.values(), step.nodes)


def _word(text: str, delivery: Delivery, *, is_word: bool = True) -> str | Late:
    template = Template(text)
    if template.steps:
        return Late(template=text)
    return template.render(delivery) if is_word else template.render_text(delivery)


def _shown(word: str | Late) -> str:
    return word.template if isinstance(word, Late) else word


def _limit(step: StepRequest) -> timedelta:
    if step.nodes is None:
        return step.timeout + _ROUND
    count = step.fanout if isinstance(step.nodes, Late) else len(step.nodes)
    return deadline_of(count, step.fanout, step.timeout, step.connect_timeout, step.deadline) + _ROUND


def _earlier(result: Mapping[str, object], part: str) -> dict[str, Mapping[str, Any]]:
    """Return what the *result* of the attempt before says about the steps of *part*, by their names."""
    found = result.get(part)
    listed = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return {str(each.get("name")): {name: value for name, value in each.items() if name != "name"} for each in listed}
