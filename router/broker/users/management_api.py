"""The management API of RabbitMQ, used as an administrator."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_fixed

from ... import redaction, trust
from ...errors import Refused, SettingsError, Unreachable
from ...passwords import of_file
from .. import addresses
from ..topology import Binding
from . import broker_state
from .broker_state import BrokerState
from .drift import Definitions
from .refusing_queues import QueueState

if TYPE_CHECKING:
    import httpx2

_WRITE = "write the administrator's password into it, and let only root read it"

LIMIT = timedelta(minutes=2)
"""The time limit of one request: importing thousands of users takes a while."""

_TRIES, _PAUSE = 4, timedelta(milliseconds=250)
"""How often one request that only looks is sent to a broker that answers HTTP 500, and how long we wait in between.

RabbitMQ answers 500 where a virtual host or a user goes away while it lists what it has.
"""


class Management:
    """The management API, used as an administrator."""

    def __init__(self, url: str, password_file: Path | None, limit: timedelta = LIMIT) -> None:
        """Use *url*, which names the administrator, with *limit* for each request.  Raises SettingsError."""
        shown = redaction.url(url)
        try:
            address = addresses.parse_management(url)
        except ValueError as error:
            raise SettingsError(f"broker.management {shown!r}: {error}") from None
        if password_file is None:
            raise SettingsError(f"broker.management {shown!r}: put the password in broker.management_password_file")
        self._where, self._user = address.where, address.user
        self._password = of_file(password_file, "broker.management_password_file", absent=_WRITE)
        self._limit = limit
        self._context = _trusted(address.authority, shown)

    def definitions(self) -> Definitions:
        """Return the broker's present definitions."""
        found = self._ask("GET", "definitions")
        return found if isinstance(found, dict) else {}

    def queues(self, vhost: str) -> list[QueueState]:
        """Return the queues of *vhost*."""
        return [QueueState.of(each) for each in self._ask("GET", f"queues/{quote(vhost, safe='')}")]

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

    def state(self, vhost: str) -> BrokerState:
        """Return the state of the broker's cluster, and of the queues and clients of *vhost*."""
        return broker_state.state_of(
            broker_state.nodes_of_management(self._ask("GET", "nodes")),
            lambda: self._ask("GET", f"queues/{quote(vhost, safe='')}"),
            lambda: self._ask("GET", "connections"),
            vhost,
        )

    def add(self, wanted: Definitions) -> None:
        """Import *wanted*."""
        self._ask("POST", "definitions", wanted)

    def remove(self, users: Sequence[str]) -> None:
        """Delete *users*; a user that no longer exists is not an error."""
        for user in users:
            self._ask("DELETE", f"users/{quote(user, safe='')}")

    def disconnect(self, user: str, reason: str) -> None:
        """Close all connections of *user*."""
        self._ask("DELETE", f"connections/username/{quote(user, safe='')}", headers={"X-Reason": reason})

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - whatever JSON holds
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - idem
        sending = Retrying(
            retry=retry_if_result(lambda answer: method == "GET" and answer.is_server_error),
            wait=wait_fixed(_PAUSE),
            stop=stop_after_attempt(_TRIES),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        answer = sending(self._send, method, path, body, headers)
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

    def _send(
        self,
        method: str,
        path: str,
        body: Any,  # noqa: ANN401 - whatever JSON holds
        headers: Mapping[str, str] | None,
    ) -> httpx2.Response:
        # Imported only here, because the import would slow down every start of a program.
        import httpx2  # noqa: PLC0415

        try:
            return httpx2.request(
                method,
                f"{self._where}/api/{path}",
                json=body,
                headers=headers,
                auth=(self._user, self._password),
                verify=self._context,
                timeout=self._limit.total_seconds(),
                # Send the password only to this host, never to a proxy or another host.
                trust_env=False,
                follow_redirects=False,
            )
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Unreachable(f"the management API at {self._where} does not answer: {why}") from error


def _trusted(authority: str | None, shown: str) -> ssl.SSLContext:
    if found := trust.problem_of_tls_files(authority):
        raise SettingsError(f"broker.management {shown!r}: {found}")
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise SettingsError(f"broker.management {shown!r}: cannot use {authority}: {error}") from error
