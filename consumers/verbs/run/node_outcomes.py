"""Turn the outcome of a fan-out into the report of the attempt.  Pure functions of values.

The result covers all nodes, including those that succeeded in an earlier attempt; the next attempt skips
`nodes.succeeded`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ...deliveries import Report
from .node_targets import fold, unfold

UNREACHABLE = "255"
"""The exit code of ssh for an unreachable node."""

AFTER_A_STOP = timedelta(seconds=1)
"""The wait before what a stop interrupted goes on, in another consumer."""

_TAIL = 2000


@dataclass(frozen=True, slots=True)
class NodeRun:
    """A run on nodes: it is called on *todo*; *before* succeeded earlier.  *target* names the circuit breaker."""

    todo: Sequence[str]
    before: Sequence[str] = ()
    target: str = ""
    is_remote: bool = True


def next_run(names: Sequence[str], earlier: Mapping[str, object], target: str, *, is_remote: bool) -> NodeRun:
    """Return which of *names* to run on after an attempt with the result *earlier*: those that failed.

    >>> next_run(["n1", "n2", "n3"], {"nodes": {"succeeded": "n1", "failed": "n[2-3]"}}, "", is_remote=True).todo
    ('n2', 'n3')
    """
    found = earlier.get("nodes")
    if not isinstance(found, dict):
        return NodeRun(tuple(names), (), target, is_remote)
    succeeded, failed = (unfold(str(found.get(each, ""))) for each in ("succeeded", "failed"))
    wanted = set(failed)
    return NodeRun(tuple(each for each in names if each in wanted), succeeded, target, is_remote)


def read(output: bytes) -> Mapping[str, Any] | None:
    """Return the outcome at the end of the *output* of a fan-out process, or None if it wrote none."""
    lines = output.rstrip(b"\n").splitlines()
    try:
        outcome = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return outcome if isinstance(outcome, dict) and "codes" in outcome else None


def report(outcome: Mapping[str, Any], node_run: NodeRun) -> Report:
    """Return the report for *outcome* of *node_run*.  A node without an outcome has failed."""
    codes = {code: unfold(nodes) for code, nodes in outcome["codes"].items()}
    unreachable = codes.pop(UNREACHABLE, ()) if node_run.is_remote else ()
    good = [*node_run.before, *codes.pop("0", ())]
    timed_out, unfinished = unfold(outcome["timed_out"]), unfold(outcome["unfinished"])
    reported = {*good, *unreachable, *timed_out, *unfinished, *(name for names in codes.values() for name in names)}
    not_begun = [each for each in node_run.todo if each not in reported]
    late = "not finished before the deadline on" if outcome.get("deadline") else "interrupted on"
    failures = [
        *((f"exit:{code}", f"exit code {code} on", names) for code, names in codes.items()),
        ("timeout", "timed out on", timed_out),
        ("unreachable", "unreachable:", unreachable),
        ("timeout", late, unfinished),
        ("timeout", "not started before the deadline on", not_begun),
    ]
    failures = [each for each in failures if each[2]]
    failed = [name for _, _, names in failures for name in names]
    result = {
        **_nodes(good, failed),
        "exit": {code: fold(names) for code, names in {"0": good, **codes}.items() if names},
        **_some("timed_out", timed_out),
        **_some("unreachable", unreachable),
        **_some("unfinished", unfinished),
        **_some("not_begun", not_begun),
        "output": outcome["output"],
        "seconds": outcome["seconds"],
    }
    if not failures:
        return Report(result=result)
    reason = ", ".join(f"{words} {fold(names)}" for _, words, names in failures)
    is_all = len(failed) == len(node_run.todo)
    blamed = [node_run.target] if unreachable or timed_out or unfinished or is_all else []
    return Report(_word([word for word, _, _ in failures]), reason, result, blamed=blamed)


def interrupted(outcome: Mapping[str, Any] | None, node_run: NodeRun) -> Report | None:
    """Return the report of *node_run* that a stop of the consumer ended: the next call runs on the other nodes.

    None where no node was done: then all is repeated.  A node whose command failed is run again as well.
    """
    good = unfold(outcome["codes"].get("0", "")) if outcome else ()
    if not good:
        return None
    done = {*good}
    left = [each for each in node_run.todo if each not in done]
    result = {**_nodes([*node_run.before, *good], left), "interrupted": True}
    return Report(result=result, reason="interrupted by a stop", again=AFTER_A_STOP)


def lost(node_run: NodeRun, failure: str, reason: str, output: bytes = b"") -> Report:
    """Return the report of an attempt whose process was killed: none of its nodes counts as done."""
    tail = {"said": output[-_TAIL:].decode("utf-8", "replace")} if output else {}
    return Report(failure, reason, {**_nodes(node_run.before, node_run.todo), **tail})


def nothing_left(node_run: NodeRun) -> Report:
    """Return the report if no node is left to run on: the nodes that failed are no longer in the node set."""
    return Report(result={**_nodes(node_run.before, ()), "note": "the nodes that failed are no longer in the node set"})


def _nodes(succeeded: Iterable[str], failed: Iterable[str]) -> dict[str, object]:
    return {"nodes": {"succeeded": fold(succeeded), "failed": fold(failed)}}


def _some(name: str, names: Sequence[str]) -> dict[str, object]:
    return {name: fold(names)} if names else {}


def _word(words: Sequence[str]) -> str:
    """Return one failure, as used in retry policies, for several *words*.

    >>> _word(["exit:3"]), _word(["exit:3", "exit:4"]), _word(["exit:3", "timeout"])
    ('exit:3', 'exit', 'nodes')
    """
    if len(set(words)) == 1:
        return words[0]
    return "exit" if all(each.startswith("exit:") for each in words) else "nodes"
