"""An engine over a broker in memory, on a clock that a test moves, with handlers of the test's own."""

from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import update

from consumers.deliveries import Report
from consumers.delivery.active_subscription import ActiveSubscription, Called, serve
from consumers.delivery.engine import Engine
from consumers.delivery.thread_pool import Ticket
from consumers.errors import Mistake, StoreError, SubscriptionsError
from consumers.store import attempts as table
from consumers.store import audit
from consumers.store.database import Store
from consumers.store.schema import deliveries, places
from consumers.subscriptions.models import Subscriptions
from consumers.verbs.interface import Handler, Verb
from consumers.verbs.log.verb import LogVerb
from router.broker.interface import Message
from router.broker.topology import EVENTS, queue_of
from tests.broker.memory import Memory
from tests.consuming import make_event, make_subscription

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Inline:
    """A pool without threads: what is submitted runs when the test says so, or at once."""

    def __init__(self):
        self.held = None
        self.waiting = []

    def submit(self, work):
        ticket = Ticket(work)
        if self.held is None:
            ticket.run()
        elif self.held == "begun":
            # As in a thread that is at it: it can't be cancelled any more.
            self.waiting.append(Ticket(ticket._take()))
        else:
            self.waiting.append(ticket)
        return ticket

    def release(self):
        self.held = None
        for ticket in self.waiting:
            ticket.run()
        self.waiting = []

    def close(self):
        pass


class Flaky(Store):
    """A store that cannot be written for as often as the test says."""

    failures = 0

    @contextmanager
    def writing(self):
        if self.failures:
            self.failures -= 1
            raise StoreError("database or disk is full")
        with super().writing() as transaction:
            yield transaction


class Recorded(Handler):
    """A handler that is the test's."""

    def __init__(self, call, depends_on=(), *, is_contained=True):
        self._call, self.depends_on, self.is_contained = call, depends_on, is_contained

    def __call__(self, delivery):
        return self._call(delivery)

    def plan(self, delivery):
        return {"call": delivery.event.id}

    def targets(self, delivery):
        return self.depends_on


class Bench:
    """An engine over a broker in memory and the store at *url*; handlers other than `log` are the test's own."""

    def __init__(self, url):
        self.broker = Memory(user="consumer")
        self.store = Flaky(url)
        self.pool = Inline()
        self.calls = []
        self.depends_on = ()
        self.is_contained = True
        self.make = Recorded
        self.facts = None
        self.unservable = {}
        self.handler = lambda _delivery: Report()
        self.latencies = self.settings = None

    def start(self, *subscriptions):
        self.engine = Engine(
            self.broker,
            self.store,
            Subscriptions(subscriptions=subscriptions),
            clock=self.clock,
            serve=self._serve,
            latencies=self.latencies,
            settings=self.settings,
        )
        self.engine.start()
        self.broker.run()
        return self

    def clock(self):
        """The broker's time."""
        return START + self.broker.now

    def _serve(self, subscription, surroundings):
        if isinstance(subscription.verb, LogVerb):
            served = serve(subscription, surroundings)
            served.way.pool = self.pool
            return served
        if reason := self.unservable.get(subscription.name):
            raise SubscriptionsError([Mistake("subscriptions.yaml", 3, subscription.name, *reason.split(": "))])
        way = Called(self._recorded(), subscription.concurrency, least=100)
        way.pool, way.planning = self.pool, Inline()
        return ActiveSubscription(subscription, way, self.facts)

    def _recorded(self):
        return self.make(self._call, self.depends_on, is_contained=self.is_contained)

    def _call(self, delivery):
        self.calls.append((delivery.subscription, delivery.event.id, delivery.attempt))
        return self.handler(delivery)

    def publish(self, *events, times=1):
        for event in events:
            for _ in range(times):
                self.send(Message(EVENTS, event.topic, event.to_json(), event.id, event.type))
        self.broker.run()

    def publish_at_once(self, events):
        """Publish many, which arrive in as few batches as the prefetch allows."""
        router = self.broker.another(user="router")
        for event in events:
            message = Message(EVENTS, event.topic, event.to_json(), event.id, event.type)
            router.publish(message, lambda _: None)
        self.broker.run()

    def send(self, message):
        self.broker.another(user="router").publish(message, lambda _: None)
        self.broker.run()

    def rows(self):
        with self.store.reading() as transaction:
            return table.find(transaction, limit=100_000)[::-1]

    def audited(self):
        with self.store.reading() as transaction:
            return [each.id for each in audit.find(transaction)][::-1]

    def lose_owner(self):
        """Let what is under way be that of a consumer that was killed."""
        self.pool.waiting.clear()
        with self.store.writing() as transaction:
            for each in (deliveries, places):
                transaction.execute(update(each).values(owner="x:1:2"))

    def lose_connection(self, name):
        """Let the broker take back what the subscription *name* has, for the next `start`."""
        self.broker.drop()
        self.broker.cancel(queue_of(name))
        self.broker = self.broker.another(user="consumer")

    def waiting(self, queue):
        held = self.broker.model.queue(queue)
        return len(held.ready) + sum(len(each.unsettled) for each in held.subscribers)


class TellVerb(Verb):
    """Tells people; what it does is the test's."""

    tells = True

    def handler(self, surroundings):
        raise NotImplementedError


def subscription(name="tell", **fields):
    """Return a subscription that tells people."""
    return make_subscription(name, TellVerb(), **fields)


def outcomes(bench, name="tell"):
    """Return the outcomes of a subscription, in the order of their beginning."""
    return [row.outcome for row in bench.rows() if row.subscription == name]


def events(count, **variables):
    """Return *count* events, each of another node."""
    return [make_event(node=f"n{number + 1:03d}", **variables) for number in range(count)]
