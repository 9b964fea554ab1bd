"""The gate of circuit breakers: a delivery waits while the targets of its handler are paused after failures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from sqlalchemy.engine import Connection

from ...deliveries import GONE, DeadLetter, Done, Key, Outcome, Retry, Waiting
from ...policies.circuit_breaker import Breaker
from ...store import breakers
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted, Ended
from .interface import Answers

_LONGEST_REASON = 200


def has_targets(handler: Handler) -> bool:
    """Say whether *handler* depends on targets, which have breakers."""
    return type(handler).targets is not Handler.targets


class OpenBreakerGate:
    """Makes a delivery wait while the breakers of all its targets are open; where only some are, leaves those out."""

    @classmethod
    def of(cls, _subscription: Subscription, handler: Handler) -> Self | None:
        """Return the gate before a handler that has targets."""
        return cls() if has_targets(handler) else None

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Let one delivery pass to a target whose pause is over, and make the others wait."""
        asking = [(each, each.targets) for each in due]
        every = {target for _, targets in asking for target in targets}
        known = breakers.find_to_change(transaction, every) if breakers.find(transaction, every) else {}
        answers: dict[Key, Outcome | Admitted] = {}
        probed: dict[str, Breaker] = {}
        for each, targets in asking:
            theirs = [probed.get(target) or known[target] for target in targets if target in known]
            waits = [(wait, breaker) for breaker in theirs if (wait := breaker.wait(now))]
            if len(waits) == len(targets) and waits and not each.is_begun:
                wait, breaker = min(waits, key=lambda one: one[0])
                answers[each.key] = Waiting(wait, _why(breaker))
            elif targets:
                paused = frozenset(breaker.target for _, breaker in waits)
                answers[each.key] = each.with_paused(paused)
                probed |= {one.target: one.probed(now) for one in theirs if one.target not in paused}
        breakers.write(transaction, [each for each in probed.values() if each.until], now)
        return answers


def _why(breaker: Breaker) -> str:
    if breaker.is_gone:
        return f"{breaker.target} is gone: {breaker.reason}; to go on: clusterbus breakers close '{breaker.target}'"
    return f"breaker of {breaker.target} is open: failed {breaker.failed} times in a row, {breaker.reason}"


def _gone(state: Ended) -> str:
    """Return the target of *state* that is gone, an empty text if none is."""
    target = state.outcome.result.get(GONE)
    return target if isinstance(target, str) and target in state.targets else ""


def _blames(outcome: Outcome) -> bool:
    return isinstance(outcome, Retry | DeadLetter) and bool(outcome.blamed or GONE in outcome.result)


def learn(transaction: Connection, ended: Sequence[Ended], now: datetime) -> Sequence[Ended]:
    """Remember what the outcomes of *ended* say about targets.

    Return *ended*, in which one delivery alone reports that a target is gone.
    """
    met = {target for state in ended for target in state.targets}
    if not met:
        return ended
    if not breakers.find(transaction, met) and not any(_blames(state.outcome) for state in ended):
        return ended
    known = breakers.find_to_change(transaction, met)
    closed: set[str] = set()
    result = [*ended]
    for at, state in enumerate(ended):
        match state.outcome:
            case Done():
                closed |= {target for target in state.targets if target in known and not known[target].is_gone}
            case DeadLetter(reason=reason) if target := _gone(state):
                before = known.get(target) or Breaker(target)
                if before.is_gone:
                    result[at] = state.without(GONE)
                    continue
                known[target] = before.gone(now, reason[:_LONGEST_REASON])
                closed.discard(target)
            case Retry(reason=reason, blamed=blamed) | DeadLetter(reason=reason, blamed=blamed):
                for target in {*blamed} & {*state.targets}:
                    before = known.get(target) or Breaker(target)
                    if before.is_gone or (before.opened and state.called <= before.opened):
                        # It was already running when the breaker opened: that it failed says nothing new.
                        continue
                    known[target] = before.after_failure(now, reason[:_LONGEST_REASON])
                    closed.discard(target)
            case _:
                pass
    if closed:
        breakers.close(transaction, closed)
    breakers.write(transaction, [each for target, each in known.items() if target not in closed], now)
    return result
