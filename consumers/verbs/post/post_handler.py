"""Calls the webhook of one subscription: signed, with limits on time and response, without redirects."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus

import httpx2

from router import redaction
from router.model import durations
from router.references import is_reference

from ...config import secrets
from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...expressions.sanitize import one_line, shortened
from ..interface import Handler, Surroundings
from .connections import proxies
from .connections.certificates import Unusable
from .connections.clients import Clients, received
from .connections.deadline import TimedConnections
from .connections.tokens import NoToken, Tokens
from .content import Contents
from .options import PostOptions
from .responses import Answer, judge
from .signing import key, message_id, sign
from .urls import address, looks_secret, target

_LONGEST_PLAN = 65536
_OWN = {"Accept-Encoding": "identity", "User-Agent": "clusterbus"}
"""A compressed response would have to be decompressed before it can be cut."""


class PostHandler(Handler):
    """Calls a webhook; several threads may call it at once, and share connections."""

    is_contained = True

    def __init__(self, verb: PostOptions, surroundings: Surroundings) -> None:
        """Prepare the connections.  Raises SubscriptionsError if certificates cannot be used."""
        self._verb, self._stopping = verb, surroundings.stopping
        self._contents = Contents(verb)
        self._connections = TimedConnections(surroundings.stopping)
        try:
            self._clients = Clients(self._connections, verb.files, verb.proxy)
        except Unusable as error:
            raise surroundings.mistake(f"post.{error.field}", str(error)) from error
        self._tokens = Tokens(verb.oauth, self._clients, self._connections) if verb.oauth else None

    def __call__(self, delivery: Delivery) -> Report | None:
        """Call the webhook once for *delivery*; return None if a stop interrupted the call."""
        url, content, message = address(self._verb.url), self._contents.of(delivery), message_id(delivery.key)
        headers = {**content.headers, **_OWN} | {
            name: secrets.read(each) if is_reference(each) else each for name, each in self._verb.headers.items()
        }
        headers |= self._signature(message, content.body)
        # Also without the scheme before it, as in `Bearer TOKEN`: receivers repeat what they do not take.
        secret = [headers[name] for name, value in self._verb.headers.items() if is_reference(value)]
        hidden = [*secret, *(each.rpartition(" ")[2] for each in secret)]
        hidden += redaction.parts(url) if is_reference(self._verb.url) else ()
        began, called, proxy = time.monotonic(), self._target(url), ""
        facts: dict[str, object] = {"webhook_id": message}
        try:
            with self._connections.within(self._verb.timeout), self._clients.use(url) as (client, proxy):
                request = client.build_request(self._verb.method, url, content=content.body, headers=headers)
                answer = self._answer(client, request, hidden)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError) as error:
            raise Rejected(f"{self._shown()}: not a valid address: {type(error).__name__}") from None
        except (httpx2.HTTPError, TimeoutError, NoToken, Unusable) as error:
            if self._stopping.is_set() and isinstance(error, (httpx2.TimeoutException, TimeoutError, NoToken)):
                return None
            failure, reason = self._why(error, proxy, hidden)
            facts |= {"error": shortened(reason, 500), "seconds": round(time.monotonic() - began, 3)}
            # What is wrong here is no fault of the receiver.
            blamed = [] if isinstance(error, Unusable) else [called]
            return Report(failure, f"{called}: {reason}", facts, blamed=blamed)
        facts["seconds"] = round(time.monotonic() - began, 3)
        return judge(answer, self._verb.retry_on, called, answer.as_dict() | facts, datetime.now(UTC))

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the request that would be sent, with references instead of secrets and only the names of headers."""
        content = self._contents.of(delivery)
        names = [*content.headers, *_OWN, *self._verb.headers, "webhook-id", "webhook-timestamp"]
        names += ["webhook-signature"] if self._verb.secret else []
        names += ["Authorization"] if self._verb.oauth else []
        return {
            "method": self._verb.method,
            "url": self._shown(),
            "headers": names,
            "signed_with": list(self._verb.secret),
            "body": shortened(content.body.decode("utf-8", "replace"), _LONGEST_PLAN),
        }

    def targets(self, delivery: Delivery) -> Sequence[str]:  # noqa: ARG002 - the same for all
        """Return the address of the webhook."""
        try:
            return (self._target(address(self._verb.url)),)
        except (Rejected, OSError):
            # The call itself reports this error.
            return (f"post {self._shown()}",)

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    def _shown(self) -> str:
        url = self._verb.url
        return redaction.url(url) if not is_reference(url) and looks_secret(url) else url

    def _target(self, url: str) -> str:
        return target(url, is_secret=self._shown() != url)

    def _signature(self, message: str, body: bytes) -> dict[str, str]:
        timestamp = int(time.time())
        headers = {"webhook-id": message, "webhook-timestamp": str(timestamp)}
        keys = [key(secrets.read(each), each) for each in self._verb.secret]
        return headers | ({"webhook-signature": sign(keys, message, timestamp, body)} if keys else {})

    def _answer(self, client: httpx2.Client, request: httpx2.Request, hidden: Sequence[str]) -> Answer:
        """Send *request* and return the response; where a token is refused, once more with a new one."""
        if self._tokens is None:
            return self._sent(client, request, hidden)
        token = self._tokens.get()
        request.headers["Authorization"] = f"Bearer {token}"
        answer = self._sent(client, request, [*hidden, token])
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        token = self._tokens.get(refused=token)
        request.headers["Authorization"] = f"Bearer {token}"
        return self._sent(client, request, [*hidden, token])

    def _sent(self, client: httpx2.Client, request: httpx2.Request, hidden: Sequence[str]) -> Answer:
        """Send *request* and return the response, reading at most `keep` octets of its body."""
        keep = self._verb.keep
        response, octets = received(client, request, keep)
        text = octets[:keep].decode("utf-8", "replace").replace("\0", " ")
        headers = {
            name.lower(): redaction.scrubbed(one_line(value), hidden) for name, value in response.headers.items()
        }
        return Answer(response.status_code, headers, redaction.scrubbed(text, hidden), len(octets) > keep)

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
                return "timeout", f"no complete response{through} within {durations.text(self._verb.timeout)}"
            case _:
                return "http", f"the connection{through} failed: {why}"
