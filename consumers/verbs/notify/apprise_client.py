"""Send messages through apprise: one call per address, with the reason of a failure.

apprise returns only success or failure, and writes the reason to its log.  So the log lines of each call are captured
in its thread.  They may contain passwords and whole messages, so they are not logged, and reasons are scrubbed.
"""

from __future__ import annotations

import hashlib
import logging
import re
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType
from apprise.logger import logger as apprise_log
from apprise.manager_plugins import NotificationManager
from apprise.plugins import NotifyBase
from apprise.utils.parse import parse_urls

from router import redaction
from router.references import is_reference

from ...config import secrets
from ...errors import Rejected, SecretError
from ...expressions.sanitize import one_line, shortened
from . import address_parameters, threads
from .message import Message

_LONGEST_REASON = 400
_REASON_PREFIXES = ("Socket Exception", "SMTP Exception", "Response Details")
"""Prefixes of log lines below the level of warnings that contain a reason."""

_SYSLOG = "/dev/log"
_ROUNDS = 50_000
"""About 20 ms for each address of a secret that has several, once in the life of a process."""

_BLANKS = re.compile(r"\s+")


apprise_log.propagate = False
apprise_log.setLevel(logging.DEBUG)
with warnings.catch_warnings():
    # Load them now: otherwise the first call loads them, and a warning of one plugin would fail every service.
    warnings.simplefilter("ignore")
    NotificationManager().load_modules()  # type: ignore[no-untyped-call]  # half of apprise has annotations


class Refused(Rejected):
    """The address is invalid for good: apprise knows no service for it, or the address is incomplete."""


@dataclass(frozen=True, slots=True)
class Address:
    """One of the addresses behind *reference*: the only one, or that at *place*, from 1."""

    reference: str
    url: str = field(repr=False)
    place: int = 0

    @property
    def name(self) -> str:
        """The name that remembers it between attempts: it stays when other addresses come and go."""
        return self._as_one_of_several if self.place else self.reference

    @property
    def shown(self) -> str:
        """Its name in messages, where people look for its place."""
        return shown(f"{self.reference}#{self.place}" if self.place else self.reference)

    def was_notified(self, notified: Sequence[str]) -> bool:
        """Return whether *notified* has its name: as one of several, even if it is the only one now."""
        return any(each.startswith(f"{self.reference}#") for each in notified) and self._as_one_of_several in notified

    @property
    def _as_one_of_several(self) -> str:
        return f"{self.reference}#{_digest(self.url, self.reference)}"


def addresses(reference: str) -> Sequence[Address]:
    """Return the different addresses behind *reference*, an address or a reference to one or several.

    One text may hold several, separated as apprise separates them: by blanks, commas, semicolons or lines.  Raises
    SecretError, Refused, or OSError if the disk fails.
    """
    hidden = is_reference(reference)
    text = _BLANKS.sub(" ", secrets.read(reference, lines=True) if hidden else reference).strip()
    found = parse_urls(text)  # type: ignore[no-untyped-call]  # half of apprise has annotations
    # What is before the first address is no separator; apprise leaves it out.
    if "://" not in text or not text.startswith(found[0]):
        raise Refused(f"{shown(reference)}: not an address that apprise supports: write service://...")
    # apprise takes the blank for a part of the host, and then has none.
    if any(" " in re.split("[/?#]", each.partition("://")[2], maxsplit=1)[0] for each in found):
        raise Refused(f"{shown(reference)}: its host has a blank in it")
    if len(set(found)) == 1:
        return [Address(reference, found[0])]
    return [Address(reference, each, place) for place, each in enumerate(found, 1) if each not in found[: place - 1]]


@lru_cache(maxsize=1024)
def _digest(url: str, reference: str) -> str:
    """Return six hexadecimal digits for *url*, which may hold a password, and which nobody is to guess from them.

    Each guess costs much time, and with so few digits many wrong guesses look right.
    """
    return hashlib.pbkdf2_hmac("sha256", url.encode(), f"clusterbus notify {reference}".encode(), _ROUNDS).hex()[:6]


def problems(reference: str) -> Iterator[tuple[str, bool]]:
    """Yield what is wrong with each address behind *reference*, as a message would find it.  Sends nothing.

    With each comes whether it keeps a message from anybody; otherwise it may not be intended.  What is wrong with a
    reference itself says `secrets.problem`.
    """
    try:
        found = addresses(reference)
    except (SecretError, OSError):
        return
    except Refused as error:
        yield str(error), True
        return
    for each in found:
        try:
            service = Service(each.url, each.shown)
        except Refused as error:
            yield str(error), True
            continue
        if missing := service.missing_daemon():
            yield f"{each.shown}: {missing}", True
        if service.dropped:
            yield f"{each.shown}: apprise leaves out a part of it: {service.dropped}", True
        for warning in service.parameter_warnings(each.url):
            yield f"{each.shown}: {warning}", False


def shown(name: str) -> str:
    """Return the *name* of an address for a message."""
    return name if is_reference(name.partition("#")[0]) else "the address in the settings"


class Service:
    """One address of one contact."""

    def __init__(self, url: str, name: str) -> None:
        """Read the address *url*, which errors call *name*.  Raises Refused.

        `dropped` is what apprise leaves out of the address, with or without a word, such as an invalid mailbox.
        """
        self._name, self._secrets = name, redaction.parts(url)
        with _caught() as lines:
            self._plugin = self._made(url, lines)
        lines += address_parameters.left_out(url, self._plugin)
        self.dropped = self._because(lines).removeprefix(": ") if lines else ""
        # Call the plugin through Apprise, which converts plain text for services that expect markup.
        self._apprise = Apprise(self._plugin, asset=self._plugin.asset)

    def send(self, message: Message) -> str:
        """Send *message*; return an empty text if the service accepted it, else the reason.  Never raises."""
        if missing := self.missing_daemon():
            return missing
        threads.join(self._plugin, message.thread)
        with _caught() as lines:
            try:
                sent = bool(
                    self._apprise.notify(
                        title=message.title,
                        body=self._fitting(message),
                        notify_type=NotifyType(message.importance),
                        body_format=NotifyFormat(message.format),
                    )
                )
            except Exception as error:  # noqa: BLE001 - plugins of a hundred services may raise anything
                lines.append(f"{type(error).__name__}: {error}")
                sent = False
        return "" if sent else self._why(lines)

    def parameter_warnings(self, url: str) -> Iterator[str]:
        """Yield what apprise ignores of *url*, the service's address."""
        return address_parameters.parameter_warnings(url, self._plugin)

    def missing_daemon(self) -> str:
        """Return why the service of this machine does not take messages; apprise does not notice its absence."""
        if self._plugin.protocol != "syslog":
            return ""
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_UNIX, kind) as line, suppress(OSError):
                line.connect(_SYSLOG)
                return ""
        return f"no syslog listens at {_SYSLOG} on this machine"

    def _made(self, url: str, lines: list[str]) -> NotifyBase:
        try:
            plugin = Apprise.instantiate(url, asset=_asset(), suppress_exceptions=False)
        except Exception as error:  # noqa: BLE001 - as above
            lines.append(str(error))
            plugin = None
        if plugin is None:
            raise Refused(f"{self._name}: not an address that apprise supports{self._because(lines)}") from None
        return plugin

    def _fitting(self, message: Message) -> str:
        """Return the body, cut to the limit of the service with a visible mark."""
        room = self._plugin.body_maxlen
        if self._plugin.title_maxlen <= 0:
            room -= len(message.title) + 2
        # Do not cut HTML, since that would break its markup.
        return message.body if message.format == "html" else shortened(message.body, max(room, 20))

    def _why(self, lines: Sequence[str]) -> str:
        return f"{self._plugin.service_name}{self._because(lines)}"

    def _because(self, lines: Sequence[str]) -> str:
        text = _BLANKS.sub(" ", "; ".join(dict.fromkeys(lines)))
        reason = one_line(redaction.redact(redaction.scrubbed(text, self._secrets))).strip()
        return f": {shortened(reason, _LONGEST_REASON)}" if reason else ": failed without a reason"


def _asset() -> AppriseAsset:
    """Return the options of apprise: nothing on disk, no interpretation of texts, no retries."""
    return AppriseAsset(
        storage_mode="memory",
        async_mode=False,
        interpret_emojis=False,
        interpret_escapes=False,
        allow_templates=False,
        pgp_autogen=False,
        pem_autogen=False,
        http_redirects=False,
        default_service_retry=0,
        service_timeout=0,  # otherwise apprise starts another thread that cannot be killed either
        secure_logging=True,
        language="en",
        app_id="clusterbus",
        app_desc="clusterbus",
        app_url="",
    )


class _Catch(logging.Handler):
    """Keeps the log lines of one thread that contain reasons."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines, self._thread = lines, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return
        line = record.getMessage()
        if record.levelno >= logging.WARNING or line.startswith(_REASON_PREFIXES):
            self._lines.append(line)


@contextmanager
def _caught() -> Iterator[list[str]]:
    """Yield a list that receives the log lines of apprise in this thread."""
    lines: list[str] = []
    catch = _Catch(lines)
    apprise_log.addHandler(catch)
    try:
        yield lines
    finally:
        apprise_log.removeHandler(catch)
