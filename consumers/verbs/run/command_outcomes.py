"""Turn the end of a command on this machine into the report of the attempt, in the shape that commands on nodes have.

This machine is one node, under its own name.  Pure functions of values.
"""

from __future__ import annotations

import os
from datetime import timedelta

from router.model import durations

from ...deliveries import Report
from ...processes import child_process


def this_machine() -> str:
    """Return the name of this machine, under which its commands are reported."""
    return os.uname().nodename


def report(ended: child_process.Ended, timeout: timedelta, machine: str) -> Report:
    """Return the report of a command that *ended* on *machine*; *timeout* was its limit."""
    failure = ended.failure(durations.text(timeout))
    result = facts(ended, machine)
    return Report(*failure, result) if failure else Report(result=result)


def facts(ended: child_process.Ended, machine: str) -> dict[str, object]:
    """Return what is stored of a command that *ended* on *machine*, whatever the outcome.

    >>> facts(child_process.Ended(code=0, output=bytearray(b"hi"), octets=2, seconds=0.5), "hub1")
    ... # doctest: +NORMALIZE_WHITESPACE
    {'nodes': {'succeeded': 'hub1', 'failed': ''}, 'exit': {'0': 'hub1'},
     'output': [{'nodes': 'hub1', 'text': 'hi', 'octets': 2}], 'seconds': 0.5}
    >>> facts(child_process.Ended(code=-9), "hub1")
    {'nodes': {'succeeded': '', 'failed': 'hub1'}, 'signal': {'9': 'hub1'}, 'seconds': 0.0}
    """
    is_good = ended.code == 0 and not ended.timed_out
    return {
        "nodes": {"succeeded": machine if is_good else "", "failed": "" if is_good else machine},
        **_ending(ended, machine),
        **_text("output", ended.output, ended.octets, machine),
        **_text("errors", ended.errors, ended.error_octets, machine),
        "seconds": round(ended.seconds, 3),
        **({"left_behind": ended.left} if ended.left else {}),
    }


def _ending(ended: child_process.Ended, machine: str) -> dict[str, object]:
    late: dict[str, object] = {"timed_out": machine} if ended.timed_out else {}
    if ended.code is None:
        return {**late, "unfinished": machine}
    if ended.code < 0:
        return {"signal": {str(-ended.code): machine}, **late}
    # A command that ends itself with 0 when its time is over has not succeeded.
    return late or {"exit": {str(ended.code): machine}}


def _text(name: str, kept: bytes | bytearray, octets: int, machine: str) -> dict[str, object]:
    text = kept.decode("utf-8", "replace")
    return {name: [{"nodes": machine, "text": text, "octets": octets}]} if octets else {}
