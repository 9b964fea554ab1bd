"""The gate of `blast_radius` and `first`: on which of its nodes a delivery acts now.

A delivery whose handler can act on some of its nodes at a time goes through in portions: the others wait for its next
call.  Any other waits until it may act on all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy.engine import Connection

from ....deliveries import DeadLetter, Key, Outcome, Skipped, bounded
from ....policies.blast_radius import UNKNOWN, Members, Room, room
from ....policies.guards import BlastRadius, First
from ....policies.places import Place, short
from ....store.database import lock
from ....store.limits import taken_places
from ....store.limits.taken_places import ACTED
from ....subscriptions.models import Subscription
from ....verbs.interface import Handler
from ...states import Admitted
from ..interface import Answers

_WORD = "beyond"


class BlastRadiusGate:
    """Lets deliveries act on as many nodes as the blast radius allows, and on a few first where that is asked for."""

    def __init__(
        self, subscription: Subscription, handler: Handler, radius: BlastRadius | None, first: First | None
    ) -> None:
        """Count the nodes of the action of *handler*, or of *subscription* if it has none."""
        self._scope = f"action {handler.action}" if handler.action else f"subscription {subscription.name}"
        acts_elsewhere = bool(subscription.guard and subscription.guard.acts_on)
        self._divides, self._radius, self._first = handler.divides and not acts_elsewhere, radius, first

    @classmethod
    def of(cls, subscription: Subscription, handler: Handler) -> Self | None:
        """Return the gate of a subscription that asks for it."""
        guard = subscription.guard
        if guard is None or not (guard.blast_radius or guard.first):
            return None
        return cls(subscription, handler, guard.blast_radius, guard.first)

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Say on which nodes each of *due* may act; what goes on acts on the nodes that it has."""
        if self._radius:
            lock(transaction)
        answers: dict[Key, Outcome | Admitted] = {}
        counted: dict[str, dict[str, datetime | None]] = {}
        for each in due:
            if each.is_under_way:
                continue
            if not isinstance(each.plan, str):
                answers[each.key] = each.plan
                continue
            if (moment := each.due()) and moment > now:
                answers[each.key] = each.wait(moment - now, f"first: the others follow at {moment:%H:%M:%S} UTC")
                continue
            if self._first and not self._divides and len(each.nodes) > self._first.nodes:
                reason = f"first: this acts on {len(each.nodes)} nodes, and cannot act on some of them first"
                answers[each.key] = DeadLetter(reason)
                continue
            portion = self._first_of(each)
            if self._radius:
                asked = self._room(transaction, self._radius, each, portion, now, counted)
                if isinstance(asked, Outcome):
                    answers[each.key] = asked
                    continue
                portion, places = asked
                each = each.with_places(places)  # noqa: PLW2901 - it is the same delivery, further on
            if portion != each.nodes:
                wait = self._first.wait if self._first and self._is_trial(each) else timedelta()
                each = each.with_portion(portion, wait)  # noqa: PLW2901 - idem
            answers[each.key] = each
        return answers

    def _first_of(self, state: Admitted) -> tuple[str, ...]:
        """Return the nodes to begin with, or all where that is done, or not asked for."""
        if self._first is None or not self._is_trial(state):
            return state.nodes
        return state.nodes[: self._first.nodes - _count(state.succeeded)]

    def _is_trial(self, state: Admitted) -> bool:
        """Say whether it has not gone well yet on as many nodes as come first."""
        return self._divides and self._first is not None and _count(state.succeeded) < self._first.nodes

    def _room(
        self,
        transaction: Connection,
        radius: BlastRadius,
        state: Admitted,
        wanted: tuple[str, ...],
        now: datetime,
        counted: dict[str, dict[str, datetime | None]],
    ) -> tuple[tuple[str, ...], list[Place]] | Outcome:
        """Return on which of *wanted* nodes to act and the places for that, or why not."""
        members = Members.of(state.delivery.known, radius)
        if isinstance(members, str):
            return state.wait(UNKNOWN, f"blast_radius: {members}: run `clusterbus facts read`")
        cluster = state.delivery.event.cluster
        rule, quorum_rule = short(f"{ACTED}{cluster} {self._scope}"), short(f"{ACTED}{cluster} quorum")
        for name in (rule, quorum_rule):
            if name not in counted:
                counted[name] = taken_places.acted(transaction, name, now - radius.within, now)
        names = _identities(state, wanted)
        found = room(radius, [*names], counted[rule], counted[quorum_rule], members, now)
        allowed = [*names] if len(found.allowed) == len(names) else [*(found.allowed if self._divides else ())]
        if len(names) > len(allowed) and not allowed:
            return self._refusal(state, radius, found, most=radius.most(members.count), asked=len(names))
        voters = [each for each in allowed if each in members.quorum]
        for place, nodes in ((rule, allowed), (quorum_rule, voters)):
            counted[place] |= dict.fromkeys(nodes)
        places = [*(Place(rule, each) for each in allowed), *(Place(quorum_rule, each) for each in voters)]
        return tuple(names[each] for each in allowed), places

    def _refusal(self, state: Admitted, radius: BlastRadius, found: Room, *, most: int, asked: int) -> Outcome:
        reason = bounded(f"blast_radius: {found.reason}")
        if found.never or (not self._divides and asked > most):
            return DeadLetter(f"{reason}, and this would act on {asked}")
        if found.is_unknown:
            return state.wait(found.wait, reason)
        if radius.rest == "skip" and state.comes_first:
            return Skipped(_WORD, reason)
        return state.wait(found.wait, f"{reason}; the others wait")


def _count(nodes: str) -> int:
    from router.cluster.fleet.node_sets import unfold  # noqa: PLC0415 - ClusterShell, which few subscriptions need

    return len(unfold(nodes))


def _identities(state: Admitted, nodes: Sequence[str]) -> Mapping[str, str]:
    """Return *nodes* by their names in the facts, where they have one: a node counts once, however it is written."""
    known = state.delivery.known
    names = (known.values or {}).get("names", {}) if known else {}
    return {short(names.get(each) or names.get(each.lower()) or each): each for each in nodes}
