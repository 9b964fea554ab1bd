"""What a fold keeps of alerts: for each alert what it is after its last change, however many changes there were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from router.model.events import Event

from ..expressions.values import alert_values
from ..folds import FoldedAlert

_MOST: Final = 200
"""Most alerts in a fold: each change writes them again."""

_MOST_CONTACTS: Final = 200
"""Most pairs of contacts whose alerts are left out."""

_LONGEST: Final = 200

Contacts = Sequence[Sequence[str]]
"""Owners of alerts, each with the contact that the alert was escalated to; either may be empty."""


def with_change(known: Sequence[FoldedAlert], event: Event) -> tuple[Sequence[FoldedAlert], int]:
    """Return the *known* alerts with the change that *event* tells, and how many changes are left out: 0 or 1.

    Changes may come in any order, and more than once: the one with the largest number says what the alert is.
    """
    if not alert_values.is_change(event):
        return known, 0
    change = _of(event)
    at = next((at for at, each in enumerate(known) if each.id == change.id), len(known))
    if at >= _MOST:
        return known, 1
    if at == len(known):
        return (*known, change), 0
    before = known[at]
    latest = change if change.change >= before.change else before
    merged = replace(latest, first=min(before.first, change.first))
    return (*known[:at], merged, *known[at + 1 :]), 0


def with_contacts(known: Contacts, event: Event) -> Contacts:
    """Return the contacts of alerts that are left out, with those of the change that *event* tells."""
    change = _of(event)
    both = [change.owner, change.escalated_to]
    return known if both in known or len(known) >= _MOST_CONTACTS else [*known, both]


def _of(event: Event) -> FoldedAlert:
    def text(name: str) -> str:
        value = event.data.get(name)
        return value[:_LONGEST] if isinstance(value, str) else ""

    def number(name: str) -> int:
        value = event.data.get(name)
        return value if isinstance(value, int) else 0

    state, change = text("state") or "open", number("change")
    openings, severity = number("openings"), event.severity
    times = text("since"), text("until")
    contacts = text("owner"), text("escalatedTo")
    return FoldedAlert(
        text("alert"), text("rule"), text("summary"), severity, state, *times, openings, change, change, *contacts
    )
