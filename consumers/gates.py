"""What stands between a delivery and its handler: silences, folds, rates, order, guards, breakers.

A gate is asked for the deliveries of one subscription that are due, in the transaction that would write that they
begin.  It returns the outcome of those that do not begin now, and remembers in that transaction what it has to.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache, partial

from sqlalchemy.engine import Connection

from router import durations

from .breakers import Breaker
from .deliveries import FOLDED, HANDED_OVER, DeadLetter, Outcome, Skipped, Waiting, is_fold, raised
from .errors import FilterError
from .filters import Filter
from .flights import Flight
from .groupings import key_of
from .guards import Ask
from .retries import RetryPolicy
from .store import approvals, breakers, silences, storms
from .store import deliveries as table
from .store.approvals import Approval
from .store.database import lock
from .storms import Folding, Gathered, Rate, rates
from .subscriptions import Subscription
from .verbs import Handler

log = logging.getLogger(__name__)

Refused = dict[Flight, Outcome]
Gate = Callable[[Connection, Sequence[Flight], datetime], Refused]

_LOOK = timedelta(seconds=5)
"""Between two looks of a delivery that waits for others of its subscription."""

_ANSWER = timedelta(seconds=15)
"""Between two looks of a delivery that waits for somebody's word."""


_LATE = timedelta(minutes=5)
"""How long after its time a fold is taken to be told after all."""


def gates_of(subscription: Subscription, handler: Handler) -> list[Gate]:
    """Return the gates before *handler*, in the order that they are asked; most subscriptions have none.

    Those that skip come first, then those that may take long.  Last are those that let few pass: what they let pass
    has to be called, or the few would be used up by what still waits elsewhere.
    """
    name, guard = subscription.name, subscription.guard
    of_rates = rates(subscription.once_per, subscription.limit)
    found: list[Gate] = [partial(folded, name, subscription.fold)]
    if subscription.verb.tells:
        # A fold is silenced when it is told: only then its events have come to an end.
        found = [partial(silenced, name, tellers=False), *found, partial(silenced, name, tellers=True)]
    found += [partial(rated, name, each) for each in of_rates if not each.waits]
    if subscription.order_by:
        found.append(partial(in_order, name))
    if guard and guard.ask and subscription.mode == "live":
        found.append(partial(approved, handler, guard.ask, subscription.retry))
    if guard and guard.at_most:
        found.append(partial(at_most, name, guard.at_most))
    if type(handler).targets is not Handler.targets:
        found.append(partial(unbroken, handler))
    found += [partial(rated, name, each) for each in of_rates if each.waits]
    return found if len(found) > 1 or subscription.fold else []


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
    replay = flight.delivery.replay
    is_first = replay in ("", FOLDED) or replay.startswith(HANDED_OVER)
    return is_first and flight.delivery.attempt == 1 and not flight.is_begun


def silenced(name: str, transaction: Connection, flights: Sequence[Flight], now: datetime, *, tellers: bool) -> Refused:
    """Skip what somebody wants to hear nothing of: of folds those that are told, else those that are none."""
    new = [each for each in flights if _is_new(each) and is_fold(each.delivery.replay) is tellers]
    known = silences.find(transaction, at=now) if new else []
    refused: Refused = {}
    for silence in known:
        if silence.subscription in ("", name):
            said = f"{silence.id} by {silence.author} until {silence.until:%Y-%m-%d %H:%M}: {silence.comment}"
            wanted = _compiled(silence.where)
            for flight in new:
                if wanted and wanted.matches(flight.delivery.event).matched:
                    refused[flight] = Skipped("silenced", said)
    return refused


@lru_cache(maxsize=256)
def _compiled(where: str) -> Filter | None:
    try:
        return Filter(where)
    except FilterError as error:
        # Another release has written it: to hear too much is better than to stop.
        log.error("silence can't be read and holds for nothing", extra={"where": where, "reason": str(error)})  # noqa: TRY400 - the reason says it all
        return None


def folded(
    name: str, folding: Folding | None, transaction: Connection, flights: Sequence[Flight], now: datetime
) -> Refused:
    """Gather events; let pass, with all that was gathered, the one that tells them.

    Without *folding*, which may have been taken away, what was gathered before is told all the same.
    """
    tellers = [each for each in flights if is_fold(each.delivery.replay)]
    new = [each for each in flights if folding and not each.delivery.replay and _is_new(each)]
    if not tellers and not new:
        return {}
    lock(transaction)
    refused = _tell(name, transaction, tellers, now) if tellers else {}
    return refused | _gather(name, folding, transaction, new, now) if folding and new else refused


def _tell(name: str, transaction: Connection, tellers: Sequence[Flight], now: datetime) -> Refused:
    known = storms.by_head(transaction, name, {each.delivery.event.id for each in tellers})
    refused: Refused = {}
    for flight in tellers:
        gathered = known.get(flight.delivery.event.id)
        if gathered is None:
            continue
        if not gathered.count:
            refused[flight] = Skipped(FOLDED, "came too late: told with an event that came after it was due")
        elif gathered.due > now:
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
        if before.due + _LATE < now:
            # Who should have told it is lost, or late: this one does, or nobody ever might.
            storms.hand_on(transaction, name, before.head, now)
            before = replace(before, head=event.id, due=folding.due(now, told.get(key)))
        open_[key] = before.with_event(event)
        reason = f"told with {before.head}, not before {before.due:%Y-%m-%d %H:%M:%S}"
        facts = {"head": before.head, "wait": round((before.due - now).total_seconds(), 3)}
        refused[flight] = Skipped(FOLDED, reason, facts)
    for key, gathered in open_.items():
        storms.gather(transaction, name, key, gathered)
    return refused


def rated(name: str, rate: Rate, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Let so many pass in so long.

    What a rate would skip passes for good; what it has wait counts when it passes last, which is when it is called.
    """
    keys = {each: key_of(each.delivery.event, rate.by) for each in flights if _is_new(each)}
    if not keys:
        return {}
    lock(transaction)
    wanted, ids = set(keys.values()), {each.delivery.event.id for each in keys}
    known = storms.passed(transaction, name, rate.word, wanted, now - rate.per)
    for_good = set() if rate.waits else storms.have_passed(transaction, name, rate.word, wanted, ids)
    passed: dict[str, list[tuple[datetime, str]]] = defaultdict(list, known)
    refused: Refused = {}
    rows = []
    for flight, key in keys.items():
        event_id = flight.delivery.event.id
        if (key, event_id) in for_good:
            continue
        others = [each for each in passed[key] if each[1] != event_id]
        outcome = rate.decide([at for at, _ in others], now)
        if outcome:
            refused[flight] = outcome
            continue
        passed[key] = [*others, (now, event_id)]
        rows.append({"subscription": name, "rule": rate.word, "key": key, "event_id": event_id, "at": now})
    storms.let_pass(transaction, rows)
    return refused


def in_order(name: str, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Have a delivery wait for the earlier ones of its lane that are to be attempted again."""
    waiting = [each for each in flights if not each.is_begun]
    lanes = {flight.lane for flight in waiting}
    ahead: Mapping[str, list[table.Unfinished]] = table.unfinished(transaction, name, lanes) if lanes else {}
    refused: Refused = {}
    for flight in waiting:
        earlier = [each for each in ahead.get(flight.lane, ()) if each.event_id < flight.delivery.event.id]
        earlier = [each for each in earlier if not each.is_gone(now)]
        if earlier:
            reason = f"waits for {earlier[0].event_id}, which comes before it"
            refused[flight] = Waiting(max(each.wait(now) for each in earlier), reason)
    return refused


def at_most(name: str, most: int, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Have what is too many at once wait."""
    lock(transaction)
    # What was begun before has its place already.
    asking = [each for each in flights if not each.is_begun]
    keys = {each.key for each in asking}
    running = [each for key, each in table.running(transaction, name).items() if key not in keys]
    free = max(0, most - sum(not each.is_gone(now) for each in running))
    return {each: Waiting(_LOOK, f"{most} of {name} run at once") for each in asking[free:]}


def unbroken(handler: Handler, transaction: Connection, flights: Sequence[Flight], now: datetime) -> Refused:
    """Have what needs a target wait while its breaker is open; of several the open ones are left out."""
    for flight in flights:
        flight.targets = _targets(handler, flight)
    known = breakers.find(transaction, {target for flight in flights for target in flight.targets})
    if not known:
        return {}
    refused: Refused = {}
    probed: dict[str, Breaker] = {}
    for flight in flights:
        theirs = [probed.get(each) or known[each] for each in flight.targets if each in known]
        waits = [(wait, each) for each in theirs if (wait := each.wait(now))]
        if len(waits) == len(flight.targets) and waits and not flight.is_begun:
            wait, breaker = min(waits, key=lambda each: each[0])
            reason = f"breaker of {breaker.target} is open: failed {breaker.failed} times in a row, {breaker.reason}"
            refused[flight] = Waiting(wait, reason)
        else:
            shunned = frozenset(each.target for _, each in waits)
            flight.delivery = replace(flight.delivery, shunned=shunned)
            probed |= {each.target: each.probed(now) for each in theirs if each.target not in shunned}
    breakers.write(transaction, [each for each in probed.values() if each.until])
    return refused


def _targets(handler: Handler, flight: Flight) -> tuple[str, ...]:
    try:
        return tuple(str(each) for each in handler.targets(flight.delivery))
    except (Exception, SystemExit):  # noqa: BLE001 - whatever it is, the call will raise it, and then it counts
        return ()


def approved(
    handler: Handler,
    ask: Ask,
    policy: RetryPolicy,
    transaction: Connection,
    flights: Sequence[Flight],
    now: datetime,
) -> Refused:
    """Have a delivery wait for somebody's word, or skip it where that is no, or does not come."""
    questions = {flight: approvals.identity(flight.key) for flight in flights if not flight.is_begun}
    known = approvals.get_all(transaction, questions.values()) if questions else {}
    refused: Refused = {}
    for flight, question in questions.items():
        found = known.get(question)
        if found is None:
            try:
                plan = json.dumps(dict(handler.plan(flight.delivery)), default=str)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - its attempt has failed, and nothing else has
                refused[flight] = raised(flight.delivery, error, policy)
                continue
            event = flight.delivery.event
            found = Approval(question, event.id, flight.key.subscription, event.type, plan, now, now + ask.within)
            approvals.ask(transaction, found)
        if outcome := _by_word(found, flight, ask, now):
            refused[flight] = outcome
    return refused


def _by_word(found: Approval, flight: Flight, ask: Ask, now: datetime) -> Outcome | None:
    if (found.event_id, found.subscription) != flight.key[:2]:
        return DeadLetter(f"question {found.id} is of another delivery: replay this one, it is asked for anew then")
    if found.state == "approved":
        return None
    if found.state == "refused":
        return Skipped("refused", f"by {found.by}")
    if found.until <= now:
        return Skipped("unanswered", f"nobody approved it within {durations.text(ask.within)}")
    said = f"clusterbus jobs approve {found.id}, until {found.until:%Y-%m-%d %H:%M}"
    return Waiting(min(_ANSWER, found.until - now), f"waits for approval: {said}")
