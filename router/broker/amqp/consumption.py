"""What a consumer knows of one queue that it consumes, and of the channel over which deliveries came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .. import content_modes
from ..interface import Arrival
from .acks import Acks
from .pika_types import Channel, Deliver, Properties, shown, shown_names

OFFSET = "x-stream-offset"
"""The header of each message of a stream, and the argument that says where to begin."""

Receive = Callable[[Arrival], None]


class Lease:
    """The deliveries over one channel; they are void when the channel is lost."""

    __slots__ = ("acks", "channel", "leaving")

    def __init__(self, channel: Channel) -> None:
        """Keep *channel*."""
        self.channel: Channel | None = channel
        self.acks = Acks()
        self.leaving = False


def arrival_of(queue: str, lease: Lease, method: Deliver, properties: Properties, body: bytes) -> Arrival:
    """Return what came over *lease* from *queue*; never raises, whatever a stranger published.

    An error here would break the connection, and the broker would deliver the same message again.
    """
    kind, given = shown(properties.content_type), shown_names(properties.headers)
    body, headers = content_modes.structured(kind, given, body)
    return Arrival(
        queue,
        shown(method.exchange),
        shown(method.routing_key),
        body,
        shown(properties.message_id),
        shown(properties.user_id) or None,
        headers,
        method.redelivered,
        (lease, method.delivery_tag),
    )


class Consumption:
    """One queue that we consume, and its state."""

    def __init__(self, queue: str, receive: Receive, prefetch: int, offset: str | int | None, *, settles: bool) -> None:
        """Keep the arguments of `Consumer.consume`."""
        self.queue, self.receive, self.prefetch, self.offset = queue, receive, prefetch, offset
        self.settles = settles
        self.opening: Channel | None = None
        self.lease: Lease | None = None
        self.last: int | None = None
        self.tag = ""
        self.pausing: Callable[[], None] | None = None
        self.cancelled = self.has_begun = False
        self.is_left_out = False
        """Whether the queue is so unlike ours that it is not consumed."""

        self.is_suspect = False
        """Whether a connection broke while the broker was asked to let us consume it, and it was not consumed since."""

    @property
    def arguments(self) -> Mapping[str, object]:
        """The position in a stream to begin at: after the last message that arrived over any connection."""
        if self.offset is None:
            return {}
        return {OFFSET: self.offset if self.last is None else self.last + 1}

    @property
    def is_asked_for(self) -> bool:
        """Whether the broker was asked to let us consume it, and has not answered."""
        return bool(self.tag) and not self.has_begun

    def ended(self) -> None:
        """Note that its channel is closed."""
        self.opening, self.tag, self.has_begun = None, "", False

    def is_next(self, offset: object) -> bool:
        """Note the *offset* of a message of a stream; False if the message has arrived before.

        If the requested offset is not written yet, RabbitMQ 3.10 begins with the last chunk of the stream.
        """
        if not isinstance(offset, int):
            return True
        if self.last is not None and offset <= self.last:
            return False
        self.last = offset
        return True


class Consumptions(dict[str, Consumption]):
    """All queues that we consume, by name."""

    @property
    def unread(self) -> tuple[str, ...]:
        """The queues that the broker does not let us consume."""
        return tuple(queue for queue, each in self.items() if each.pausing)

    @property
    def is_opening(self) -> bool:
        """Whether we are about to consume more queues."""
        return any(not (each.has_begun or each.pausing or each.is_left_out) for each in self.values())

    def to_start(self, leaves_out: Callable[[str], bool]) -> Iterator[Consumption]:
        """Yield those to be consumed now: all but suspects; and one suspect, where no other answer is awaited.

        A queue is not consumed where *leaves_out* says so.
        """
        for each in self.values():
            each.is_left_out = leaves_out(each.queue)
        waiting = [each for each in self.values() if each.opening is None and not each.pausing and not each.is_left_out]
        yield from (each for each in waiting if not each.is_suspect)
        if not any(each.opening is not None and not each.has_begun for each in self.values()):
            yield from [each for each in waiting if each.is_suspect][:1]
