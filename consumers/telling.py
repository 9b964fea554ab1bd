"""What consumers say themselves: an event of source `clusterbus` for what an action came to; others can react."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_never

from router.broker import Message
from router.catalogue import Catalogues
from router.events import Event, Value
from router.records import derived_id
from router.settling import message_of
from router.translation import OWN, own_event

from .deliveries import DeadLetter, Delivery, Done, Outcome, Retry, Skipped, Waiting

DEEPEST = 5
"""Actions that follow one another because of their outcomes, at the most: a circle of subscriptions has an end."""


def outcome_message(
    delivery: Delivery, outcome: Outcome, names: tuple[str, str], catalogues: Catalogues, moment: datetime
) -> Message | None:
    """Return what tells that *delivery* came to *outcome*, under the first of *names* or, failed, the second.

    The same outcome has the same id.  None where nothing is told: it was not done, or is too deep.
    """
    match outcome:
        case Done():
            name, said = names[0], {}
        case Retry(reason=reason):
            name, said = names[1], {"reason": reason, "final": "no"}
        case DeadLetter(reason=reason):
            name, said = names[1], {"reason": reason, "final": "yes"}
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
        **said,
    }
    data |= _nodes(outcome.result)
    what = f"{name}/{delivery.mark}"
    id_ = derived_id(event.id[:10], what)
    told = own_event(name, data, catalogues, cluster=event.cluster, node=event.node, id_=id_, moment=moment)
    return message_of(told)


def is_own(event: Event, subscription: str) -> bool:
    """Say whether *event* tells what an action of *subscription* came to: that is never brought to itself."""
    return event.category == "action" and event.origin == OWN and event.data.get("subscription") == subscription


def _nodes(result: Mapping[str, object]) -> dict[str, Value]:
    """Return on which nodes it was done, and on which of them it failed, where it was done on nodes.

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
