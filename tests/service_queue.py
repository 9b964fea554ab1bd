"""A service as an administrator makes one: its queues, and a user that may only read them."""

import json
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pika

from router.broker.service_topology import dead_queue, service, service_exchanges, service_queue
from router.broker.session import Session
from router.broker.topology import DELIVERIES, EVENTS, HISTORY, Queue, base
from router.model.events import CONTENT_TYPE, Event
from tests.consuming import make_event
from tests.rabbit import RabbitAdmin, Tap

PASSWORD = "secret-of-the-service"


class Service:
    """The service *name* in a virtual host; `url` is what its program logs in with."""

    def __init__(self, url: str, admin: RabbitAdmin, tap: Tap, name: str = "tickets") -> None:
        self.name, self.admin, self.tap = name, admin, tap
        self.queue, self.dead = service_queue(name), dead_queue(name)
        # Users are the broker's, not the virtual host's.
        self.user = f"svc-{name}-{uuid4().hex[:6]}"
        parts = urllib.parse.urlsplit(url)
        self.vhost = urllib.parse.unquote(parts.path[1:])
        host = parts.netloc.rpartition("@")[2]
        self.url = parts._replace(netloc=f"{self.user}:{PASSWORD}@{host}").geturl()
        self.url_without_password = parts._replace(netloc=f"{self.user}@{host}").geturl()

    def declare(self, url: str, *, patterns: Iterable[str] = ("#",), limit: int = DELIVERIES) -> None:
        """Make the queues and the user."""
        made = service(self.name, patterns, 2**30)
        *others, queue = made.queues
        queue = Queue(queue.name, {**queue.arguments, "x-delivery-limit": limit})
        with Session(url, name="administrator", limit=timedelta(seconds=60)) as session:
            session.declare(base() + service_exchanges() + replace(made, queues=(*others, queue)))
        self.admin.call("PUT", "users", self.user, body={"password": PASSWORD, "tags": ""})
        self.allow()

    def allow(self, *, history: bool = False, queues: bool = True) -> None:
        """Let the user read its queues, and the *history*."""
        names = [self.queue, self.dead] * queues + [HISTORY] * history
        read = f"^({'|'.join(each.replace('.', '[.]') for each in names)})$" if names else "^$"
        rights = {"configure": "^$", "write": "^$", "read": read}
        self.admin.call("PUT", "permissions", self.vhost, self.user, body=rights)

    def publish(self, *events: Event, is_for_all: bool = True) -> None:
        """Publish *events* as the router does, or for this queue alone, and wait until the queue has them."""
        for event in events:
            kind = pika.BasicProperties(
                content_type=CONTENT_TYPE, delivery_mode=2, message_id=event.id, type=event.type, user_id=None
            )
            exchange, key = (EVENTS, event.topic) if is_for_all else ("", self.queue)
            self.tap.publish(exchange, key, event.to_json(), kind)

    def publish_numbered(self, count: int, first: int = 0, *, is_for_all: bool = True) -> list[Event]:
        """Publish *count* events whose data has a number from *first*, and return them."""
        events = [make_event(number=number) for number in range(first, first + count)]
        self.publish(*events, is_for_all=is_for_all)
        return events

    def acknowledged(self) -> int:
        """How many deliveries of the queue were acknowledged; the broker says so up to five seconds late."""
        counts = self.admin.call("GET", "queues", self.vhost, self.queue).get("message_stats", {})
        return int(counts.get("ack", 0))

    def left(self) -> list[str]:
        """Return the ids of the events that are still in the queue, when no program reads it any more."""
        return [json.loads(each.body)["id"] for each in self.tap.peek(self.queue)]


@contextmanager
def service_in(url: str, admin: RabbitAdmin, name: str = "tickets", **options: object) -> Iterator[Service]:
    """Make a service in the virtual host of *url*, and remove its user."""
    tap = Tap(url)
    service = Service(url, admin, tap, name)
    service.declare(url, **options)  # type: ignore[arg-type]  # passed on
    try:
        yield service
    finally:
        tap.close()
        admin.delete_user(service.user)
