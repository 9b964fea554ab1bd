"""Calls the webhook of one subscription: signed, with limits on time and response, without redirects."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from router import redaction
from router.references import is_reference

from ...config import secrets
from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...expressions.sanitize import shortened
from ..interface import Handler, Surroundings
from .connections.caller import OWN, Call, Caller
from .connections.certificates import Unusable
from .content import Contents
from .options import PostOptions
from .responses import Answer, judge
from .signing import key, message_id, sign
from .urls import address, looks_secret, target

_LONGEST_PLAN = 65536


class PostHandler(Handler):
    """Calls a webhook; several threads may call it at once, and share connections."""

    is_contained = True

    def __init__(self, verb: PostOptions, surroundings: Surroundings) -> None:
        """Prepare the connections.  Raises SubscriptionsError if certificates cannot be used."""
        self._verb = verb
        self._contents = Contents(verb)
        try:
            self._caller = Caller(verb, surroundings.stopping)
        except Unusable as error:
            raise surroundings.mistake(f"post.{error.field}", str(error)) from error

    def __call__(self, delivery: Delivery) -> Report | None:
        """Call the webhook once for *delivery*; return None if a stop interrupted the call."""
        url, content, message = address(self._verb.url), self._contents.of(delivery), message_id(delivery.key)
        headers = {**content.headers, **self._signature(message, content.body)}
        hidden = redaction.parts(url) if is_reference(self._verb.url) else ()
        began, called, facts = time.monotonic(), self._target(url), {"webhook_id": message}
        answer = self._caller(Call(self._verb.method, url, called, content.body, headers, tuple(hidden)))
        if not isinstance(answer, Answer):
            return answer and replace(answer, result={**facts, **answer.result})
        seconds = {"seconds": round(time.monotonic() - began, 3)}
        return judge(answer, self._verb.retry_on, called, answer.as_dict() | facts | seconds, datetime.now(UTC))

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the request that would be sent, with references instead of secrets and only the names of headers."""
        content = self._contents.of(delivery)
        names = [*content.headers, *OWN, *self._verb.headers, "webhook-id", "webhook-timestamp"]
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
        self._caller.close()

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
