"""One connection to one broker: its parameters, a fast way to send, and the diagnosis of its errors."""

from __future__ import annotations

import os
import ssl
import stat
import struct
from functools import partial
from typing import TYPE_CHECKING

import pika
import pika.exceptions
import pika.frame
import pika.spec
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from . import trust

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    from .broker_urls import Broker
    from .records import Record
    from .settings import Settings

__all__ = ["SILENT", "Connection", "IOLoop", "Messages", "Services", "describe", "diagnosis", "parameters"]

SILENT = "no answer from the broker within the progress limit"
_APP = "clusterbus-relay"
_HEARTBEAT = 15
_LONGEST_PASSWORD = 1024
_MOST_TEMPLATES = 200
_NUMBER = struct.Struct(">q")
_BODY = struct.Struct(">BHL")
_FRAME_END = bytes((pika.spec.FRAME_END,))
_AROUND_BODY = pika.spec.FRAME_HEADER_SIZE + pika.spec.FRAME_END_SIZE
# Placeholders: numbers that pika encodes in eight bytes, and an id.  None of them occurs anywhere else in a frame.
_SAMPLE_SIZE = 0x7E16_05F4_E3D2_C1B0
_SAMPLE_SEQUENCE = 0x7A9B_C1D2_E3F4_0516
_SAMPLE_ID = "@" * 26


class Services(SelectorIOServicesAdapter):  # type: ignore[misc]  # as below
    """pika's view of its loop, where a connection that the peer resets just as it is made has failed like any other.

    pika itself raises that in the loop, which ends the program.
    """

    def create_streaming_connection(self, *, on_done: Callable[[Exception], None], **given: Any) -> Any:  # noqa: ANN401 - pika's
        """Begin to use a new connection; *on_done* gets the error, if there is one."""
        try:
            return super().create_streaming_connection(on_done=on_done, **given)
        except ValueError as error:
            return self.call_later(0, partial(on_done, error))


class Connection(SelectConnection):  # type: ignore[misc]  # pika's stand-ins for missing modules hide its type
    """A connection that sends many messages at once.

    Pika alone builds and sends every frame separately, which would take most of the time of a record.
    """

    def send(self, frames: Sequence[bytes]) -> None:
        """Send *frames*, or pieces that together make complete frames, after everything sent earlier."""
        if frames and self.is_open:
            self._output_marshaled_frames([b"".join(frames)])


class Messages:
    """Encodes each record as the frames of its message: pika encodes one template a key, and only values change."""

    def __init__(self, channel: pika.channel.Channel, exchange: str, epoch: str, user: str) -> None:
        """Encode messages for *exchange* with *epoch* and *user*, to send on *channel*, which is open."""
        self._exchange, self._epoch, self._user = exchange, epoch, user
        self._channel: int = channel.channel_number
        self._largest: int = channel.connection.params.frame_max - _AROUND_BODY
        self._templates: dict[str, list[bytes]] = {}

    def of(self, record: Record) -> list[bytes]:
        """Return the message of *record*, in pieces."""
        # One template for each key is enough: the event is part of the key.
        begin, middle, between, end = self._templates.get(record.key) or self._template(record)
        body = record.body
        size = len(body)
        pieces = [
            begin,
            _NUMBER.pack(size),
            middle,
            _NUMBER.pack(record.sequence),
            between,
            record.id.encode("ascii"),
            end,
        ]
        for at in range(0, size, self._largest):
            part = body[at : at + self._largest]
            pieces += (_BODY.pack(pika.spec.FRAME_BODY, self._channel, len(part)), part, _FRAME_END)
        return pieces

    def _template(self, record: Record) -> list[bytes]:
        """Return what all messages with the key of *record* share: the bytes between the values that differ."""
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
        between, _, end = rest.partition(_SAMPLE_ID.encode("ascii"))
        if len(self._templates) >= _MOST_TEMPLATES:
            self._templates.clear()
        template = self._templates[record.key] = [method + begin, middle, between, end]
        return template


def parameters(broker: Broker, settings: Settings) -> pika.ConnectionParameters:
    """Return how to connect to *broker*; reads the secrets again at each call, so that they can be changed.

    Raises OSError and ValueError if the password or the certificate cannot be read.
    """
    limit = settings.progress_limit.total_seconds()
    return pika.ConnectionParameters(
        host=broker.host,
        port=broker.port,
        virtual_host=broker.vhost,
        credentials=_credentials(broker, settings),
        ssl_options=_tls(broker) if broker.secure else None,
        heartbeat=_HEARTBEAT,
        connection_attempts=1,
        socket_timeout=min(10.0, limit),
        stack_timeout=limit,
        # Longer than the progress limit: a blocked broker does not read, which is no reason to leave it.
        tcp_options={"TCP_USER_TIMEOUT": int(2000 * limit)},
        client_properties={"connection_name": f"{_APP} {settings.node}"},
    )


def _credentials(broker: Broker, settings: Settings) -> pika.credentials.PlainCredentials:
    if broker.external:
        return pika.credentials.ExternalCredentials()
    if broker.password is not None:
        return pika.PlainCredentials(broker.user, broker.password)
    if settings.password_file is None:
        raise ValueError(f"no password for {broker!r}")
    return pika.PlainCredentials(broker.user, _password(settings.password_file))


def _password(file: Path) -> str:
    """Return the first line of *file*, by the rules of `router/passwords.py`, with which a test compares it."""
    fault = trust.problem_of_secret(file, "a password")
    if fault:
        raise ValueError(f"password-file {fault}")
    # Whatever is there, a pipe too, is never waited for.
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:  # noqa: PTH123 - of a descriptor
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise ValueError(f"password-file {file} is not a regular file")
        password = opened.read(_LONGEST_PASSWORD + 1).partition(b"\n")[0].rstrip(b"\r")
    if not password or len(password) > _LONGEST_PASSWORD:
        wrong = "is too long" if password else "is empty"
        raise ValueError(f"password-file {file} {wrong}: write the password on its first line")
    try:
        return password.decode()
    except UnicodeDecodeError:
        # Its message contains a part of the password.
        raise ValueError(f"password-file {file} is not UTF-8 text") from None


def _tls(broker: Broker) -> pika.SSLOptions:
    for judge, file in (
        (trust.problem, broker.ca),
        (trust.problem, broker.certificate),
        (trust.problem_of_secret, broker.key),
    ):
        fault = judge(file) if file else ""
        if fault:
            raise ValueError(f"TLS: {fault}")
    context = ssl.create_default_context(cafile=broker.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if broker.certificate:
        context.load_cert_chain(broker.certificate, broker.key)
    return pika.SSLOptions(context, broker.server_name or broker.host)


def diagnosis(error: BaseException) -> tuple[str, str]:
    """Return the log sentence and the name of the counter for *error*, a connection that failed to open."""
    words = describe(error)
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
    if isinstance(error, pika.exceptions.ConnectionOpenAborted):  # only pika aborts, at its time limit
        return SILENT, "stalled"
    return "broker unreachable", "unreachable"


def describe(error: BaseException) -> str:
    """Return *error* in words, on one line; the representation of pika's errors says more than their text."""
    return " ".join(repr(error).split())[:1000]


def cause(error: BaseException) -> str:
    """Return the innermost cause of *error* in words, on one line: pika wraps an error up to four times."""
    for _ in range(8):
        inner = getattr(error, "exceptions", None) or [getattr(error, "exception", None), *error.args[:1]]
        found = [each for each in inner if isinstance(each, BaseException)]
        if not found:
            break
        error = found[-1]
    said = getattr(error, "reply_text", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
    return " ".join(str(said).split())[:300]
