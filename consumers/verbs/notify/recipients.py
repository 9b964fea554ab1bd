"""Whom to notify: contacts by name, or the owner of what an event is about, who is known only with the event.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from router.cluster.facts.views import Known
from router.model.events import Event

from ...alerts.owners import OWNER, Owners
from ...errors import Rejected
from ...expressions.values.alert_values import is_change

__all__ = ["OWNER", "Recipients"]

_ESCALATED: Final = "alertEscalated"


class Recipients:
    """The contacts of one subscription: *to* names them, *otherwise* those in place of an owner who is not known."""

    def __init__(self, to: Sequence[str], otherwise: Sequence[str], owners: Owners, known: Collection[str]) -> None:
        """Look owners up in *owners*; *known* are the contacts that the settings define."""
        self._to, self._otherwise, self._owners, self._known = to, otherwise, owners, known

    def of(self, event: Event, facts: Known | None = None) -> Sequence[str]:
        """Return the contacts for *event*, each once, given the *facts* of its cluster.

        An escalation goes to the contact of the rule, who gets what follows beside the owner.  Raises Rejected if the
        owner is not known, and nobody is to be notified otherwise.
        """
        found: list[str] = []
        for name in self._to:
            found += self._responsible(event, facts) if name == OWNER else [name]
        return list(dict.fromkeys(found))

    def _responsible(self, event: Event, facts: Known | None) -> Sequence[str]:
        named = self._named(event, facts)
        if there := [each for each in named if each in self._known]:
            return there
        if self._otherwise:
            return self._otherwise
        if named:
            raise Rejected(f"the owner is {named[0]}, and consumers.contacts in the settings has no such contact")
        what = "the alert" if is_change(event) else event.name
        raise Rejected(f"{what} has no owner: add a row to consumers.owners in the settings, or set `otherwise`")

    def _named(self, event: Event, facts: Known | None) -> Sequence[str]:
        if not is_change(event):
            found = self._owners.of(event, facts)
            return [found.to] if found else []
        owner, escalated = (_text(event, name) for name in ("owner", "escalatedTo"))
        escalated = "" if escalated == OWNER else escalated
        wanted = [escalated] if escalated and event.name == _ESCALATED else [owner, escalated]
        return [each for each in wanted if each]


def _text(event: Event, name: str) -> str:
    value = event.data.get(name)
    return value if isinstance(value, str) else ""
