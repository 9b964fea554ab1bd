"""What alerts are about: a key, with all that was observed of it, and the alert that is open."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter

from router.model.ids import derived_id

from ..alert_row import GROUP, About, AlertRow
from .lifecycle import Life, Lives, as_base, base_lives, fold
from .observations import Observation
from .policy import Policy

MOST = 200
"""The most observations of a key that are kept one by one; beyond it, the oldest half becomes its base."""

_order = attrgetter("order")


class Subject:
    """One key: what the alert is about, what was observed, and the row of the alert that is open, if any."""

    def __init__(  # noqa: PLR0913 - a row
        self,
        key: str,
        rule: str,
        cluster: str,
        about: About,
        policy: Policy,
        *,
        base: str = "",
        quiet_at: datetime | None = None,
        quiet_due: int | None = None,
        observations: Iterable[Observation] = (),
        row: AlertRow | None = None,
    ) -> None:
        """Keep what is stored of *key*: the *observations* that follow its *base*, in any order."""
        self.key, self.rule, self.cluster, self.about, self.policy = key, rule, cluster, about, policy
        self.base, self.quiet_at, self.quiet_due, self.row = base, quiet_at, quiet_due, row
        self.observations = sorted(observations, key=_order)
        self.dropped: list[str] = []
        """The ids of observations that have become part of the base."""
        self._ids = {each.id for each in self.observations}
        self._horizon = base_lives(base, policy).latest
        self.lives = self._folded()

    def add(self, observation: Observation) -> bool:
        """Take *observation* in; return False if it is known already, or older than all that is kept one by one."""
        if observation.id in self._ids or (self._horizon and observation.order <= self._horizon):
            return False
        self._ids.add(observation.id)
        latest = self.lives.latest
        if latest is None or observation.order > latest:
            self.observations.append(observation)
            self.lives.take(observation)
        else:
            insort(self.observations, observation, key=_order)
            self.lives = self._folded()
        return True

    def begin(self, life: Life) -> Observation:
        """Return the opening that begins a new alert for *life*, with the id of that alert: its first that began none.

        Where each began one that is closed, as when an opening that arrives late joins lives, the last begins another.
        """
        found = [at for at, each in enumerate(self.observations) if each.kind == "opens" and _is_in(life, each)]
        at = next((each for each in found if self.observations[each].alert is None), found[-1])
        opening = self.observations[at]
        what = f"alert/{self.key}" if opening.alert is None else f"alert/{self.key}/{opening.alert}"
        self.observations[at] = begun = replace(opening, alert=derived_id(opening.id, what))
        life.alerts.append(begun.alert or "")
        return begun

    def life_of(self, alert_id: str) -> Life | None:
        """Return the life that is told as *alert_id*."""
        return next((each for each in self.lives.lives if alert_id in each.alerts), None)

    def observed(self, id_: str) -> Observation | None:
        """Return the observation of this id."""
        return next((each for each in reversed(self.observations) if each.id == id_), None)

    def compact(self) -> bool:
        """Make the oldest observations part of the base if there are too many; return whether it was so."""
        if len(self.observations) <= MOST:
            return False
        keep = MOST // 2
        if life := self.lives.open:
            # Facts are asked about the last opening, unless too much came after it.
            last = bisect_left(self.observations, (life.last_at, life.last), key=_order)
            keep = min(MOST, max(keep, len(self.observations) - last))
        old, self.observations = self.observations[:-keep], self.observations[-keep:]
        self.base = as_base(fold(old, self.policy, self.base))
        self._horizon = base_lives(self.base, self.policy).latest
        self.dropped += [each.id for each in old]
        self._ids = {each.id for each in self.observations}
        self.lives = self._folded()
        return bool(old)

    @property
    def node(self) -> str:
        """The node that it is about, by what was observed last; empty if it is about none."""
        life = self.lives.open
        return self.observations[-1].node if self.observations else life.node if life else ""

    @property
    def is_group(self) -> bool:
        """Whether its alert stands for others of the rule."""
        return self.about == of_group(self.rule)

    def after_all(self, moment: datetime) -> datetime:
        """Return *moment*, but later than all that was observed: what is done now comes after what is known."""
        return moment if self.latest is None or moment > self.latest else self.latest + _MOMENT

    @property
    def latest(self) -> datetime | None:
        """The time of the last observation."""
        return self.lives.latest[0] if self.lives.latest else None

    def _folded(self) -> Lives:
        return fold(self.observations, self.policy, self.base)


_MOMENT = timedelta(microseconds=1)


def of_group(rule: str) -> About:
    """Return what the alert is about that stands for others of *rule*."""
    return ((GROUP, rule),)


def _is_in(life: Life, opening: Observation) -> bool:
    return life.since <= opening.at and opening.order <= (life.last_at, life.last)
