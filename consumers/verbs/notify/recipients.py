"""Whom to notify: contacts by name, or the owner of what an alert is about, who is known only with the event.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from router.model.events import Event

from ...errors import Rejected
from ...expressions.values.alert_values import is_change

OWNER: Final = "owner"
"""The word in place of a contact."""

_ESCALATED: Final = "alertEscalated"


def recipients(to: Sequence[str], otherwise: Sequence[str], event: Event, known: Collection[str]) -> Sequence[str]:
    """Return the contacts that *to* means for *event*, each once; *known* are those that the settings define.

    The owner of an alert that is escalated is the contact of its rule, who gets what follows beside the owner.  In
    place of an owner who is not known, *otherwise* are notified.  Raises Rejected if there are none.
    """
    found: list[str] = []
    for name in to:
        found += _owners(otherwise, event, known) if name == OWNER else [name]
    return list(dict.fromkeys(found))


def _owners(otherwise: Sequence[str], event: Event, known: Collection[str]) -> Sequence[str]:
    if not is_change(event):
        raise Rejected(f"{event.name} has no owner: only alerts have one")
    owner, escalated = (_text(event, name) for name in ("owner", "escalatedTo"))
    wanted = [escalated] if escalated and event.name == _ESCALATED else [owner, escalated]
    named = [each for each in wanted if each and each != OWNER] or ([owner] if owner else [])
    if there := [each for each in named if each in known]:
        return there
    if otherwise:
        return otherwise
    if named:
        raise Rejected(f"the alert goes to {named[0]}, and consumers.contacts in the settings has no such contact")
    raise Rejected("the alert has no owner: set `owner` in its rule, `owners` in the settings, or `otherwise` here")


def _text(event: Event, name: str) -> str:
    value = event.data.get(name)
    return value if isinstance(value, str) else ""
