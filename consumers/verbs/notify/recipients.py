"""Whom to notify: contacts by name, or the owner of what an event is about, who is known only with the event.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from router.cluster.facts.views import Known
from router.model.events import Event

from ...alerts.owners import OWNER, Owners
from ...errors import Rejected
from ...expressions.values.alert_values import is_change
from ...folds import Fold

__all__ = ["OWNER", "Recipients"]

_ESCALATED: Final = "alertEscalated"


class Recipients:
    """The contacts of one subscription: *to* names them, *otherwise* those in place of an owner who is not known."""

    def __init__(self, to: Sequence[str], otherwise: Sequence[str], owners: Owners, known: Collection[str]) -> None:
        """Look owners up in *owners*; *known* are the contacts that the settings define."""
        self._to, self._otherwise, self._owners, self._known = to, otherwise, owners, known

    def of(self, event: Event, facts: Known | None = None, fold: Fold | None = None) -> Sequence[str]:
        """Return the contacts for *event*, each once, given the *facts* of its cluster.

        Where it stands for the changes of several alerts in *fold*, these are the contacts of all of them.  An
        escalation goes to the contact of the rule, who gets what follows beside the owner.  Raises Rejected if no owner
        is known, and nobody is to be notified otherwise.
        """
        found: list[str] = []
        for name in self._to:
            found += self._responsible(event, facts, fold) if name == OWNER else [name]
        return list(dict.fromkeys(found))

    def _responsible(self, event: Event, facts: Known | None, fold: Fold | None) -> Sequence[str]:
        named = list(self._named(event, facts, fold))
        there = [[each for each in one if each in self._known] for one in named]
        # `otherwise` stands in for each alert without a known owner.
        found = [each for one in there for each in (one or self._otherwise)]
        if found:
            return found
        if unknown := [each for one in named for each in one]:
            raise Rejected(f"the owner is {unknown[0]}, and consumers.contacts in the settings has no such contact")
        what = "the alert" if is_change(event) else event.name
        raise Rejected(f"{what} has no owner: add a row to consumers.owners in the settings, or set `otherwise`")

    def _named(self, event: Event, facts: Known | None, fold: Fold | None) -> Iterator[Sequence[str]]:
        """Yield for all that is reported who is responsible for it."""
        alerts = fold.alerts if fold else ()
        if not is_change(event):
            found = self._owners.of(event, facts)
            yield [found.to] if found else []
        elif any(each.change != each.first for each in alerts) or len(alerts) > 1:
            yield from (_contacts(each.owner, each.escalated_to) for each in alerts)
            yield from (_contacts(owner, escalated) for owner, escalated in (fold.unlisted_contacts if fold else ()))
        else:
            owner, escalated = (_text(event, name) for name in ("owner", "escalatedTo"))
            is_sent_on = event.name == _ESCALATED and escalated not in ("", OWNER)
            yield _contacts("" if is_sent_on else owner, escalated)


def _contacts(owner: str, escalated: str) -> Sequence[str]:
    return [each for each in (owner, "" if escalated == OWNER else escalated) if each]


def _text(event: Event, name: str) -> str:
    value = event.data.get(name)
    return value if isinstance(value, str) else ""
