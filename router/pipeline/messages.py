"""Builds the messages that the router publishes.  Each of them can be sent, whatever it is made from.  Pure.

Nothing of a record is sent on as it came: ids only if they are ids, numbers only if AMQP has them, texts only as long
as `model.bounds` says.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from ..broker import content_modes
from ..broker.interface import Arrival, HeaderValue, Message
from ..broker.topology import EVENTS, REJECTED
from ..model.bounds import KEY, REASON, REJECTED_BODY
from ..model.events import Event, Wire
from ..model.ids import derived_id, is_id
from ..sources.arguments import fitted
from .reports.rejection_reports import Rejected

CUT, DIGEST = "cut", "sha256"
"""The headers with the octets and the digest of a whole body of which only the beginning is kept."""

_NONE: Mapping[str, HeaderValue] = MappingProxyType({})
_TRACE = 55
"""Octets of a `traceparent` of W3C's first version."""


def message_of(event: Event, more: Mapping[str, HeaderValue] = _NONE, *, wire: Wire = "structured") -> Message:
    """Return the message that publishes *event* in the content mode *wire*; *more* are headers.

    An event whose attributes are too long for headers is published in structured mode all the same.
    """
    trace = event.traceparent
    headers = {"traceparent": fitted(trace, _TRACE), **more} if trace else more
    topic, kind = fitted(event.topic, KEY), fitted(event.type, KEY)
    if wire == "binary" and (found := content_modes.binary(event)):
        body, attributes = found
        return Message(EVENTS, topic, body, event.id, kind, content_modes.JSON, {**attributes, **headers})
    return Message(EVENTS, topic, event.to_json(), event.id, kind, headers=headers)


def rejection_of(rejected: Rejected, arrival: Arrival) -> Message:
    """Return the message that keeps *arrival* with the reason.

    A long body is cut: the headers `cut` and `sha256` then have the octets and the digest of the whole one.
    """
    headers = _why(rejected)
    if len(arrival.body) > REJECTED_BODY:
        headers |= whole(arrival.body)
    epoch, sequence = arrival.headers.get("epoch"), arrival.headers.get("sequence")
    if isinstance(epoch, str) and is_id(epoch):
        headers["epoch"] = epoch
    # The client may bring a subclass (pika's `long`); AMQP has no number past 64 bits.
    if isinstance(sequence, int) and not isinstance(sequence, bool) and abs(sequence) < 2**63:
        headers["sequence"] = int(sequence)
    return _rejection(rejected, arrival, arrival.body[:REJECTED_BODY], headers)


def stand_in_of(rejected: Rejected, arrival: Arrival) -> Message:
    """Return what takes the place of a rejection that the broker refuses: all but the record itself."""
    return _rejection(rejected, arrival, b"", _why(rejected) | whole(arrival.body))


def whole(body: bytes) -> dict[str, HeaderValue]:
    """Return the headers that say what *body* was, where only its beginning is kept."""
    return {CUT: len(body), DIGEST: hashlib.sha256(body).hexdigest()}


def _why(rejected: Rejected) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {
        "reason": fitted(rejected.reason, REASON),
        "claimed-key": fitted(rejected.key, KEY),
    }
    if rejected.user:
        headers["origin-user"] = fitted(rejected.user, KEY)
    return headers


def _rejection(rejected: Rejected, arrival: Arrival, body: bytes, headers: dict[str, HeaderValue]) -> Message:
    id_ = arrival.id
    if not is_id(id_):
        # The same for the same record, which may come again.
        facts = f"{arrival.key}/{arrival.id}".encode("utf-8", "backslashreplace")
        id_ = derived_id("0" * 10, hashlib.sha256(facts + b"\0" + arrival.body).hexdigest())
    return Message(REJECTED, fitted(rejected.key, KEY), body, id_, "rejected", "application/json", headers)
