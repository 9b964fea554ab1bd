"""What differs between two readings of the subscriptions."""

from __future__ import annotations

from dataclasses import dataclass

from .subscriptions import Subscription, Subscriptions


@dataclass(frozen=True, slots=True)
class Change:
    """What is new, what means something else now, and the names of what is gone."""

    added: tuple[Subscription, ...]
    changed: tuple[Subscription, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        """Say whether anything differs."""
        return bool(self.added or self.changed or self.removed)


def compare(before: Subscriptions, after: Subscriptions) -> Change:
    """Return how *after* differs from *before*; places, comments and `tests` count for nothing."""
    known = before.by_name
    return Change(
        tuple(each for each in after.subscriptions if each.name not in known),
        tuple(each for each in after.subscriptions if each.name in known and each.meaning != known[each.name].meaning),
        tuple(name for name in known if name not in after.by_name),
    )
