"""What of clusterbus is at a broker, to be removed from it.  Only definitions, no connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..service_topology import service_exchanges, service_of
from ..topology import HISTORY, base, queue_of
from .drift import Definitions, nodes_there
from .provisioning import programs

_PREFIX = "clusterbus."
_SUBSCRIPTIONS = queue_of("")


@dataclass(frozen=True, slots=True)
class Removal:
    """What to remove: *queues* and *exchanges*, the *users* of nodes and programs, and at the end the *operator*.

    *bound* are the queues of others that get events from our exchanges, *kept* says what stays and why, a phrase each.
    """

    queues: tuple[str, ...]
    exchanges: tuple[str, ...]
    users: tuple[str, ...]
    operator: tuple[str, ...]
    bound: tuple[str, ...]
    kept: tuple[str, ...]


def waiting(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the queues with messages that somebody has still to get, of those with *counts*: history has only copies.

    >>> waiting({"clusterbus.history": 9, "clusterbus.sub.a": 2, "clusterbus.dead": 0})
    {'clusterbus.sub.a': 2}
    """
    return {name: count for name, count in counts.items() if count and name != HISTORY}


def removal(present: Definitions, vhost: str, prefix: str, cluster: str | None) -> Removal:
    """Return what of clusterbus the broker's *present* definitions have in *vhost*.

    Users are ours by the *prefix* of their names, and by a node's rights, with a *cluster* those of that one.
    """
    there = {
        kind: [each for each in present.get(kind, []) if each["vhost"] == vhost] for kind in ("queues", "exchanges")
    }
    topology = base() + service_exchanges()
    known = {each.name for each in topology.queues}
    queues = [
        name
        for each in there["queues"]
        if (name := each["name"]) in known or name.startswith(_SUBSCRIPTIONS) or service_of(name)
    ]
    named = {each["name"] for each in there["exchanges"]}
    exchanges = [each.name for each in topology.exchanges if each.name in named]
    nodes, others = sorted(nodes_there(present, vhost, cluster)), _programs(present, vhost, prefix)
    ours, operator = [name for name, reason in others if not reason], programs(prefix)[-1][0]
    return Removal(
        tuple(sorted(queues)),
        tuple(exchanges),
        (*nodes, *(each for each in ours if each != operator)),
        tuple(each for each in ours if each == operator),
        tuple(sorted(_bound(present, vhost, {*queues, *exchanges}))),
        (
            *(f"{name}: {reason}" for name, reason in others if reason),
            *(f"{name}: it is a node of another cluster" for name in sorted(nodes_there(present, vhost) - {*nodes})),
            *(
                f"{kind[:-1]} {each['name']}: clusterbus did not create it"
                for kind, rows in there.items()
                for each in rows
                if each["name"].startswith(_PREFIX) and each["name"] not in {*queues, *exchanges}
            ),
        ),
    )


def _programs(present: Definitions, vhost: str, prefix: str) -> list[tuple[str, str]]:
    """Return the users of programs and services that exist, each with the reason to keep it, or an empty text."""
    users = {each["name"]: each for each in present.get("users", [])}
    services = sorted(each for each in users if each.startswith(f"{prefix}-svc-"))
    ours = [*services, *(name for name, _ in programs(prefix))]
    return [(name, _reason(users[name], present, vhost)) for name in ours if name in users]


def _reason(user: Mapping[str, Any], present: Definitions, vhost: str) -> str:
    if user.get("tags"):
        return "it has tags, so it belongs to somebody else"
    others = [row["vhost"] for row in present.get("permissions", []) if row["user"] == user["name"]]
    elsewhere = sorted({each for each in others if each != vhost})
    return f"it also has rights in the virtual host {' and '.join(elsewhere)}" if elsewhere else ""


def _bound(present: Definitions, vhost: str, ours: set[str]) -> Iterator[str]:
    for each in present.get("bindings", []):
        if each["vhost"] == vhost and each["source"] in ours and each["destination"] not in ours:
            yield each["destination"]
