"""The status of registrations and their contents, as rows for people and programs.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .installed import Registered
from .plan import Plan, is_ours

_VARIABLE = re.compile(r"%([A-Za-z]+)(?:\.[A-Za-z]+)?\Z")


@dataclass(frozen=True, slots=True)
class Standing:
    """The status of one part: `ok`; `warning`, which needs no action; `error`, which `apply` would repair."""

    part: str
    verdict: str
    seen: str


def standings(plan: Plan) -> Iterator[Standing]:
    """Yield the status of each family, the unwanted callbacks, and the events that this release lacks."""
    for each in plan.standings:
        named = each.wanted.identifier
        match each.verdict:
            case "good":
                yield Standing(named, "ok", f"registered for {', '.join(each.wanted.events)}")
            case "missing":
                yield Standing(named, "error", f"not registered; wanted for {', '.join(each.wanted.events)}")
            case "differs":
                found = "; ".join(each.differences) or f"registered more than once: {', '.join(each.identifiers)}"
                yield Standing(named, "error", found)
    for identifier in plan.unwanted:
        yield Standing(identifier, "error", "registered, but not wanted")
    for event, message in plan.lacking.items():
        yield Standing(event, "warning", f"this GPFS release lacks it; GPFS reports: {message}")
    if plan.foreign:
        yield Standing("others", "ok", f"{plan.foreign} callbacks are not ours and are left untouched")


def facts(
    registered: Sequence[Registered], asked: Mapping[str, Iterable[str]], *, everybody: bool
) -> Iterator[dict[str, object]]:
    """Yield the facts of each callback as a dict; other people's callbacks only with *everybody*.

    `variables` are the variables that GPFS fills in; `words` are the other parameters, without our own flags;
    `asked_by` are the Python callbacks that need one of its events.
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
