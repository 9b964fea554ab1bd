"""The checks of `clusterbus doctor` on queues, with what AMQP tells: are they there, who reads them, what waits."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from router.broker.amqp.requests import Facts
from router.broker.history.queue_ages import Age, Held
from router.broker.session import Session
from router.broker.topology import ALERTS, DEAD, INGRESS_QUEUES, QUARANTINE, REJECTED, UNROUTED, Queue, base, queue_of
from router.broker.users.broker_state import BrokerState
from router.errors import Denied, QueuesDown

from .broker_cluster import unacknowledged
from .check_results import Finding, Verdict, waiting
from .queue_progress import STANDS

_MANY = 10_000

_OLD = timedelta(minutes=10)
"""How old a delivery may be that no consumer has taken, although one serves its subscription."""

_VERY_OLD = timedelta(hours=1)
"""How old an unacknowledged delivery may be."""

PARKED = (DEAD, REJECTED, UNROUTED)
"""The queues of what nobody could handle."""

_ALWAYS_READ = (*INGRESS_QUEUES, *PARKED, ALERTS)
"""The queues that our programs read all the time, and in which little waits while they do."""

_SEE_CONSUMERS = "see journalctl -u clusterbus-consume, and restart it if it hangs"
_TAKEN_WITHIN = timedelta(minutes=1)
"""How long a router may hold records and write none into its state."""

_UNSERVED = "start clusterbus consume; where it runs, its log says why it does not serve this subscription"

Patterns = Mapping[str, Collection[str]]
"""The patterns of subscriptions, by name."""

Known = Mapping[str, Facts | QueuesDown | None]
"""The broker's facts of each queue, None if it does not exist; without queues that our user may not read."""

OUT_OF_REACH = (
    "start all nodes of the broker, and wait some seconds; if it stays so, RabbitMQ has lost it: the project's page"
    " router/broker/README.md says how to remove it"
)


def ask(session: Session, queues: Sequence[str]) -> Known:
    """Return the broker's facts of *queues*, without those that our user may not read.  Raises BrokerError."""
    known: dict[str, Facts | QueuesDown | None] = {}
    for queue in queues:
        with suppress(Denied):
            try:
                known[queue] = session.queue_facts(queue)
            except QueuesDown as error:
                known[queue] = error
    return known


def compare(session: Session, wanted: Iterable[Queue], known: Known) -> Iterator[Finding]:
    """Check whether those of the *wanted* queues that are *known* to exist are as we declare them.  Raises BrokerError.

    A finding is about a subscription or the broker; queues that our user may not declare are left out.
    """
    for queue in wanted:
        if facts_of(known, queue.name) is None:
            continue
        with suppress(Denied, QueuesDown):
            if unlike := session.compare(queue):
                part = queue.name.removeprefix(queue_of("")) if queue.name.startswith(queue_of("")) else "broker"
                yield Finding(part, "error" if unlike.is_left_out else "warning", str(unlike), unlike.way_out)


def facts_of(known: Known, queue: str) -> Facts | None:
    """Return the facts of *queue*; None if there are none, whatever the reason."""
    facts = known.get(queue)
    return None if isinstance(facts, QueuesDown) else facts


def ready(known: Known) -> dict[str, int]:
    """Return the ready messages of the queues that our programs read all the time, where there is a consumer."""
    facts = {name: facts_of(known, name) for name in _ALWAYS_READ}
    return {name: each.messages for name, each in facts.items() if each and each.consumers}


def broker(
    known: Known,
    standing: Collection[str] = frozenset(),
    last_taken: Callable[[], datetime | None] = lambda: None,
    state: BrokerState | None = None,
) -> Iterator[Finding]:
    """Check the topology, the routers, and the queues of dead letters.

    From the queues *standing* nobody takes anything, although somebody reads them.  *last_taken* is asked where records
    wait, for when the router took its newest one; None if that is not known.  *state* has those that a router holds.
    """
    queues = [queue.name for queue in base().queues]
    absent = [name for name in queues if name in known and known[name] is None]
    lost = [name for name in queues if isinstance(known.get(name), QueuesDown)]
    if lost:
        seen = f"the broker cannot reach queues, which get nothing and give nothing: {', '.join(lost)}"
        yield Finding("broker", "error", seen, OUT_OF_REACH)
    if absent:
        yield Finding("broker", "error", f"missing queues: {', '.join(absent)}", "run clusterbus broker setup")
    elif not lost:
        seen = "" if known.keys() >= set(queues) else ", as far as this user may read it"
        yield Finding("broker", "ok", f"the topology is complete{seen}")
    ingress = {name: facts for name in INGRESS_QUEUES if (facts := facts_of(known, name)) is not None}
    begun = sum(unacknowledged(state, name) or 0 for name in ingress) if state else 0
    yield from _ingress(ingress, standing, begun, last_taken)
    for name in PARKED:
        facts = facts_of(known, name)
        if facts is not None and facts.messages and not facts.consumers:
            yield Finding(
                "letters",
                "warning",
                f"{waiting(facts.messages, 'letter')} in {name}",
                "start clusterbus consume: it moves them into the store",
            )
        elif facts is not None and name in standing:
            seen = f"{waiting(facts.messages, 'letter')} in {name}, which a consumer reads; {STANDS}"
            advice = f"its store is locked or cannot be written, or it hangs: {_SEE_CONSUMERS}"
            yield Finding("letters", "warning", seen, advice)


def alerts(known: Known, standing: Collection[str] = frozenset()) -> Iterator[Finding]:
    """Check whether a consumer reads the events that open and close alerts; *standing* as for `broker`."""
    facts = facts_of(known, ALERTS)
    if facts is not None and ALERTS in standing:
        seen = f"{waiting(facts.messages, 'event')} in {ALERTS}, which a consumer reads; {STANDS}"
        advice = f"alerts neither open nor close, or late: {_SEE_CONSUMERS}"
        yield Finding("subscriptions", "warning", seen, advice)
    if facts is not None and not facts.consumers:
        events = f"; events waiting: {facts.messages}" if facts.messages else ""
        advice = (
            "start clusterbus consume; where it runs, it lacks rights of this release: run clusterbus broker setup and"
            " clusterbus broker users --apply, then restart it"
        )
        yield Finding(
            "subscriptions", "error", f"no consumer reads {ALERTS}, so no alert opens or closes{events}", advice
        )


def _ingress(
    queues: Mapping[str, Facts], standing: Collection[str], begun: int, last_taken: Callable[[], datetime | None]
) -> Iterator[Finding]:
    if not queues:
        return
    now = datetime.now(UTC)
    stuck = [name for name in queues if name in standing]
    taken = last_taken() if stuck or begun else None
    waiting = sum(facts.messages for facts in queues.values())
    unread = [name for name, facts in queues.items() if not facts.consumers]
    if unread:
        # A router that lacks rights of this release reads only some of them.
        way_out = "run clusterbus broker setup and clusterbus broker users --apply, then restart the router"
        advice = "start clusterbus router" if len(unread) == len(queues) else way_out
        yield Finding("router", "error", f"no router reads {', '.join(unread)}; records waiting: {waiting}", advice)
    elif stuck or (taken and now - taken > _TAKEN_WITHIN):
        unfinished = f", unacknowledged: {begun}" if begun else ""
        seen = f"a router reads all its queues, but may hang; records waiting: {waiting}{unfinished}"
        seen += f"; in {', '.join(stuck)}, {STANDS}" if stuck else ""
        seen += f"; the newest record that it took came {taken:%Y-%m-%d %H:%M} UTC, {_ago(taken, now)}" if taken else ""
        advice = (
            "clusterbus doctor --part services, on the router's host, says what it does; systemctl restart"
            " clusterbus-router ends one that hangs: no record is lost"
        )
        yield Finding("router", "warning", seen, advice)
    else:
        # How many stand by is not among the facts: the broker counts only the consumer that gets the messages.
        verdict: Verdict = "warning" if waiting > _MANY else "ok"
        yield Finding("router", verdict, f"a router reads all its queues; records waiting: {waiting}")
    if QUARANTINE in queues and (aside := queues[QUARANTINE].messages):
        advice = "clusterbus tail 'clusterbus.*.router.nodeFlooding.#' --since 1d shows which: look at their callbacks"
        yield Finding("nodes", "warning", f"records of nodes that flood, waiting behind the others: {aside}", advice)


def _ago(moment: datetime, now: datetime) -> str:
    return f"{Age(moment).text(now)} ago"


def backlog(count: int, noun: str, begun: int | None, age: Age | None, now: datetime) -> str:
    """Say that *count* of *noun* wait and *begun* are unacknowledged, if that is known, and how old the oldest is.

    >>> from datetime import timedelta
    >>> noon = datetime(2026, 12, 1, 12)
    >>> backlog(1, "event", 2, Age(noon), noon + timedelta(minutes=20))
    '1 event waits, 2 are unacknowledged, the oldest is 20m old'
    >>> backlog(5, "event", None, None, noon)
    '5 events wait, the age of the oldest is unknown'
    """
    parts = [waiting(count, noun)]
    parts += [f"{begun:,} {'is' if begun == 1 else 'are'} unacknowledged"] if begun is not None else []
    if age or count or begun:
        parts.append(f"the oldest is {age.text(now)} old" if age else "the age of the oldest is unknown")
    return ", ".join(parts)


def held(known: Known, wanted: Patterns, state: BrokerState | None) -> dict[str, Held]:
    """Return what the queues of the subscriptions *wanted* hold, by queue; their patterns are by name.

    Unacknowledged deliveries count if *state* is known.
    """
    return {
        queue: Held(patterns, facts.messages + (unacknowledged(state, queue) or 0 if state else 0))
        for name, patterns in wanted.items()
        if (facts := facts_of(known, queue := queue_of(name)))
    }


def _is_late(count: int, begun: int | None, age: Age | None, now: datetime) -> bool:
    """Return whether *count* deliveries wait, or *begun* are unacknowledged, for longer than they may, by their *age*.

    >>> noon = datetime(2026, 12, 1, 12)
    >>> _is_late(0, 1, Age(noon), noon + timedelta(minutes=20)), _is_late(1, 1, Age(noon), noon + timedelta(minutes=20))
    (False, True)
    """
    if age is None:
        return False
    passed = now - age.since
    return bool(count and passed > _OLD) or bool(begun and passed > _VERY_OLD)


def subscriptions(
    known: Known,
    names: Collection[str],
    state: BrokerState | None = None,
    ages: Mapping[str, Age] = MappingProxyType({}),
) -> Iterator[Finding]:
    """Check whether each subscription of *names* has its queue and a consumer, and say what waits and is unfinished.

    The number of unfinished deliveries is in *state*, if that is known.  *ages* are those of the oldest events in
    queues.
    """
    now = datetime.now(UTC)
    for name in names:
        facts, unfinished = facts_of(known, queue_of(name)), unacknowledged(state, queue_of(name)) if state else None
        waits = backlog(facts.messages, "delivery", unfinished, ages.get(queue_of(name)), now) if facts else ""
        if queue_of(name) not in known:
            advice = "run this as the consumers' user"
            yield Finding(name, "warning", "this broker user may not read its queue", advice)
        elif isinstance(known[queue_of(name)], QueuesDown):
            yield Finding(name, "error", "the broker cannot reach its queue", OUT_OF_REACH)
        elif facts is None:
            yield Finding(
                name, "error", "has no queue", "start clusterbus consume with this file: it creates the queue"
            )
        elif not facts.consumers:
            yield Finding(name, "error", f"has no consumer; {waits}", _UNSERVED)
        elif facts.messages > _MANY or _is_late(facts.messages, unfinished, ages.get(queue_of(name)), now):
            advice = "`clusterbus deliveries --summary` shows what it does: its handler is slow, fails, or waits"
            yield Finding(name, "warning", f"served, but {waits}", advice)
        else:
            yield Finding(name, "ok", f"served; {waits}")
