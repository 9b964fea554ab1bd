"""A delivery costs the same in a store that has been used for years: no statement on its way reads what is over."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from consumers.deliveries import Report
from consumers.policies.guards import Ask, AtMost, Guard, StopAfter
from consumers.policies.retry import RetryPolicy
from consumers.policies.schedules.delays import Delay
from consumers.policies.throttling import Folding, Limit, OncePer
from consumers.store import approvals
from tests.alerting import NODE_DOWN, AlertBench
from tests.alerts import alert_row, change, keep
from tests.engines import START, Bench, subscription
from tests.query_reads import Reads, counted, fill
from tests.unit.consumers.delivery.gates.test_blast_radius import Acts, Facts, about, radius

FEW, MANY = 100, 2000
"""How many deliveries of each subscription are over, and how many wait."""

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
SINCE = f"{START:%Y-%m-%dT%H:%M:%S}Z"
BY = ("data.fsName",)
BY_NODE = OncePer(by=("data.eventNode",), interval=HOUR)
GUARD = Guard(
    at_most=(AtMost(count=2), AtMost(count=2, per="node")),
    blast_radius=radius(nodes=5),
    stop_after=StopAfter(failures=9),
)
RETRY = RetryPolicy(attempts=2, first=5 * SECOND)
SUBSCRIPTIONS = (
    subscription("fold", fold=Folding(by=BY, wait=30 * SECOND, repeat=HOUR)),
    subscription(
        "guarded", once_per=BY_NODE, limit=Limit(by=BY, most=20, per=HOUR), order_by=BY, guard=GUARD, retry=RETRY
    ),
    subscription("asked", once_per=BY_NODE, limit=Limit(by=BY, most=2, per=HOUR, rest="skip"), guard=Guard(ask=Ask())),
    subscription(
        "alerts",
        delay=Delay(wait=10 * MINUTE, unless=("closed",)),
        on=("alert",),
        patterns=("clusterbus.*.alert.#",),
    ),
)
GROUPED = NODE_DOWN | {"group": {"over": 3, "quiet": "10m"}}
QUORUM = {"name": "quorum-lost", "opens": "quorumLoss", "closes": "quorumReached", "suppresses": ["node-down"]}


class Does(Acts):
    """A handler with nodes and a target, whose outcome the test says."""

    def nodes(self, delivery):
        return super().nodes(delivery) if "eventNode" in delivery.event.data else ()

    def __call__(self, delivery):
        return self._call(delivery)


def deliver(bench: Bench, count: int) -> Reads:
    """Deliver a few events of each kind in a store with so many that are over; return what that reads."""
    bench.make, bench.facts, bench.depends_on = Does, Facts(), ("post hub:443",)
    bench.handler = lambda delivery: Report("exit", "no") if "n004" in str(delivery.event.data) else Report()
    fill(bench.store, count * len(SUBSCRIPTIONS), SUBSCRIPTIONS, about(1, fsName="gpfs1"))
    with bench.store.writing() as transaction:
        keep(transaction, alert_row(since=START))
    with counted() as reads:
        bench.start(*SUBSCRIPTIONS)
        bench.publish_at_once([about(number, fsName="gpfs1") for number in range(1, 9)])
        bench.publish(change("alertOpened", since=SINCE))
        bench.broker.advance(MINUTE)
    with bench.store.writing() as transaction:
        for each in approvals.pending(transaction, bench.clock()):
            approvals.answer(transaction, each.id, "approved", "me", bench.clock())
    with counted() as more:
        bench.broker.advance(12 * MINUTE)
        bench.publish(change("alertClosed", change=2))
        bench.broker.advance(MINUTE)
    reads.add(more)
    called = {name for name, _, _ in bench.calls}
    assert called == {each.name for each in SUBSCRIPTIONS}
    seen = {row.outcome for row in bench.rows() if row.started > START - MINUTE}
    assert seen >= {"done", "retry", "dead", "wait", "folded", "limited"}
    return reads


def look_after_alerts(bench: AlertBench, count: int) -> Reads:
    """Open and close alerts in a store with so many that are over; return what that reads."""
    fill(bench.store, count, (subscription("log"),), about(1))
    with counted() as reads:
        for number in range(1, 7):
            bench.see("nodeLeave", node=f"n{number:03d}", reporter="nsd01")
        bench.see("nodeJoin", node="n001", reporter="nsd01")
        bench.advance(30 * MINUTE)
    assert bench.names.count("alertOpened") > 3
    assert "alertClosed" in bench.names
    return reads


def growing(few: Reads, many: Reads) -> dict[str, tuple[int, int]]:
    """Return the statements that read much more where more is over: an index only gets a level higher."""
    assert {*few} == {*many}
    return {each: (few[each], count) for each, count in many.items() if count > 2 * few[each] + 1000}


@pytest.mark.long
@pytest.mark.thorough
def test_what_a_delivery_reads_does_not_grow_with_what_is_over(database):
    found = []
    for count in (FEW, MANY):
        bench = Bench(database(f"store{count}"))
        found.append(deliver(bench, count))
        bench.store.close()

    assert growing(*found) == {}


@pytest.mark.thorough
def test_what_the_engine_of_alerts_reads_does_not_grow_with_what_is_over(database):
    found = []
    for count in (FEW, MANY):
        bench = AlertBench(database(f"store{count}"), GROUPED, QUORUM)
        found.append(look_after_alerts(bench, count))
        bench.store.close()

    assert growing(*found) == {}


@pytest.mark.long
@pytest.mark.thorough
@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM deliveries WHERE node = 'nsd01'",
        "DELETE FROM passes WHERE subscription = 'guarded' AND event_id = 'x' AND rule || '' = 'repeated'",
    ],
)
def test_a_query_that_reads_what_is_over_would_be_seen(database, query):
    found = []
    for count in (FEW, MANY):
        bench = Bench(database(f"store{count}"))
        fill(bench.store, count * len(SUBSCRIPTIONS), SUBSCRIPTIONS, about(1, fsName="gpfs1"))
        with counted() as reads, bench.store.writing() as transaction:
            if "DELETE" in query:
                transaction.execute(text("DROP INDEX passes_by_event"))
            transaction.execute(text(query))
        found.append(reads)
        bench.store.close()

    assert [*growing(*found)] == [query]
