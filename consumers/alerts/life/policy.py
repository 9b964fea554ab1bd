"""What a rule says about the life of its alerts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Self

from ..rules import Rule


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
