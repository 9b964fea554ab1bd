"""One connection to one broker: how to make it, how to fill it quickly, what its errors mean."""

from __future__ import annotations

import ssl
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pika
import pika.exceptions
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.spec import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .records import Record
    from .settings import Broker, Settings

__all__ = ["SILENT", "Connection", "IOLoop", "Properties", "diagnosis", "parameters", "told"]

SILENT = "no answer from the broker within the progress limit"
_APP = "clusterbus-relay"
_HEARTBEAT = 15
_MOULDS = 200
_NUMBER = struct.Struct(">q")
# A sequence of eight bytes, so that pika encodes it as such, and an id: neither occurs in anything else.
_SAMPLE_SEQUENCE = 0x7A9B_C1D2_E3F4_0516
_SAMPLE_ID = "@" * 26


class Connection(SelectConnection):  # type: ignore[misc]  # pika's stand-ins for missing modules hide its type
    """A connection that can send many messages in one piece, where pika sends each frame of each by itself.

    Most of the time that a record takes is spent in system calls.  Should pika one day write its frames by another
    method than this, all works as before, only slower.
    """

    _collected: list[bytes] | None = None

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        if self._collected is None:
            super()._output_marshaled_frames(marshaled_frames)
        else:
            self._collected.extend(marshaled_frames)

    @contextmanager
    def in_one_piece(self) -> Iterator[None]:
        """Send what is published inside of the block when the block ends."""
        collected: list[bytes] = []
        self._collected = collected
        try:
            yield
        finally:
            self._collected = None
            if collected and self.is_open:
                super()._output_marshaled_frames([b"".join(collected)])


class Properties(BasicProperties):  # type: ignore[misc]  # as above
    """The properties of one record after another: pika's own encoding, of which only what differs is made anew."""

    def __init__(self, epoch: str, user: str) -> None:
        """Have all but what `of` adds."""
        super().__init__(content_type="application/json", delivery_mode=2, user_id=user, app_id=_APP)
        self._epoch = epoch
        self._moulds: dict[str, list[bytes]] = {}
        self._pieces: list[bytes] = []

    def of(self, record: Record) -> Properties:
        """Return these properties as those of *record*, until the next call."""
        head, middle, tail = self._moulds.get(record.event) or self._mould(record.event)
        self._pieces = [head, _NUMBER.pack(record.sequence), middle, record.id.encode("ascii"), tail]
        return self

    def encode(self) -> list[bytes]:
        """Return them as pika wants them; the list is the caller's."""
        return self._pieces

    def _mould(self, event: str) -> list[bytes]:
        """Return the encoding for *event* without what differs: the parts before, between and after that."""
        self.type, self.message_id = event, _SAMPLE_ID
        self.headers = {"v": 1, "epoch": self._epoch, "sequence": _SAMPLE_SEQUENCE}
        encoded: bytes = b"".join(super().encode())
        head, _, rest = encoded.partition(_NUMBER.pack(_SAMPLE_SEQUENCE))
        middle, _, tail = rest.partition(_SAMPLE_ID.encode("ascii"))
        if len(self._moulds) > _MOULDS:
            self._moulds.clear()
        mould = self._moulds[event] = [head, middle, tail]
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
