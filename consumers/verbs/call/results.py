"""Turn the value, report or exception of a function into a report that is limited in size and fits JSON."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ...config.python_files import error_text
from ...deliveries import Report, bounded
from ...errors import Rejected

LARGEST = 65536
"""Most characters of a value, and most octets of output."""

_LONGEST_TRACE = 8192
_LONGEST_NAME = 100
_MOST_TARGETS = 100


def reported(value: object) -> Report:
    """Return the report of a function that returned *value*; raises TypeError for an invalid Report.

    >>> reported(None).result, reported(["n1", 2]).result, reported({1}).result
    ({}, {'value': ['n1', 2]}, {'repr': '{1}'})
    """
    if value is None:
        return Report()
    return _valid(value) if isinstance(value, Report) else Report(result=kept(value))


def kept(value: object) -> Mapping[str, object]:
    """Return *value* as it would come back from JSON, or the beginning of its repr if it does not fit."""
    try:
        text = json.dumps(value, allow_nan=False)
        if len(text) <= LARGEST:
            # Copy it: the function may change the value later.
            return {"value": json.loads(text)}
    except (TypeError, ValueError, RecursionError, AttributeError):
        pass
    try:
        shown = repr(value)
    except BaseException as error:  # noqa: BLE001 - repr may be any program's
        shown = f"<{type(value).__name__}, which cannot be shown: {type(error).__name__}>"
    return {"repr": _plain(shown, LARGEST)}


def failed(error: BaseException) -> Report:
    """Return the report of a function that raised *error*: the failure is its class name, with the traceback."""
    name = type(error).__name__[:_LONGEST_NAME]
    # Leave out the frame of clusterbus and all source lines: a file may have changed since it was loaded.
    frames = traceback.extract_tb(error.__traceback__)[1:]
    lines = "".join(f"{each.filename}:{each.lineno} in {each.name}\n" for each in frames)
    result = {"trace": _plain(lines[-_LONGEST_TRACE:], _LONGEST_TRACE)} if lines else {}
    return Report(name, bounded(error_text(error)), result)


def of_rejected(error: Rejected) -> Mapping[str, object]:
    """Return the result of *error*, which a function raised and may have made of anything.

    >>> of_rejected(Rejected("no", {"ticket": 7})), of_rejected(Rejected("no"))
    ({'ticket': 7}, {})
    """
    try:
        found = dict(error.result)
    except Exception:  # noqa: BLE001 - it may be an object of any class
        return kept(error.result)
    return _mapping(found) if found else {}


def to_wire(report: Report) -> dict[str, Any]:
    """Return *report* as values for JSON."""
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


def _valid(report: Report) -> Report:
    """Return a valid copy of *report*, since a function may put anything into its fields."""
    for name, kinds in (("failure", str), ("again", timedelta)):
        if not isinstance(getattr(report, name), (kinds, type(None))):
            raise TypeError(f"{name} of the Report must be {kinds.__name__}, not {getattr(report, name)!r:.100}")
    if not isinstance(report.after, timedelta):
        raise TypeError(f"after of the Report must be timedelta, not {report.after!r:.100}")
    result = _mapping(dict(report.result))
    blamed = tuple(str(each)[:200] for each in list(report.blamed)[:_MOST_TARGETS])
    return replace(report, reason=bounded(str(report.reason)), result=result, blamed=blamed)


def _mapping(value: dict[str, object]) -> Mapping[str, object]:
    whole = kept(value)
    inner = whole.get("value")
    return inner if isinstance(inner, dict) else whole


def _plain(text: str, limit: int) -> str:
    return text[:limit].encode("utf-8", "replace").decode("utf-8")
