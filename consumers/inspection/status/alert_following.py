"""What happens to alerts, for people who watch: looks at the store again and again, each look bounded."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from sqlalchemy.engine import Connection

from ...alerts.alert_row import AlertRow, State
from ...store.alerts import alerts
from ...store.alerts.alerts import ChangeRow
from . import alert_listing
from .alert_listing import AlertFilter

_MOST: Final = 100
_CLOSED: Final[tuple[State, ...]] = ("closed",)


class News(NamedTuple):
    """An alert, and its last *change*; None where it was there when the watch began, or has none yet."""

    alert: AlertRow
    change: ChangeRow | None


class Following:
    """Knows which alerts were shown, and as what: of those that opened last, the newest."""

    def __init__(self, wanted: AlertFilter) -> None:
        """Follow alerts that *wanted* selects, whatever state they are in later."""
        self._wanted, self._over = wanted, replace(wanted, states=_CLOSED)
        self._known: dict[str, AlertRow] | None = None
        self._ended: set[str] = set()
        self.has_more = False
        """Whether more alerts are open than are followed."""

    @property
    def open(self) -> int:
        """How many alerts are followed that are not closed."""
        return len(self._known or ())

    def look(self, transaction: Connection) -> list[News]:
        """Return what is new since the last look, in its order; at first all that is open, the oldest first."""
        latest, self.has_more = alert_listing.find(transaction, self._wanted, _MOST)
        over, _ = alert_listing.find(transaction, self._over, _MOST)
        known, self._known = self._known, {each.id: each for each in latest}
        ended, self._ended = self._ended, {each.id for each in over}
        if known is None:
            return [News(each, None) for each in reversed(latest)]
        # What opened and closed between two looks is new, too.
        changed = [each for each in latest if _has_changed(known.get(each.id), each)]
        changed += [each for each in over if each.id not in ended and each.id not in known]
        gone = (alerts.find(transaction, each) for each in known if each not in self._known)
        changed += [each for each in gone if _has_changed(known[each.id], each)]
        # What is held back, because a backlog is being read, has no change yet.
        news = [News(each, next(reversed(alerts.history(transaction, each.id)), None)) for each in changed]
        return sorted(news, key=lambda each: (each.change.at if each.change else each.alert.since, each.alert.id))


def _has_changed(before: AlertRow | None, now: AlertRow) -> bool:
    return before is None or (before.change, before.state) != (now.change, now.state)
