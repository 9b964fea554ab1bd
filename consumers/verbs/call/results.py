"""What a function's end is kept as: its value, its report, or what it raised.  Bounded, and plain enough for JSON."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ...deliveries import Report, bounded
from ...handlers import said

LARGEST = 65536
"""Characters of a value, or of what was printed, at the most."""

_LONGEST_TRACE = 8192
_LONGEST_NAME = 100
_MOST_TARGETS = 100


def reported(value: object) -> Report:
    """Return the report of a function that returned *value*; raises TypeError for a Report that is none.

    >>> reported(None).result, reported(["n1", 2]).result, reported({1}).result
    ({}, {'value': ['n1', 2]}, {'repr': '{1}'})
    """
    if value is None:
        return Report()
    return _honoured(value) if isinstance(value, Report) else Report(result=kept(value))


def kept(value: object) -> Mapping[str, object]:
    """Return *value* as JSON would bring it back, or where that is not possible or too large, the head of its repr."""
    try:
        text = json.dumps(value, allow_nan=False)
        if len(text) <= LARGEST:
            # What the function keeps and changes later must not change what is recorded.
            return {"value": json.loads(text)}
    except (TypeError, ValueError, RecursionError, AttributeError):
        pass
    try:
        shown = repr(value)
    except BaseException as error:  # noqa: BLE001 - how it is shown is somebody else's program
        shown = f"<{type(value).__name__}, which cannot be shown: {type(error).__name__}>"
    return {"repr": _plain(shown, LARGEST)}


def failed(error: BaseException) -> Report:
    """Return the report of a function that raised *error*: a failure by the name of its class, and from where."""
    name = type(error).__name__[:_LONGEST_NAME]
    # Without our own frame, and without source lines: a file may have changed since it was loaded.
    frames = traceback.extract_tb(error.__traceback__)[1:]
    lines = "".join(f"{each.filename}:{each.lineno} in {each.name}\n" for each in frames)
    result = {"trace": _plain(lines[-_LONGEST_TRACE:], _LONGEST_TRACE)} if lines else {}
    return Report(name, bounded(said(error)), result)


def to_wire(report: Report) -> dict[str, Any]:
    """Return *report* as JSON takes it."""
    return {
        "failure": report.failure,
        "reason": report.reason,
        "result": report.result,
        "after": report.after.total_seconds(),
        "blamed": list(report.blamed),
        "again": report.again.total_seconds() if report.again is not None else None,
    }


def from_wire(wire: Mapping[str, Any]) -> Report:
    """Return the report that `to_wire` wrote."""
    again = wire["again"]
    return Report(
        failure=wire["failure"],
        reason=wire["reason"],
        result=wire["result"],
        after=timedelta(seconds=wire["after"]),
        blamed=tuple(wire["blamed"]),
        again=timedelta(seconds=again) if again is not None else None,
    )


def _honoured(report: Report) -> Report:
    """Return *report* as the engine can rely on it; the types of its fields are the function's word only."""
    for name, kinds in (("failure", str), ("again", timedelta)):
        if not isinstance(getattr(report, name), (kinds, type(None))):
            raise TypeError(f"{name} of the Report is no {kinds.__name__}, but {getattr(report, name)!r:.100}")
    if not isinstance(report.after, timedelta):
        raise TypeError(f"after of the Report is no timedelta, but {report.after!r:.100}")
    whole = kept(dict(report.result))
    value = whole.get("value")
    result = value if isinstance(value, dict) else whole
    blamed = tuple(str(each)[:200] for each in list(report.blamed)[:_MOST_TARGETS])
    return replace(report, reason=bounded(str(report.reason)), result=result, blamed=blamed)


def _plain(text: str, limit: int) -> str:
    return text[:limit].encode("utf-8", "replace").decode("utf-8")
