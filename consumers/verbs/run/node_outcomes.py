"""Turn the outcome of a fan-out into the report of the attempt.  Pure functions of values.

The result covers all nodes, including those that succeeded in an earlier attempt; the next attempt skips
`nodes.succeeded`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ...deliveries import LEFT, NOT_BEFORE, PORTIONS, Delivery, Report
from .node_targets import fold, unfold

UNREACHABLE = "255"
"""The exit code of ssh if the connection, and not the command, failed."""

AFTER_A_STOP = timedelta(seconds=1)
"""The wait before what a stop interrupted goes on, in another consumer."""

_TAIL = 2000


@dataclass(frozen=True, slots=True)
class NodeRun:
    """A run on nodes: it is called on *todo*; *before* succeeded earlier.  *target* names the circuit breaker.

    The *rest* is left for a later run, after a *pause*, if this one succeeds.
    """

    todo: Sequence[str]
    before: Sequence[str] = ()
    target: str = ""
    is_remote: bool = True
    rest: Sequence[str] = ()
    pause: timedelta = timedelta()

    def only(self, portion: Collection[str], pause: timedelta) -> NodeRun:
        """Return it as one on those nodes that are in *portion*."""
        here, rest = ([each for each in self.todo if (each in portion) is now] for now in (True, False))
        return replace(self, todo=tuple(here), rest=tuple(rest), pause=pause)

    @property
    def facts_of_rest(self) -> Mapping[str, object]:
        """What a job keeps of the rest."""
        return {"rest": fold(self.rest), "pause": self.pause.total_seconds()} if self.rest else {}


def next_run(names: Sequence[str], earlier: Mapping[str, object], target: str, *, is_remote: bool) -> NodeRun:
    """Return which of *names* to run on after an attempt with the result *earlier*: those that failed.

    >>> next_run(["n1", "n2", "n3"], {"nodes": {"succeeded": "n1", "failed": "n[2-3]"}}, "", is_remote=True).todo
    ('n2', 'n3')
    """
    found = earlier.get("nodes")
    found = found if isinstance(found, dict) else {}
    succeeded, failed = (unfold(str(found.get(each, ""))) for each in ("succeeded", "failed"))
    if {*names}.isdisjoint((*succeeded, *failed)):
        # There was no attempt, or it ran on other nodes: the subscription has been changed.
        return NodeRun(tuple(names), (), target, is_remote)
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
    refused, timed_out, unfinished = (unfold(outcome.get(each, "")) for each in ("refused", "timed_out", "unfinished"))
    unreachable = _unreachable(outcome, codes, node_run)
    out_of_reach = {*refused, *unreachable}
    good = [*node_run.before, *(each for each in codes.pop("0", ()) if each not in out_of_reach)]
    own = {code: [each for each in names if each not in out_of_reach] for code, names in codes.items()}
    reported = {*good, *out_of_reach, *timed_out, *unfinished, *(name for names in own.values() for name in names)}
    not_begun = [each for each in node_run.todo if each not in reported]
    late = "not finished before the deadline on" if outcome.get("deadline") else "interrupted on"
    failures = [
        *((f"exit:{code}", f"exit code {code} on", names) for code, names in own.items()),
        ("timeout", "timed out on", timed_out),
        ("unreachable", "unreachable:", unreachable),
        *(("login", f"login refused ({why}):", names) for why, names in _refusals(outcome)),
        ("timeout", late, unfinished),
        ("timeout", "not started before the deadline on", not_begun),
    ]
    failures = [each for each in failures if each[2]]
    failed = [name for _, _, names in failures for name in names]
    result = {
        **_nodes(good, failed),
        **_filled("exit", {code: fold(names) for code, names in {"0": good, **codes}.items() if names}),
        **_some("timed_out", timed_out),
        **_some("unreachable", unreachable),
        **_some("refused", refused),
        **_some("unfinished", unfinished),
        **_some("not_begun", not_begun),
        **_filled("remote_may_run", outcome.get("remote_may_run")),
        **_filled("output", outcome["output"]),
        **_filled("errors", outcome.get("errors")),
        "seconds": outcome["seconds"],
    }
    if not failures:
        return Report(result=result)
    reason = ", ".join(f"{words} {fold(names)}" for _, words, names in failures)
    is_all = len(failed) == len(node_run.todo)
    blamed = [node_run.target] if out_of_reach or timed_out or unfinished or is_all else []
    return Report(_word([word for word, _, _ in failures]), reason, result, blamed=blamed)


def _unreachable(outcome: Mapping[str, Any], codes: Mapping[str, Sequence[str]], node_run: NodeRun) -> Sequence[str]:
    if "unreachable" in outcome or not node_run.is_remote:
        return unfold(outcome.get("unreachable", ""))
    # A job that an earlier release began.
    return codes.get(UNREACHABLE, ())


def _refusals(outcome: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    for each in outcome.get("refusals", ()):
        yield each["reason"], unfold(each["nodes"])


def with_rest(report: Report, node_run: NodeRun, portions: int, at: datetime) -> Report:
    """Return *report* with the rest of *node_run*: it follows where all went well, and is not begun otherwise.

    *portions* of the nodes were done before; this one ended *at* a moment.
    """
    if not node_run.rest:
        return report
    rest, nodes = fold(node_run.rest), report.result["nodes"]
    assert isinstance(nodes, Mapping)  # noqa: S101 - for mypy: all reports have it
    failed = [*unfold(str(nodes["failed"])), *node_run.rest]
    result = {**report.result, **_nodes(unfold(str(nodes["succeeded"])), failed)}
    if report.again is not None:
        return replace(report, result={**result, PORTIONS: portions})
    if report.failure is not None:
        not_begun = [*unfold(str(result.get("not_begun", ""))), *node_run.rest]
        reason = f"{report.reason}, therefore not begun: {rest}"
        return replace(report, reason=reason, result={**result, "not_begun": fold(not_begun)})
    result |= {PORTIONS: portions + 1, LEFT: rest}
    result |= {NOT_BEFORE: (at + node_run.pause).isoformat()} if node_run.pause else {}
    again = max(AFTER_A_STOP, node_run.pause)
    return Report(result=result, reason=f"succeeded on {fold(node_run.todo)}, left: {rest}", again=again)


def with_earlier(report: Report, delivery: Delivery) -> Report:
    """Return *report*, which asks to be called again for a job, with what earlier portions of *delivery* have done."""
    earlier = {name: delivery.earlier[name] for name in ("nodes", PORTIONS) if name in delivery.earlier}
    return replace(report, result={**earlier, **report.result})


def interrupted(outcome: Mapping[str, Any] | None, node_run: NodeRun) -> Report | None:
    """Return the report of *node_run* that a stop of the consumer ended: the next call runs on the other nodes.

    None where no node was done: then all is repeated.  A node whose command failed is run again as well.
    """
    good = unfold(outcome["codes"].get("0", "")) if outcome else ()
    if not good:
        return None
    done = {*good}
    left = [each for each in node_run.todo if each not in done]
    may_run = _filled("remote_may_run", outcome.get("remote_may_run")) if outcome else {}
    result = {**_nodes([*node_run.before, *good], left), **may_run, "interrupted": True}
    return Report(result=result, reason="interrupted by a stop", again=AFTER_A_STOP)


def lost(node_run: NodeRun, failure: str, reason: str, output: bytes = b"") -> Report:
    """Return the report of an attempt whose process was killed: none of its nodes counts as done."""
    tail = {"said": output[-_TAIL:].decode("utf-8", "replace")} if output else {}
    may_run = _some("remote_may_run", node_run.todo) if node_run.is_remote else {}
    return Report(failure, reason, {**_nodes(node_run.before, node_run.todo), **may_run, **tail})


def nothing_left(node_run: NodeRun) -> Report:
    """Return the report if no node is left to run on: the nodes that failed are no longer in the node set."""
    return Report(result={**_nodes(node_run.before, ()), "note": "the nodes that failed are no longer in the node set"})


def _nodes(succeeded: Iterable[str], failed: Iterable[str]) -> dict[str, object]:
    return {"nodes": {"succeeded": fold(succeeded), "failed": fold(failed)}}


def _some(name: str, names: Sequence[str]) -> dict[str, object]:
    return {name: fold(names)} if names else {}


def _filled(name: str, value: object) -> dict[str, object]:
    return {name: value} if value else {}


def _word(words: Sequence[str]) -> str:
    """Return one failure, as used in retry policies, for several *words*.

    >>> _word(["exit:3"]), _word(["exit:3", "exit:4"]), _word(["exit:3", "timeout"])
    ('exit:3', 'exit', 'nodes')
    """
    if len(set(words)) == 1:
        return words[0]
    return "exit" if all(each.startswith("exit:") for each in words) else "nodes"
