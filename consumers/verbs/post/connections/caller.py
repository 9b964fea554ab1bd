"""Makes the HTTP calls of one subscription: with limits on time and response, without redirects."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import httpx2

from router import redaction
from router.model import durations
from router.references import is_reference

from ....config import secrets
from ....deliveries import Report
from ....errors import Rejected
from ....expressions.sanitize import one_line, shortened
from ..responses import Answer
from . import proxies
from .certificates import Unusable
from .clients import Clients, received
from .connection_options import ConnectionOptions
from .deadline import TimedConnections
from .tokens import NoToken, Tokens

OWN: Mapping[str, str] = {"Accept-Encoding": "identity", "User-Agent": "clusterbus"}
"""The headers of every call.  A compressed response would have to be decompressed before it can be cut."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request: where it goes, the *target* that is to blame if it fails, and what must not be shown of it."""

    method: str
    url: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] | None = None
    hidden: Sequence[str] = ()


class Caller:
    """Makes calls; several threads may do so at once, and share connections."""

    def __init__(self, options: ConnectionOptions, stopping: threading.Event) -> None:
        """Prepare the connections.  Raises Unusable if certificates cannot be used."""
        self._options, self._stopping = options, stopping
        self._connections = TimedConnections(stopping)
        self._clients = Clients(self._connections, options.files, options.proxy)
        self._tokens = Tokens(options.oauth, self._clients, self._connections) if options.oauth else None

    def __call__(self, call: Call, *, keep: int | None = None) -> Answer | Report | None:
        """Return the response, with at most *keep* octets of its body, by default those of the options.

        Without a response, return the report of a failure, or None if a stop interrupted the call.  Raises Rejected and
        SecretError where the call cannot be made, and OSError where a secret cannot be read now.
        """
        headers = {**(call.headers or {}), **OWN} | {
            name: secrets.read(each) if is_reference(each) else each for name, each in self._options.headers.items()
        }
        # Also without the scheme before it, as in `Bearer TOKEN`: receivers repeat what they do not take.
        secret = [headers[name] for name, value in self._options.headers.items() if is_reference(value)]
        hidden = [*secret, *(each.rpartition(" ")[2] for each in secret), *call.hidden]
        began, proxy, most = time.monotonic(), "", self._options.keep if keep is None else keep
        try:
            with self._connections.within(self._options.timeout), self._clients.use(call.url) as (client, proxy):
                request = client.build_request(call.method, call.url, content=call.body or None, headers=headers)
                return self._answer(client, request, hidden, most)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError) as error:
            raise Rejected(f"{call.target}: not a valid address: {type(error).__name__}") from None
        except (httpx2.HTTPError, TimeoutError, NoToken, Unusable) as error:
            if self._stopping.is_set() and isinstance(error, (httpx2.TimeoutException, TimeoutError, NoToken)):
                return None
            failure, reason = self._why(error, proxy, hidden)
            facts = {"error": shortened(reason, 500), "seconds": round(time.monotonic() - began, 3)}
            # What is wrong here is no fault of the receiver.
            blamed = [] if isinstance(error, Unusable) else [call.target]
            return Report(failure, f"{call.target}: {reason}", facts, blamed=blamed)

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    def _answer(self, client: httpx2.Client, request: httpx2.Request, hidden: Sequence[str], keep: int) -> Answer:
        """Send *request* and return the response; where a token is refused, once more with a new one."""
        if self._tokens is None:
            return _sent(client, request, hidden, keep)
        token = self._tokens.get()
        request.headers["Authorization"] = f"Bearer {token}"
        answer = _sent(client, request, [*hidden, token], keep)
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        token = self._tokens.get(refused=token)
        request.headers["Authorization"] = f"Bearer {token}"
        return _sent(client, request, [*hidden, token], keep)

    def _why(self, error: Exception, proxy: str, hidden: Sequence[str]) -> tuple[str, str]:
        """Return the kind of failure that *error* is, and the reason in words."""
        why = one_line(redaction.scrubbed(str(error), hidden)) or type(error).__name__
        through = f" through the proxy {proxies.shown(proxy)}" if proxy else ""
        match error:
            case NoToken(kind=kind):
                return f"token:{kind}", why
            case Unusable():
                return "certificate", why
            case httpx2.ProxyError():
                return "proxy", f"the proxy {proxies.shown(proxy)} refused the connection: {why}"
            case httpx2.ConnectError() | httpx2.ConnectTimeout():
                return "connect", f"no connection{through}: {why}"
            case httpx2.TimeoutException() | TimeoutError():
                return "timeout", f"no complete response{through} within {durations.text(self._options.timeout)}"
            case _:
                return "http", f"the connection{through} failed: {why}"


def _sent(client: httpx2.Client, request: httpx2.Request, hidden: Sequence[str], keep: int) -> Answer:
    """Send *request* and return the response, reading at most *keep* octets of its body."""
    response, octets = received(client, request, keep)
    text = octets[:keep].decode("utf-8", "replace").replace("\0", " ")
    headers = {name.lower(): redaction.scrubbed(one_line(value), hidden) for name, value in response.headers.items()}
    return Answer(response.status_code, headers, redaction.scrubbed(text, hidden), len(octets) > keep)
