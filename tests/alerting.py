"""An engine of alerts over a broker in memory, on clocks that a test moves, with rules of the test's own."""

import itertools
from datetime import UTC, datetime, timedelta

from consumers.alert_engine.alert_engine import AlertEngine
from consumers.alerts.active_rules import ActiveRules
from consumers.alerts.rules import Rule
from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import synthetic_event
from consumers.store.alerts import alerts
from router.broker.interface import Message
from router.broker.topology import EVENTS, base
from router.model.catalogue import Catalogues
from router.model.event_words import named
from router.model.events import Event
from router.model.ids import new_id
from router.settings.sections.alerts_section import AlertsSettings
from tests.broker.memory import Memory
from tests.engines import Flaky

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
CATALOGUES = Catalogues.shipped()
REGISTRATIONS = Registrations(CATALOGUES)
ALL = ("open", "acknowledged", "closed")
SECOND, MINUTE, HOUR, DAY = (timedelta(**{each: 1}) for each in ("seconds", "minutes", "hours", "days"))
NODE_DOWN = {"name": "node-down", "opens": "nodeLeave", "closes": "nodeJoin", "by": "data.eventNode"}

_numbers = itertools.count()


def rule(**fields):
    return Rule.model_validate({"flapping": None, **fields})


def active(*rules, facts=None):
    return ActiveRules([rule(**each) for each in rules], CATALOGUES, facts)


def make_event(name, at=START, *, id_=None, reporter="nsd01", **data):
    """Return an event of GPFS; of one node where *data* has `node`."""
    if "node" in data:
        data["eventNode"] = data.pop("node")
    event = synthetic_event(named(name, CATALOGUES), data, REGISTRATIONS, moment=at, node=reporter, cluster="prod")
    # Of events at one moment, the one that was made first is the first.
    return event.model_copy(update={"id": id_ or f"{new_id(at)[:10]}{next(_numbers):016}"})


class AlertBench:
    """An engine of the alerts of *rules*, over the store at *url*."""

    def __init__(self, url, *rules, **settings):
        self.broker = Memory(user="consumer")
        self.broker.declare(base())
        self.store_url = url
        self.store = Flaky(url)
        self.jump = self.steady_jump = timedelta()
        self.rules = active(*rules or (NODE_DOWN,))
        self.settings = AlertsSettings(**settings)
        self.engine = self.another()

    def another(self, *, start=True, broker=None, rules=None):
        """Return one more engine over the same store and broker."""
        line = broker or self.broker.another(user="consumer")
        made = AlertEngine(
            line,
            self.store,
            rules or self.rules,
            clock=self.clock,
            settings=self.settings,
            catalogues=Catalogues.shipped(),
            steady=lambda: (self.broker.now + self.steady_jump) // timedelta(milliseconds=1),
        )
        made.line = line
        if start:
            made.start()
            self.broker.run()
        return made

    def clock(self):
        """The time of the consumer's clock, which may be wrong."""
        return self.now + self.jump

    @property
    def now(self):
        """The time."""
        return START + self.broker.now

    def send(self, *events):
        """Publish events at once."""
        router = self.broker.another(user="router")
        for event in events:
            router.publish(Message(EVENTS, event.topic, event.to_json(), event.id, event.type), lambda _: None)
        self.broker.run()

    def see(self, name, *, ago=timedelta(), **data):
        """Publish an event that was captured some time *ago*; return it."""
        event = make_event(name, self.now - ago, **data)
        self.send(event)
        return event

    def advance(self, duration):
        self.broker.advance(duration)

    @property
    def told(self):
        """The changes that were published, each once, in order."""
        lines = [self.engine.line, *getattr(self, "others", ())]
        found = {}
        for line in lines:
            for message in line.published:
                found.setdefault(message.id, Event.from_json(message.body))
        return [*found.values()]

    @property
    def names(self):
        """The names of the changes that were published."""
        return [each.name for each in self.told]

    def alerts(self, states=ALL, **filters):
        """The alerts, the first first."""
        with self.store.reading() as transaction:
            return alerts.select(transaction, states=states, limit=10_000, **filters)[::-1]

    def act(self, alert, what, **more):
        with self.store.writing() as transaction:
            return alerts.act(
                transaction,
                alert.id,
                what,
                **{"by": "anna", "at": self.clock(), "catalogues": Catalogues.shipped(), **more},
            )

    def history(self, alert):
        with self.store.reading() as transaction:
            return alerts.history(transaction, alert.id)
