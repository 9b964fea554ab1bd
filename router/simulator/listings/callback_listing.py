"""The output of mmlscallback.  Pure.

Known: the form for people.  Not known: the columns of `-Y` (here the names of the options, or others with
`Behaviour.listing`), and the words for options other than command, event and parms in the form for people.
"""

from collections.abc import Iterable

from ..cluster_state import CallbackState
from ..switches import Behaviour
from .table_lines import Table, text

_COLUMNS = ("identifier", "command", "priority", "sync", "timeout", "event", "node", "parms", "onerror")
_TABLE = Table("mmlscallback", "", " ".join(_COLUMNS))
_OTHER = Table(
    "mmlscallback",
    "userCallback",
    "callbackName events commandPathname parameters mode reserved timeout action priority nodeList",
)
_UNSET = "(undefined)"


def callbacks_for_people(callbacks: Iterable[CallbackState]) -> str:
    """Return *callbacks* as mmlscallback prints them; options that are not set are left out."""
    lines = []
    for each in callbacks:
        lines.append(each.identifier)
        shown = zip(_COLUMNS, _fields(each), strict=True)
        settings = [(key, value) for key, value in shown if value and key != "identifier"]
        lines += [f"        {key:<13} = {value}" for key, value in settings]
    return text(lines)


def callbacks_for_programs(callbacks: Iterable[CallbackState], behaviour: Behaviour) -> str:
    """Return *callbacks* as `mmlscallback -Y` is assumed to print them."""
    if behaviour.listing == "other_columns":
        return _OTHER.lines([_other(each) for each in callbacks], behaviour)
    return _TABLE.lines([_fields(each) for each in callbacks], behaviour)


def _fields(callback: CallbackState) -> tuple[str, ...]:
    return (
        callback.identifier,
        callback.command,
        "" if callback.priority is None else f"{callback.priority:g}",
        "yes" if callback.sync else "",
        "" if callback.timeout is None else str(callback.timeout),
        ",".join(callback.events),
        ",".join(callback.nodes),
        callback.parms,
        callback.on_error or "",
    )


def _other(callback: CallbackState) -> tuple[str, ...]:
    return (
        callback.identifier,
        ",".join(callback.events),
        callback.command,
        callback.parms,
        "sync" if callback.sync else "async",
        "",
        _UNSET if callback.timeout is None else str(callback.timeout),
        callback.on_error or _UNSET,
        _UNSET if callback.priority is None else f"{callback.priority:g}",
        ",".join(callback.nodes) or "all",
    )
