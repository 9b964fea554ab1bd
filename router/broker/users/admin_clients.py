"""Changes users at the broker: by rabbitmqctl on one of its hosts, or by its management API from anywhere.

Both get definitions with hashes of passwords, never a password.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ... import redaction
from ...errors import Refused, SettingsError, Unreachable
from ..topology import Binding
from .drift import Definitions, import_expression
from .password_files import given
from .refusing_queues import QueueState

_LOOK = timedelta(seconds=15)
"""The time limit of one request that only looks."""

LIMIT = timedelta(minutes=2)
"""The time limit of one request: importing thousands of users takes a while."""

_UNAVAILABLE = {68, 69}
"""The exit codes of rabbitmqctl if it cannot reach the broker (from its sysexits.h)."""

_ASIDES = ("* suggestion", "* node name", "* effective user", "* Erlang cookie hash")
"""Lines in rabbitmqctl's diagnostics that do not give a cause."""

_LINE = 300


_COUNTS = ("messages_ready", "message_bytes_ready")


class Observer(Protocol):
    """Reads what AMQP does not show; raises Unreachable and Refused."""

    def definitions(self) -> Definitions:
        """Return the broker's present definitions."""

    def queues(self, vhost: str) -> list[QueueState]:
        """Return the queues of *vhost*."""

    def bindings(self, vhost: str) -> list[Binding]:
        """Return the bindings of *vhost*, without their arguments."""


class Administrator(Protocol):
    """Reads and changes users; raises Unreachable and Refused."""

    def definitions(self) -> Definitions:
        """Return the broker's present definitions."""

    def add(self, wanted: Definitions) -> None:
        """Import *wanted*; entries with the same names are replaced."""

    def remove(self, users: Sequence[str]) -> None:
        """Delete *users*; the broker closes their connections."""


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
        return [_queue_state(each) for each in self._list("list_queues", vhost, "name", "arguments", *_COUNTS)]

    def bindings(self, vhost: str) -> list[Binding]:
        """Return the bindings of *vhost*, without their arguments."""
        kinds = ("source_name", "destination_name", "destination_kind", "routing_key")
        return [
            Binding(source, destination, key, of_exchange=kind == "exchange")
            for source, destination, kind, key in (
                [each[name] for name in kinds] for each in self._list("list_bindings", vhost, *kinds)
            )
        ]

    def _list(self, command: str, vhost: str, *columns: str) -> list[dict[str, Any]]:
        output = self._run("--quiet", command, "-p", vhost, "--formatter", "json", *columns)
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


class Management:
    """The management API, used as an administrator."""

    def __init__(self, url: str, password_file: Path | None, limit: timedelta = LIMIT) -> None:
        """Use *url*, which names the administrator, with *limit* for each request.  Raises SettingsError."""
        shown = redaction.url(url)
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query))
            where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        except ValueError:
            raise SettingsError(f"broker.management {shown!r} is not https://ADMINISTRATOR@HOST:15671") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or not parts.username or parts.path.strip("/"):
            raise SettingsError(f"broker.management {shown!r} is not https://ADMINISTRATOR@HOST:15671")
        if parts.password is not None or password_file is None:
            raise SettingsError(f"broker.management {shown!r}: put the password in broker.management_password_file")
        if options.keys() - {"cacertfile"}:
            raise SettingsError(f"broker.management {shown!r}: only cacertfile is allowed after the question mark")
        self._where, self._user = where, unquote(parts.username)
        self._password, self._limit = given(password_file, "broker.management_password_file"), limit
        self._context = _trusted(options.get("cacertfile"), shown)

    def definitions(self) -> Definitions:
        """Return the broker's present definitions."""
        found = self._ask("GET", "definitions")
        return found if isinstance(found, dict) else {}

    def queues(self, vhost: str) -> list[QueueState]:
        """Return the queues of *vhost*."""
        return [_queue_state(each) for each in self._ask("GET", f"queues/{quote(vhost, safe='')}")]

    def bindings(self, vhost: str) -> list[Binding]:
        """Return the bindings of *vhost*, without their arguments."""
        return [
            Binding(
                each["source"],
                each["destination"],
                each["routing_key"],
                of_exchange=each["destination_type"] == "exchange",
            )
            for each in self._ask("GET", f"bindings/{quote(vhost, safe='')}")
        ]

    def add(self, wanted: Definitions) -> None:
        """Import *wanted*."""
        self._ask("POST", "definitions", wanted)

    def remove(self, users: Sequence[str]) -> None:
        """Delete *users*; a user that no longer exists is not an error."""
        for user in users:
            self._ask("DELETE", f"users/{quote(user, safe='')}")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - whatever JSON holds
        # Imported only here, because the import would slow down every start of a program.
        import httpx2  # noqa: PLC0415

        try:
            answer = httpx2.request(
                method,
                f"{self._where}/api/{path}",
                json=body,
                auth=(self._user, self._password),
                verify=self._context,
                timeout=self._limit.total_seconds(),
                # Send the password only to this host, never to a proxy or another host.
                trust_env=False,
                follow_redirects=False,
            )
        except httpx2.HTTPError as error:
            raise Unreachable(f"the management API at {self._where} does not answer: {_why(error)}") from error
        if answer.status_code in (401, 403):
            raise Refused(
                f"the management API at {self._where} does not accept {self._user} as an administrator (HTTP"
                f" {answer.status_code}): check broker.management and broker.management_password_file"
            )
        if answer.is_error and not (method == "DELETE" and answer.status_code == 404):  # noqa: PLR2004 - not found
            raise Refused(f"{method} {path} at {self._where}: HTTP {answer.status_code}: {answer.text[:500]}")
        try:
            return answer.json() if answer.content and not answer.is_error else None
        except ValueError as error:
            raise Refused(f"{self._where} did not return JSON: check that it is the management API") from error


def observer(control: Sequence[str], management: str | None, password_file: Path | None) -> Observer | None:
    """Return who can look into the broker with these settings; None if there is no such program on this machine.

    Raises SettingsError.
    """
    if management is not None:
        return Management(management, password_file, _LOOK)
    return Control(control, _LOOK) if shutil.which(control[0]) else None


def _queue_state(found: Mapping[str, Any]) -> QueueState:
    return QueueState(found["name"], _arguments(found.get("arguments")), *(found.get(name) or 0 for name in _COUNTS))


def _arguments(found: object) -> dict[str, object]:
    """Return the arguments of a queue from rabbitmqctl's list of name, type and value.

    >>> _arguments([["x-max-length", "signedint", 1]]), _arguments({"x-max-length": 1})
    ({'x-max-length': 1}, {'x-max-length': 1})
    """
    if isinstance(found, dict):
        return found
    rows = found if isinstance(found, list) else []
    return {each[0]: each[2] for each in rows if isinstance(each, list) and len(each) == 3}  # noqa: PLR2004 - see above


def error_of(output: str) -> str:
    r"""Return the cause of failure in the *output* of rabbitmqctl, on one line.

    >>> error_of("Error: unable to perform an operation on node 'rabbit@mq1'. Please see diagnostics information\n\n"
    ...     "attempted to contact: [rabbit@mq1]\n\nrabbit@mq1:\n  * connected to epmd (port 4369) on mq1\n"
    ...     "  * epmd reports: node 'rabbit' not running at all\n  * suggestion: start the node\n")
    "unable to perform an operation on node 'rabbit@mq1': epmd reports: node 'rabbit' not running at all"
    >>> error_of("Error:\nExchange nope does not exist\n")
    'Exchange nope does not exist'
    >>> error_of("Usage\n\n\nOnly root or rabbitmq should run rabbitmqctl\n\n")
    'Only root or rabbitmq should run rabbitmqctl'
    >>> error_of("")
    'it printed nothing'
    """
    before, _, diagnostics = output.partition("attempted to contact")
    lines = [line.strip() for line in before.split("\n") if line.strip()]
    marked = [at for at, line in enumerate(lines) if line.startswith(("Error", "Only root"))]
    text = "\n".join(lines[marked[0] :] if marked else lines[-1:]).removeprefix("Error:").strip()
    sentence = text.partition("\n")[0].partition(". Please see")[0] or "it printed nothing"
    found = [line.strip() for line in diagnostics.split("\n") if line.strip().startswith("* ")]
    causes = [line.removeprefix("* ") for line in found if not line.startswith(_ASIDES)]
    return ": ".join([sentence, *causes[-1:]])[:_LINE]


def _trusted(authority: str | None, shown: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise SettingsError(f"broker.management {shown!r}: cannot use {authority}: {error}") from error


def _why(error: Exception) -> str:
    # The texts of these errors may contain what was sent.
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it did not finish within {error.timeout:g} s"
    return str(error) or type(error).__name__
