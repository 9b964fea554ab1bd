"""What the handlers of all systems share: what is sent of a change at all, with its link, and by which calls."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from router import redaction
from router.model.events import Event
from router.references import is_reference

from ...deliveries import Delivery, Report
from ..interface import Handler, Surroundings
from ..post.connections.caller import Call, Caller
from ..post.connections.certificates import Unusable
from ..post.responses import Answer
from ..post.urls import address, host_and_port, looks_secret, target
from .alert_change import AlertChange
from .options import AlertOptions
from .remote_states import RemoteState

LARGEST_ANSWER = 4 * 2**20
"""Octets of an answer that is read for what it says, at most."""

_MOST_ASKED = 20
"""Alerts that are asked about in one round, at most, where each needs a call of its own."""


class AlertHandler(Handler):
    """Keeps alerts in one system; several threads may call it at once, never two for one alert."""

    is_contained = True
    system = ""

    def __init__(self, verb: AlertOptions, surroundings: Surroundings) -> None:
        """Prepare the connections.  Raises SubscriptionsError if certificates cannot be used."""
        self._verb, self._changes = verb, surroundings.changes
        self._link = surroundings.settings.consumers.alert_link
        self._asked = 0
        try:
            self._caller = Caller(verb, surroundings.stopping)
        except Unusable as error:
            raise surroundings.mistake(f"alert.{error.field}", str(error)) from error

    @property
    def follow(self) -> timedelta | None:
        """How often to ask for what people did there; None for never."""
        return self._verb.follow

    @property
    def every(self) -> timedelta | None:
        """How often all open alerts are sent again; None for never."""
        return None

    @property
    @abstractmethod
    def followed(self) -> str:
        """The address that is asked for what people did, without secrets."""

    @property
    def sent_again_to(self) -> Sequence[str]:
        """The addresses that get all open alerts again, without secrets."""
        return ()

    def __call__(self, delivery: Delivery) -> Report | None:
        """Send the change, unless later ones have made it pointless; return None if a stop interrupted the call."""
        change = AlertChange.of(delivery.event)
        first, last = self._changes(change.alert) or (delivery.event, delivery.event)
        if unsent := self._unsent(change, AlertChange.of(last)):
            return Report(result={"not_sent": unsent})
        return self._send(delivery, change, first, last)

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()

    @abstractmethod
    def _unsent(self, change: AlertChange, last: AlertChange) -> str:
        """Return why *change* is not sent, where *last* is the last change of the alert; empty if it is."""

    @abstractmethod
    def _send(self, delivery: Delivery, change: AlertChange, first: Event, last: Event) -> Report | None:
        """Send *change*, where *first* and *last* are the first and the last change of the alert."""

    @abstractmethod
    def states(self, alerts: Sequence[str]) -> Iterable[RemoteState]:
        """Yield what the system says of *alerts*, by a bounded number of calls.

        Raises OSError if it cannot be asked, ValueError if it cannot be understood.
        """

    def next_asked(self, alerts: Sequence[str]) -> Sequence[str]:
        """Return those of *alerts* that are asked about now: a bounded number, others the next time."""
        begin = self._asked % len(alerts) if alerts else 0
        self._asked = begin + _MOST_ASKED
        return [*alerts[begin:], *alerts[:begin]][:_MOST_ASKED]

    def linked(self, alert: str) -> str:
        """Return the address of the page about *alert*; empty if the settings name none."""
        # Alertmanager refuses all alerts of a call if one of them has an address that is not valid.
        return quote(self._link.replace("{alert}", alert), safe="!#$%&'()*+,/:;=?@[]~")

    def called(self, call: Call) -> Answer | Report | None:
        """Return what the caller returns."""
        return self._caller(call)

    def asked(self, call: Call, *, is_missing_fine: bool = False) -> str:
        """Return the body of the answer, empty for one that is not there if *is_missing_fine*.  Raises OSError."""
        answer = self._caller(call, keep=LARGEST_ANSWER)
        if not isinstance(answer, Answer):
            raise OSError(answer.reason if answer else "interrupted by a stop")
        if is_missing_fine and answer.status == 404:  # noqa: PLR2004 - not found
            return ""
        if answer.status != 200:  # noqa: PLR2004 - found
            raise OSError(f"{call.target} answered {answer}")
        return answer.body


class Receiver:
    """One address of a system, or a reference to it."""

    def __init__(self, system: str, written: str) -> None:
        """Name targets of calls after *system*."""
        self._system, self.written = system, written

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Call:
        """Return the call of *path* below the address.  Raises SecretError, and OSError if it cannot be read now."""
        base = address(self.written)
        octets = b"" if body is None else encoded(body)
        hidden = tuple(redaction.parts(base)) if is_reference(self.written) else ()
        found = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if octets else {})
        return Call(method, f"{base.rstrip('/')}{path}", self.target, octets, found | headers, hidden)

    @property
    def target(self) -> str:
        """What has a circuit breaker of its own; nothing of a secret address but its host."""
        found = address(self.written)
        is_secret = is_reference(self.written) or looks_secret(found)
        named = target(found, is_secret=is_secret) if is_secret else f"post {host_and_port(found)}"
        return named.replace("post", self._system, 1)

    @property
    def shown(self) -> str:
        """The address without its secrets."""
        return redaction.url(self.written) if looks_secret(self.written) else self.written


def encoded(body: object) -> bytes:
    """Return *body* as JSON in UTF-8; octets are JSON already."""
    if isinstance(body, bytes):
        return body
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def delivery_of(event: Event, like: Delivery) -> Delivery:
    """Return the delivery *like* this one, of another *event*."""
    return replace(like, event=event, topic=event.topic, body=event.to_json(), known=None, facts=None)


def with_header(call: Call, name: str, value: str) -> Call:
    """Return *call* with one more header, whose *value* is secret."""
    return replace(call, headers={**(call.headers or {}), name: value}, hidden=(*call.hidden, value))


def shown(method: str, url: str, body: Mapping[str, object] | Sequence[object]) -> Mapping[str, object]:
    """Return a call as it is planned."""
    return {"method": method, "url": url, "body": body}
