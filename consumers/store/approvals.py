"""The table of approvals: deliveries that wait for approval, and the answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from ..deliveries import Key
from .schema import approvals as table

State = Literal["pending", "approved", "refused"]


@dataclass(frozen=True, slots=True)
class Approval:
    """One request: may this delivery do what *plan* (JSON) says?  With the answer, and who gave it."""

    id: str
    event_id: str
    subscription: str
    event: str
    plan: str
    asked: datetime
    until: datetime
    state: State = "pending"
    by: str = ""
    answered: datetime | None = None


def identity(key: Key) -> str:
    """Return the id of the approval for a delivery; a delivery always has the same id.

    >>> identity(Key("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "restart-disk", ""))
    '7769192854ff'
    """
    return hashlib.sha256("\0".join(key).encode()).hexdigest()[:12]


def get_all(transaction: Connection, ids: Iterable[str]) -> dict[str, Approval]:
    """Return the existing approvals of these ids, by id."""
    query = select(table).where(table.c.id.in_([*ids]))
    return {row["id"]: Approval(**row) for row in transaction.execute(query).mappings()}


def ask(transaction: Connection, approval: Approval) -> None:
    """Write the request."""
    transaction.execute(insert(table), asdict(approval))


def ask_again(transaction: Connection, approval: Approval) -> None:
    """Write the request in place of an earlier one for the same delivery, whose answer no longer counts."""
    transaction.execute(update(table).where(table.c.id == approval.id).values(**asdict(approval)))


def answer(transaction: Connection, approval_id: str, state: State, by: str, at: datetime) -> bool:
    """Write the answer; return False if the request does not exist, is already answered, or has expired."""
    here = (table.c.id == approval_id) & (table.c.state == "pending") & (table.c.until > at)
    return transaction.execute(update(table).where(here).values(state=state, by=by, answered=at)).rowcount == 1


def pending(transaction: Connection, at: datetime) -> list[Approval]:
    """Return the requests that can be answered at this moment, oldest first."""
    query = select(table).where(table.c.state == "pending", table.c.until > at).order_by(table.c.asked)
    return [Approval(**row) for row in transaction.execute(query).mappings()]
