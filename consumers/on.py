"""Subscriptions declared in code: `@on` above a function of a handlers file.

    from consumers import on

    @on("softQuotaExceeded", where="data.blockUsage > data.blockQuota", retry={"attempts": 3})
    def warn(fsName, blockUsage):
        ...

The file is given to `check` and `consume` as any subscriptions file is, and checked in the same way.  The function
stays what it is, so a test can call it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

DECLARED = "__clusterbus_declared__"
"""Where a handlers file that is being loaded keeps its declarations; a module without it is only imported."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Declaration:
    """That *function* is to be called on *events*; *keys* are what else the entry says, *line* is the decorator's."""

    function: Callable[..., Any]
    events: Sequence[Any]
    keys: Mapping[str, Any]
    line: int


def on(*events: str, **keys: Any) -> Callable[[Function], Function]:  # noqa: ANN401 - checked as an entry is, with its line
    """Declare that the function below is called on *events*: names, categories or patterns, as `on` in a file.

    *keys* are those of an entry (`where`, `retry`, `name`, `concurrency`, `fold`, ...) and of `call` (`isolate`,
    `timeout`, `memory`, `with_`).  The name is the function's, with - for _.  It counts where it stands in the handlers
    file itself, not in a module that the file imports.
    """
    if any(callable(each) for each in events):
        raise TypeError('@on has to say on what: @on("softQuotaExceeded")')
    caller = sys._getframe(1)  # noqa: SLF001 - the only way to know where a decorator stands
    line, declared = caller.f_lineno, caller.f_globals.get(DECLARED)

    def declare(function: Function) -> Function:
        if isinstance(declared, list):
            declared.append(Declaration(function, events, keys, line))
        return function

    return declare
