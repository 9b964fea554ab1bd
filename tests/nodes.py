"""A node as the router sees it: records with a key, numbers and a validated user, as its relay publishes them."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pika

from router.broker.interface import Arrival, Message
from router.broker.topology import INGRESS
from router.model.ids import id_of_record, new_id

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def plain_id(at: datetime) -> str:
    """Return a new id of *at* that the event has too: of a million, one has the form of derived ids by chance."""
    id_ = new_id(at)
    return id_ if id_of_record(id_) == id_ else plain_id(at)


@dataclass(frozen=True)
class Sent:
    """A record as it is published; a test changes what it wants to forge with `but`."""

    key: str
    body: bytes
    id: str
    user: str | None
    headers: dict[str, Any]

    def but(self, **changes: Any) -> "Sent":
        """Return it with other facts around the body."""
        return replace(self, **changes)

    def saying(self, **fields: Any) -> "Sent":
        """Return it with other fields in the body."""
        return replace(self, body=json.dumps(json.loads(self.body) | fields).encode())

    @property
    def message(self) -> Message:
        """What the stand-in in memory publishes; its line has the user."""
        return Message(INGRESS, self.key, self.body, self.id, headers=self.headers)

    @property
    def properties(self) -> pika.BasicProperties:
        """What a relay sends beside the body; the user has to be the connection's own."""
        return pika.BasicProperties(
            message_id=self.id, user_id=self.user, headers=self.headers, delivery_mode=2, type=self.key.split(".")[2]
        )

    def arrival(self, tag: object = None) -> Arrival:
        """Return it as it arrives at the router."""
        return Arrival(INGRESS, INGRESS, self.key, self.body, self.id, self.user, self.headers, False, tag)


@dataclass
class Node:
    """One node of a cluster, with a relay that numbers its records from 1."""

    name: str
    cluster: str = "prod"
    epoch: str = field(default_factory=new_id)
    given: int = 0
    user: str | None = None

    def record(
        self, event: str, *arguments: str, at: datetime = NOON, source: str = "gpfs", id_: str | None = None
    ) -> Sent:
        """Return the record of *event*, captured *at*, under the next number."""
        self.given += 1
        return self._sent(source, event, arguments, at, id_)

    def skip(self, count: int = 1) -> None:
        """Give numbers to records that never arrive."""
        self.given += count

    def heartbeat(self, at: datetime = NOON) -> Sent:
        """Return a heartbeat, which carries the last number."""
        return self._sent("clusterbus", "heartbeat", (), at, None)

    def _sent(self, source: str, event: str, arguments: tuple[str, ...], at: datetime, id_: str | None) -> Sent:
        id_ = id_ or plain_id(at)
        fields = {
            "v": 1,
            "id": id_,
            "source": source,
            "event": event,
            "node": self.name,
            "captured_at": f"{at:%Y-%m-%dT%H:%M:%S.%f}000Z",
            "boot": "",
            "arguments": list(arguments),
        }
        return Sent(
            key=f"{source}.{self.cluster}.{event}.{self.name}",
            body=json.dumps(fields).encode() + b"\n",
            id=id_,
            user=self.user or self.name,
            headers={"v": 1, "epoch": self.epoch, "sequence": self.given},
        )
