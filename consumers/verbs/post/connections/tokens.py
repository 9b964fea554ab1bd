"""Tokens of OAuth 2.0 client credentials: one thread fetches, and all use it until shortly before it expires."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote_plus

import httpx2

from router import redaction

from ....config import secrets
from ....expressions.sanitize import one_line, shortened
from ..urls import address, host_and_port
from .clients import Clients, received
from .deadline import TimedConnections
from .oauth_options import OAuthOptions

_LARGEST = 65536
_LONGEST_LIFE = 86400.0
_WITHOUT_EXPIRY = 300.0
"""Seconds that a token is kept of which the server does not say how long it holds."""

_EARLY, _EARLY_PART = 60.0, 0.1
"""A token is renewed so many seconds before it expires, or this part of its life if that is shorter."""

_SLICE = 0.2
_TOKEN = re.compile(r"[!-~]{1,16384}")
_BUSY = (408, 429)


class NoToken(Exception):
    """There is no token: *kind* is `down` if the server did not answer or failed, `refused` if it said no."""

    def __init__(self, kind: Literal["down", "refused"], reason: str) -> None:
        """Say in *reason* what the server answered."""
        self.kind = kind
        super().__init__(reason)


class Tokens:
    """The token of one webhook; several threads may ask at once."""

    def __init__(self, options: OAuthOptions, clients: Clients, connections: TimedConnections) -> None:
        """Fetch tokens as *options* say, with one of *clients*, within the time of the call."""
        self._options, self._clients, self._connections = options, clients, connections
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    def get(self, refused: str = "") -> str:
        """Return a token other than *refused*, which the receiver did not accept.

        Raises NoToken; SecretError where a secret cannot be read; TimeoutError.
        """
        while not self._lock.acquire(timeout=_SLICE):
            self._connections.left()
        try:
            if not self._token or self._token == refused or time.monotonic() >= self._until:
                self._token = ""
                self._token, life = self._fetch()
                self._until = time.monotonic() + life - min(_EARLY, life * _EARLY_PART)
            return self._token
        finally:
            self._lock.release()

    def _fetch(self) -> tuple[str, float]:
        url, secret = address(self._options.token_url), secrets.read(self._options.client_secret)
        where = f"the token server {host_and_port(url)}"
        try:
            with self._clients.use(url) as (client, _):
                request = client.build_request("POST", url, data=self._form(secret), headers=self._headers(secret))
                response, body = received(client, request, _LARGEST)
        except httpx2.HTTPError as error:
            why = one_line(redaction.scrubbed(str(error), [secret])) or type(error).__name__
            raise NoToken("down", f"{where} cannot be reached: {shortened(why, 300)}") from error
        if response.status_code >= 500 or response.status_code in _BUSY:  # noqa: PLR2004 - the classes of HTTP
            raise NoToken("down", f"{where} answered {response.status_code}{_said(body, secret)}")
        if response.status_code != 200:  # noqa: PLR2004 - as above
            raise NoToken("refused", f"{where} refused: {response.status_code}{_said(body, secret)}")
        return token_in(body, where)

    def _form(self, secret: str) -> dict[str, str]:
        options = self._options
        form = {"grant_type": "client_credentials", "scope": options.scope, "audience": options.audience}
        if options.send == "body":
            form |= {"client_id": options.client_id, "client_secret": secret}
        return {name: value for name, value in form.items() if value is not None}

    def _headers(self, secret: str) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "clusterbus"}
        if self._options.send == "basic":
            # RFC 6749, 2.3.1: both are encoded as in a form.
            pair = f"{quote_plus(self._options.client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers


def _parsed(body: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _said(body: bytes, secret: str) -> str:
    """Return the error in *body*, by the names of RFC 6749."""
    answer = _parsed(body)
    found = [str(answer[each]) for each in ("error", "error_description") if isinstance(answer.get(each), str)]
    text = ": ".join(one_line(redaction.scrubbed(each, [secret])) for each in found)
    return f" {shortened(text, 300)}" if text else ""


def token_in(body: bytes, where: str) -> tuple[str, float]:
    """Return the token in *body*, and for how many seconds it holds.  Raises NoToken."""
    answer = _parsed(body)
    token, kind, life = (answer.get(each) for each in ("access_token", "token_type", "expires_in"))
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise NoToken("refused", f"{where} answered 200, but without an access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise NoToken("refused", f"{where} gives tokens of another type than Bearer")
    redaction.remember(token)
    if isinstance(life, str) and life.isascii() and life.isdigit():
        life = int(life[:9])
    if isinstance(life, bool) or not isinstance(life, (int, float)) or not life >= 0:
        return token, _WITHOUT_EXPIRY
    return token, float(min(life, _LONGEST_LIFE))  # in this order: a whole number may be too large for a float
