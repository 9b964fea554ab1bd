"""What is known of the shim on one node, after it was asked, or given something.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..fleet.node_sets import fold
from ..fleet.rounds import Answer

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """The shim on *node* is *good*, or the *reason* says in words what is missing, different or unreachable.

    *differs* has each path that is not as it should be, and why; *did* what was done there, *kept* what was left.
    *version* is the release that was put there, empty where none was; *left_out* is what was not looked at.
    """

    node: str
    good: bool
    reason: str = ""
    differs: tuple[tuple[str, str], ...] = ()
    did: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    python: str = ""
    version: str = ""
    relay: str = ""
    left_out: tuple[str, ...] = ()
    failed: bool = False
    """Whether the node could not be asked, or could not do what it was told."""

    def facts(self) -> dict[str, object]:
        """Return it as a JSON object."""
        return {
            "node": self.node,
            "good": self.good,
            "reason": self.reason,
            "differs": dict(self.differs),
            "did": list(self.did),
            "kept": list(self.kept),
            "python": self.python,
            "version": self.version,
            "relay": self.relay,
            "left_out": list(self.left_out),
        }


def finding_of(answer: Answer) -> Finding:
    """Return what *answer* tells; the last line of it is the installer's own, before may stand what a login says.

    >>> finding_of(Answer("n1", '{"differs": [["/usr/a", "is missing"]]}')).reason
    '/usr/a is missing'
    """
    told = _told(answer.output)
    if told is None or "error" in told or answer.late:
        failure = _failure(answer, told or {})
        return Finding(answer.node, good=False, reason=failure, failed=True, python=str((told or {}).get("python", "")))
    differs = tuple((str(path), str(why)) for path, why in told.get("differs", ()))
    return Finding(
        answer.node,
        good=not differs,
        reason=_words(differs),
        differs=differs,
        did=tuple(told.get("did", ())),
        kept=tuple(told.get("kept", ())),
        python=str(told.get("python", "")),
        version=str(told.get("version", "")),
        relay=str(told.get("relay", "")),
        left_out=tuple(told.get("left_out", ())),
    )


def _failure(answer: Answer, told: dict[str, Any]) -> str:
    error = str(told.get("error", ""))
    if answer.late:
        return f"{answer.failure}{error and f'; it says: {error}'}"
    return error or answer.failure or f"it said what is no answer: {answer.output[-300:]!r}"


def unprepared(node: str, reason: str) -> Finding:
    """Return the finding on *node* where it was not even asked."""
    return Finding(node, good=False, reason=reason, failed=True)


def by_reason(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return the reasons of *findings*, each with the nodes that it is true of.

    >>> by_reason([Finding("n1", good=False, reason="gone"), Finding("n2", good=False, reason="gone")])
    [{'nodes': 'n[1-2]', 'reason': 'gone'}]
    """
    nodes: dict[str, list[str]] = {}
    for each in findings:
        nodes.setdefault(each.reason, []).append(each.node)
    return [{"nodes": fold(names), "reason": reason} for reason, names in nodes.items()]


def _told(output: str) -> dict[str, Any] | None:
    lines = output.strip().splitlines()
    try:
        told = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return told if isinstance(told, dict) and {"error", "differs", "kept"} & told.keys() else None


def _words(differs: tuple[tuple[str, str], ...]) -> str:
    shown = ", ".join(f"{path} {why}" for path, why in differs[:_SHOWN])
    return f"{shown}, and {len(differs) - _SHOWN} more" if len(differs) > _SHOWN else shown
