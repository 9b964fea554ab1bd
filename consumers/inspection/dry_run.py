"""What a subscription would do with an event, and why.  Pure decisions: no broker, no store, no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from router.broker.topology import RETRY_STEPS
from router.cluster.facts.views import Known
from router.model import durations
from router.model.events import Event
from router.model.topics import matches

from ..deliveries import Delivery, is_own
from ..errors import ConsumerError, Rejected
from ..expressions.filters import Filter, shown_values
from ..expressions.values.alert_values import suppressed_by
from ..policies.enrichment import enriched
from ..policies.guards import Guard
from ..policies.retry import RetryPolicy
from ..subscriptions.models import Subscription

Decision = Literal["matched", "pattern", "own", "filter", "unclear", "off"]
"""Why a subscription takes an event or not.

`pattern`: no pattern of `on` matches; `own`: the result of its own command; `filter`: `where` is false; `unclear`:
`where` cannot be evaluated; `off`: its mode is `off`.
"""

Plan = Callable[[Delivery], Mapping[str, object]]
"""A handler's `plan`: raises Rejected if the call would."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a subscription takes an event, and why."""

    decision: Decision
    because: str

    @property
    def matched(self) -> bool:
        """Whether the subscription takes the event."""
        return self.decision == "matched"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What one subscription would do with one event.

    *effect* is what its handler would do.  *refused* is why the delivery would become a dead letter at once, *unknown*
    why this machine cannot determine the effect.  *attempts* are the times from the first attempt to each attempt, if
    all of them fail.
    """

    subscription: Subscription
    verdict: Verdict
    effect: Mapping[str, object] = field(default_factory=dict)
    refused: str = ""
    unknown: str = ""
    attempts: Sequence[timedelta] = ()
    rules: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the rehearsal as plain values."""
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
    """Return what *subscription* would do with *event*, using its handler's *plan* and the facts *known*."""
    verdict = consider(subscription, event, event.topic, known)
    if not verdict.matched:
        return Rehearsal(subscription, verdict)
    effect: Mapping[str, object] = {}
    refused = unknown = ""
    try:
        delivery = Delivery(event, subscription.name, event.topic, event.to_json(), known=known)
        effect = plan(enriched(delivery, subscription.facts, subscription.meta))
    except Rejected as error:
        refused = str(error)
    except ConsumerError as error:
        unknown = str(error)
    except Exception as error:  # noqa: BLE001 - a verb of another package may raise anything; the failure is reported
        unknown = f"{type(error).__name__}: {error}"
    attempts = () if refused else moments(subscription.retry)
    those = (*suppression(subscription, event), *rules(subscription))
    return Rehearsal(subscription, verdict, effect, refused, unknown, attempts, those)


def consider(subscription: Subscription, event: Event | None, topic: str, known: Known | None = None) -> Verdict:
    """Return whether *subscription* takes the *event* of this *topic*, using the facts *known* of its cluster.

    Without the event's body, a filter cannot be evaluated.
    """
    fitting = [each for each in subscription.patterns if matches(each, topic)]
    if not fitting:
        return Verdict("pattern", f"no pattern of `on` matches {topic}: it has {', '.join(subscription.patterns)}")
    if event is not None and subscription.kind != "log" and is_own(event, subscription.name):
        return Verdict("own", "the event is the result of its own command, which it never receives")
    if subscription.mode == "off":
        return Verdict("off", "its mode is off: events wait in its queue until the mode changes")
    return _filtered(subscription, event, fitting[0], known)


def _filtered(subscription: Subscription, event: Event | None, pattern: str, known: Known | None) -> Verdict:
    if subscription.where:
        if event is None:
            return Verdict(
                "unclear", f"pattern {pattern} matches, but the event's data is not known: {subscription.where}"
            )
        asked = Filter(subscription.where)
        answer = asked.matches(event, known)
        if answer.reason:
            return Verdict("unclear", f"where cannot be evaluated: {answer.reason}: {subscription.where}")
        if not answer.matched:
            return Verdict("filter", f"where is false: {subscription.where}{shown_values(asked, event, known)}")
    also = f", and where is true: {subscription.where}" if subscription.where else ""
    return Verdict("matched", f"pattern {pattern} matches{also}")


def suppression(subscription: Subscription, event: Event) -> Iterator[str]:
    """Yield, in words, that *subscription* skips *event* because another alert suppresses the one that it tells of."""
    if (other := suppressed_by(event)) and subscription.leaves_out_suppressed:
        yield f"skipped, suppressed: alert {other} suppresses it, and `where` does not ask for data.suppressedBy"


def does(kind: str) -> str:
    """Return the verb *kind* in the third person: what its subscription does.

    >>> does("run"), does("notify"), does("scripts"), does("action")
    ('runs', 'notifies', 'scripts', 'acts')
    """
    if kind.endswith("s"):
        return kind
    if kind == "action":
        return "acts"
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def moments(policy: RetryPolicy) -> tuple[timedelta, ...]:
    """Return the time from the first attempt to each attempt, if all fail at once, by the broker's wait queues.

    >>> [durations.text(each) for each in moments(RetryPolicy(attempts=4))]
    ['0s', '5s', '20s', '1m20s']
    """
    found = [timedelta()]
    for each in policy.schedule():
        found.append(found[-1] + RETRY_STEPS[each])
    return tuple(found)


def rules(subscription: Subscription) -> Iterator[str]:
    """Yield, in words, what may delay or skip deliveries of *subscription*, and what follows the last attempt."""
    if every := subscription.every:
        yield f"due {every.text}"
    if delay := subscription.delay:
        unless = f"; skipped if the alert is {' or '.join(sorted(delay.unless))} by then" if delay.unless else ""
        yield f"waits {durations.text(delay.wait)} before the first attempt{unless}"
    if fold := subscription.fold:
        repeat = f", then every {durations.text(fold.repeat)}" if fold.repeat else ""
        yield f"grouped{_by(fold.by)}: delivered {durations.text(fold.wait)} after the first event{repeat}"
    if once := subscription.once_per:
        yield f"once per {durations.text(once.interval)}{_by(once.by)}; the others are skipped"
    if limit := subscription.limit:
        rest = "the others wait in the broker" if limit.rest == "wait" else "the others are skipped"
        yield f"at most {limit.most} per {durations.text(limit.per)}{_by(limit.by)}; {rest}"
    if subscription.guard:
        yield from _of_guard(subscription.guard)
    if subscription.order_by:
        yield f"one after another{_by(subscription.order_by)}"
    if then := subscription.retry.then:
        yield f"then: {then} receives the event after the last failed attempt"


def _of_guard(guard: Guard) -> Iterator[str]:
    for each in guard.at_most or ():
        rest = "the others wait in the broker" if each.rest == "wait" else "the others are skipped"
        per = "" if each.per == "subscription" else f" per {each.per}"
        yield f"at most {each.count} at once{per}{_by(each.by)}, over all consumers; {rest}"
    if radius := guard.blast_radius:
        count = f"{radius.nodes} nodes" if radius.nodes else f"{radius.percent} % of {radius.of or 'the cluster'}"
        rest = "the others wait in the broker" if radius.rest == "wait" else "the others are skipped"
        within = f"{durations.text(radius.within)}, and never on too many quorum nodes"
        yield f"acts on at most {count} within {within}; {rest}"
    if stop := guard.stop_after:
        rest = "then the others wait" if stop.rest == "wait" else "then the others are skipped"
        within = durations.text(stop.within)
        yield f"stops after {stop.failures} failures within {within}; {rest} until a person lets it go on"
    if first := guard.first:
        after = f", after {durations.text(first.wait)}" if first.wait else ""
        yield f"on {first.nodes} of its nodes first; on the others{after}, if it went well there"
    if guard.only_when:
        yield f"only when this is true right before each attempt: {guard.only_when}"
    if guard.only_if:
        yield f"only if this succeeds right before each attempt: {' '.join(guard.only_if)}"
    if guard.ask:
        yield f"only if approved within {durations.text(guard.ask.within)}"


def _by(places: Sequence[str]) -> str:
    return f" by {', '.join(places)}" if places else ""
