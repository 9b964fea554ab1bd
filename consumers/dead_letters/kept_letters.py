"""The letters in the store: shown, found, and dropped.  Needs no broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import LetterError
from ..store import letters as table
from ..store.database import Store, batched
from ..store.letters import Amendment, Letter, Summary

if TYPE_CHECKING:
    from ..store.queries import Row


def show(store: Store, letter_id: str) -> tuple[Letter, list[Row]]:
    """Return a letter and the attempts that led to it, oldest first.  Raises LetterError, StoreError."""
    from ..store import queries  # noqa: PLC0415 - lists of letters need no attempts

    with store.reading() as transaction:
        letter = table.get(transaction, letter_id)
        if letter is None:
            raise LetterError(f"no letter {letter_id!r}: `clusterbus dead list` shows the letters")
        if letter.kind != "delivery":
            return letter, []
        found = queries.find(transaction, event_id=letter.event_id, subscription=letter.subscription, limit=1000)
    nonce = letter.headers.get("replay")
    wanted = nonce if isinstance(nonce, str) else ""
    return letter, sorted((row for row in found if row.replay == wanted), key=lambda row: row.attempt)


def find(store: Store, **filters: object) -> list[Letter]:
    """Return the letters that match *filters*, which are those of `store.letters.find`.  Raises StoreError."""
    with store.reading() as transaction:
        return table.find(transaction, **filters)  # type: ignore[arg-type]  # checked there


def summaries(store: Store, **filters: object) -> list[Summary]:
    """Return the same letters as `find`, without their bodies and headers.  Raises StoreError."""
    with store.reading() as transaction:
        return table.summaries(transaction, **filters)  # type: ignore[arg-type]  # checked there


def all_kept(store: Store, letter_ids: Sequence[str]) -> list[Summary]:
    """Return these letters, none of them replayed or dropped; otherwise raises LetterError.  Raises StoreError."""
    with store.reading() as transaction:
        found = table.briefly(transaction, letter_ids)
    for letter_id in letter_ids:
        letter = found.get(letter_id)
        if letter is None:
            raise LetterError(f"no letter {letter_id!r}: `clusterbus dead list` shows the letters")
        if letter.state != "kept":
            raise LetterError(f"letter {letter_id} was already {letter.state} by {letter.by} at {letter.settled_at}")
    return [found[each] for each in dict.fromkeys(letter_ids)]


def kept(store: Store, letter_id: str) -> Letter:
    """Return this letter, which waits for a decision.  Raises LetterError as `all_kept` does.  Raises StoreError."""
    all_kept(store, [letter_id])
    with store.reading() as transaction:
        return table.get_all(transaction, [letter_id])[letter_id]


def drop(store: Store, letter_ids: Sequence[str], *, by: str, clock: Callable[[], datetime]) -> list[Summary]:
    """Mark these letters as dropped by *by*; they stay in the table until retention removes them.

    Many are marked in portions, so that consumers need not wait.  Raises LetterError, StoreError.
    """
    letters = all_kept(store, letter_ids)
    for those in batched(letters):
        with store.writing() as transaction:
            table.settle_all(transaction, [each.id for each in those], "dropped", by, clock())
    return letters


def amendments(store: Store, letter_id: str) -> list[Amendment]:
    """Return the edits of a letter, oldest first.  Raises StoreError."""
    with store.reading() as transaction:
        return table.amended(transaction, [letter_id]).get(letter_id, [])
