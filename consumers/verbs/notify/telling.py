"""Tells the contacts of one subscription, all at once, each address until it has taken the message and never again."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from router import durations
from router.catalogue import Catalogues
from router.sections import Contact

from ...deliveries import Delivery, Report
from ...errors import Rejected
from .. import Handler, Surroundings
from . import NotifyVerb
from .messages import Messages
from .services import Service

FAILURE = "notify"

_LEAVE = timedelta(seconds=2)
"""How long calls that are under way are waited for when the consumer stops."""

_LATER = timedelta(minutes=1)
"""Until contacts that were left out are tried."""

_MOST_HANGING = 20
_POLL = 0.1


@dataclass
class _Call:
    """One message to one *address* of *contact*; `reason` is None until it is known, and empty where it was taken."""

    contact: str
    address: str
    reason: str | None = None
    hopeless: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


class NotifyHandler(Handler):
    """Tells people; may be called from several threads at once."""

    def __init__(self, verb: NotifyVerb, surroundings: Surroundings) -> None:
        """Tell the contacts of the settings of *surroundings*."""
        self._verb, self._stopping = verb, surroundings.stopping
        self._contacts = surroundings.settings.consumers.contacts
        self._messages = Messages(verb, Catalogues.shipped())
        self._hanging: set[threading.Thread] = set()

    def __call__(self, delivery: Delivery) -> Report | None:
        """Tell all who have not been told of *delivery* yet."""
        began = time.monotonic()
        told = {name: list(each) for name, each in _told(delivery).items()}
        shunned = [name for name in self._verb.to if _target(name) in delivery.shunned]
        calls = [each for each in self._calls(told) if each.contact not in shunned]
        self._make([each for each in calls if not each.hopeless], delivery)
        for call in calls:
            if call.reason == "":
                told.setdefault(call.contact, []).append(call.address)
        if self._stopping.is_set() and not told and any(each.reason is None for each in calls):
            return None
        report = self._report(calls, told, time.monotonic() - began)
        if shunned and report.failure is None:
            left = ", ".join(shunned)
            return dataclasses.replace(report, again=_LATER, reason=f"left out while their breakers are open: {left}")
        return report

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return who would be told what; addresses are references."""
        told, messages = _told(delivery), []
        for name in self._verb.to:
            contact = self._contact(name)
            left = [each for each in contact.urls if each not in told.get(name, ())]
            if left:
                message = self._messages.message(delivery, contact.format)
                shown = {"title": message.title, "body": message.body, "format": message.format}
                messages.append({"to": name, "through": left, **shown, "importance": message.importance})
        return {"messages": messages}

    def targets(self, delivery: Delivery) -> Sequence[str]:
        """Return the contacts that have not been told yet."""
        told = _told(delivery)
        return [_target(name) for name in self._verb.to if not self._is_told(name, told)]

    def _is_told(self, name: str, told: Mapping[str, Sequence[str]]) -> bool:
        contact = self._contacts.get(name)
        return contact is not None and set(contact.urls) <= set(told.get(name, ()))

    def _contact(self, name: str) -> Contact:
        contact = self._contacts.get(name)
        if contact is None:
            raise Rejected(f"contact {name} is not in the settings any more")
        return contact

    def _calls(self, told: Mapping[str, Sequence[str]]) -> Iterator[_Call]:
        for name in self._verb.to:
            try:
                contact = self._contact(name)
            except Rejected as error:
                yield _Call(name, "", str(error), hopeless=True)
                continue
            yield from (_Call(name, address) for address in contact.urls if address not in told.get(name, ()))

    def _make(self, calls: Sequence[_Call], delivery: Delivery) -> None:
        """Make all *calls* at once and wait for them, for as long as `timeout` says.

        apprise can bound a silence, not a call, and a thread can't be ended: what takes too long is left to itself.
        """
        messages = {
            each.contact: self._messages.message(delivery, self._contacts[each.contact].format) for each in calls
        }
        self._hanging = {each for each in self._hanging if each.is_alive()}
        if len(self._hanging) >= _MOST_HANGING:
            for call in calls:
                call.reason = f"{len(self._hanging)} calls from before still hang: no new one is made"
            return

        def make(call: _Call) -> None:
            try:
                call.reason = Service(call.address).send(messages[call.contact])
            except Rejected as error:
                call.reason, call.hopeless = str(error), True
            except OSError as error:
                call.reason = error.strerror or str(error)
            finally:
                call.ended.set()

        threads = [threading.Thread(target=make, args=(each,), name="notify", daemon=True) for each in calls]
        for thread in threads:
            thread.start()
        self._wait(calls)
        self._hanging |= {each for each in threads if each.is_alive()}

    def _wait(self, calls: Sequence[_Call]) -> None:
        deadline = time.monotonic() + self._verb.timeout.total_seconds()
        for call in calls:
            while not call.ended.wait(_POLL) and time.monotonic() < deadline:
                if self._stopping.is_set():
                    deadline = min(deadline, time.monotonic() + _LEAVE.total_seconds())

    def _report(self, calls: Sequence[_Call], told: Mapping[str, Sequence[str]], seconds: float) -> Report:
        late = f"no answer after {durations.text(self._verb.timeout)}"
        if self._stopping.is_set():
            late = "no answer before the consumer stopped"
        failed: dict[str, str] = {}
        for call in calls:
            reason = late if call.reason is None else call.reason
            if reason:
                failed[call.contact] = f"{failed[call.contact]}; {reason}" if call.contact in failed else reason
        result: dict[str, object] = {"told": told, "seconds": round(seconds, 3)}
        if not failed:
            return Report(result=result)
        result["failed"] = failed
        reason = "; ".join(f"{name}: {each}" for name, each in failed.items())
        trying = list(dict.fromkeys(each.contact for each in calls if each.reason != "" and not each.hopeless))
        if not trying:
            raise Rejected(f"cannot be told: {reason}", result)
        return Report(FAILURE, f"not told: {reason}", result, blamed=[_target(name) for name in trying])


def _target(contact: str) -> str:
    return f"notify {contact}"


def _told(delivery: Delivery) -> Mapping[str, Sequence[str]]:
    """Return which addresses of which contact took the message in an attempt before."""
    told = delivery.earlier.get("told")
    return told if isinstance(told, dict) else {}
