"""The life of alerts: a fold over what was observed of a key, in the order of capture.

So it ends the same whatever the order in which observations arrive.  Pure: time passes only with observations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from router.model.events import Severity

from ..alert_row import Cause
from ..rules import Rule
from .observations import Observation

Order = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a rule says about the life of its alerts; kept with each key, so that people need no rules to act."""

    closes_after: timedelta | None = None
    flapping_openings: int | None = None
    flapping_within: timedelta = timedelta()
    flapping_quiet: timedelta = timedelta()
    remind: timedelta | None = None
    escalate_after: timedelta | None = None
    escalate_to: str = ""
    group_over: int | None = None
    group_quiet: timedelta = timedelta()
    asks_facts: bool = False
    ask_every: timedelta = timedelta(minutes=1)
    """How often facts are asked whether an alert is over."""

    @classmethod
    def of(cls, rule: Rule) -> Self:
        """Return what *rule* says."""
        found: dict[str, Any] = {"closes_after": rule.closes_after, "remind": rule.remind}
        if flapping := rule.flapping:
            found["flapping_openings"] = flapping.openings
            found |= {"flapping_within": flapping.within, "flapping_quiet": flapping.quiet}
        if rule.escalate:
            found |= {"escalate_after": rule.escalate.after, "escalate_to": rule.escalate.to}
        if rule.group:
            found |= {"group_over": rule.group.over, "group_quiet": rule.group.quiet}
        if rule.ask_every:
            found["ask_every"] = rule.ask_every
        return cls(**found, asks_facts=rule.closes_when is not None)

    @property
    def of_group(self) -> Policy:
        """What holds for the alert that stands for a group."""
        return Policy(remind=self.remind, escalate_after=self.escalate_after, escalate_to=self.escalate_to)

    def to_json(self) -> str:
        """Return it as it is stored."""
        facts = {name: value for name, value in asdict(self).items() if value}
        return json.dumps(facts, default=timedelta.total_seconds, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote."""
        facts = json.loads(text)
        found: dict[str, Any] = {name: _duration(name, value) for name, value in facts.items()}
        return cls(**found)


def _duration(name: str, value: Any) -> Any:  # noqa: ANN401 - a field of any type
    return timedelta(seconds=value) if name in _TIMES else value


_TIMES = ("closes_after", "flapping_within", "flapping_quiet", "remind", "escalate_after", "group_quiet", "ask_every")


@dataclass(slots=True)
class Life:
    """From an opening to an end.  What says *last* is of the last opening; `until` is None while it is open."""

    opened_by: str
    since: datetime
    event_type: str
    event_node: str
    node: str
    last: str
    last_at: datetime
    severity: Severity
    summary: str
    owner: str | None
    depth: int
    confirmed_by: str = ""
    """The first node after `event_node` that reports the same; `event_node` itself if that is believed alone."""
    openings: int = 1
    until: datetime | None = None
    cause: Cause = "event"
    closed_by: str = ""
    by: str = ""
    comment: str = ""
    acknowledged: bool = False
    act: str = ""
    """The last observation that changed who takes care of it; `act_by` did that, with `act_comment`."""
    act_by: str = ""
    act_comment: str = ""
    flapping: bool = False
    calm_since: datetime | None = None
    """Since when a flapping life would be closed if it did not flap."""
    alerts: list[str] = field(default_factory=list)
    """The alerts that openings of this life began."""


@dataclass(slots=True)
class Lives:
    """The lives of a key: closed ones, of which the last may be open.  *starts* are the latest openings of lives."""

    policy: Policy
    lives: list[Life] = field(default_factory=list)
    starts: list[datetime] = field(default_factory=list)
    latest: Order | None = None
    """The order of the last observation that was taken in."""

    @property
    def open(self) -> Life | None:
        """The life that is open."""
        return self.lives[-1] if self.lives and self.lives[-1].until is None else None

    @property
    def due(self) -> datetime | None:
        """When the open life closes by itself unless something opens it before."""
        life = self.open
        return None if life is None else _due(life, self.policy)

    def take(self, observation: Observation) -> None:
        """Take in one more observation, which is later than all before."""
        self.latest = observation.order
        self._pass_to(observation.at)
        life = self.open
        match observation.kind:
            case "opens":
                self._open(observation)
            case "closes" if life:
                if not life.flapping:
                    _close(life, observation.ended_at, observation)
                elif life.calm_since is None:
                    life.calm_since = observation.ended_at
            case "confirms" if life:
                _confirm(life, observation)
            case "close" if life:
                _close(life, observation.at, observation)
            case "ack" | "unack" if life:
                life.acknowledged, life.act = observation.kind == "ack", observation.id
                life.act_by, life.act_comment = observation.by, observation.comment
            case _:
                pass

    def _pass_to(self, moment: datetime) -> None:
        due, life = self.due, self.open
        if life and due and due <= moment:
            until = life.calm_since or life.last_at + (self.policy.closes_after or timedelta())
            life.until, life.cause = until, "quiet"

    def _open(self, observation: Observation) -> None:
        life = self.open
        begins = life is None or life.calm_since is not None
        if begins:
            self.starts = [*self.starts, observation.at][-(self.policy.flapping_openings or 1) :]
        if life is None:
            life = _begun(observation)
            life.flapping = self._is_flapping()
            self.lives.append(life)
        else:
            _open_again(life, observation)
        if observation.alert:
            life.alerts.append(observation.alert)

    def _is_flapping(self) -> bool:
        wanted, policy = self.policy.flapping_openings, self.policy
        if wanted is None or len(self.starts) < wanted:
            return False
        return self.starts[-1] - self.starts[-wanted] <= policy.flapping_within


def fold(observations: Iterable[Observation], policy: Policy, base: str = "") -> Lives:
    """Return the lives after *observations*, which are in order, that follow the stored *base*."""
    found = base_lives(base, policy)
    for each in observations:
        found.take(each)
    return found


def base_lives(base: str, policy: Policy) -> Lives:
    """Return the lives that `as_base` stored; none for an empty text."""
    if not base:
        return Lives(policy)
    facts = json.loads(base)
    at, id_ = facts["latest"]
    life = facts["life"]
    lives = [] if life is None else [Life(**{name: _moment(name, value) for name, value in life.items()})]
    return Lives(policy, lives, [datetime.fromisoformat(each) for each in facts["starts"]], (_read(at), id_))


def as_base(lives: Lives) -> str:
    """Return what of *lives* later observations may change, to be stored in place of the earlier observations."""
    if lives.latest is None:
        return ""
    at, id_ = lives.latest
    life = asdict(lives.open) if lives.open else None
    facts = {"latest": [at, id_], "starts": lives.starts, "life": life}
    return json.dumps(facts, default=datetime.isoformat)


_MOMENTS = ("since", "last_at", "until", "calm_since")
_read = datetime.fromisoformat


def _moment(name: str, value: Any) -> Any:  # noqa: ANN401 - a field of any type
    return _read(value) if name in _MOMENTS and value is not None else value


def _begun(opening: Observation) -> Life:
    return Life(
        opened_by=opening.id,
        since=opening.at,
        event_type=opening.event_type,
        event_node=opening.event_node,
        node=opening.node,
        last=opening.id,
        last_at=opening.at,
        severity=opening.severity,
        summary=opening.summary,
        owner=opening.owner,
        depth=opening.depth,
        confirmed_by=opening.event_node if opening.vouched else "",
    )


def _open_again(life: Life, opening: Observation) -> None:
    life.openings += 1
    life.last, life.last_at = opening.id, opening.at
    life.severity, life.summary, life.owner = opening.severity, opening.summary, opening.owner
    life.calm_since = None
    _confirm(life, opening)


def _confirm(life: Life, by: Observation) -> None:
    if not life.confirmed_by and (by.vouched or by.event_node != life.event_node):
        life.confirmed_by = by.event_node


def _close(life: Life, moment: datetime, by: Observation) -> None:
    life.until, life.cause, life.by, life.comment = moment, by.cause, by.by, by.comment
    life.closed_by = by.id if by.cause == "event" else ""


def _due(life: Life, policy: Policy) -> datetime | None:
    calm = life.calm_since
    if calm is None and policy.closes_after is not None:
        calm = life.last_at + policy.closes_after
    if calm is None or not life.flapping:
        return calm
    return calm + policy.flapping_quiet
