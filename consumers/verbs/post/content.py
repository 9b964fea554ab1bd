"""What a webhook gets: the body, the headers that describe it, and the id of this content.

The same delivery has the same content and ids in each attempt.  Headers are those of the HTTP binding of CloudEvents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from router.model.events import CONTENT_TYPE
from router.model.ids import derived_id

from ...deliveries import Delivery
from ...expressions.templates import Template
from .options import PostOptions

_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_UNESCAPED = "".join(chr(each) for each in range(0x21, 0x7F) if chr(each) not in '"%')
"""What the values of `ce-` headers have as it is: printable ASCII without blank, quote and percent."""


class Content(NamedTuple):
    """A body, and the headers that describe it."""

    headers: Mapping[str, str]
    body: bytes


class Contents:
    """Makes the content of each delivery of one subscription."""

    def __init__(self, verb: PostOptions) -> None:
        """Compile the templates of *verb*."""
        self._is_event, self._is_binary = verb.body == "event", verb.wire == "binary"
        self._is_text = isinstance(verb.body, str)
        self._body = _compiled(verb.body)

    def of(self, delivery: Delivery) -> Content:
        """Return the content of *delivery*; raises Rejected where a template cannot be filled in."""
        trace = delivery.event.traceparent
        more = {"traceparent": trace} if trace and _TRACE.fullmatch(trace) else {}
        if self._is_event:
            content = (
                _binary(delivery) if self._is_binary else Content({"Content-Type": CONTENT_TYPE}, _event(delivery))
            )
            return Content({**content.headers, **more}, content.body)
        filled = _filled(self._body, delivery)
        if self._is_text:
            return Content({"Content-Type": "text/plain; charset=utf-8", **more}, filled.encode("utf-8", "replace"))
        return Content({"Content-Type": "application/json", **more}, _json(filled))


def _event(delivery: Delivery) -> bytes:
    """Return the event as JSON; one with other content has its own id, and a folded one has more attributes."""
    added = _added(delivery)
    return _json(json.loads(delivery.to_json()) | added) if added else delivery.to_json()


def _binary(delivery: Delivery) -> Content:
    """Return the data as the body, and the attributes as headers."""
    event: dict[str, Any] = json.loads(delivery.to_json()) | _added(delivery)
    data, kind = event.pop("data"), event.pop("datacontenttype")
    headers = {f"ce-{name}": quote(str(value), safe=_UNESCAPED) for name, value in event.items() if value is not None}
    return Content({"Content-Type": kind, **headers}, _json(data))


def _added(delivery: Delivery) -> dict[str, object]:
    """Return the attributes that say how the delivered event differs from the one that happened."""
    fold, event = delivery.folded, delivery.event
    added: dict[str, object] = {}
    if fold is not None:
        added = {"foldcount": fold.count, "foldnodes": fold.nodes, "foldfirst": fold.first, "foldlast": fold.last}
    if added or delivery.facts is not None:
        # The content belongs to this subscription, and stays the same for all attempts and replays.
        kind = "fold" if added else "facts"
        added |= {"id": derived_id(event.id, f"{delivery.subscription}/{kind}"), "originalid": event.id}
    return added


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")


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
