"""Subscriptions declared in code: `@on` above a function of a handlers file.

    from clusterbus import on

    @on("softQuotaExceeded", where="data.blockUsage > data.blockQuota", retry={"attempts": 3})
    def warn(fsName, blockUsage):
        ...

Give the file to `check` and `consume` like any other subscription file; it is checked in the same way.  The function
itself does not change, so a test can call it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

DECLARED = "__clusterbus_declared__"
"""The list of declarations in a handlers file that is being loaded; a module without it is merely imported."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Declaration:
    """Call *function* on *events*; *keys* are the other keys of the entry, *line* is the line of the decorator."""

    function: Callable[..., Any]
    events: Sequence[Any]
    keys: Mapping[str, Any]
    line: int


def on(*events: str, **keys: Any) -> Callable[[Function], Function]:  # noqa: ANN401 - checked as an entry is, with its line
    """Call the decorated function on *events*: names, categories or patterns, as in `on` of a YAML file.

    *keys* are those of an entry (`where`, `retry`, `name`, `concurrency`, `fold`, ...) and of `call` (`isolate`,
    `timeout`, `memory`, `with_`).  The default name is the name of the function, with - for _.  Only the handlers file
    itself declares subscriptions, not a module that it imports.
    """
    if any(callable(each) for each in events):
        raise TypeError('@on needs events, such as @on("softQuotaExceeded")')
    caller = sys._getframe(1)  # noqa: SLF001 - the only way to know where a decorator stands
    line, declared = caller.f_lineno, caller.f_globals.get(DECLARED)

    def declare(function: Function) -> Function:
        if isinstance(declared, list):
            declared.append(Declaration(function, events, keys, line))
        return function

    return declare
