"""Runs a command on this machine, with the event on its standard input.

The words are rendered from the event; each stays one word, and no shell is used.  The environment has only what is
written here: facts of the delivery and its variables.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence

from router.model.events import Value

from ...deliveries import Delivery, Report, depth_of
from ...errors import Rejected
from ...expressions.templates import Template
from ...processes import child_process
from ..interface import Handler, Surroundings
from . import command_outcomes
from .attached import Attached, reject_cancelled
from .detached import HOPELESS, Detached, Ended
from .options import RunOptions

GRACE = child_process.GRACE

LONGEST_VARIABLE = 32768
LARGEST_ENVIRONMENT = 512 * 1024
"""Most octets of all variables; Linux allows 2 MiB for words and environment by default, less on small stacks."""

_NOT_OF_A_NAME = re.compile(r"[^A-Za-z0-9_]")


class CommandHandler(Handler):
    """Runs the command of one subscription; several threads may call it at once."""

    is_contained = True

    def __init__(self, verb: RunOptions, surroundings: Surroundings) -> None:
        """Prepare the command.  Raises SubscriptionsError if it cannot run as `user`."""
        self._verb = verb
        self._words = [Template(each) for each in verb.command]
        self._environment = {name: Template(text) for name, text in verb.environment.items()}
        self._user = user_of(surroundings, verb.user)
        self._detached = Detached(surroundings) if verb.detach else None
        self._attached = Attached(surroundings)

    def __call__(self, delivery: Delivery) -> Report | None:
        """Run the command for *delivery*; its exit code decides.  Return None if a stop interrupted it."""
        command = self._command(delivery)
        if self._detached:
            return self._run_detached(self._detached, command, delivery)
        ended = self._run(command, delivery)
        if ended.was_interrupted:
            return None
        report = self._report(ended)
        reject_cancelled(ended, delivery.mark, report.result)
        return report

    def _run(self, command: child_process.Command, delivery: Delivery) -> child_process.Ended:
        try:
            return self._attached.run(delivery, command, delivery.to_json(), _of_command(command, delivery))
        except OSError as error:
            if error.errno in HOPELESS:
                raise Rejected(f"command {command.words[0]!r} cannot run: {error.strerror}") from error
            raise
        except (ValueError, subprocess.SubprocessError) as error:
            raise Rejected(f"command {command.words[0]!r} cannot run: {error}") from error

    def _command(self, delivery: Delivery) -> child_process.Command:
        return child_process.Command(
            words=self._rendered(delivery),
            environment=self._variables(delivery),
            mark=delivery.mark,
            timeout=self._verb.timeout,
            grace=GRACE,
            output=self._verb.output,
            user=self._user,
            apart=True,
        )

    def _run_detached(self, detached: Detached, command: child_process.Command, delivery: Delivery) -> Report | None:
        ended = detached.run(command, delivery.to_json(), _of_command(command, delivery))
        return self._of_job(ended) if isinstance(ended, Ended) else ended

    def _of_job(self, ended: Ended) -> Report:
        facts_of_job = {"job": ended.job.id}
        machine = ended.host or command_outcomes.this_machine()
        if ended.lost:
            nodes = {"succeeded": "", "failed": machine}
            return Report("lost", ended.lost, {"nodes": nodes, **facts_of_job}, blamed=(self._target,))
        report = self._report(ended.command, machine)
        if ended.cancelled:
            raise Rejected(ended.cancelled, {**report.result, **facts_of_job})
        return dataclasses.replace(report, result={**report.result, **facts_of_job})

    def _report(self, ended: child_process.Ended, machine: str | None = None) -> Report:
        """Return the report; blame the program if it hangs, but not for an exit code, which may be due to the event."""
        report = command_outcomes.report(ended, self._verb.timeout, machine or command_outcomes.this_machine())
        if report.failure is None or report.failure.startswith(("exit", "signal")):
            return report
        return dataclasses.replace(report, blamed=(self._target,))

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the command that would run."""
        return {"command": self._rendered(delivery), "user": self._verb.user, "detach": self._verb.detach}

    def targets(self, delivery: Delivery) -> Sequence[str]:  # noqa: ARG002 - the same for all
        """Return the program, which is fixed."""
        return (self._target,)

    @property
    def _target(self) -> str:
        return f"run {self._verb.command[0]}"

    def _rendered(self, delivery: Delivery) -> list[str]:
        return [each.render(delivery) for each in self._words]

    def _variables(self, delivery: Delivery) -> dict[str, str]:
        own = {name: each.render_text(delivery) for name, each in self._environment.items()}
        return {**child_process.ENVIRONMENT, **own, **facts(delivery)}


def _of_command(command: child_process.Command, delivery: Delivery) -> dict[str, object]:
    return {**about(delivery), "command": list(command.words)}


def about(delivery: Delivery) -> dict[str, object]:
    """Return the facts of *delivery* that are stored with its job."""
    event = delivery.event
    return {
        "subscription": delivery.subscription,
        "event": event.id,
        "type": event.type,
        "cluster": event.cluster,
        "node": event.node,
        "depth": depth_of(event),
        "attempt": delivery.attempt,
        **({"replay": delivery.replay} if delivery.replay else {}),
    }


def facts(delivery: Delivery) -> dict[str, str]:
    """Return the environment for *delivery*: its identity, and each variable that has a value.

    `CLUSTERBUS_CUT` names the variables that were cut because they are too large; standard input has all of them.
    """
    variables, cut = _event_variables(delivery.event.data)
    return {**identity(delivery), **({"CLUSTERBUS_CUT": " ".join(cut)} if cut else {}), **variables}


def identity(delivery: Delivery) -> dict[str, str]:
    """Return the environment for *delivery* without its variables, which is always small."""
    event = delivery.event
    return {
        "CLUSTERBUS_EVENT_ID": event.id,
        "CLUSTERBUS_TYPE": _plain(event.type),
        "CLUSTERBUS_TOPIC": _plain(delivery.topic),
        "CLUSTERBUS_NODE": event.node,
        "CLUSTERBUS_CLUSTER": event.cluster,
        "CLUSTERBUS_SUBSCRIPTION": delivery.subscription,
        "CLUSTERBUS_ATTEMPT": str(delivery.attempt),
        **{f"CLUSTERBUS_META_{name}": _plain(text) for name, text in delivery.meta.items()},
    }


def _event_variables(data: Mapping[str, Value]) -> tuple[dict[str, str], list[str]]:
    variables, cut, size = {}, [], 0
    for name, value in data.items():
        if value is None:
            continue
        variable = _NOT_OF_A_NAME.sub("_", name)[:100]
        text = _plain(_text(value))
        octets = text.encode("utf-8", "surrogateescape")
        kept = octets[: min(LONGEST_VARIABLE, max(0, LARGEST_ENVIRONMENT - size))]
        size += len(kept) + len(variable)
        if len(kept) < len(octets):
            cut.append(variable)
            text = kept.decode("utf-8", "ignore")
        if size < LARGEST_ENVIRONMENT:
            variables[f"CLUSTERBUS_VAR_{variable}"] = text
    return variables, [each[:100] for each in cut[:100]]


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def _plain(text: str) -> str:
    return text.replace("\0", "")


def user_of(surroundings: Surroundings, name: str | None, place: str = "run.user") -> child_process.User | None:
    """Return the user *name*, None if it is the current user.  Raises SubscriptionsError if it cannot be used."""
    if name is None:
        return None
    try:
        user = child_process.User.named(name)
    except KeyError:
        raise surroundings.mistake(place, f"there is no user {name!r} on this machine") from None
    if user.user == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise surroundings.mistake(
            place, f"only root can run a command as {name!r}: start consumers as root, or remove the user"
        )
    return user
