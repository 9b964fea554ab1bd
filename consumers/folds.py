"""Folds: several events that are delivered as one.  Only values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from router.model.events import Value


@dataclass(frozen=True, slots=True)
class FoldedAlert:
    """An alert with changes in a fold: what it is after the last of them, *change*, which follows from *first*."""

    id: str
    rule: str
    summary: str
    severity: str
    state: str
    since: str
    until: str
    openings: int
    first: int
    change: int
    owner: str = ""
    escalated_to: str = ""

    @property
    def text(self) -> str:
        """What happened to it, in a few words."""
        both = self.state == "closed" and self.first == 1
        return f"{self.rule}: {self.summary} ({'opened and closed' if both else self.state})"


@dataclass(frozen=True, slots=True)
class Fold:
    """Events that are delivered as one: how many, from which nodes (as `n[001-400]`), the first and last time.

    *values* lists for each variable its distinct values in order of arrival, up to a limit; *alerts* the alerts whose
    changes they are, without those of the *unlisted* changes, of which only the contacts are known: the owner of each
    alert, and whom it was escalated to.
    """

    count: int
    nodes: str
    first: str
    last: str
    values: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    alerts: Sequence[FoldedAlert] = ()
    unlisted: int = 0
    unlisted_contacts: Sequence[Sequence[str]] = ()

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """Return the fold that was written as JSON with these *values*."""
        alerts = tuple(FoldedAlert(**each) for each in values.get("alerts", ()))
        return cls(**{**values, "alerts": alerts})

    @property
    def states(self) -> Mapping[str, int]:
        """How many of the alerts are in each state; absent where none is."""
        return Counter(each.state for each in self.alerts)

    def as_dict(self) -> Mapping[str, Any]:
        """Return the names that templates use, without a copy of the values: no template changes them."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "unlisted_contacts"}
        return own | {"alerts": [each.text for each in self.alerts], "states": self.states}
