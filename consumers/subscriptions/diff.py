"""The difference between two loads of the subscriptions."""

from __future__ import annotations

from dataclasses import dataclass

from .models import Subscription, Subscriptions


@dataclass(frozen=True, slots=True)
class Change:
    """The new subscriptions, those with another meaning, and the names of the removed ones."""

    added: tuple[Subscription, ...]
    changed: tuple[Subscription, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        """Return whether anything differs."""
        return bool(self.added or self.changed or self.removed)


def compare(before: Subscriptions, after: Subscriptions) -> Change:
    """Return how *after* differs from *before*; line numbers, comments and `tests` are ignored."""
    known = before.by_name
    return Change(
        tuple(each for each in after.subscriptions if each.name not in known),
        tuple(each for each in after.subscriptions if each.name in known and each.meaning != known[each.name].meaning),
        tuple(name for name in known if name not in after.by_name),
    )
