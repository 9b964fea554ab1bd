"""What a subscription would do with an event, and because of what.  No broker, no store, no effect: only decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from router import durations
from router.broker.topology import RUNGS
from router.events import Event
from router.facts import Known
from router.topics import matches

from .deliveries import Delivery
from .errors import ConsumerError, Rejected
from .filters import Filter, told
from .retries import RetryPolicy
from .subscriptions import Subscription
from .telling import is_own

Decision = Literal["matched", "pattern", "own", "filter", "unclear", "off"]
"""`pattern`: none of `on` fits; `filter`: `where` is false; `unclear`: `where` could not be evaluated."""

Plan = Callable[[Delivery], Mapping[str, object]]
"""A handler's `plan`: raises Rejected where the call would."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a subscription takes an event, and because of what."""

    decision: Decision
    because: str

    @property
    def matched(self) -> bool:
        """Whether it takes it."""
        return self.decision == "matched"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What one subscription would do with one event.

    *effect* is what its handler would do; *refused* is why the delivery would be given up at once, *unknown* why it
    can't be told on this machine.  *attempts* are the times from the first one to each, should all of them fail.
    """

    subscription: Subscription
    verdict: Verdict
    effect: Mapping[str, object] = field(default_factory=dict)
    refused: str = ""
    unknown: str = ""
    attempts: Sequence[timedelta] = ()
    rules: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        subscription, verdict = self.subscription, self.verdict
        facts: dict[str, Any] = {
            "subscription": subscription.name,
            "matched": verdict.matched,
            "decision": verdict.decision,
            "because": verdict.because,
            "verb": subscription.kind,
            "mode": subscription.mode,
        }
        if verdict.matched:
            facts |= {"effect": dict(self.effect), "refused": self.refused, "unknown": self.unknown}
            facts |= {"attempts": [durations.text(each) for each in self.attempts], "rules": list(self.rules)}
        return facts


def rehearse(subscription: Subscription, event: Event, plan: Plan, known: Known | None = None) -> Rehearsal:
    """Return what *subscription* would do with *event*, whose handler's plan is *plan*, by what is *known*."""
    verdict = consider(subscription, event, event.topic, known)
    if not verdict.matched:
        return Rehearsal(subscription, verdict)
    effect: Mapping[str, object] = {}
    refused = unknown = ""
    try:
        effect = plan(Delivery(event, subscription.name, event.topic, event.to_json(), known=known))
    except Rejected as error:
        refused = str(error)
    except ConsumerError as error:
        unknown = str(error)
    except Exception as error:  # noqa: BLE001 - somebody else's verb; that it fails is what there is to be told
        unknown = f"{type(error).__name__}: {error}"
    attempts = () if refused else moments(subscription.retry)
    return Rehearsal(subscription, verdict, effect, refused, unknown, attempts, tuple(rules(subscription)))


def consider(subscription: Subscription, event: Event | None, topic: str, known: Known | None = None) -> Verdict:
    """Say whether *subscription* takes the *event* of this *topic*, by what is *known* of its cluster.

    Without its body the filter cannot be asked.
    """
    fitting = [each for each in subscription.patterns if matches(each, topic)]
    if not fitting:
        return Verdict("pattern", f"no pattern of `on` fits {topic}: there is {', '.join(subscription.patterns)}")
    if event is not None and subscription.kind != "log" and is_own(event, subscription.name):
        return Verdict("own", "it is what an action of its own came to, which is never brought to itself")
    if subscription.mode == "off":
        return Verdict("off", "its mode is off: what comes waits in its queue until it is not")
    return _filtered(subscription, event, fitting[0], known)


def _filtered(subscription: Subscription, event: Event | None, pattern: str, known: Known | None) -> Verdict:
    if subscription.where:
        if event is None:
            return Verdict(
                "unclear", f"pattern {pattern} fits, but the event's data is not known: {subscription.where}"
            )
        asked = Filter(subscription.where)
        answer = asked.matches(event, known)
        if answer.reason:
            return Verdict("unclear", f"where cannot be evaluated: {answer.reason}: {subscription.where}")
        if not answer.matched:
            return Verdict("filter", f"where is false: {subscription.where}{told(asked, event, known)}")
    also = f", and where is true: {subscription.where}" if subscription.where else ""
    return Verdict("matched", f"pattern {pattern} fits{also}")


def does(kind: str) -> str:
    """Return what a subscription of the verb *kind* does, as a word.

    >>> does("run"), does("notify"), does("scripts")
    ('runs', 'notifies', 'scripts')
    """
    if kind.endswith("s"):
        return kind
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def moments(policy: RetryPolicy) -> tuple[timedelta, ...]:
    """Return when each attempt comes, counted from the first, should all fail at once: by the broker's real rungs.

    >>> [durations.text(each) for each in moments(RetryPolicy(attempts=4))]
    ['0s', '5s', '20s', '1m20s']
    """
    found = [timedelta()]
    for each in policy.schedule():
        found.append(found[-1] + RUNGS[each])
    return tuple(found)


def rules(subscription: Subscription) -> Iterator[str]:
    """Yield, in words, what may keep deliveries of *subscription* back, and what comes after the last attempt."""
    if fold := subscription.fold:
        repeat = f", then every {durations.text(fold.repeat)}" if fold.repeat else ""
        yield f"folded{_by(fold.by)}: told {durations.text(fold.wait)} after the first{repeat}"
    if once := subscription.once_per:
        yield f"once in {durations.text(once.interval)}{_by(once.by)}; the others are skipped"
    if limit := subscription.limit:
        rest = "the rest waits in the broker" if limit.rest == "wait" else "the rest is skipped"
        yield f"at most {limit.most} in {durations.text(limit.per)}{_by(limit.by)}; {rest}"
    if guard := subscription.guard:
        if guard.at_most:
            yield f"at most {guard.at_most} at once, over all consumers; the others wait in the broker"
        if guard.only_when:
            yield f"only when this is true right before: {guard.only_when}"
        if guard.only_if:
            yield f"only if this succeeds right before: {' '.join(guard.only_if)}"
        if guard.ask:
            yield f"only if approved within {durations.text(guard.ask.within)}"
    if subscription.order_by:
        yield f"one after the other{_by(subscription.order_by)}"
    if then := subscription.retry.then:
        yield f"then: {then}, when the last attempt has failed"


def _by(places: Sequence[str]) -> str:
    return f" by {', '.join(places)}" if places else ""
