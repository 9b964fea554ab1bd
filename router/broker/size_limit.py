"""Finds out which size of messages the broker takes at most, by publishing messages that nobody else receives."""

from __future__ import annotations

from datetime import timedelta

from ..model.bounds import MESSAGE
from ..model.ids import new_id
from .interface import Message, Settlement
from .probe_queue import probe_queue
from .session import Session
from .topology import RETRY, Binding

SETTING = f"max_message_size = {MESSAGE}"
"""The line of `rabbitmq.conf` with the limit that all our bounds fit."""

_LIMIT = timedelta(seconds=10)


def wrong_limit(session: Session) -> str | None:
    """Return what is wrong with the broker's `max_message_size`, or None if it is right, or our user may not prove it.

    Raises BrokerError if the broker does not answer.
    """
    with probe_queue(session, lambda name: (Binding(RETRY, name, name),)) as (name, bound):
        if not bound or not _takes(session, name, 2):
            return None
        if _takes(session, name, MESSAGE + 1):
            return f"the broker takes messages of more than {MESSAGE} bytes, so that a single node can fill its disk"
        if not _takes(session, name, MESSAGE):
            return f"the broker refuses messages of {MESSAGE} bytes, and events may be as large"
    return None


def _takes(session: Session, queue: str, octets: int) -> bool:
    probe = Message(RETRY, queue, bytes(octets), new_id(), "probe", "application/octet-stream")
    return session.publish([probe], limit=_LIMIT) == [Settlement.CONFIRMED]
