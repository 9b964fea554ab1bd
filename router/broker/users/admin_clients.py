"""Changes users at the broker: by rabbitmqctl on one of its hosts, or by its management API from anywhere.

Both get definitions with hashes of passwords, never a password.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from ...errors import Refused, Unreachable
from ..topology import Binding
from . import broker_state
from .broker_state import BrokerState
from .control_errors import error_of
from .drift import Definitions, import_expression
from .management_api import LIMIT, Management
from .refusing_queues import COUNTS, QueueState

_LOOK = timedelta(seconds=15)
"""The time limit of one request that only looks."""

_UNAVAILABLE = {68, 69}
"""The exit codes of rabbitmqctl if it cannot reach the broker (from its sysexits.h)."""


class Observer(Protocol):
    """Reads what AMQP does not show; raises Unreachable and Refused."""

    def definitions(self) -> Definitions:
        """Return the broker's present definitions."""

    def queues(self, vhost: str) -> list[QueueState]:
        """Return the queues of *vhost*."""

    def bindings(self, vhost: str) -> list[Binding]:
        """Return the bindings of *vhost*, without their arguments."""

    def state(self, vhost: str) -> BrokerState:
        """Return the state of the broker's cluster, and of the queues and clients of *vhost*."""


class Administrator(Protocol):
    """Reads and changes users; raises Unreachable and Refused."""

    def definitions(self) -> Definitions:
        """Return the broker's present definitions."""

    def state(self, vhost: str) -> BrokerState:
        """Return the state of the broker's cluster, and of the queues and clients of *vhost*."""

    def add(self, wanted: Definitions) -> None:
        """Import *wanted*; entries with the same names are replaced."""

    def remove(self, users: Sequence[str]) -> None:
        """Delete *users*; the broker closes their connections."""

    def disconnect(self, user: str, reason: str) -> None:
        """Close all connections of *user*; the broker tells it the *reason*."""


class Control:
    """rabbitmqctl, with the words that run it, such as `docker exec -i mq1 rabbitmqctl`.

    In RabbitMQ 4.0, its command `import_definitions` cannot read standard input: the script opens stdin only for `eval`
    and a few other commands, and only if the command line has no other words.
    """

    def __init__(self, words: Sequence[str], limit: timedelta = LIMIT) -> None:
        """Run *words*, with the time limit *limit* for each command."""
        self._words, self._limit = tuple(words), limit

    def definitions(self) -> Definitions:
        """Return the broker's present definitions."""
        found = self._parsed(self._run("--quiet", "export_definitions", "-"), "export_definitions")
        return found if isinstance(found, dict) else {}

    def queues(self, vhost: str) -> list[QueueState]:
        """Return the queues of *vhost*."""
        return [QueueState.of(each) for each in self._list("list_queues", vhost, "name", "arguments", *COUNTS)]

    def bindings(self, vhost: str) -> list[Binding]:
        """Return the bindings of *vhost*, without their arguments."""
        kinds = ("source_name", "destination_name", "destination_kind", "routing_key")
        return [
            Binding(source, destination, key, of_exchange=kind == "exchange")
            for source, destination, kind, key in (
                [each[name] for name in kinds] for each in self._list("list_bindings", vhost, *kinds)
            )
        ]

    def state(self, vhost: str) -> BrokerState:
        """Return the state of the broker's cluster, and of the queues and clients of *vhost*."""
        command = "cluster_status"
        status = self._parsed(self._run("--quiet", command, "--formatter", "json"), command)
        return broker_state.state_of(
            broker_state.nodes_of_control(status if isinstance(status, dict) else {}),
            lambda: self._list("list_queues", vhost, *broker_state.QUEUE_COLUMNS),
            lambda: self._list("list_connections", "", *broker_state.CLIENT_COLUMNS),
            vhost,
        )

    def _list(self, command: str, vhost: str, *columns: str) -> list[dict[str, Any]]:
        of_vhost = ("-p", vhost) if vhost else ()
        output = self._run("--quiet", command, *of_vhost, "--formatter", "json", *columns)
        found = self._parsed(output or "[]", command)
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    def _parsed(self, output: str, command: str) -> object:
        try:
            return json.loads(output, strict=False)
        except ValueError as error:
            what = f"{self._words[0]} {command}"
            raise Refused(f"{what} did not print JSON: check that broker.control runs rabbitmqctl") from error

    def add(self, wanted: Definitions) -> None:
        """Import *wanted* from standard input: it is in no file and in no argument."""
        output = self._run("eval", given=import_expression(wanted)).strip()
        if output != "ok":
            raise Refused(f"{self._words[0]} eval: the broker refuses the import: {error_of(output)}")

    def remove(self, users: Sequence[str]) -> None:
        """Delete *users*, one by one."""
        for user in users:
            self._run("--quiet", "delete_user", user)

    def disconnect(self, user: str, reason: str) -> None:
        """Close all connections of *user*."""
        self._run("--quiet", "close_all_user_connections", user, reason)

    def _run(self, *arguments: str, given: str = "") -> str:
        words = [*self._words, *arguments]
        try:
            done = subprocess.run(
                words,
                input=given.encode(),
                capture_output=True,
                timeout=self._limit.total_seconds(),
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unreachable(
                f"{self._words[0]} cannot be run: {_why(error)}; run this on a host of the broker, or set"
                " broker.control or broker.management"
            ) from error
        # Decoded here: text mode takes a carriage return for the end of a line, and hides what stands before it.
        output, errors = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
        if done.returncode == 0:
            return output
        kind = Unreachable if done.returncode in _UNAVAILABLE else Refused
        command = " ".join([*self._words, *(each for each in arguments[:2] if not each.startswith("-"))])
        raise kind(f"{command} ended with {done.returncode}: {error_of(output + errors)}")


def administrator(control: Sequence[str], management: str | None, password_file: Path | None) -> Administrator:
    """Return who changes users with these settings.  Raises SettingsError."""
    return Control(control) if management is None else Management(management, password_file)


def observer(control: Sequence[str], management: str | None, password_file: Path | None) -> Observer | None:
    """Return who can look into the broker with these settings; None if there is no such program on this machine.

    Raises SettingsError.
    """
    if management is not None:
        return Management(management, password_file, _LOOK)
    return Control(control, _LOOK) if shutil.which(control[0]) else None


def _why(error: Exception) -> str:
    # The text of this error contains what was sent.
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it did not finish within {error.timeout:g} s"
    return str(error) or type(error).__name__
