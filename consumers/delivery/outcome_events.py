"""Events of source `clusterbus` that report the outcomes of actions, so that other subscriptions can react."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_never

from router.broker.interface import Message
from router.model.catalogue import Catalogues
from router.model.events import OWN, Event, Value
from router.model.ids import derived_id
from router.pipeline.mapping import own_event
from router.pipeline.messages import message_of

from ..deliveries import DeadLetter, Delivery, Done, Outcome, Retry, Skipped, Waiting

DEEPEST = 5
"""Actions that may follow one another because of their outcomes: it ends a circle of subscriptions."""


def outcome_message(
    delivery: Delivery, outcome: Outcome, names: tuple[str, str], catalogues: Catalogues, moment: datetime
) -> Message | None:
    """Return the event that reports the *outcome* of *delivery*: the first of *names*, or the second where it failed.

    The same outcome has the same id.  None where there is nothing to report: it was not done, or is too deep.
    """
    match outcome:
        case Done():
            name, facts = names[0], {}
        case Retry(reason=reason):
            name, facts = names[1], {"reason": reason, "final": "no"}
        case DeadLetter(reason=reason):
            name, facts = names[1], {"reason": reason, "final": "yes"}
        case Skipped() | Waiting():
            return None
        case _:
            assert_never(outcome)
    event = delivery.event
    depth = _depth(event) + 1
    if depth > DEEPEST:
        return None
    data: dict[str, Value] = {
        "subscription": delivery.subscription,
        "eventType": event.type,
        "eventId": event.id,
        "attempt": delivery.attempt,
        "depth": depth,
        **facts,
    }
    data |= _nodes(outcome.result)
    id_ = derived_id(event.id[:10], f"{name}/{delivery.mark}")
    report = own_event(name, data, catalogues, cluster=event.cluster, node=event.node, id_=id_, moment=moment)
    return message_of(report)


def _nodes(result: Mapping[str, object]) -> dict[str, Value]:
    """Return the nodes that a command ran on, and those of them where it failed.

    >>> _nodes({"nodes": {"succeeded": "n[1-2]", "failed": "n3"}})
    {'nodes': 'n[1-2],n3', 'failedNodes': 'n3'}
    """
    found = result.get("nodes")
    if not isinstance(found, Mapping):
        return {}
    good, bad = (str(found.get(each) or "") for each in ("succeeded", "failed"))
    return {"nodes": ",".join(each for each in (good, bad) if each), "failedNodes": bad or None}


def _depth(event: Event) -> int:
    depth = event.data.get("depth") if event.origin == OWN else 0
    return depth if isinstance(depth, int) else 0
