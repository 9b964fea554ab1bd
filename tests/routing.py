"""The router as a process of its own on a real broker, with nodes that have broker users of their own."""

import sys
import urllib.parse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import pika.exceptions

from router.broker.topology import EVENTS, INGRESS, INGRESS_QUEUES, REJECTED, Topology, base
from router.model.events import Event
from router.pipeline.state import Facts, State
from tests.flow import Running
from tests.nodes import Node, Sent
from tests.rabbit import RabbitAdmin, Taken, Tap
from tests.waiting import wait_for

PATIENCE = 30.0
SEEN = "seen-by-the-test"


def declare(tap: Tap, topology: Topology) -> None:
    """Have *topology* there before any program is started."""
    for exchange in topology.exchanges:
        tap.channel.exchange_declare(exchange.name, exchange.kind, durable=True, arguments=dict(exchange.arguments))
    for queue in topology.queues:
        tap.channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
    for binding in topology.bindings:
        bind = tap.channel.exchange_bind if binding.of_exchange else tap.channel.queue_bind
        bind(binding.queue, binding.exchange, binding.key, dict(binding.arguments))


class Site:
    """A router over the virtual host at *url*, and nodes that publish there as relays do."""

    def __init__(
        self,
        folder: Path,
        url: str,
        admin: RabbitAdmin,
        *,
        router_url: str | None = None,
        state: str | None = None,
        environment: dict[str, str] | None = None,
        watched: Sequence[str] = ("#",),
    ) -> None:
        """Look, in `events` and its like, at what matches the patterns *watched*."""
        self._watched = watched
        self._url, self._admin = url, admin
        self._suffix = uuid4().hex[:8]
        self._taps: dict[str, Tap] = {}
        self._events: list[Event] = []
        self._ids: set[str] = set()
        self.state = state or f"sqlite:///{folder / 'router.db'}"
        facts = {
            "CLUSTERBUS_BROKER": router_url or url,
            "CLUSTERBUS_ROUTER_STATE": self.state,
            "CLUSTERBUS_BROKER_PROGRESS_LIMIT": "3s",
        }
        words = [sys.executable, "-m", "consumers.cli.main", "router"]
        self.router = Running("router", words, facts | (environment or {}), folder)
        self.tap = Tap(url)

    def __enter__(self) -> Self:
        """Start the router; what it publishes is seen from then on."""
        declare(self.tap, base())
        self.tap.channel.queue_declare(SEEN, durable=True)
        for pattern in self._watched:
            self.tap.channel.queue_bind(SEEN, EVENTS, pattern)
        self.router.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that was started, and remove the users."""
        self.router.kill()
        for user, tap in self._taps.items():
            with suppress(pika.exceptions.AMQPError):
                tap.close()
            self._admin.delete_user(user)
        self.tap.close()

    def node(self, name: str) -> Node:
        """Return a node of this site, whose name no other test has, with a broker user."""
        node = Node(self.full(name))
        vhost = urllib.parse.unquote(urllib.parse.urlsplit(self._url).path[1:])
        self._admin.add_user(node.name, "secret", vhost)
        self._taps[node.name] = Tap(self.url_of(node))
        return node

    def full(self, name: str) -> str:
        """Return the name that `node` gives to the node *name*."""
        return f"{name}-{self._suffix}"

    def url_of(self, node: Node) -> str:
        """Return the broker's address with the user of *node*."""
        parts = urllib.parse.urlsplit(self._url)
        return parts._replace(netloc=f"{node.name}:secret@{parts.hostname}:{parts.port}").geturl()

    def send(self, *sent: Sent) -> None:
        """Publish each as its user, and return when the broker has confirmed it."""
        for each in sent:
            assert each.user is not None
            self._taps[each.user].publish(INGRESS, each.key, each.body, each.properties)

    def send_many(self, sent: Sequence[Sent]) -> None:
        """Publish many of one user, without a round trip for each."""
        user = sent[0].user
        assert user is not None
        channel = self._taps[user].channel.connection.channel()
        channel.tx_select()
        for each in sent:
            channel.basic_publish(INGRESS, each.key, each.body, each.properties)
        channel.tx_commit()
        channel.close()

    def send_unconfirmed(self, sent: Sent, count: int) -> None:
        """Publish the same *count* times; the broker may refuse it without a word."""
        assert sent.user is not None
        channel = self._taps[sent.user].channel.connection.channel()
        for _ in range(count):
            channel.basic_publish(INGRESS, sent.key, sent.body, sent.properties)
        channel.close()

    def is_refused(self, sent: Sent) -> bool:
        """Publish *sent*, and return whether the broker refuses it."""
        try:
            self.send(sent)
        except pika.exceptions.NackError:
            return True
        return False

    def events(self, origin: str = "gpfs") -> list[Event]:
        """Return the events of *origin* that were published so far, with repetitions."""
        self._drain()
        return [each for each in self._events if each.origin == origin]

    def in_order(self) -> list[Event]:
        """Return all events in the order in which they were published so far, with repetitions."""
        self._drain()
        return [*self._events]

    def seen(self) -> set[str]:
        """Return the ids of all events that were published so far."""
        self._drain()
        return self._ids

    def _drain(self) -> None:
        new = [Event.from_json(each.body) for each in self.tap.drain(SEEN)]
        self._events += new
        self._ids.update(each.id for each in new)

    def wait_for_events(self, count: int, origin: str = "gpfs", name: str | None = None) -> list[Event]:
        """Return the events of *origin* once there are *count* different ones."""

        def there() -> list[Event]:
            found = [each for each in self.events(origin) if name in (None, each.name)]
            return found if len({each.id for each in found}) >= count else []

        try:
            return wait_for(there, PATIENCE, f"{count} events of {origin}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.router.words()}") from None

    def wait_for_rejected(self, count: int) -> list[Taken]:
        """Return what is kept in `clusterbus.rejected` once there are *count* of them."""
        wait_for(lambda: self.tap.count(REJECTED) >= count, PATIENCE, f"{count} rejected; {self.router.words()}")
        return self.tap.drain(REJECTED)

    def left(self) -> int:
        """End the router, and return how many records the broker still holds: what was acknowledged is gone."""
        self.router.stop()
        wait_for(lambda: not self.consumers(), PATIENCE, "the router's connections are gone")
        return self.waiting()

    def waiting(self) -> int:
        """Return how many records wait for the router."""
        return sum(map(self.tap.count, INGRESS_QUEUES))

    def consumers(self) -> int:
        """Return how many routers are at the ingress queue."""
        return int(self.tap.channel.queue_declare(INGRESS, passive=True).method.consumer_count)

    def facts(self) -> Facts:
        """Return what the router's state holds."""
        with State(self.state) as state:
            return state.facts()

    def known(self, ids: Sequence[str]) -> bool:
        """Say whether the state knows what became of all records *ids*."""
        with State(self.state) as state, state.transaction() as transaction:
            return len(transaction.fates(ids)) == len(ids)
