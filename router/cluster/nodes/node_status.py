"""The state of the shim on one node, from the node's answer to a survey, an installation or a removal.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ... import network_folders
from ...model import durations
from ..fleet.node_sets import fold
from ..fleet.runner import Answer
from .installer_answer import InstallerAnswer, RelayConnection, SpoolFacts, Unreadable, read
from .spool_findings import OLD, findings

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """The shim on *node* is *good*, or *reason* says what is missing, different or unreachable.

    *differs* lists each path that differs, and why; *did* lists what was done, *kept* what was left in place.
    *version* is the installed release, or empty if there is none; *left_out* lists what was not checked.  *warnings*
    say what works but may hang, such as a spool on GPFS, and which records were lost; *errors* say what is being lost.
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
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    failed: bool = False
    """Whether the node could not be reached, or could not carry out the request."""

    unreachable: bool = False
    """Whether it failed because the node did not answer, or not in time."""

    connection: RelayConnection | None = None
    """What the relay tells of its connection; None where no relay runs, as in a folder that stands for a node."""

    spool: SpoolFacts | None = None
    """What the spool holds, and what could not be stored in it; None if the node does not say."""

    @property
    def is_well(self) -> bool:
        """Whether the shim is good, its relay sends, and nothing is being lost."""
        return self.good and not self.trouble and not self.errors

    @property
    def trouble(self) -> str:
        """Why the relay sends no records, or an empty text: it does, or *reason* says what is wrong before that."""
        if self.connection is None or not self.good:
            return ""
        if self.connection.problem:
            return f"its relay does not send: {self.connection.problem}"
        if self.connection.oldest > OLD.total_seconds():
            return "its relay is connected, but does not send: records have waited for more than 5 minutes"
        return ""

    def facts(self) -> dict[str, object]:
        """Return the finding as a JSON object."""
        return {
            "node": self.node,
            "ok": self.is_well,
            "reason": self.reason or self.trouble or "; ".join(self.errors),
            "differs": dict(self.differs),
            "did": list(self.did),
            "kept": list(self.kept),
            "python": self.python,
            "version": self.version,
            "relay": self.relay,
            "left_out": list(self.left_out),
            "errors": list(self.errors),
            "warnings": list(self.warnings),
            "spool": self.spool and self.spool.model_dump(),
            "unreachable": self.unreachable,
            "connection": self.connection and self.connection.model_dump(),
        }


def finding_of(answer: Answer) -> Finding:
    """Return the finding in *answer*: its last line is the installer's; lines before it come from the login.

    >>> finding_of(Answer("n1", '{"differs": [["/usr/a", "is missing"]]}')).reason
    '/usr/a is missing'
    """
    try:
        report = read(answer.output)
    except Unreadable as error:
        silent = bool(answer.failure) or answer.late
        return Finding(answer.node, good=False, reason=answer.failure or str(error), failed=True, unreachable=silent)
    on_the_network = (network_folders.about(Path(folder), kind) for folder, kind in report.file_systems.items())
    spool = [*findings(report.spool)] if report.spool else []
    warnings = (*filter(None, on_the_network), *(each.seen for each in spool if each.verdict == "warning"))
    if report.error is not None or answer.late:
        reason = _failure(answer, report.error or "")
        return Finding(
            answer.node,
            good=False,
            reason=reason,
            python=report.python,
            warnings=warnings,
            failed=True,
            unreachable=answer.late,
        )
    return Finding(
        answer.node,
        good=not report.differs,
        reason=_words(report.differs),
        differs=report.differs,
        did=report.did,
        kept=report.kept,
        python=report.python,
        version=report.version,
        relay=report.relay,
        left_out=report.left_out,
        warnings=(*warnings, *_unknown(report)),
        errors=tuple(each.seen for each in spool if each.verdict == "error"),
        connection=report.connection,
        spool=report.spool,
    )


def _unknown(report: InstallerAnswer) -> Iterator[str]:
    if report.spool is None and "differs" in report.model_fields_set:
        yield "it is not known what was lost there: the node does not say what its spool holds"


def _failure(answer: Answer, error: str) -> str:
    if answer.late:
        return f"{answer.failure}{error and f'; the node reports: {error}'}"
    return error or answer.failure or "it reports an error without a reason"


def unprepared(node: str, reason: str) -> Finding:
    """Return the finding for *node* if it was not contacted because of *reason*."""
    return Finding(node, good=False, reason=reason, failed=True)


def by_reason(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return the reasons of *findings*, each with the set of nodes that it applies to.

    >>> by_reason([Finding("n1", good=False, reason="gone"), Finding("n2", good=False, reason="gone")])
    [{'nodes': 'n[1-2]', 'reason': 'gone'}]
    """
    return _by_text((each.node, each.reason) for each in findings)


def by_trouble(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return why relays of *findings* do not send, as `by_reason` does, each with the time since when the first did.

    >>> waiting = RelayConnection(broker="amqp://mq1", problem="broker unreachable", since=7300, unsent=2, oldest=60)
    >>> by_trouble([Finding("n1", good=True, connection=waiting), Finding("n2", good=True, connection=waiting)])
    [{'nodes': 'n[1-2]', 'reason': 'its relay does not send: broker unreachable, for 2h1m; 4 records wait there'}]
    """
    groups: dict[str, list[tuple[str, RelayConnection]]] = {}
    for each in findings:
        if each.connection and each.trouble:
            groups.setdefault(each.trouble, []).append((each.node, each.connection))
    return [
        {"nodes": fold(node for node, _ in those), "reason": f"{text}{_extent([each for _, each in those])}"}
        for text, those in groups.items()
    ]


def _extent(connections: list[RelayConnection]) -> str:
    seconds = max(each.since if each.problem else each.oldest for each in connections)
    unsent = sum(each.unsent for each in connections)
    return f", for {durations.rough(seconds)}; {unsent} records wait there"


def by_error(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return what is being lost according to *findings*, as `by_reason` does."""
    return _by_text((each.node, text) for each in findings for text in each.errors)


def by_warning(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return the warnings of *findings*, as `by_reason` does."""
    return _by_text((each.node, text) for each in findings for text in each.warnings)


def _by_text(found: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    nodes: dict[str, list[str]] = {}
    for node, text in found:
        nodes.setdefault(text, []).append(node)
    return [{"nodes": fold(names), "reason": text} for text, names in nodes.items()]


def _words(differs: tuple[tuple[str, str], ...]) -> str:
    shown = ", ".join(f"{path} {why}" for path, why in differs[:_SHOWN])
    return f"{shown}, and {len(differs) - _SHOWN} more" if len(differs) > _SHOWN else shown
