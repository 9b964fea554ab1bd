"""Find the function that the text of `call` names, on this machine.

site_handlers:warn                  in an installed module, or in a folder of the setting `consumers.handlers`
site_handlers:Tickets.opened        in a class or an object of the module; the class is created without arguments
warn-storage                        an entry point of the group `clusterbus.handlers`
/etc/clusterbus/on-quota.py:warn    in a handlers file
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

from router.errors import did_you_mean
from router.settings.yaml_documents import Place

from ...config import python_files
from ...errors import ConsumerError

GROUP = "clusterbus.handlers"

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*\Z")
_NAMES = _MODULE


class Unusable(ConsumerError):
    """The function does not exist, or cannot be called for an event; *place* is relative to `call`."""

    def __init__(self, message: str, place: Place = ("function",)) -> None:
        """Report *message* about *place*."""
        self.place = place
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Target:
    """The *function* to call in *module*; for a method, *owner* is its class and *name* its name."""

    function: Callable[..., Any]
    module: ModuleType
    owner: type | None = None
    name: str = ""

    def check(self) -> None:
        """Raise Unusable for a method whose object cannot be created without arguments; creates none."""
        if self.owner is None:
            return
        try:
            inspect.signature(self.owner).bind()
        except TypeError as error:
            message = f"{self.owner.__name__} cannot be created to call {self.name}: {error}; give defaults to __init__"
            raise Unusable(message) from error
        except ValueError:
            # The signature of a class in C may be unknown.
            return

    def make(self) -> Callable[..., Any]:
        """Return the callable; for a method, create the object first.  Raises Unusable if that fails."""
        if self.owner is None:
            return self.function
        try:
            made = self.owner()
        except (Exception, SystemExit) as error:
            message = f"cannot create {self.owner.__name__} to call {self.name}: {python_files.error_text(error)}"
            raise Unusable(message) from error
        return getattr(made, self.name)  # type: ignore[no-any-return]  # the class may be anything


def find(reference: str, folders: Sequence[Path] = (), digest: str | None = None) -> Target:
    """Return the target that *reference* names; modules are also searched in *folders*.  Raises Unusable.

    *digest* is the SHA-256 of a handlers file.
    """
    where, colon, names = reference.rpartition(":")
    if not colon:
        where, names = _entry_point(reference)
    if not _NAMES.match(names):
        raise Unusable(f"{reference!r} is not a function: write module:function")
    try:
        python_files.put_on_path(folders)
        if where.startswith("/"):
            return _inside(python_files.load(where, digest), names, where)
    except python_files.Unloadable as error:
        raise Unusable(f"{where}:{error.line} {error}" if error.line else str(error)) from error
    if not _MODULE.match(where):
        raise Unusable(f"{where!r} is not the name of a module: write module:function, as in site_handlers:warn")
    return _inside(_imported(where, folders), names, f"module {where}")


def hidden(reference: str, folders: Sequence[Path]) -> str:
    """Return a warning if a module in *folders* is hidden by another module of that name, else an empty text."""
    top = reference.partition(":")[0].partition(".")[0]
    module = sys.modules.get(top)
    if module is None or not _MODULE.match(top):
        return ""
    taken = getattr(module, "__file__", None) or "the interpreter itself"
    for folder in folders:
        mine = [folder / f"{top}.py", folder / top / "__init__.py"]
        if any(each.is_file() for each in mine) and Path(taken) not in mine:
            return f"module {top} is loaded from {taken}, not from {folder}: rename the one in that folder"
    return ""


def _entry_point(name: str) -> tuple[str, str]:
    points = importlib.metadata.entry_points(group=GROUP)
    found = sorted({each.value for each in points if each.name == name})
    if len(found) > 1:
        raise Unusable(f"the entry point {name!r} is defined more than once: {', '.join(found)}")
    if not found:
        hint = did_you_mean(name, {each.name for each in points})
        if not hint and _MODULE.match(name) and "." in name:
            module, _, function = name.rpartition(".")
            hint = f"; did you mean {module}:{function}?"
        raise Unusable(f"no entry point {name!r} in {GROUP}{hint or '; write a function as module:function'}")
    module, _, names = found[0].partition(":")
    return module.strip(), names.partition("[")[0].strip()


def _imported(name: str, folders: Sequence[Path]) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    importlib.invalidate_caches()
    try:
        with redirect_stdout(sys.stderr):
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise Unusable(_failure(name, error)) from error
        near = did_you_mean(name, {each.stem for folder in folders for each in folder.glob("*.py")})
        where = f" or in {', '.join(map(str, folders))}" if folders else ""
        raise Unusable(f"no module {name} is installed{where}{near}") from error
    except (Exception, SystemExit) as error:
        raise Unusable(_failure(name, error)) from error
    if any(Path(module.__file__ or "").is_relative_to(each) for each in folders):
        python_files.listen_to(module)
    return module


def _failure(name: str, error: BaseException) -> str:
    frames = [
        each for each in traceback.extract_tb(error.__traceback__) if "importlib" not in each.filename and each.lineno
    ]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames[1:] else ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({error.filename}:{error.lineno})"
    return f"module {name} cannot be imported: {python_files.error_text(error)}{place}"


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
        raise Unusable(f"{names} of {where} is not a function but a {type(found).__name__}")
    name = names.rpartition(".")[2]
    if inspect.isclass(parent) and isinstance(inspect.getattr_static(parent, name), FunctionType):
        return Target(found, module, parent, name)
    return Target(found, module)
