"""One life of an alert, as it was told: what the store keeps of it, and people and other systems see."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from router.model.events import Severity, Value

State = Literal["open", "acknowledged", "closed"]
Cause = Literal["event", "fact", "quiet", "time", "person", "group", "remote", "rule"]
About = tuple[tuple[str, Value], ...]
"""The values at `by` of a rule, by name: with the rule and the cluster, what an alert is about."""

GROUP = "group"
"""The only name in what a group is about; its value is the rule."""


def key_of(rule: str, cluster: str, about: Sequence[tuple[str, Value]]) -> str:
    """Return the key that all events of *rule* about the same thing share: 40 hexadecimal digits.

    >>> key_of("node-down", "prod", [("node", "n1")])
    'fa01b8e46357608aa95f8eb91d567ab550681dcf'
    """
    text = json.dumps([rule, cluster, [[name, value] for name, value in about]], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """One life of an alert.

    `node` is what it is about, empty if that is no node, and `nodes` all of a group, folded; `event_node` reported it,
    and `confirmed_by` says the same: another node, or itself if it is believed alone.
    `since` and `until` are times of capture.  `change` is the number of its last change, and `last_change` that as the
    JSON of its event; None before it was told.  `by` and `comment` are of the last act of a person.  Times that are
    due are milliseconds that have passed for the engine.
    """

    id: str
    key: str
    rule: str
    cluster: str
    node: str
    event_node: str
    confirmed_by: str = ""
    nodes: str
    is_group: bool = False
    about: About = ()
    state: State = "open"
    severity: Severity
    summary: str
    since: datetime
    until: datetime | None = None
    openings: int = 1
    openings_told: int = 0
    """How many openings the last change that reported them has said."""
    opened_by: str
    last_opening: str
    event_type: str
    """Of the event that opened it, such as `gpfs.nodeLeave`."""
    change: int = 0
    told: bool = False
    """Whether its opening was published: not yet while a backlog is read, and never if it was over by then."""
    suppressed_by: str | None = None
    suppressed: int = 0
    flapping: bool = False
    owner: str | None = None
    escalated_to: str | None = None
    """The contact that was notified because nobody acknowledged it in time."""
    by: str = ""
    comment: str = ""
    act: str = ""
    """The id of the last act that was taken into account."""
    depth: int = 0
    tell_due: int | None = None
    remind_due: int | None = None
    escalate_due: int | None = None
    ask_due: int | None = None
    last_change: bytes | None = None

    def closed(self, until: datetime) -> AlertRow:
        """Return it as closed at this time of capture; nothing is due any more."""
        return replace(
            self, state="closed", until=until, tell_due=None, remind_due=None, escalate_due=None, ask_due=None
        )

    @property
    def sole_reporter(self) -> str:
        """The node that alone says so; empty if another one confirms it, or who reports it is believed alone."""
        return "" if self.confirmed_by else self.event_node

    @property
    def next_due(self) -> int | None:
        """The time when the engine next has to look at it, if any."""
        due = (self.tell_due, self.remind_due, self.escalate_due, self.ask_due)
        return min((each for each in due if each is not None), default=None)
