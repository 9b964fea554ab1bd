"""Keep alerts in PagerDuty and Opsgenie: each change is one call, in its order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from router.model.events import Event

from ...config import secrets
from ...deliveries import Delivery, Report
from ...errors import Rejected
from ..interface import Surroundings
from ..post.connections.caller import Call
from ..post.responses import Answer, judge
from . import opsgenie, pagerduty
from .alert_change import OPEN, AlertChange
from .alert_handler import AlertHandler, Receiver, now, shown, with_header
from .options import AlertOptions
from .receiver_options import OpsgenieOptions, PagerDutyOptions
from .remote_states import RemoteState

_REQUEST, _LOOKS, _MISSED = "request", "looks", "missed"
"""The keys of a result: the request that Opsgenie has taken, how often its end was looked for; that it has no alert."""

_MOST_LOOKS = 20
_LOOK_AGAIN = timedelta(seconds=1)
_ASK_AGAIN = timedelta(seconds=30)
"""What Opsgenie has taken from anybody may still wait there, so that an alert is there only later."""

_NOT_THERE = "the alert is not there, perhaps not yet: waits to ask once more"


class _PagingHandler(AlertHandler):
    """Calls one receiver for each change."""

    def __init__(self, verb: AlertOptions, surroundings: Surroundings, written: str) -> None:
        """Send changes to the address *written*."""
        super().__init__(verb, surroundings)
        self._receiver = Receiver(self.system, written)

    @property
    def followed(self) -> str:
        """The address of the API."""
        return self._receiver.shown

    def targets(self, delivery: Delivery) -> Sequence[str]:  # noqa: ARG002 - the same for all
        """Return the receiver."""
        try:
            return (self._receiver.target,)
        except (Rejected, OSError):
            # The call itself reports this error.
            return (f"{self.system} {self._receiver.written}",)

    def _unsent(self, change: AlertChange, last: AlertChange) -> str:
        """Return why *change* is not sent: who is called for what is over by now would look for nothing."""
        return "the alert was closed before this could be sent" if last.is_closed and not change.is_closed else ""


class PagerDutyHandler(_PagingHandler):
    """Keeps alerts as incidents of a service of PagerDuty."""

    system = "pagerduty"

    def __init__(self, verb: AlertOptions, options: PagerDutyOptions, surroundings: Surroundings) -> None:
        """Prepare the connections.  Raises SubscriptionsError if certificates cannot be used."""
        super().__init__(verb, surroundings, options.url or pagerduty.EVENTS[options.region])
        self._options = options
        self._rest = Receiver(self.system, options.api or pagerduty.REST[options.region])

    @property
    def followed(self) -> str:
        """The address of the REST API, which is not that of the Events API."""
        return self._rest.shown

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the call that would be made, with the reference in place of the key."""
        change = AlertChange.of(delivery.event)
        if unsent := self._unsent(change, change):
            return {"not_sent": unsent}
        event = pagerduty.event(change, self._options.key, self.linked(change.alert))
        return {"calls": [shown("POST", f"{self._receiver.shown}{pagerduty.ENQUEUE}", event)]}

    def _unsent(self, change: AlertChange, last: AlertChange) -> str:
        if change.name == "alertAcknowledged" and last.state == OPEN and last.number > change.number:
            return "the acknowledgement was taken back before this could be sent"
        return pagerduty.unsent(change) or super()._unsent(change, last)

    def _send(self, delivery: Delivery, change: AlertChange, first: Event, last: Event) -> Report | None:  # noqa: ARG002 - as all
        key, began = secrets.read(self._options.key), time.monotonic()
        event = pagerduty.event(change, key, self.linked(change.alert))
        call = replace(self._receiver.call("POST", pagerduty.ENQUEUE, event), hidden=(key,))
        answer = self.called(call)
        if not isinstance(answer, Answer):
            return answer
        facts = answer.as_dict() | {"action": event["event_action"], "seconds": round(time.monotonic() - began, 3)}
        return judge(answer, self._verb.retry_on, call.target, facts, now())

    def states(self, alerts: Sequence[str]) -> Iterable[RemoteState]:
        """Yield the state of the newest incident of each of *alerts*, of some of them at a time."""
        token = f"Token token={secrets.read(self._options.token or '')}"
        for each in self.next_asked(alerts):
            call = self._rest.call(
                "GET", pagerduty.incidents_path(each), Accept="application/vnd.pagerduty+json;version=2"
            )
            if found := pagerduty.remote_state(each, self.asked(with_header(call, "Authorization", token))):
                yield found


class OpsgenieHandler(_PagingHandler):
    """Keeps alerts as alerts of Opsgenie, which takes requests at once and processes them later.

    A change is done when its request has been processed, so that the next one of the alert cannot overtake it there.
    """

    system = "opsgenie"

    def __init__(self, verb: AlertOptions, options: OpsgenieOptions, surroundings: Surroundings) -> None:
        """Prepare the connections.  Raises SubscriptionsError if certificates cannot be used."""
        super().__init__(verb, surroundings, options.url or opsgenie.HOSTS[options.region])
        self._options = options

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the call that would be made."""
        change = AlertChange.of(delivery.event)
        path, body = opsgenie.request(change, self.linked(change.alert), self._options)
        return {"calls": [shown("POST", f"{self._receiver.shown}{path}", body)], "key": self._options.key}

    def _send(self, delivery: Delivery, change: AlertChange, first: Event, last: Event) -> Report | None:  # noqa: ARG002 - as all
        if isinstance(taken := delivery.earlier.get(_REQUEST), str):
            return self._look(delivery, change, taken)
        path, body = opsgenie.request(change, self.linked(change.alert), self._options)
        call = self._keyed("POST", path, body)
        answer = self.called(call)
        if not isinstance(answer, Answer):
            return answer
        report = judge(answer, self._verb.retry_on, call.target, answer.as_dict(), now())
        request = opsgenie.request_id(answer.body)
        if report.failure is not None or not request:
            return report
        result = {**report.result, _REQUEST: request, _LOOKS: 0, _MISSED: delivery.earlier.get(_MISSED, False)}
        return replace(report, again=_LOOK_AGAIN, reason="taken, waits to be processed", result=result)

    def _look(self, delivery: Delivery, change: AlertChange, request: str) -> Report | None:
        """Return what became of a *request* that was taken before."""
        looks = delivery.earlier.get(_LOOKS)
        looks = looks + 1 if isinstance(looks, int) else 1
        missed = delivery.earlier.get(_MISSED, False)
        result: dict[str, object] = {_REQUEST: request, _LOOKS: looks, _MISSED: missed}
        call = self._keyed("GET", opsgenie.status_path(request))
        answer = self.called(call)
        if answer is None:
            return None
        problem = ""
        if isinstance(answer, Answer):
            try:
                found = opsgenie.processed(answer.status, answer.body)
            except ValueError as error:
                problem = str(error)
            else:
                said = {"request_id": request, "status": found.status}
                lacks_alert = found.lacks_alert and change.state != OPEN
                if found.is_done or (lacks_alert and missed):
                    return Report(result=said)
                if lacks_alert:
                    # Without the request in its result, the next call sends it again.
                    return Report(result={**said, _MISSED: True}, again=_ASK_AGAIN, reason=_NOT_THERE)
                if found.is_done is False:
                    reason = f"{call.target} could not process the request: {found.status}"
                    # Without the request in its result, the next attempt sends it again.
                    return Report("unprocessed", reason, said)
        else:
            problem = answer.reason
        if looks < _MOST_LOOKS:
            return Report(reason=problem or "taken, waits to be processed", result=result, again=_LOOK_AGAIN * looks)
        return Report("unprocessed", f"{call.target} has not processed the request {request}", {"request_id": request})

    def states(self, alerts: Sequence[str]) -> Iterable[RemoteState]:
        """Yield the state of each of *alerts* that Opsgenie has, of some of them at a time."""
        for each in self.next_asked(alerts):
            if found := self.asked(self._keyed("GET", opsgenie.alert_path(each)), is_missing_fine=True):
                yield opsgenie.remote_state(each, found)

    def _keyed(self, method: str, path: str, body: object = None) -> Call:
        return with_header(
            self._receiver.call(method, path, body), "Authorization", f"GenieKey {secrets.read(self._options.key)}"
        )
