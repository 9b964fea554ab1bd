"""The parts of pika's connections and channels that we use, as protocols; only `client.py` imports pika."""

# ruff: noqa: D102, FBT001 - pika's names and signatures, which its manual explains

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

_ABSENT, _LOCKED = 404, 405
_NOT_THERE = ("no queue ", "no exchange ", "no binding ")
"""What RabbitMQ says before the name of what does not exist."""

_LOST_STREAM = re.compile(r"Stream not found for queue '(.+)' in vhost")

Answered = Callable[[object], None]


class Deliver(Protocol):
    """The method frame of a delivered message."""

    delivery_tag: int
    exchange: str | bytes
    routing_key: str | bytes
    redelivered: bool


class Properties(Protocol):
    """The properties of a message."""

    content_type: str | bytes | None
    message_id: str | bytes | None
    user_id: str | bytes | None
    headers: Mapping[str | bytes, object] | None


class Returned(Protocol):
    """The method frame of a message that the broker could not route."""

    exchange: str
    routing_key: str


class Confirm(Protocol):
    """The broker's confirm (Basic.Ack or Basic.Nack) of published messages."""

    NAME: str
    delivery_tag: int
    multiple: bool


class Frame(Protocol):
    """A frame with a method from the broker."""

    method: Confirm


class Channel(Protocol):
    """A channel of a connection; the broker closes it when it refuses a request."""

    is_open: bool

    def add_on_close_callback(self, callback: Callable[[Channel, Exception], None]) -> None: ...
    def add_on_return_callback(self, callback: Callable[[Channel, Returned, Properties, bytes], None]) -> None: ...
    def add_on_cancel_callback(self, callback: Answered) -> None: ...
    def confirm_delivery(self, ack_nack_callback: Callable[[Frame], None], callback: Answered) -> None: ...
    def basic_publish(
        self, exchange: str, routing_key: str, body: bytes, properties: object, mandatory: bool
    ) -> None: ...
    def basic_qos(self, *, prefetch_count: int, callback: Answered) -> None: ...
    def basic_consume(
        self,
        queue: str,
        on_message_callback: Callable[[Channel, Deliver, Properties, bytes], None],
        *,
        arguments: Mapping[str, object],
        callback: Answered,
    ) -> str: ...
    def basic_cancel(self, consumer_tag: str, callback: Answered) -> None: ...
    def basic_get(self, queue: str, callback: Callable[[Channel, Deliver, Properties, bytes], None]) -> None: ...
    def add_callback(self, callback: Answered, replies: Sequence[str]) -> None: ...
    def basic_ack(self, delivery_tag: int, multiple: bool) -> None: ...
    def basic_reject(self, delivery_tag: int, requeue: bool) -> None: ...
    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = ...,
        *,
        passive: bool = ...,
        durable: bool = ...,
        auto_delete: bool = ...,
        arguments: Mapping[str, object] | None = ...,
        callback: Answered,
    ) -> None: ...
    def queue_declare(
        self,
        queue: str,
        *,
        passive: bool = ...,
        durable: bool = ...,
        auto_delete: bool = ...,
        arguments: Mapping[str, object] | None = ...,
        callback: Answered,
    ) -> None: ...
    def exchange_bind(
        self, destination: str, source: str, routing_key: str, arguments: Mapping[str, object], callback: Answered
    ) -> None: ...
    def exchange_unbind(
        self, destination: str, source: str, routing_key: str, arguments: Mapping[str, object], callback: Answered
    ) -> None: ...
    def queue_bind(
        self, queue: str, exchange: str, routing_key: str, arguments: Mapping[str, object], callback: Answered
    ) -> None: ...
    def queue_unbind(
        self, queue: str, exchange: str, routing_key: str, arguments: Mapping[str, object], callback: Answered
    ) -> None: ...
    def queue_delete(self, queue: str, *, callback: Answered) -> None: ...
    def exchange_delete(self, exchange: str, *, callback: Answered) -> None: ...
    def close(self) -> None: ...


class Connection(Protocol):
    """A connection; `drop` breaks it at once, without waiting for the broker."""

    is_open: bool
    is_closing: bool
    is_closed: bool

    def channel(self, *, on_open_callback: Callable[[Channel], None]) -> Channel: ...
    def add_on_connection_blocked_callback(self, callback: Callable[[Connection, Any], None]) -> None: ...
    def add_on_connection_unblocked_callback(self, callback: Callable[[Connection, Any], None]) -> None: ...
    def close(self) -> None: ...
    def drop(self, reason: str) -> None: ...


Later = Callable[[timedelta, Callable[[], None]], Callable[[], None]]
"""Calls a function after a delay; returns a function that cancels the call."""


def code_of(reason: object) -> int:
    """Return the code with which the broker closed something; 0 if it was not the broker."""
    code = getattr(reason, "reply_code", 0)
    return code if isinstance(code, int) and code >= 300 else 0  # noqa: PLR2004 - lower codes are no errors


def is_down(code: int, text: str) -> bool:
    """Say whether the broker closed a channel because a queue exists, but cannot be used now.

    Its process or its node is away, or the broker has lost it, or another connection has it for itself.

    >>> is_down(404, "NOT_FOUND - home node 'rabbit@mq1' of durable queue 'q' in vhost '/' is down or inaccessible")
    True
    >>> is_down(404, "NOT_FOUND - no queue 'q' in vhost '/'")
    False
    """
    return code == _LOCKED or (code == _ABSENT and not any(each in text for each in _NOT_THERE))


def is_missing_queue(code: int, text: str) -> bool:
    """Say whether the broker closed a channel because a queue does not exist.

    >>> is_missing_queue(404, "NOT_FOUND - no queue 'q' in vhost '/'")
    True
    """
    return code == _ABSENT and _NOT_THERE[0] in text


def lost_stream(text: str) -> str:
    """Return the stream whose data the broker has lost: RabbitMQ 4 closes each connection that publishes to it.

    >>> lost_stream("RESOURCE_ERROR - Stream not found for queue 'q' in vhost '/'"), lost_stream("INTERNAL_ERROR")
    ('q', '')
    """
    found = _LOST_STREAM.search(text)
    return found[1] if found else ""


def is_breaking(code: int) -> bool:
    """Say whether *code* is that of a connection that the broker closed because of what it was asked, not by itself.

    >>> is_breaking(541), is_breaking(320), is_breaking(0), is_breaking(406)
    (True, False, False, False)
    """
    return code >= 500  # noqa: PLR2004 - AMQP's errors of connections


def text_of(reason: object) -> str:
    """Return why something was closed, in the broker's words if there are any."""
    text = getattr(reason, "reply_text", "")
    return str(text) if text else f"{type(reason).__name__}: {reason}".rstrip(": ")


def cause_of(error: BaseException) -> BaseException:
    """Return the cause of *error*: pika wraps an error up to four times."""
    for _ in range(8):
        inner = getattr(error, "exceptions", None) or [getattr(error, "exception", None), *error.args[:1]]
        found = [each for each in inner if isinstance(each, BaseException)]
        if not found:
            break
        error = found[-1]
    return error


def shown(value: str | bytes | None) -> str:
    r"""Return an AMQP short string as text: pika returns bytes if it is not UTF-8, and anyone may send that.

    >>> shown(b"caf\xe9"), shown(None)
    ('caf\\xe9', '')
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value or ""


def shown_names(headers: Mapping[str | bytes, object] | None) -> Mapping[str, object]:
    r"""Return *headers* with names that are text; the names in nested tables and all values stay as they are.

    >>> shown_names({b"caf\xe9": b"\xff", "topic": "a.b"})
    {'caf\\xe9': b'\xff', 'topic': 'a.b'}
    """
    return {shown(name): value for name, value in (headers or {}).items()}
