"""Calls the webhook of one subscription: signed, with limits on time and response, without redirects."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2

from router import redaction
from router.model import durations
from router.model.events import CONTENT_TYPE
from router.settings.secret_references import is_reference

from ...config import secrets
from ...deliveries import Delivery, Report
from ...errors import Rejected, SecretError
from ...expressions.sanitize import one_line, shortened
from ...expressions.templates import Template
from ..interface import Handler, Surroundings
from . import certificates
from .deadline import TimedConnections, Transport
from .options import PostOptions
from .responses import Answer, judge
from .signing import key, message_id, sign
from .urls import host_and_port, looks_secret, split

_LONGEST_PLAN = 65536
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class PostHandler(Handler):
    """Calls a webhook; several threads may call it at once, and share connections."""

    is_contained = True

    def __init__(self, verb: PostOptions, surroundings: Surroundings) -> None:
        """Prepare the client and its connections.  Raises SubscriptionsError if `verify` cannot be used."""
        self._verb, self._stopping = verb, surroundings.stopping
        self._body = _compiled(verb.body)
        self._connections = TimedConnections(surroundings.stopping)
        try:
            context = certificates.context(verb.certificates)
        except certificates.Unusable as error:
            raise surroundings.mistake("post.verify", str(error)) from error
        self._client = httpx2.Client(
            transport=Transport(self._connections, context),
            timeout=None,  # TimedConnections limits the whole call
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    def __call__(self, delivery: Delivery) -> Report | None:
        """Call the webhook once for *delivery*; return None if a stop interrupted the call."""
        url, body, message = self._url(), self._content(delivery), message_id(delivery.key)
        headers = self._plain_headers(delivery) | {
            name: secrets.read(each) if is_reference(each) else each for name, each in self._verb.headers.items()
        }
        headers |= self._signature(message, body)
        # Also without the scheme before it, as in `Bearer TOKEN`: receivers repeat what they do not take.
        secret = [headers[name] for name, value in self._verb.headers.items() if is_reference(value)]
        hidden = [*secret, *(each.rpartition(" ")[2] for each in secret)]
        hidden += redaction.parts(url) if is_reference(self._verb.url) else ()
        began = time.monotonic()
        try:
            request = self._client.build_request(self._verb.method, url, content=body, headers=headers)
            with self._connections.within(self._verb.timeout):
                answer = self._answer(request, hidden)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError) as error:
            raise Rejected(f"{self._shown()}: not a valid address: {type(error).__name__}") from None
        except httpx2.HTTPError as error:
            if self._stopping.is_set() and isinstance(error, httpx2.TimeoutException):
                return None
            return self._failed(error, f"post {host_and_port(url)}", message, hidden, time.monotonic() - began)
        facts = {"webhook_id": message, "seconds": round(time.monotonic() - began, 3)}
        return judge(
            answer, self._verb.retry_on, f"post {host_and_port(url)}", answer.as_dict() | facts, datetime.now(UTC)
        )

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the request that would be sent, with references instead of secrets and only the names of headers."""
        names = [*self._plain_headers(delivery), *self._verb.headers, "webhook-id", "webhook-timestamp"]
        body = self._content(delivery).decode("utf-8", "replace")
        return {
            "method": self._verb.method,
            "url": self._shown(),
            "headers": [*names, *(["webhook-signature"] if self._verb.secret else [])],
            "signed_with": list(self._verb.secret),
            "body": shortened(body, _LONGEST_PLAN),
        }

    def targets(self, delivery: Delivery) -> Sequence[str]:  # noqa: ARG002 - the same for all
        """Return the host and port of the webhook."""
        try:
            return (f"post {host_and_port(self._url())}",)
        except (Rejected, OSError):
            # The call itself reports this error.
            return (f"post {self._shown()}",)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _url(self) -> str:
        url = secrets.read(self._verb.url) if is_reference(self._verb.url) else self._verb.url
        try:
            split(url)
        except ValueError as error:
            raise SecretError(f"secret {self._shown()}: {error}") from None
        return url

    def _shown(self) -> str:
        url = self._verb.url
        return redaction.url(url) if not is_reference(url) and looks_secret(url) else url

    def _content(self, delivery: Delivery) -> bytes:
        if self._verb.body == "event":
            return _event(delivery)
        filled = _filled(self._body, delivery)
        if isinstance(filled, str):
            return filled.encode("utf-8", "replace")
        return json.dumps(filled, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def _plain_headers(self, delivery: Delivery) -> dict[str, str]:
        kind = CONTENT_TYPE if self._verb.body == "event" else "application/json"
        if isinstance(self._verb.body, str) and self._verb.body != "event":
            kind = "text/plain; charset=utf-8"
        # A compressed response would have to be decompressed before it can be cut.
        headers = {"Content-Type": kind, "Accept-Encoding": "identity", "User-Agent": "clusterbus"}
        trace = delivery.event.traceparent
        return headers | ({"traceparent": trace} if trace and _TRACE.fullmatch(trace) else {})

    def _signature(self, message: str, body: bytes) -> dict[str, str]:
        timestamp = int(time.time())
        headers = {"webhook-id": message, "webhook-timestamp": str(timestamp)}
        keys = [key(secrets.read(each), each) for each in self._verb.secret]
        return headers | ({"webhook-signature": sign(keys, message, timestamp, body)} if keys else {})

    def _answer(self, request: httpx2.Request, hidden: Sequence[str]) -> Answer:
        """Send *request* and return the response, reading at most `keep` octets of its body."""
        response = self._client.send(request, stream=True)
        try:
            octets, keep = b"", self._verb.keep
            for chunk in response.iter_raw():
                octets += chunk
                if len(octets) > keep:
                    break
            text = octets[:keep].decode("utf-8", "replace").replace("\0", " ")
            headers = {
                name.lower(): redaction.scrubbed(one_line(value), hidden) for name, value in response.headers.items()
            }
            return Answer(response.status_code, headers, redaction.scrubbed(text, hidden), len(octets) > keep)
        finally:
            response.close()

    def _failed(
        self, error: httpx2.HTTPError, target: str, message: str, hidden: Sequence[str], seconds: float
    ) -> Report:
        why = one_line(redaction.scrubbed(str(error), hidden)) or type(error).__name__
        result: dict[str, object] = {"error": shortened(why, 500), "webhook_id": message, "seconds": round(seconds, 3)}
        if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout)):
            return Report("connect", f"{target}: no connection: {why}", result, blamed=[target])
        if isinstance(error, httpx2.TimeoutException):
            limit = durations.text(self._verb.timeout)
            return Report("timeout", f"{target}: no complete response within {limit}", result, blamed=[target])
        return Report("http", f"{target}: the connection failed: {why}", result, blamed=[target])


def _event(delivery: Delivery) -> bytes:
    """Return the event as JSON; a folded event has additional CloudEvents attributes."""
    fold = delivery.folded
    if fold is None:
        return delivery.event.to_json()
    attributes = {"foldcount": fold.count, "foldnodes": fold.nodes, "foldfirst": fold.first, "foldlast": fold.last}
    event: dict[str, object] = json.loads(delivery.event.to_json())
    return json.dumps(event | attributes, ensure_ascii=False, separators=(",", ":")).encode()


def _compiled(body: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(body, str):
        return Template(body)
    if isinstance(body, dict):
        return {name: _compiled(each) for name, each in body.items()}
    return [_compiled(each) for each in body] if isinstance(body, list) else body


def _filled(body: Any, delivery: Delivery) -> Any:  # noqa: ANN401 - as above
    if isinstance(body, Template):
        return body.render_text(delivery)
    if isinstance(body, dict):
        return {name: _filled(each, delivery) for name, each in body.items()}
    return [_filled(each, delivery) for each in body] if isinstance(body, list) else body
