"""What stands between a delivery and its handler: silences, folds, rates, order, guards, breakers.

A gate is asked for the deliveries of one subscription that are due, in the transaction that would write that they
begin.  It returns the outcome of those that do not begin now, and remembers in that transaction what it has to.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache, partial

from sqlalchemy.engine import Connection

from router import durations

from .breakers import Breaker
from .deliveries import FOLDED, DeadLetter, Outcome, Skipped, Waiting, bounded, is_fold
from .errors import Rejected
from .filters import Filter
from .flights import Flight
from .groupings import key_of
from .guards import Ask
from .store import approvals, breakers, silences, storms
from .store import deliveries as table
from .store.approvals import Approval
from .store.database import lock
from .storms import Folding, Gathered, Rate, rates
from .subscriptions import Subscription
from .verbs import Handler

Refused = dict[Flight, Outcome]
Gate = Callable[[Connection, Sequence[Flight], datetime], Refused]

_LOOK = timedelta(seconds=5)
"""Between two looks of a delivery that waits for others of its subscription."""

_ANSWER = timedelta(seconds=15)
"""Between two looks of a delivery that waits for somebody's word."""


def gates_of(subscription: Subscription, handler: Handler) -> list[Gate]:
    """Return the gates before *handler*, in the order that they are asked; most subscriptions have none."""
    name, guard = subscription.name, subscription.guard
    found: list[Gate] = [partial(silenced, name)] if subscription.verb.tells else []
    if subscription.fold:
        found.append(partial(folded, name, subscription.fold))
    found += [partial(rated, name, each) for each in rates(subscription.once_per, subscription.limit)]
    if subscription.order_by:
        found.append(partial(in_order, name))
    if guard and guard.at_most:
        found.append(partial(at_most, name, guard.at_most))
    if type(handler).targets is not Handler.targets:
        found.append(partial(unbroken, handler))
    if guard and guard.ask and subscription.mode == "live":
        found.append(partial(approved, handler, guard.ask))
    return found


def ask_all(gates: Iterable[Gate], transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Return what becomes of those of *flights* that some of *gates* refuses."""
    refused: Refused = {}
    for gate in gates:
        flights = [each for each in flights if each not in refused]
        if not flights:
            break
        refused |= gate(transaction, flights, now)
    return refused


def _is_new(flight: Flight) -> bool:
    """Say whether it comes for the first time: what somebody replays has passed, and so has what is repeated."""
    return flight.delivery.attempt == 1 and flight.delivery.replay in ("", FOLDED)


def silenced(name: str, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Skip what somebody wants to hear nothing of."""
    new = [each for each in flights if _is_new(each)]
    known = silences.find(transaction, at=now) if new else []
    refused: Refused = {}
    for silence in known:
        if silence.subscription in ("", name):
            said = f"{silence.id} by {silence.author} until {silence.until:%Y-%m-%d %H:%M}: {silence.comment}"
            for flight in new:
                if _compiled(silence.where).matches(flight.delivery.event).matched:
                    refused[flight] = Skipped("silenced", said)
    return refused


@lru_cache(maxsize=256)
def _compiled(where: str) -> Filter:
    return Filter(where)


def folded(name: str, folding: Folding, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Gather events; let pass, with all that was gathered, the one that tells them."""
    lock(transaction)
    tellers = [each for each in flights if is_fold(each.delivery.replay)]
    new = [each for each in flights if _is_new(each) and each not in tellers]
    refused = _tell(name, transaction, tellers, now) if tellers else {}
    return refused | _gather(name, folding, transaction, new, now) if new else refused


def _tell(name: str, transaction: Connection, tellers: Sequence[Flight], now: datetime) -> Refused:
    known = storms.by_head(transaction, name, {each.delivery.event.id for each in tellers})
    refused: Refused = {}
    for flight in tellers:
        gathered = known.get(flight.delivery.event.id)
        if gathered is None:
            continue
        if gathered.due > now:
            refused[flight] = Waiting(gathered.due - now, f"{gathered.count} events, told at {gathered.due:%H:%M:%S}")
        else:
            flight.delivery = replace(flight.delivery, folded=gathered.fold)
    storms.tell(transaction, name, [each.delivery.event.id for each in tellers if each not in refused], now)
    return refused


def _gather(name: str, folding: Folding, transaction: Connection, new: Sequence[Flight], now: datetime) -> Refused:
    keys = {flight: key_of(flight.delivery.event, folding.by) for flight in new}
    open_ = storms.gathering(transaction, name, set(keys.values()))
    told = storms.told(transaction, name, set(keys.values()))
    refused: Refused = {}
    for flight, key in keys.items():
        event = flight.delivery.event
        before = open_.get(key) or Gathered(event.id, folding.due(now, told.get(key)))
        open_[key] = before.with_event(event)
        reason = f"told with {before.head}, not before {before.due:%Y-%m-%d %H:%M:%S}"
        facts = {"head": before.head, "wait": round((before.due - now).total_seconds(), 3)}
        refused[flight] = Skipped(FOLDED, reason, facts)
    for key, gathered in open_.items():
        storms.gather(transaction, name, key, gathered)
    return refused


def rated(name: str, rate: Rate, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Let so many pass in so long."""
    lock(transaction)
    keys = {each: key_of(each.delivery.event, rate.by) for each in flights if _is_new(each)}
    if not keys:
        return {}
    known = storms.passed(transaction, name, rate.word, set(keys.values()), now - rate.per)
    passed: dict[str, list[tuple[datetime, str]]] = defaultdict(list, known)
    refused: Refused = {}
    rows = []
    for flight, key in keys.items():
        event_id = flight.delivery.event.id
        if any(each == event_id for _, each in passed[key]):
            continue
        outcome = rate.decide([at for at, _ in passed[key]], now)
        if outcome:
            refused[flight] = outcome
            continue
        passed[key].append((now, event_id))
        rows.append({"subscription": name, "rule": rate.word, "key": key, "event_id": event_id, "at": now})
    storms.let_pass(transaction, rows)
    return refused


def in_order(name: str, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Have a delivery wait for the earlier ones of its lane that are to be attempted again."""
    lanes = {flight.lane for flight in flights}
    ahead: Mapping[str, list[table.Unfinished]] = table.unfinished(transaction, name, lanes)
    refused: Refused = {}
    for flight in flights:
        earlier = [each for each in ahead.get(flight.lane, ()) if each.event_id < flight.delivery.event.id]
        if earlier:
            again = max((each.again for each in earlier if each.again), default=now)
            reason = f"waits for {earlier[0].event_id}, which comes before it"
            refused[flight] = Waiting(max(again - now, timedelta(seconds=1)), reason)
    return refused


def at_most(name: str, most: int, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:  # noqa: ARG001 - a gate
    """Have what is too many at once wait."""
    lock(transaction)
    # What was begun by a consumer that is gone is among these flights again: it is not counted twice.
    running = table.running(transaction, name) - {each.key for each in flights}
    free = max(0, most - len(running))
    return {each: Waiting(_LOOK, f"{most} of {name} run at once") for each in flights[free:]}


def unbroken(handler: Handler, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Have what needs a target wait while its breaker is open."""
    for flight in flights:
        with suppress(Rejected):  # the call will raise it, and then it counts
            flight.targets = tuple(handler.targets(flight.delivery))
    known = breakers.find(transaction, {target for flight in flights for target in flight.targets})
    if not known:
        return {}
    refused: Refused = {}
    probed: dict[str, Breaker] = {}
    for flight in flights:
        theirs = [probed.get(each) or known[each] for each in flight.targets if each in known]
        waits = [(wait, each) for each in theirs if (wait := each.wait(now))]
        if waits:
            wait, breaker = max(waits, key=lambda each: each[0])
            reason = f"breaker of {breaker.target} is open: failed {breaker.failed} times in a row, {breaker.reason}"
            refused[flight] = Waiting(wait, reason)
        else:
            probed |= {each.target: each.probed(now) for each in theirs}
    breakers.write(transaction, [each for each in probed.values() if each.until])
    return refused


def approved(handler: Handler, ask: Ask, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Have a delivery wait for somebody's word, or skip it where that is no, or does not come."""
    refused: Refused = {}
    for flight in flights:
        delivery = flight.delivery
        question = approvals.identity(delivery.key)
        found = approvals.get(transaction, question)
        if found is None:
            try:
                plan = json.dumps(dict(handler.plan(delivery)), default=str)
            except Rejected as error:
                refused[flight] = DeadLetter(bounded(str(error)))
                continue
            facts = (delivery.event.id, delivery.subscription, delivery.event.type, plan)
            found = Approval(question, *facts, asked=now, until=now + ask.within)
            approvals.ask(transaction, found)
        if found.state == "refused":
            refused[flight] = Skipped("refused", f"by {found.by}")
        elif found.state == "pending" and found.until <= now:
            refused[flight] = Skipped("unanswered", f"nobody approved it within {durations.text(ask.within)}")
        elif found.state == "pending":
            said = f"clusterbus jobs approve {question}, until {found.until:%Y-%m-%d %H:%M}"
            refused[flight] = Waiting(min(_ANSWER, found.until - now), f"waits for approval: {said}")
    return refused
