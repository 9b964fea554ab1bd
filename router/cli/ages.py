"""How commands show the age of waiting events."""

from __future__ import annotations

from datetime import UTC, datetime

from ..broker.history.queue_ages import Age
from ..model.records import written


def age_text(age: Age | None) -> str:
    """Return *age* as a table has it; None is not known.

    >>> age_text(None)
    '-'
    """
    return age.text(datetime.now(UTC)) if age else "-"


def age_facts(age: Age | None) -> dict[str, object]:
    """Return *age* as JSON has it: the moment of the oldest event, or one that it is older than.

    >>> age_facts(Age(datetime(2026, 12, 1, 12, tzinfo=UTC)))
    {'oldest': '2026-12-01T12:00:00.000000000Z', 'is_older': False}
    """
    return {"oldest": written(age.since) if age else None, "is_older": bool(age and age.is_older)}
