"""The services that people are told through: apprise, one call for one address, and why it failed where it did.

apprise says yes or no, and why in its log alone; so its lines are caught for each call, in the thread that makes it.
They may hold addresses with passwords and whole messages, hence go nowhere else, and what is kept of them is scrubbed.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType
from apprise.logger import logger as apprise_log
from apprise.manager_plugins import NotificationManager
from apprise.plugins import NotifyBase

from router.references import is_reference

from ... import secrets
from ...errors import Rejected
from ...texts import one_line, shortened
from .messages import Message

_LONGEST_REASON = 400
_TELLING = ("Socket Exception", "SMTP Exception", "Response Details")
"""How apprise's lines begin that say why, below warnings."""

_BLANKS = re.compile(r"\s+")


apprise_log.propagate = False
apprise_log.setLevel(logging.DEBUG)
with warnings.catch_warnings():
    # Else they are loaded by the first call, in its thread, and what one of them warns of would be every service's end.
    warnings.simplefilter("ignore")
    NotificationManager().load_modules()  # type: ignore[no-untyped-call]  # half of apprise has annotations


class Refused(Rejected):
    """No service can be reached by this address, ever: apprise knows none, or the address is not whole."""


class Service:
    """One address of one contact."""

    def __init__(self, reference: str) -> None:
        """Read the address behind *reference*.  Raises SecretError, Refused, or OSError where the disk is to blame."""
        url = secrets.read(reference) if is_reference(reference) else reference
        self._reference, self._secrets = reference, secrets.parts(url)
        with _caught() as lines:
            self._plugin = self._made(url, lines)
        # Not by itself: some plugins leave it to this to turn plain text into what their service takes for markup.
        self._apprise = Apprise(self._plugin, asset=self._plugin.asset)

    def send(self, message: Message) -> str:
        """Tell *message*; return nothing where it was taken, else why not.  Raises nothing."""
        with _caught() as lines:
            try:
                told = bool(
                    self._apprise.notify(
                        title=message.title,
                        body=self._fitting(message),
                        notify_type=NotifyType(message.importance),
                        body_format=NotifyFormat(message.format),
                    )
                )
            except Exception as error:  # noqa: BLE001 - plugins of a hundred services; none may take the others along
                lines.append(f"{type(error).__name__}: {error}")
                told = False
        return "" if told else self._why(lines)

    def _made(self, url: str, lines: list[str]) -> NotifyBase:
        try:
            plugin = Apprise.instantiate(url, asset=_asset(), suppress_exceptions=False)
        except Exception as error:  # noqa: BLE001 - idem
            lines.append(str(error))
            plugin = None
        if plugin is None:
            raise Refused(f"{self._shown()}: no address that apprise knows{self._because(lines)}") from None
        return plugin

    def _shown(self) -> str:
        return self._reference if is_reference(self._reference) else "the address in the settings"

    def _fitting(self, message: Message) -> str:
        """Return the body as long as the service takes it, so that what is cut is marked as that."""
        room = self._plugin.body_maxlen
        if self._plugin.title_maxlen <= 0:
            room -= len(message.title) + 2
        # Cut markup is broken markup: the service gets it whole, and does with it what it does.
        return message.body if message.format == "html" else shortened(message.body, max(room, 20))

    def _why(self, lines: Sequence[str]) -> str:
        return f"{self._plugin.service_name}{self._because(lines)}"

    def _because(self, lines: Sequence[str]) -> str:
        text = _BLANKS.sub(" ", "; ".join(dict.fromkeys(lines)))
        told = one_line(secrets.scrubbed(text, self._secrets)).strip()
        return f": {shortened(told, _LONGEST_REASON)}" if told else ": it said no, and not why"


def _asset() -> AppriseAsset:
    """Return how apprise has to behave: nothing on disk, nothing read into what is told, nothing tried again."""
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
        service_timeout=0,  # else it is called in another thread, that nobody ends either
        secure_logging=True,
        language="en",
        app_id="clusterbus",
        app_desc="clusterbus",
        app_url="",
    )


class _Catch(logging.Handler):
    """Keeps the lines of one thread that say why."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines, self._thread = lines, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return
        line = record.getMessage()
        if record.levelno >= logging.WARNING or line.startswith(_TELLING):
            self._lines.append(line)


@contextmanager
def _caught() -> Iterator[list[str]]:
    """Yield a list that has apprise's lines of this thread as they come; nobody else hears them."""
    lines: list[str] = []
    catch = _Catch(lines)
    apprise_log.addHandler(catch)
    try:
        yield lines
    finally:
        apprise_log.removeHandler(catch)
