"""What we use of pika: its event loop, its connection with three faults mended, parameters, properties, its errors."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter
from pika.credentials import ExternalCredentials
from pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from ..addresses import Address, tls_context
from ..interface import Message
from .pika_types import Properties

__all__ = ["UNSENDABLE", "Connection", "IOLoop", "Services", "is_denial", "parameters", "properties"]

_HEARTBEAT = 15
_UNSENT = timedelta(seconds=20)
"""If the peer's kernel does not acknowledge sent data for this long, the connection breaks."""

_CONNECT_LIMIT = 10
_DENIED = (AuthenticationError, ProbableAuthenticationError, ProbableAccessDeniedError)
UNSENDABLE = (AMQPError, struct.error, ValueError, TypeError, AttributeError)
"""What pika raises for a message that it cannot encode: a key over 255 octets, a header of an unknown type."""


class Services(SelectorIOServicesAdapter):  # type: ignore[misc]  # pika has no types
    """pika's view of its loop, where a connection that the peer resets just as it is made has failed like any other.

    pika itself raises that in the loop, which ends the program.
    """

    def create_streaming_connection(self, *, on_done: Callable[[Exception], None], **given: Any) -> Any:  # noqa: ANN401 - pika's
        """Begin to use a new connection; *on_done* gets the error, if there is one."""
        try:
            return super().create_streaming_connection(on_done=on_done, **given)
        except ValueError as error:
            return self.call_later(0, partial(on_done, error))


class Connection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """A connection that may be closed at any time, and that survives properties that pika cannot decode.

    Examples of these are a timestamp after the year 9999, or tables nested a thousand deep.  Without this class, anyone
    who may publish could disconnect all consumers for as long as the message exists.  With it, the message arrives
    without properties, so without a user, and is rejected for that.
    """

    _dropped = False

    def _read_frame(self) -> tuple[int, Any]:
        try:
            taken: tuple[int, Any] = super()._read_frame()
        except (ValueError, OverflowError, OSError, ArithmeticError, RecursionError, struct.error, AMQPError) as error:
            kind, channel, size = struct.unpack_from(">BHL", self._frame_buffer)
            if kind != pika.spec.FRAME_HEADER:
                raise
            body = struct.unpack_from(">Q", self._frame_buffer, 11)[0]
            facts = {"undecodable": f"{type(error).__name__}: {error}"[:200]}
            properties = pika.BasicProperties(headers=facts)
            return 7 + size + 1, pika.frame.Header(channel, body, properties)
        return taken

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """Close the connection with a handshake, or drop it if it is not open yet."""
        if self.connection_state in (self.CONNECTION_OPEN, self.CONNECTION_CLOSING, self.CONNECTION_CLOSED):
            super().close(reply_code, reply_text)
        else:
            # pika's own error for that, ConnectionOpenAborted, fails an assertion in pika, which ends the program.
            self.drop(f"closed before it was open: {reply_text}")

    def drop(self, reason: str) -> None:
        """Break the connection without a handshake: the broker may never answer one."""
        if not self.is_closed and not self._dropped:
            # pika has no public way to close a connection whose peer is silent.
            self._dropped = True
            self._terminate_stream(AMQPConnectionError(reason))


def properties(message: Message, user: str | None) -> Properties:
    """Return the properties of *message*, which *user* sends now."""
    made: Properties = pika.BasicProperties(
        content_type=message.content_type,
        headers=dict(message.headers) or None,
        delivery_mode=2,
        message_id=message.id,
        timestamp=int(time.time()),
        type=message.type or None,
        user_id=user,
    )
    return made


def is_denial(error: BaseException) -> bool:
    """Say whether *error*, with which a connection failed, is the broker's answer that we may not connect."""
    # pika reports any connection that is lost at this moment as a denial; only the broker's answer is one.
    return isinstance(error, _DENIED) and "StreamLostError" not in str(error)


def parameters(address: Address, shown: Mapping[str, str]) -> pika.ConnectionParameters:
    """Return how to connect to *address*; the broker is told what is *shown*.  Raises SettingsError."""
    credentials = ExternalCredentials() if address.external else pika.PlainCredentials(address.user, address.password)
    tls = pika.SSLOptions(tls_context(address), address.server_name or address.host) if address.tls else None
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=credentials,
        heartbeat=_HEARTBEAT,
        socket_timeout=_CONNECT_LIMIT,
        stack_timeout=_CONNECT_LIMIT,
        ssl_options=tls,
        tcp_options={"TCP_USER_TIMEOUT": int(_UNSENT.total_seconds() * 1000)},
        client_properties=dict(shown),
    )
