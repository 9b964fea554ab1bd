"""The life of alerts: a fold over what was observed of a key, in the order of capture.

So it ends the same whatever the order in which observations arrive.  Pure: time passes only with observations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from router.model.events import Severity

from ..alert_row import Cause
from .observations import Observation
from .policy import Policy

Order = tuple[datetime, str]

UNCONFIRMED = timedelta(hours=1)
"""After how long an end holds that every node should report, and one alone does.

Otherwise an alert could stay open for ever, where the others have lost their reports.
"""


@dataclass(frozen=True, slots=True)
class EndClaim:
    """That one node alone, *by*, reports the end of an open alert: it closes when a second one does, or at *due*."""

    by: str
    due: datetime


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
    claimed_by: str = ""
    """The node that alone reports the end, which every node should report: at `claimed_at`, with the event `claim`."""
    claimed_at: datetime | None = None
    claim: str = ""
    alerts: list[str] = field(default_factory=list)
    """The alerts that openings of this life began."""

    @property
    def is_doubtful(self) -> bool:
        """Whether one node alone reports the end, and that is not enough."""
        return self.until is None and self.calm_since is None and self.claimed_at is not None

    @property
    def claim_due(self) -> datetime | None:
        """When what one node alone reports as the end holds, whatever others say; None if no node has."""
        return None if self.claimed_at is None else self.claimed_at + UNCONFIRMED

    @property
    def end_claim(self) -> EndClaim | None:
        """What waits for a second node, if it does."""
        return EndClaim(self.claimed_by, self.claim_due) if self.is_doubtful and self.claim_due else None


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
                _end(life, observation)
            case "confirms_end" if life:
                _confirm_end(life, observation)
            case "confirms" if life:
                _confirm(life, observation)
            case "confirms" if self.lives and _is_doubted(self.lives[-1], observation):
                # The one node that had reported it also reported its end, which others may not.
                self.lives[-1].until = None
                _confirm(self.lives[-1], observation)
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
            if life.is_doubtful and due == life.claim_due:
                _close_unconfirmed(life)
            else:
                life.until = life.calm_since or life.last_at + (self.policy.closes_after or timedelta())
                life.cause = "quiet"

    def _open(self, observation: Observation) -> None:
        life = self.open
        if life and life.is_doubtful and observation.event_node != life.claimed_by:
            # The end may have been true: what is open from now on is the word of those who report it now.
            _close_unconfirmed(life)
            life = None
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


_MOMENTS = ("since", "last_at", "until", "calm_since", "claimed_at")
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
    life.calm_since = life.claimed_at = None
    life.claimed_by = life.claim = ""
    _confirm(life, opening)


def _confirm(life: Life, by: Observation) -> None:
    if not life.confirmed_by and (by.vouched or by.event_node != life.event_node):
        life.confirmed_by = by.event_node


def _end(life: Life, end: Observation) -> None:
    """Take in that *end* says that *life* is over; one node alone ends what it alone reports, unless others cannot."""
    before = life.claimed_by
    if end.is_claim and not before:
        life.claimed_by, life.claimed_at, life.claim = end.event_node, end.at, end.id
    if not end.is_claim:
        is_alone = not end.vouched and end.event_node not in ("", life.event_node, life.confirmed_by)
        _calm(life, end.ended_at, replace(end, comment=_ALONE.format(end.event_node)) if is_alone else end)
    elif before not in ("", end.event_node) or (end.event_node == life.event_node and not life.confirmed_by):
        _calm(life, end.ended_at, end)


def _confirm_end(life: Life, by: Observation) -> None:
    if life.is_doubtful and life.claimed_at and by.event_node != life.claimed_by:
        _calm(life, life.claimed_at, replace(by, id=life.claim))


def _calm(life: Life, moment: datetime, by: Observation) -> None:
    if not life.flapping:
        _close(life, moment, by)
    elif life.calm_since is None:
        life.calm_since = moment


def _close_unconfirmed(life: Life) -> None:
    life.until, life.cause, life.closed_by = life.claimed_at, "event", life.claim
    life.comment = _ALONE.format(life.claimed_by)


def _is_doubted(life: Life, by: Observation) -> bool:
    """Say whether *by*, which confirms what opened *life*, shows that its end was the word of one node too."""
    due = life.claim_due
    is_new = not life.confirmed_by and by.event_node != life.event_node
    return is_new and due is not None and by.at < due and life.closed_by == life.claim


_ALONE = "only {} reports the end"


def _close(life: Life, moment: datetime, by: Observation) -> None:
    life.until, life.cause, life.by, life.comment = moment, by.cause, by.by, by.comment
    life.closed_by = by.id if by.cause == "event" else ""


def _due(life: Life, policy: Policy) -> datetime | None:
    calm = life.calm_since
    if calm is None and policy.closes_after is not None:
        calm = life.last_at + policy.closes_after
    if calm is not None and life.flapping:
        calm += policy.flapping_quiet
    claim = life.end_claim
    return min(filter(None, (calm, claim.due if claim else None)), default=None)
