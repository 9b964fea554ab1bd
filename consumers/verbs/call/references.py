"""From the text of `call` to the function that is meant, on this machine as it is now.

site_handlers:warn                  of a module that is installed, or in a folder of `consumers.handlers`
site_handlers:Tickets.opened        of a class or an object in it; of a class that is made without arguments
warn-storage                        an entry point of the group `clusterbus.handlers`
/etc/clusterbus/on-quota.py:warn    of a handlers file
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from ... import handlers
from ...errors import ConsumerError, did_you_mean
from ...files import Place

GROUP = "clusterbus.handlers"

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*\Z")
_NAMES = _MODULE


class Unusable(ConsumerError):
    """There is no such function, or it cannot be called with what an event has; *place* is below `call`."""

    def __init__(self, message: str, place: Place = ("function",)) -> None:
        """Tell *message* of *place*."""
        self.place = place
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Target:
    """What is called: *function*, in *module*; the method *name* of an object of *owner* where it needs one."""

    function: Callable[..., Any]
    module: ModuleType
    owner: type | None = None
    name: str = ""

    def make(self) -> Callable[..., Any]:
        """Return what can be called; the object that a method belongs to is made here.  Raises Unusable."""
        if self.owner is None:
            return self.function
        try:
            made = self.owner()
        except (Exception, SystemExit) as error:
            message = f"no {self.owner.__name__} can be made to call {self.name} of: {handlers.said(error)}"
            raise Unusable(message) from error
        return getattr(made, self.name)  # type: ignore[no-any-return]  # somebody else's class


def find(reference: str, folders: Sequence[Path] = (), digest: str | None = None) -> Target:
    """Return what *reference* names; modules are also looked for in *folders*.  Raises Unusable.

    *digest* says which text of a handlers file is meant.
    """
    where, colon, names = reference.rpartition(":")
    if not colon:
        where, names = _entry_point(reference)
    if not _NAMES.match(names):
        raise Unusable(f"{reference!r} is no function: write module:function")
    try:
        handlers.put_on_path(folders)
        if where.startswith("/"):
            return _inside(handlers.load(where, digest), names, where)
    except handlers.Unloadable as error:
        raise Unusable(f"{where}:{error.line} {error}" if error.line else str(error)) from error
    if not _MODULE.match(where):
        raise Unusable(f"{where!r} is no name of a module: write module:function, as in site_handlers:warn")
    return _inside(_imported(where, folders), names, f"module {where}")


def hidden(reference: str, folders: Sequence[Path]) -> str:
    """Return that the module of *reference* lies in one of *folders*, but that another of the name comes before it."""
    top = reference.partition(":")[0].partition(".")[0]
    module = sys.modules.get(top)
    if module is None or not _MODULE.match(top):
        return ""
    taken = getattr(module, "__file__", None) or "the interpreter itself"
    for folder in folders:
        mine = [folder / f"{top}.py", folder / top / "__init__.py"]
        if any(each.is_file() for each in mine) and Path(taken) not in mine:
            return f"module {top} is that of {taken}, not the one in {folder}: give that another name"
    return ""


def _entry_point(name: str) -> tuple[str, str]:
    points = importlib.metadata.entry_points(group=GROUP)
    found = sorted({each.value for each in points if each.name == name})
    if len(found) > 1:
        raise Unusable(f"the entry point {name!r} is there more than once: {', '.join(found)}")
    if not found:
        hint = did_you_mean(name, {each.name for each in points})
        if not hint and _MODULE.match(name) and "." in name:
            module, _, function = name.rpartition(".")
            hint = f"; did you mean {module}:{function}?"
        raise Unusable(f"no entry point {name!r} in {GROUP}{hint or '; a function is written module:function'}")
    module, _, names = found[0].partition(":")
    return module.strip(), names.partition("[")[0].strip()


def _imported(name: str, folders: Sequence[Path]) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    importlib.invalidate_caches()
    try:
        with redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise Unusable(_failure(name, error)) from error
        near = did_you_mean(name, {each.stem for folder in folders for each in folder.glob("*.py")})
        where = f" or in {', '.join(map(str, folders))}" if folders else ""
        raise Unusable(f"no module {name} is installed{where}{near}") from error
    except (Exception, SystemExit) as error:
        raise Unusable(_failure(name, error)) from error


def _failure(name: str, error: BaseException) -> str:
    frames = [
        each for each in traceback.extract_tb(error.__traceback__) if "importlib" not in each.filename and each.lineno
    ]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames[1:] else ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({error.filename}:{error.lineno})"
    return f"module {name} cannot be imported: {handlers.said(error)}{place}"


def _inside(module: ModuleType, names: str, where: str) -> Target:
    parent: Any = None
    found: Any = module
    for each in names.split("."):
        parent, missing = found, object()
        found = getattr(parent, each, missing)
        if found is missing:
            known = [name for name in dir(parent) if not name.startswith("_") and callable(getattr(parent, name, None))]
            raise Unusable(f"{where} has no {names}{did_you_mean(each, known)}")
    if not callable(found):
        raise Unusable(f"{names} of {where} is no function: it is a {type(found).__name__}")
    name = names.rpartition(".")[2]
    if inspect.isclass(parent) and isinstance(inspect.getattr_static(parent, name), FunctionType):
        return Target(found, module, parent, name)
    return Target(found, module)
