"""One connection to one broker: how to make it, how to fill it quickly, what its errors mean."""

from __future__ import annotations

import ssl
import struct
from typing import TYPE_CHECKING

import pika
import pika.exceptions
import pika.frame
import pika.spec
from pika.adapters.select_connection import IOLoop, SelectConnection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .records import Record
    from .settings import Broker, Settings

__all__ = ["SILENT", "Connection", "IOLoop", "Messages", "diagnosis", "parameters", "told"]

SILENT = "no answer from the broker within the progress limit"
_APP = "clusterbus-relay"
_HEARTBEAT = 15
_MOULDS = 200
_NUMBER = struct.Struct(">q")
_BODY = struct.Struct(">BHL")
_FRAME_END = bytes((pika.spec.FRAME_END,))
_AROUND_BODY = pika.spec.FRAME_HEADER_SIZE + pika.spec.FRAME_END_SIZE
# Numbers of eight bytes, so that pika encodes them as such, and an id: none of them occurs in anything else.
_SAMPLE_SIZE = 0x7E16_05F4_E3D2_C1B0
_SAMPLE_SEQUENCE = 0x7A9B_C1D2_E3F4_0516
_SAMPLE_ID = "@" * 26


class Connection(SelectConnection):  # type: ignore[misc]  # pika's stand-ins for missing modules hide its type
    """A connection that can send many messages in one piece, where pika makes and sends each frame of each by itself.

    Most of the time that a record takes would be spent on that.
    """

    def send(self, frames: Sequence[bytes]) -> None:
        """Send *frames*, or any pieces of frames that are whole together, behind all that was sent before."""
        if frames and self.is_open:
            self._output_marshaled_frames([b"".join(frames)])


class Messages:
    """One record after another as the frames of its message: pika's own, of which only what differs is made anew."""

    def __init__(self, channel: pika.channel.Channel, exchange: str, epoch: str, user: str) -> None:
        """Make messages for *exchange*, of *epoch*, sent by *user*, on *channel*, which is open."""
        self._exchange, self._epoch, self._user = exchange, epoch, user
        self._channel: int = channel.channel_number
        self._largest: int = channel.connection.params.frame_max - _AROUND_BODY
        self._moulds: dict[str, list[bytes]] = {}

    def of(self, record: Record) -> list[bytes]:
        """Return the message that *record* is, in pieces."""
        # A key says it all: the event is part of it.
        begin, middle, further, end = self._moulds.get(record.key) or self._mould(record)
        body = record.body
        size = len(body)
        pieces = [
            begin,
            _NUMBER.pack(size),
            middle,
            _NUMBER.pack(record.sequence),
            further,
            record.id.encode("ascii"),
            end,
        ]
        for at in range(0, size, self._largest):
            part = body[at : at + self._largest]
            pieces += (_BODY.pack(pika.spec.FRAME_BODY, self._channel, len(part)), part, _FRAME_END)
        return pieces

    def _mould(self, record: Record) -> list[bytes]:
        """Return what all messages with the key of *record* have in common: the parts between what differs."""
        publish = pika.spec.Basic.Publish(exchange=self._exchange, routing_key=record.key, mandatory=True)
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            message_id=_SAMPLE_ID,
            user_id=self._user,
            app_id=_APP,
            type=record.event,
            headers={"v": 1, "epoch": self._epoch, "sequence": _SAMPLE_SEQUENCE},
        )
        method: bytes = pika.frame.Method(self._channel, publish).marshal()
        header: bytes = pika.frame.Header(self._channel, _SAMPLE_SIZE, properties).marshal()
        begin, _, rest = header.partition(_NUMBER.pack(_SAMPLE_SIZE))
        middle, _, rest = rest.partition(_NUMBER.pack(_SAMPLE_SEQUENCE))
        further, _, end = rest.partition(_SAMPLE_ID.encode("ascii"))
        if len(self._moulds) >= _MOULDS:
            self._moulds.clear()
        mould = self._moulds[record.key] = [method + begin, middle, further, end]
        return mould


def parameters(broker: Broker, settings: Settings) -> pika.ConnectionParameters:
    """Return how to connect to *broker*; secrets are read anew each time, so that they can be changed."""
    limit = settings.progress_limit.total_seconds()
    return pika.ConnectionParameters(
        host=broker.host,
        port=broker.port,
        virtual_host=broker.vhost,
        credentials=_credentials(broker, settings),
        ssl_options=_tls(broker, settings) if broker.secure else None,
        heartbeat=_HEARTBEAT,
        connection_attempts=1,
        socket_timeout=min(10.0, limit),
        stack_timeout=limit,
        # Longer than the progress limit: a blocked broker does not read, and must not be left for that.
        tcp_options={"TCP_USER_TIMEOUT": int(2000 * limit)},
        client_properties={"connection_name": f"{_APP} {settings.node}"},
    )


def _credentials(broker: Broker, settings: Settings) -> pika.credentials.PlainCredentials:
    if broker.password is not None:
        return pika.PlainCredentials(broker.user, broker.password)
    if settings.password_file is not None:
        lines = settings.password_file.read_text(encoding="utf-8").splitlines()
        if not lines:
            raise ValueError(f"password-file {settings.password_file} is empty")
        return pika.PlainCredentials(broker.user, lines[0])
    return pika.credentials.ExternalCredentials()


def _tls(broker: Broker, settings: Settings) -> pika.SSLOptions:
    context = ssl.create_default_context(cafile=str(settings.ca) if settings.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.certificate and settings.key:
        context.load_cert_chain(settings.certificate, settings.key)
    return pika.SSLOptions(context, broker.host)


def diagnosis(error: BaseException) -> tuple[str, str]:
    """Return the sentence and the count for a connection that could not be made."""
    words = told(error)
    if "SSL" in words or "CertificateError" in words:
        return "broker connection cannot be secured", "insecure"
    denied = (
        pika.exceptions.ProbableAuthenticationError,
        pika.exceptions.ProbableAccessDeniedError,
        pika.exceptions.AuthenticationError,
        pika.exceptions.ConnectionClosedByBroker,
    )
    if isinstance(error, denied):
        return "broker denied the connection", "denied"
    if isinstance(error, pika.exceptions.ConnectionOpenAborted):  # by pika, at its limit; we never do
        return SILENT, "stalled"
    return "broker unreachable", "unreachable"


def told(error: BaseException) -> str:
    """Return what *error* says, on one line; pika's errors say more in their representation."""
    return " ".join(repr(error).split())[:1000]
