"""The two content modes of CloudEvents in messages of AMQP 0-9-1.  Pure.

| mode | content type | body | headers |
|---|---|---|---|
| structured | `application/cloudevents+json` | the event | |
| binary | that of the data, `application/json` | the data | each other attribute, `ce-id`, `ce-type`, ... as text |

`ce-` is the prefix of the RabbitMQ protocol binding, and of HTTP.  What comes from AMQP 1.0 has `cloudEvents:` or
`cloudEvents_`, and values of other types.  All are read, mixed in one queue: each message says what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic_core import from_json, to_json

from ..model.bounds import HEADERS
from ..model.events import Event

PREFIX = "ce-"
STRUCTURED = "application/cloudevents"
"""How the content type of a message in structured mode begins."""

JSON = "application/json"

_PREFIXES = (PREFIX, "cloudEvents:", "cloudEvents_")
_ROOM = HEADERS - 2**11
"""Octets of all attributes in headers: others follow them."""

_VERSIONS = frozenset(f"{prefix}specversion" for prefix in _PREFIXES)


def binary(event: Event) -> tuple[bytes, dict[str, str]] | None:
    """Return body and headers of *event* in binary mode; None if its attributes are too long for headers."""
    given = {name: getattr(event, name) for name in Event.model_fields if name not in {"data", "datacontenttype"}}
    attributes = given | (event.model_extra or {})
    headers = {f"{PREFIX}{name}": _text(value) for name, value in attributes.items() if value is not None}
    if sum(len(value.encode()) for value in headers.values()) > _ROOM:
        return None
    return to_json(event.data), headers


def _text(value: str | int | bool) -> str:  # noqa: FBT001 - any value of an attribute
    return str(value).lower() if isinstance(value, bool) else str(value)


def structured(
    content_type: str | None, headers: Mapping[str, object] | None, body: bytes
) -> tuple[bytes, Mapping[str, object]]:
    """Return *body* and *headers* of a message as they are in structured mode, if it is an event in binary mode.

    Otherwise they are returned unchanged.  The data keeps its octets.

    >>> structured("application/json", {"ce-specversion": "1.0", "ce-id": "x", "topic": "a.b"}, b'{"n": 1}')
    (b'{"specversion":"1.0","id":"x","datacontenttype":"application/json","data":{"n": 1}}', {'topic': 'a.b'})
    """
    if not headers or _VERSIONS.isdisjoint(headers):
        return body, headers or {}  # the usual case
    kind = (content_type or JSON).partition(";")[0].strip().lower()
    if kind.startswith(STRUCTURED) or (kind != JSON and not kind.endswith("+json")):
        return body, headers
    attributes: dict[str, object] = {}
    others: dict[str, object] = {}
    for name, value in headers.items():
        prefix = next((each for each in _PREFIXES if name.lower().startswith(each.lower())), None)
        if prefix is None:
            others[name] = value
        else:
            attributes[name[len(prefix) :].lower()] = _rfc_3339(value) if isinstance(value, datetime) else value
    attributes.pop("data", None)
    try:
        # Whatever is not one value of JSON would add attributes.
        from_json(body)
        start = to_json(attributes | {"datacontenttype": JSON if kind == JSON else content_type})
    except ValueError:
        return body, headers
    return start[:-1] + b',"data":' + body + b"}", others


def _rfc_3339(moment: datetime) -> str:
    # AMQP has seconds since 1970, and pika makes a time without zone of them.
    return f"{moment.replace(tzinfo=None).isoformat()}Z"
