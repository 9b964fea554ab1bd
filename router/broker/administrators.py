"""Who may change users at the broker: rabbitmqctl on one of its hosts, or its management API from anywhere.

Both are given definitions, which hold hashes of passwords and never a password.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ..errors import Refused, SettingsError, Unreachable
from .addresses import without_password
from .grants import Definitions

LIMIT = timedelta(minutes=2)
"""How long one request may take: thousands of users are not imported at once."""

_UNAVAILABLE = {68, 69}
"""What rabbitmqctl ends with where it reaches no broker (its own sysexits.h)."""


class Administrator(Protocol):
    """What may look at users and change them; raises Unreachable and Refused."""

    def definitions(self) -> Definitions:
        """Return what is there."""

    def add(self, wanted: Definitions) -> None:
        """Have *wanted* be there too, in place of what has the same names."""

    def remove(self, users: Sequence[str]) -> None:
        """Have *users* not be there; the broker closes their connections."""


class Control:
    """rabbitmqctl, with the words that run it, such as `docker exec -i mq1 rabbitmqctl`."""

    def __init__(self, words: Sequence[str], limit: timedelta = LIMIT) -> None:
        """Run *words*; each command within *limit*."""
        self._words, self._limit = tuple(words), limit

    def definitions(self) -> Definitions:
        """Return what is there."""
        try:
            found = json.loads(self._run("export_definitions", "-"))
        except ValueError as error:
            raise Refused(f"{self._words[0]} export_definitions prints no JSON: is it rabbitmqctl?") from error
        return found if isinstance(found, dict) else {}

    def add(self, wanted: Definitions) -> None:
        """Import *wanted*, on standard input: no file is written, and no argument shows it."""
        self._run("import_definitions", given=json.dumps(wanted))

    def remove(self, users: Sequence[str]) -> None:
        """Delete *users*, one after the other."""
        for user in users:
            self._run("delete_user", user)

    def _run(self, *arguments: str, given: str = "") -> str:
        words = [*self._words, "--quiet", *arguments]
        try:
            done = subprocess.run(
                words,
                input=given,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._limit.total_seconds(),
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unreachable(
                f"{self._words[0]} cannot be run: {_why(error)}; run this on a host of the broker, or set"
                " broker.control or broker.management"
            ) from error
        if done.returncode == 0:
            return done.stdout
        said = (done.stderr or done.stdout).strip()[-1000:]
        kind = Unreachable if done.returncode in _UNAVAILABLE else Refused
        raise kind(f"{' '.join([*self._words, arguments[0]])} ended with {done.returncode}: {said}")


class Management:
    """The management API, as an administrator."""

    def __init__(self, url: str, password_file: Path | None, limit: timedelta = LIMIT) -> None:
        """Speak to *url*, which names the administrator; each request within *limit*.  Raises SettingsError."""
        shown = without_password(url)
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query))
            where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        except ValueError as error:
            raise SettingsError(f"broker.management {shown!r} is no URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or not parts.username or parts.path.strip("/"):
            raise SettingsError(f"broker.management {shown!r} is not https://ADMINISTRATOR@HOST:15671")
        if parts.password is not None or password_file is None:
            raise SettingsError(f"broker.management {shown!r}: its password is for broker.management_password_file")
        if options.keys() - {"cacertfile"}:
            raise SettingsError(f"broker.management {shown!r}: only cacertfile may follow the question mark")
        self._where, self._user = where, unquote(parts.username)
        self._password, self._limit = _password(password_file), limit
        self._context = _trusted(options.get("cacertfile"), shown)

    def definitions(self) -> Definitions:
        """Return what is there."""
        found = self._ask("GET", "definitions")
        return found if isinstance(found, dict) else {}

    def add(self, wanted: Definitions) -> None:
        """Import *wanted*."""
        self._ask("POST", "definitions", wanted)

    def remove(self, users: Sequence[str]) -> None:
        """Delete *users*; who is gone already may be."""
        for user in users:
            self._ask("DELETE", f"users/{quote(user, safe='')}")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - whatever JSON holds
        # Only here: each start of a program would pay for it.
        import httpx2  # noqa: PLC0415

        try:
            answer = httpx2.request(
                method,
                f"{self._where}/api/{path}",
                json=body,
                auth=(self._user, self._password),
                verify=self._context,
                timeout=self._limit.total_seconds(),
                # The password is for this host, and never for a proxy of the machine's, or for another host.
                trust_env=False,
                follow_redirects=False,
            )
        except httpx2.HTTPError as error:
            raise Unreachable(f"the management API at {self._where} does not answer: {_why(error)}") from error
        if answer.status_code in (401, 403):
            raise Refused(
                f"the management API at {self._where} does not take {self._user} for an administrator (HTTP"
                f" {answer.status_code}): see broker.management and broker.management_password_file"
            )
        if answer.is_error and not (method == "DELETE" and answer.status_code == 404):  # noqa: PLR2004 - not found
            raise Refused(f"{method} {path} at {self._where}: HTTP {answer.status_code}: {answer.text[:500]}")
        try:
            return answer.json() if answer.content and not answer.is_error else None
        except ValueError as error:
            raise Refused(f"{self._where} answers without JSON: is it the management API?") from error


def _password(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"broker.management_password_file: {_why(error)}") from error


def _trusted(authority: str | None, shown: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise SettingsError(f"broker.management {shown!r}: cannot use {authority}: {error}") from error


def _why(error: Exception) -> str:
    # Their texts may hold what was sent.
    if isinstance(error, UnicodeDecodeError):
        return "it is no text"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it was not through in {error.timeout:g} s"
    return str(error) or type(error).__name__
