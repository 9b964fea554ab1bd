"""What is wrong with a spool, by the facts that the installer answers; for `nodes status` and for `doctor`.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from ...model import durations
from ...terminal_text import counted
from .installer_answer import SpoolFacts

OLD = timedelta(minutes=5)
"""A record that waits longer than this, although the relay is connected, is not being sent."""

MAX_FILES = 100_000
"""The number of records from which capture stores no more in a spool, by default."""

MAX_OCTETS = 1 << 30
"""Their size in octets from which it stores no more, by default."""

REASONS = {"f": "spool full", "d": "disk full", "e": "other errors"}
"""What the letters in the file `lost` mean."""

_NEARLY = 0.8
_LEAST_FREE = 100 * 2**20
_UNSAVED = "/run/clusterbus/unsaved"


@dataclass(frozen=True, slots=True)
class SpoolFinding:
    """The *verdict* on one thing about a spool: what was *seen*, and *advice* what to do."""

    verdict: Literal["warning", "error"]
    seen: str
    advice: str


def findings(spool: SpoolFacts) -> Iterator[SpoolFinding]:
    """Return what was lost, and what is about to be; whether what waits is sent, the relay says."""
    yield from _full(spool)
    if spool.bad:
        advice = "read the .reason file of each, then remove both"
        yield SpoolFinding("warning", f"{counted(spool.bad, 'file')} in bad/ of the spool", advice)
    yield from _lost(spool)
    if spool.unsaved:
        seen = f"neither the spool nor syslog took some callbacks: {spool.unsaved} bytes of them are in {_UNSAVED}"
        advice = f"read {_UNSAVED} as root, and move it elsewhere: it is gone after a reboot, and takes 4 MiB at most"
        yield SpoolFinding("error", seen, advice)
    if spool.free is not None and spool.free < _LEAST_FREE:
        seen = f"only {spool.free // 2**20} MiB free under the spool"
        yield SpoolFinding("error", seen, "free some: else capture uses syslog only")
    for each in spool.unreadable:
        yield SpoolFinding("warning", f"the spool is not known completely: {each}", "run this as root or as clusterbus")


def _full(spool: SpoolFacts) -> Iterator[SpoolFinding]:
    """Check for the mark of a capture that found no room; the next one removes it, once there is some."""
    used = max(spool.waiting / MAX_FILES, spool.octets / MAX_OCTETS)
    holds = f"it holds {counted(spool.waiting, 'record')} of {spool.octets // 2**20} MiB"
    if spool.full is not None and spool.waiting:
        advice = "have the relay send: until then callbacks are only in syslog; max_files and max_bytes set the limit"
        seen = f"the spool reached its limit {durations.rough(spool.full)} ago; now {holds}"
        yield SpoolFinding("error", seen, advice)
    elif used >= _NEARLY:
        seen = f"the spool is at {min(used, 9.99):.0%} of its limit: {holds}"
        yield SpoolFinding("warning", seen, "have the relay send: what comes beyond the limit is only in syslog")


def _lost(spool: SpoolFacts) -> Iterator[SpoolFinding]:
    counts = {reason: getattr(spool.lost, mark) for mark, reason in REASONS.items()}
    if any(counts.values()):
        why = ", ".join(f"{reason}: {count}" for reason, count in counts.items() if count)
        seen = f"{counted(sum(counts.values()), 'callback')} could not be stored since the spool was created ({why})"
        advice = "search syslog for clusterbus-capture: it has each callback in full, with the reason"
        yield SpoolFinding("warning", seen, advice)
