"""Notifies the contacts of one subscription in parallel; retries each address until it accepts the message."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from router.model import durations
from router.settings.models import Contact
from router.settings.site_catalogue import catalogues

from ...alerts.owners import Owners
from ...deliveries import Delivery, Report
from ...errors import Rejected
from ..interface import Handler, Surroundings
from .address_calls import Call, Sending
from .message_texts import Messages
from .options import NotifyOptions
from .recipients import Recipients

FAILURE = "notify"

_LEAVE = timedelta(seconds=2)
"""How long to wait for calls in progress when the consumer stops."""

_LATER = timedelta(minutes=1)
"""Wait before skipped contacts are tried."""

_MOST_HANGING = 20
_POLL = 0.1


class NotifyHandler(Handler):
    """Sends notifications; several threads may call it at once."""

    is_contained = True

    def __init__(self, verb: NotifyOptions, surroundings: Surroundings) -> None:
        """Notify contacts from the settings in *surroundings*."""
        self._verb, self._stopping = verb, surroundings.stopping
        self._contacts = surroundings.settings.consumers.contacts
        settings = surroundings.settings
        known = catalogues(settings)
        self._messages = Messages(verb, known, settings.consumers.alert_link)
        owners = Owners(settings.consumers.owners, known)
        self._recipients = Recipients(verb.to, verb.otherwise, owners, self._contacts)
        self._hanging: set[threading.Thread] = set()
        self._hanging_lock = threading.Lock()

    def __call__(self, delivery: Delivery) -> Report | None:
        """Send the message to every address that has not accepted it in an earlier attempt."""
        began = time.monotonic()
        notified = {name: list(each) for name, each in _notified(delivery).items()}
        to = self._to(delivery)
        paused = [name for name in to if _target(name) in delivery.paused_targets]
        calls = [each for each in self._calls(to, notified) if each.contact not in paused]
        self._make([each for each in calls if not each.hopeless], delivery)
        for call in calls:
            notified[call.contact] = call.remembered(notified.get(call.contact, ()))
        notified = {name: each for name, each in notified.items() if each}
        calls = [leaf for call in calls for leaf in call.leaves]
        if self._stopping.is_set() and not notified and any(each.reason is None for each in calls):
            return None
        report = self._report(calls, notified, time.monotonic() - began)
        if paused and report.failure is None:
            left = ", ".join(paused)
            return dataclasses.replace(report, again=_LATER, reason=f"skipped, since their breakers are open: {left}")
        return report

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the messages and their contacts; addresses are references."""
        notified, messages = _notified(delivery), []
        for name in self._to(delivery):
            contact = self._contact(name)
            left = [each for each in contact.urls if each not in notified.get(name, ())]
            if left:
                message = self._messages.message(delivery, contact.format)
                shown = {"title": message.title, "body": message.body, "format": message.format}
                messages.append({"to": name, "through": left, **shown, "importance": message.importance})
        return {"messages": messages}

    def targets(self, delivery: Delivery) -> Sequence[str]:
        """Return the contacts that have not been notified yet."""
        notified = _notified(delivery)
        try:
            to = self._to(delivery)
        except Rejected:
            return ()  # the call says why
        return [_target(name) for name in to if not self._is_notified(name, notified)]

    def _to(self, delivery: Delivery) -> Sequence[str]:
        """Return the contacts to notify.  Raises Rejected if the owner is not known."""
        return self._recipients.of(delivery.event, delivery.known, delivery.fold)

    def _is_notified(self, name: str, notified: Mapping[str, Sequence[str]]) -> bool:
        contact = self._contacts.get(name)
        return contact is not None and set(contact.urls) <= set(notified.get(name, ()))

    def _contact(self, name: str) -> Contact:
        contact = self._contacts.get(name)
        if contact is None:
            raise Rejected(f"contact {name} is not in the settings: define it in consumers.contacts")
        return contact

    def _calls(self, to: Sequence[str], notified: Mapping[str, Sequence[str]]) -> Iterator[Call]:
        for name in to:
            try:
                contact = self._contact(name)
            except Rejected as error:
                yield Call(name, "", reason=str(error), hopeless=True)
                continue
            done = notified.get(name, ())
            yield from (Call(name, address, done) for address in contact.urls if address not in done)

    def _make(self, calls: Sequence[Call], delivery: Delivery) -> None:
        """Make all *calls* in parallel and wait for them until `timeout`.

        apprise cannot limit the duration of a call, and a thread cannot be killed, so late calls continue unattended.
        """
        messages = {
            each.contact: self._messages.message(delivery, self._contacts[each.contact].format) for each in calls
        }
        hanging = self._note_hanging(())
        if hanging >= _MOST_HANGING:
            for call in calls:
                call.reason = f"{hanging} earlier calls still hang, so no new call was made"
            return

        sending = Sending(messages)
        sending.start(calls)
        self._wait(calls)
        self._note_hanging(sending.threads)

    def _note_hanging(self, threads: Sequence[threading.Thread]) -> int:
        """Remember those of *threads* that still run; return how many do so now."""
        with self._hanging_lock:
            self._hanging = {each for each in (*self._hanging, *threads) if each.is_alive()}
            return len(self._hanging)

    def _wait(self, calls: Sequence[Call]) -> None:
        deadline = time.monotonic() + self._verb.timeout.total_seconds()
        waiting = list(calls)
        for call in waiting:
            while not call.ended.wait(_POLL) and time.monotonic() < deadline:
                if self._stopping.is_set():
                    deadline = min(deadline, time.monotonic() + _LEAVE.total_seconds())
            # Its parts are known once it has ended.
            waiting += call.parts

    def _report(self, calls: Sequence[Call], notified: Mapping[str, Sequence[str]], seconds: float) -> Report:
        late = f"no answer after {durations.text(self._verb.timeout)}"
        if self._stopping.is_set():
            late = "no answer before the consumer stopped"
        failed: dict[str, str] = {}
        for call in calls:
            reason = late if call.reason is None else call.reason
            if reason:
                failed[call.contact] = f"{failed[call.contact]}; {reason}" if call.contact in failed else reason
        result: dict[str, object] = {"told": notified, "seconds": round(seconds, 3)}
        if not failed:
            return Report(result=result)
        result["failed"] = failed
        reason = "; ".join(f"{name}: {each}" for name, each in failed.items())
        trying = list(dict.fromkeys(each.contact for each in calls if each.reason != "" and not each.hopeless))
        if not trying:
            raise Rejected(f"cannot be notified: {reason}", result)
        return Report(FAILURE, f"not notified: {reason}", result, blamed=[_target(name) for name in trying])


def _target(contact: str) -> str:
    return f"notify {contact}"


def _notified(delivery: Delivery) -> Mapping[str, Sequence[str]]:
    """Return the addresses of each contact that accepted the message in an earlier attempt."""
    notified = delivery.earlier.get("told")
    return notified if isinstance(notified, dict) else {}
