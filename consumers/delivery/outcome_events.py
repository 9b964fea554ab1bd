"""Events of source `clusterbus` that report the outcomes of deliveries, so that other subscriptions can react."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from router.broker.interface import Message
from router.model.catalogue import Catalogues
from router.model.events import OWN, Event, Value, Wire
from router.model.ids import derived_id
from router.pipeline.mapping import own_event
from router.pipeline.messages import message_of
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues, read_again

from ..deliveries import DEEPEST, GONE, DeadLetter, Delivery, Done, Outcome, Retry, depth_of
from ..policies.enrichment import META
from ..subscriptions.models import Subscription
from .in_flight import InFlight
from .states import Ended, Recorded

_NODES_IN = {
    "waiting": "waitingNodes",
    "running": "runningNodes",
    "succeeded": "doneNodes",
    "failed": "failedNodes",
}
"""The variable for the nodes in each state."""

_ANSWERED_BY_NONE = (f"{OWN}.deliveryDone", f"{OWN}.jobProgress")
"""Types of events whose own deliveries are not reported as done: each would cause another."""


class OutcomeEvents:
    """Makes the events that report outcomes."""

    def __init__(self, settings: Settings | None, clock: Callable[[], datetime]) -> None:
        """Use the catalogue of *settings*; what succeeded is reported if they say so, and by verbs that always do."""
        self.catalogues = catalogues(settings) if settings else Catalogues.shipped()
        self._settings = settings
        self._done_events = settings is not None and settings.consumers.done_events
        self.clock = clock
        self._wire: Wire = settings.router.wire if settings else "structured"

    def catalogues_now(self) -> Catalogues:
        """Return the site's catalogues as they are now, or those in use while they cannot be read."""
        return read_again(self._settings, self.catalogues) if self._settings else self.catalogues

    def messages(self, delivery: Delivery, outcome: Outcome, subscription: Subscription) -> Iterator[Message]:
        """Yield the messages that report the *outcome* of *delivery*."""
        return (message_of(each, wire=self._wire) for each in self._events(delivery, outcome, subscription))

    def message(self, name: str, data: Mapping[str, Value], **about: Any) -> Message:  # noqa: ANN401 - as for `own_event`
        """Return the message of one event *name* of ours with *data*; *about* is what else `own_event` takes."""
        return message_of(own_event(name, data, self.catalogues, **about), wire=self._wire)

    def _events(self, delivery: Delivery, outcome: Outcome, subscription: Subscription) -> Iterator[Event]:
        """Yield the events that report the *outcome* of *delivery*; the same outcome has the same ids.

        None where there is nothing to report: it was not done, or is too deep.
        """
        depth = depth_of(delivery.event) + 1
        if depth > DEEPEST:
            return
        for name, facts in self._reports(delivery, outcome, subscription):
            data = {**about(delivery), "depth": depth, **facts, **nodes_of(outcome.result), **_meta(outcome.result)}
            if isinstance(outcome, Done):
                data.pop("failedNodes", None)
            event = delivery.event
            yield own_event(
                name,
                data,
                self.catalogues,
                cluster=event.cluster,
                node=event.node,
                id_=derived_id(event.id[:10], f"{name}/{delivery.mark}"),
                moment=self.clock(),
            )

    def audited(self, outcomes: Iterable[tuple[InFlight, Ended | Recorded]]) -> list[Delivery]:
        """Return the events that report *outcomes* of verbs whose reports are audited, as the audit takes them."""
        return [
            Delivery(event, state.delivery.subscription, event.topic, event.to_json())
            for in_flight, state in outcomes
            if (subscription := in_flight.subscription.definition).verb.is_audited
            for event in self._events(state.delivery, state.outcome, subscription)
            if event.name in (subscription.verb.reports or ())
        ]

    def _reports(
        self, delivery: Delivery, outcome: Outcome, subscription: Subscription
    ) -> Iterator[tuple[str, dict[str, Value]]]:
        """Yield the name of each event that reports *outcome*, with what only this event says."""
        names, kind = subscription.verb.reports, subscription.kind
        match outcome:
            case Done():
                if names:
                    yield names[0], {}
                if self._done_events and kind != "log" and delivery.event.type not in _ANSWERED_BY_NONE:
                    yield "deliveryDone", {"verb": kind}
            case Retry(reason=reason):
                if names:
                    yield names[1], {"reason": reason, "final": "no"}
            case DeadLetter(reason=reason):
                if names:
                    yield names[1], {"reason": reason, "final": "yes"}
                yield "deliveryDead", {"verb": kind, "reason": reason}
                if isinstance(target := outcome.result.get(GONE), str):
                    yield "targetGone", {"target": target, "reason": reason}


def about(delivery: Delivery) -> dict[str, Value]:
    """Return what every report says of *delivery*."""
    event = delivery.event
    return {
        "subscription": delivery.subscription,
        "eventType": event.type,
        "eventId": event.id,
        "attempt": delivery.attempt,
    }


def nodes_of(result: Mapping[str, object]) -> dict[str, Value]:
    """Return the nodes that a command ran on, and those of them where it failed.

    >>> nodes_of({"nodes": {"succeeded": "n[1-2]", "failed": "n3"}})
    {'nodes': 'n[1-2],n3', 'failedNodes': 'n3'}
    """
    found = result.get("nodes")
    if not isinstance(found, Mapping):
        return {}
    good, bad = (str(found.get(each) or "") for each in ("succeeded", "failed"))
    return {"nodes": ",".join(each for each in (good, bad) if each), "failedNodes": bad or None}


def progress_event(
    about: Mapping[str, Any], job_id: str, states: Mapping[str, str], catalogues: Catalogues, moment: datetime
) -> Event | None:
    """Return the event that reports the *states* of the nodes of a run; the same states have the same id.

    None if the facts *about* the run are those of an earlier release, or it is too deep.
    """
    depth = about.get("depth", 0) + 1
    if "cluster" not in about or depth > DEEPEST:
        return None
    data: dict[str, Value] = {
        "subscription": about["subscription"],
        "eventType": about["type"],
        "eventId": about["event"],
        "attempt": about["attempt"],
        "job": job_id,
        "nodes": about.get("nodes"),
        **{name: states.get(state) for state, name in _NODES_IN.items()},
        "depth": depth,
    }
    return own_event(
        "jobProgress",
        data,
        catalogues,
        cluster=about["cluster"],
        node=about["node"],
        id_=derived_id(about["event"][:10], f"jobProgress/{job_id}/{sorted(states.items())}"),
        moment=moment,
    )


def _meta(result: Mapping[str, object]) -> dict[str, Value]:
    """Return the words of the subscription, as texts.

    >>> _meta({"meta": {"team": "storage"}})
    {'meta': ['team=storage']}
    """
    found = result.get(META)
    return {META: [f"{name}={text}" for name, text in found.items()]} if isinstance(found, Mapping) else {}
