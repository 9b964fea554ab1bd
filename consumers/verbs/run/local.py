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
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta

from router.model import durations
from router.model.events import Value

from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...expressions.templates import Template
from ...processes import child_process, cleanup
from ..interface import Handler, Surroundings
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
        self._verb, self._stopping = verb, surroundings.stopping
        self._words = [Template(each) for each in verb.command]
        self._environment = {name: Template(text) for name, text in verb.environment.items()}
        self._user = user_of(surroundings, verb.user)
        self._detached = Detached(surroundings) if verb.detach else None

    def __call__(self, delivery: Delivery) -> Report | None:
        """Run the command for *delivery*; its exit code decides.  Return None if a stop interrupted it."""
        command = self._command(delivery)
        if self._detached:
            return self._blaming(self._run_detached(self._detached, command, delivery))
        if delivery.repeated:
            cleanup.end_leftovers(delivery.mark)
        return self._blaming(_report(_run(command, delivery.event.to_json(), self._stopping), self._verb.timeout))

    def _command(self, delivery: Delivery) -> child_process.Command:
        return child_process.Command(
            words=self._rendered(delivery),
            environment=self._variables(delivery),
            mark=delivery.mark,
            timeout=self._verb.timeout,
            grace=GRACE,
            output=self._verb.output,
            user=self._user,
        )

    def _run_detached(self, detached: Detached, command: child_process.Command, delivery: Delivery) -> Report | None:
        ended = detached.run(command, delivery.event.to_json(), about(delivery) | {"command": list(command.words)})
        return _of_job(ended, self._verb.timeout) if isinstance(ended, Ended) else ended

    def _blaming(self, report: Report | None) -> Report | None:
        """Blame the program if it hangs or cannot start, but not for an exit code, which may be due to the event."""
        if report is None or report.failure is None or report.failure.startswith(("exit", "signal")):
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


def about(delivery: Delivery) -> dict[str, object]:
    """Return the facts of *delivery* that are stored with its job."""
    event = delivery.event
    return {
        "subscription": delivery.subscription,
        "event": event.id,
        "type": event.type,
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


def _run(command: child_process.Command, feed: bytes, stopping: threading.Event) -> child_process.Ended:
    try:
        return child_process.run(command, feed, stopping)
    except OSError as error:
        if error.errno in HOPELESS:
            raise Rejected(f"command {command.words[0]!r} cannot run: {error.strerror}") from error
        raise
    except (ValueError, subprocess.SubprocessError) as error:
        raise Rejected(f"command {command.words[0]!r} cannot run: {error}") from error


def _report(ended: child_process.Ended, timeout: timedelta) -> Report | None:
    if ended.was_interrupted:
        return None
    result = ended.facts
    if ended.code is not None:
        result |= {"exit": ended.code} if ended.code >= 0 else {"signal": -ended.code}
    failure = ended.failure(durations.text(timeout))
    return Report(*failure, result) if failure else Report(result=result)


def _of_job(ended: Ended, timeout: timedelta) -> Report:
    """Return the report of a command that ran as a job; unlike others it has a separate `errors` output."""
    result, facts_of_job = ended.result, {"job": ended.job.id}
    if ended.lost:
        return Report("lost", ended.lost, facts_of_job)
    code = result.get("exit", -result["signal"] if "signal" in result else None)
    command = child_process.Ended(
        code=code,
        timed_out=result["ended"] == "timeout",
        output=bytearray(ended.output or ended.errors),
        octets=result["octets"],
        seconds=result["seconds"],
        left=result.get("left_behind", 0),
    )
    report = _report(command, timeout)
    assert report is not None  # noqa: S101 - for mypy: only a stopped command has no report
    errors = {"errors": ended.errors.decode("utf-8", "replace")} if ended.errors and ended.output else {}
    return dataclasses.replace(report, result={**report.result, **errors, **facts_of_job})


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
