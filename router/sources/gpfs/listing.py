"""How registrations stand, and what they say, as rows for people and programs.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .plans import Plan, is_ours
from .registered import Registered

_VARIABLE = re.compile(r"%([A-Za-z]+)(?:\.[A-Za-z]+)?\Z")


@dataclass(frozen=True, slots=True)
class Standing:
    """How one thing stands: `good`; `look`, which needs nothing done; `wrong`, which `apply` would mend."""

    part: str
    verdict: str
    seen: str


def standings(plan: Plan) -> Iterator[Standing]:
    """Yield how each family stands, what is unwanted, and what this release lacks."""
    for each in plan.standings:
        named = each.wanted.identifier
        match each.verdict:
            case "good":
                yield Standing(named, "good", f"registered for {', '.join(each.wanted.events)}")
            case "missing":
                yield Standing(named, "wrong", f"not registered; wanted for {', '.join(each.wanted.events)}")
            case "differs":
                found = "; ".join(each.differences) or f"there more than once: {', '.join(each.identifiers)}"
                yield Standing(named, "wrong", found)
    for identifier in plan.unwanted:
        yield Standing(identifier, "wrong", "registered, and not wanted")
    for event, said in plan.lacking.items():
        yield Standing(event, "look", f"this release lacks it, as GPFS said: {said}")
    if plan.foreign:
        yield Standing("others", "good", f"{plan.foreign} callbacks are not ours, and are not touched")


def facts(
    registered: Sequence[Registered], asked: Mapping[str, Iterable[str]], *, everybody: bool
) -> Iterator[dict[str, object]]:
    """Yield what is known of each callback: those of others only for *everybody*.

    `variables` are those that GPFS fills in, `words` the rest of its parameters but for our own flags; `asked_by` are
    the Python callbacks that need one of its events.
    """
    for each in registered:
        if not everybody and not is_ours(each.identifier):
            continue
        words = each.parms.split()
        variables = [match[1] for word in words if (match := _VARIABLE.match(word))]
        flags = {f"--{name}" for name in variables}
        events = {name.lower() for name in each.events}
        yield {
            "identifier": each.identifier,
            "ours": is_ours(each.identifier),
            "command": each.command,
            "events": list(each.events),
            "nodes": list(each.nodes),
            "variables": variables,
            "words": [word for word in words if not _VARIABLE.match(word) and word not in flags],
            "priority": each.priority,
            "sync": each.sync,
            "timeout": each.timeout,
            "onerror": each.onerror or "continue",
            "asked_by": [name for name, names in asked.items() if events & {one.lower() for one in names}],
        }
