"""Keeps alerts in Alertmanager: each change at once, and all that are open again and again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from router.model.events import Event

from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...expressions.templates import Template
from ..interface import Surroundings
from ..post.responses import Answer, judge
from . import alertmanager
from .alert_change import AlertChange
from .alert_handler import AlertHandler, Receiver, delivery_of, now, shown
from .options import AlertOptions
from .remote_states import RemoteState


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert to send again: its *first* change, and the delivery of the last."""

    first: Event
    last: Delivery


class AlertmanagerHandler(AlertHandler):
    """Sends alerts to all of a cluster of Alertmanagers.  It counts as done if one takes them.

    The others get them with all that are open, soon after they are back.
    """

    system = "alertmanager"

    def __init__(self, verb: AlertOptions, surroundings: Surroundings) -> None:
        """Prepare the connections.  Raises SubscriptionsError if certificates cannot be used."""
        super().__init__(verb, surroundings)
        self._receivers = [Receiver(self.system, each) for each in verb.alertmanager]
        self._annotations = {name: Template(each) for name, each in verb.annotations.items()}

    @property
    def every(self) -> timedelta:
        """How often all open alerts are sent again."""
        return self._verb.every

    @property
    def followed(self) -> str:
        """All addresses: they know the same silences, and one that answers is enough."""
        return ", ".join(self.sent_again_to)

    @property
    def sent_again_to(self) -> Sequence[str]:
        """All addresses."""
        return [each.shown for each in self._receivers]

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the calls that would be made; the times of a call of now."""
        alert = self._alert(OpenAlert(delivery.event, delivery))
        return {"calls": [shown("POST", f"{each.shown}{alertmanager.ALERTS}", [alert]) for each in self._receivers]}

    def targets(self, delivery: Delivery) -> Sequence[str]:  # noqa: ARG002 - the same for all
        """Return all of the cluster."""
        return [*_targets(self._receivers)]

    def _unsent(self, change: AlertChange, last: AlertChange) -> str:  # noqa: ARG002 - what is sent is the last change
        return ""

    def _send(self, delivery: Delivery, change: AlertChange, first: Event, last: Event) -> Report | None:
        """Send the last change, which is this one or a later one: what is over is not opened again by a retry."""
        is_last = AlertChange.of(last).number <= change.number
        alert = self._alert(OpenAlert(first, delivery if is_last else delivery_of(last, delivery)))
        ((_, body),) = alertmanager.batches([alert])
        began, reports = time.monotonic(), []
        for each in self._receivers:
            if len(self._receivers) > 1 and each.target in delivery.paused_targets:
                continue
            report = self._post(each, body)
            if report is None:
                return None
            reports.append((each, report))
        taken = [each.target for each, report in reports if report.failure is None]
        facts: dict[str, object] = {"taken_by": taken, "seconds": round(time.monotonic() - began, 3)}
        if not is_last:
            facts["sent"] = "the last change, which is a later one"
        failed = {each.target: report.reason for each, report in reports if report.failure is not None}
        if failed:
            facts["failed"] = failed
        if taken or not reports:
            return Report(result=facts)
        (_, worst), *_ = reports
        reason = "; ".join(failed.values())
        if all(report.failure == _REFUSED for _, report in reports):
            raise Rejected(reason, facts)
        return Report(worst.failure, reason, facts, after=worst.after, blamed=[*failed])

    def send_again(self, alerts: Sequence[OpenAlert]) -> Mapping[str, str]:
        """Send *alerts* to each Alertmanager, many in one call; return what went wrong, empty if nothing, by address.

        Without any, each gets an empty list, which shows that it would take alerts.  One that fails gets no further
        calls this time.
        """
        bodies = [body for _, body in alertmanager.batches(self._alerts(alerts))] or [b"[]"]
        return {each.shown: self._problem(each, bodies) for each in self._receivers}

    def _problem(self, receiver: Receiver, bodies: Iterable[bytes]) -> str:
        for body in bodies:
            try:
                report = self._post(receiver, body)
            except OSError as error:
                return f"the address cannot be read: {error}"
            if report is None or report.failure is not None:
                return report.reason if report else "interrupted by a stop"
        return ""

    def states(self, alerts: Sequence[str]) -> Iterable[RemoteState]:
        """Yield which of *alerts* a silence mutes; Alertmanagers of a cluster know the same silences.

        Raises OSError if none can be asked, ValueError if the answer cannot be understood.
        """
        problem: OSError | None = None
        for each in self._receivers:
            try:
                silenced = self.asked(each.call("GET", alertmanager.SILENCED))
                silences = self.asked(each.call("GET", alertmanager.SILENCES))
            except OSError as error:
                problem = error
                continue
            return alertmanager.silenced(silenced, silences, alerts).values()
        raise problem or OSError("there is no Alertmanager")

    def _alerts(self, alerts: Iterable[OpenAlert]) -> Iterator[Mapping[str, Any]]:
        for each in alerts:
            try:
                yield self._alert(each)
            except Rejected:
                # Its own delivery says so: a template cannot be filled in.
                continue

    def _alert(self, alert: OpenAlert) -> Mapping[str, Any]:
        change = AlertChange.of(alert.last.event)
        link = self.linked(change.alert)
        more = {name: each.render_text(alert.last) for name, each in self._annotations.items()}
        labels = alertmanager.labels_of(AlertChange.of(alert.first), self._verb.labels)
        annotations = alertmanager.annotations_of(change, link, more)
        return alertmanager.postable(change, now(), self._verb.every, link, (labels, annotations))

    def _post(self, receiver: Receiver, body: bytes) -> Report | None:
        try:
            call = receiver.call("POST", alertmanager.ALERTS, body)
            answer = self.called(call)
            if not isinstance(answer, Answer):
                return answer
            return judge(answer, self._verb.retry_on, call.target, answer.as_dict(), now())
        except Rejected as error:
            return Report(_REFUSED, str(error), error.result)


_REFUSED = "refused"


def _targets(receivers: Iterable[Receiver]) -> Iterator[str]:
    for each in receivers:
        try:
            yield each.target
        except (Rejected, OSError):
            # The call itself reports this error.
            yield f"alertmanager {each.written}"
