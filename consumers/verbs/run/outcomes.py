"""What a fan-out came to: from the outcome of its process to the report of the attempt.  Only values.

The result tells of all nodes, those included on which an earlier attempt has succeeded: `nodes.succeeded` is what the
next attempt leaves out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...deliveries import Report
from .nodes import fold, unfold

UNREACHABLE = "255"
"""What ssh says of a node that it cannot reach."""

_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Aim:
    """Where an attempt runs: *todo*; on *before* an earlier attempt has succeeded.  *target* is what may be blamed."""

    todo: Sequence[str]
    before: Sequence[str] = ()
    target: str = ""
    is_remote: bool = True


def aim_of(names: Sequence[str], earlier: Mapping[str, object], target: str, *, is_remote: bool) -> Aim:
    """Return on which of *names* to run after an attempt with the result *earlier*: those that are left of it.

    >>> aim_of(["n1", "n2", "n3"], {"nodes": {"succeeded": "n1", "failed": "n[2-3]"}}, "", is_remote=True).todo
    ('n2', 'n3')
    """
    found = earlier.get("nodes")
    if not isinstance(found, dict):
        return Aim(tuple(names), (), target, is_remote)
    succeeded, failed = (unfold(str(found.get(each, ""))) for each in ("succeeded", "failed"))
    wanted = set(failed)
    return Aim(tuple(each for each in names if each in wanted), succeeded, target, is_remote)


def read(output: bytes) -> Mapping[str, Any] | None:
    """Return the outcome that a fan-out's process ended its *output* with; None where it has told none."""
    lines = output.rstrip(b"\n").splitlines()
    try:
        outcome = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return outcome if isinstance(outcome, dict) and "codes" in outcome else None


def report(outcome: Mapping[str, Any], aim: Aim) -> Report:
    """Return what *outcome* means where it was to run on *aim*.  A node that is not told of has failed."""
    codes = {code: unfold(nodes) for code, nodes in outcome["codes"].items()}
    unreachable = codes.pop(UNREACHABLE, ()) if aim.is_remote else ()
    good = [*aim.before, *codes.pop("0", ())]
    timed_out, unfinished = unfold(outcome["timed_out"]), unfold(outcome["unfinished"])
    told = {*good, *unreachable, *timed_out, *unfinished, *(name for names in codes.values() for name in names)}
    not_begun = [each for each in aim.todo if each not in told]
    late = "not through by the deadline on" if outcome.get("deadline") else "broken off on"
    failures = [
        *((f"exit:{code}", f"exit code {code} on", names) for code, names in codes.items()),
        ("timeout", "timed out on", timed_out),
        ("unreachable", "cannot be reached:", unreachable),
        ("timeout", late, unfinished),
        ("timeout", "not begun before the deadline on", not_begun),
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
    is_all = len(failed) == len(aim.todo)
    blamed = [aim.target] if unreachable or timed_out or unfinished or is_all else []
    return Report(_word([word for word, _, _ in failures]), reason, result, blamed=blamed)


def lost(aim: Aim, failure: str, reason: str, output: bytes = b"") -> Report:
    """Return the report of an attempt whose process did not live to tell: none of its nodes counts as done."""
    said = {"said": output[-_TAIL:].decode("utf-8", "replace")} if output else {}
    return Report(failure, reason, {**_nodes(aim.before, aim.todo), **said})


def nothing_left(aim: Aim) -> Report:
    """Return the report where no node is left that failed before: those that did are no nodes of the set any more."""
    return Report(result={**_nodes(aim.before, ()), "note": "the nodes that failed before have left the node set"})


def _nodes(succeeded: Iterable[str], failed: Iterable[str]) -> dict[str, object]:
    return {"nodes": {"succeeded": fold(succeeded), "failed": fold(failed)}}


def _some(name: str, names: Sequence[str]) -> dict[str, object]:
    return {name: fold(names)} if names else {}


def _word(words: Sequence[str]) -> str:
    """Return the one word of a retry policy for several failures.

    >>> _word(["exit:3"]), _word(["exit:3", "exit:4"]), _word(["exit:3", "timeout"])
    ('exit:3', 'exit', 'nodes')
    """
    if len(set(words)) == 1:
        return words[0]
    return "exit" if all(each.startswith("exit:") for each in words) else "nodes"
