"""Handlers files: Python files in which functions declare their subscriptions with `@on`.

A file is loaded by its path, not by a name on the import path.  The path and a digest of the text identify the module,
so the loaded functions stay the ones that are called, and a changed file is another module.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from router import trust
from router.errors import SettingsError
from router.settings import bounded_files
from router.settings.yaml_documents import Document, Flaw, Place

from ..errors import ConsumerError
from .decorator import DECLARED, Declaration

SUFFIX = ".py"

_OF_THE_CALL = ("isolate", "memory", "timeout", "with")
_SOURCE = "__clusterbus_source__"
_LONGEST = 2000
_MOST = 10_000
"""The most files of a folder that are looked at."""


class Unloadable(ConsumerError):
    """A handlers file cannot be loaded, because of its *line*."""

    def __init__(self, line: int, message: str) -> None:
        """Keep *line* and *message*; line 0 is the file as a whole."""
        self.line = line
        super().__init__(message)


def parse(content: bytes, file: str, folders: Iterable[Path] = ()) -> Document:
    """Load the handlers file *file* and return what it declares, as entries of a YAML file.

    It may import installed modules, and modules in *folders*.
    """
    path = os.path.abspath(file)  # noqa: PTH100 - a text, as documents name files
    try:
        put_on_path(folders)
        module = execute(path, content)
    except Unloadable as error:
        return Document(file, flaws=(Flaw(error.line, (), str(error)),))
    declared: list[Declaration] = sorted(getattr(module, DECLARED), key=lambda each: each.line)
    if not declared:
        message = 'declares no subscription: put @on("softQuotaExceeded") above a function; put helper modules '
        return Document(file, flaws=(Flaw(0, (), f"{message}into a folder of consumers.handlers"),))
    return _document(module, file, digest(path, content), declared)


def load(file: str, expected: str | None) -> ModuleType:
    """Return the module of *file*; a module that was loaded before with the digest *expected* is reused.

    Raises Unloadable where it cannot be loaded, or no longer has the digest *expected*.
    """
    module = sys.modules.get(_module_name(expected)) if expected else None
    if module is not None:
        return module
    content = source(file)
    if expected not in (None, digest(file, content)):
        raise Unloadable(0, f"{file} has changed since it was checked: reload")
    return execute(file, content)


def source(file: str) -> bytes:
    """Return the content of *file*.  Raises Unloadable."""
    try:
        return bounded_files.read(file)
    except SettingsError as error:
        raise Unloadable(0, f"{file} {error}") from error


def execute(file: str, content: bytes) -> ModuleType:
    """Return the module of *content* of *file*, which is executed once.  Raises Unloadable.

    Its output goes to standard error: standard output may belong to a command, for another program to read.
    """
    name = _module_name(digest(file, content))
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = file
    module.__dict__[DECLARED] = []
    # As an import does: dataclasses and pickle look their module up.
    sys.modules[name] = module
    try:
        code = compile(content, file, "exec", dont_inherit=True)
        with redirect_stdout(sys.stderr):
            exec(code, module.__dict__)  # noqa: S102 - a handlers file is the operator's own program
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise Unloadable(_line(error, file), f"cannot be loaded: {error_text(error)}") from error
    module.__dict__[_SOURCE] = content
    listen_to(module)
    return module


def listen_to(module: ModuleType) -> None:
    """Log what *module*, the site's own, logs from our level up; libraries log from WARNING up."""
    logging.getLogger(module.__name__.partition(".")[0]).setLevel(logging.getLogger(__name__).getEffectiveLevel())


def digest(file: str, content: bytes) -> str:
    """Return the digest that identifies a handlers file, of its path and its content."""
    return hashlib.sha256(os.fsencode(file) + b"\0" + content).hexdigest()


def loaded_source(module: ModuleType) -> bytes | None:
    """Return the text of *module* if it is a handlers file, otherwise None."""
    return module.__dict__.get(_SOURCE)


def put_on_path(folders: Iterable[Path]) -> None:
    """Add *folders* to the end of the import path, after installed modules; missing folders are left out.

    Raises Unloadable if other users can change what is in one of them.
    """
    for each in map(str, folders):
        if each not in sys.path and os.path.isdir(each):  # noqa: PTH112 - entries of the path are texts
            if problem := trust.problem(each) or _problem_inside(each):
                raise Unloadable(0, f"in a folder of consumers.handlers, {problem}")
            sys.path.append(each)


def _problem_inside(folder: str) -> str:
    """Return why what *folder* holds, to be imported, must not be obeyed; empty if it may be."""
    found = (trust.problem(each) for each in islice(Path(folder).rglob("*"), _MOST))
    return next(filter(None, found), "")


def error_text(error: BaseException) -> str:
    """Return one line about *error*, whatever its class does when it is converted to a text.

    >>> error_text(ValueError("no such disk"))
    'ValueError: no such disk'
    """
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException:  # noqa: BLE001 - its text is foreign code
        text = "(has no text)"
    return f"{type(error).__name__}: {' '.join(str(text).split())}"[:_LONGEST].removesuffix(": ")


def _module_name(key: str) -> str:
    return f"clusterbus_handlers_{key[:24]}"


def _line(error: BaseException, file: str) -> int:
    """Return the line of *file* that *error* came from: the innermost one."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno or 0
    lines = [each.lineno or 0 for each in traceback.extract_tb(error.__traceback__) if each.filename == file]
    return lines[-1] if lines else 0


def _document(module: ModuleType, file: str, key: str, declared: Iterable[Declaration]) -> Document:
    entries: list[dict[str, Any]] = []
    lines: dict[Place, int] = {(): 1}
    flaws: list[Flaw] = []
    for at, each in enumerate(declared):
        place: Place = ("subscriptions", at)
        lines[place] = each.line
        name = _name_in(module, each.function)
        if name is None:
            shown = getattr(each.function, "__qualname__", repr(each.function))[:100]
            message = f"{shown} has no name in the file: another value has taken the name, or it is made in a function"
            flaws.append(Flaw(each.line, place, message))
        entries.append(_entry(each, f"{module.__file__}:{name}", key))
    return Document(file, {"version": 1, "subscriptions": entries}, lines, tuple(flaws))


def _entry(declared: Declaration, reference: str, key: str) -> dict[str, Any]:
    """Return the entry as YAML would have it."""
    keys = {"with" if name == "with_" else name: _plain(value) for name, value in declared.keys.items()}
    below = {name: keys.pop(name) for name in _OF_THE_CALL if name in keys}
    more = keys.pop("call", {})
    own = getattr(declared.function, "__name__", None)
    name = {"name": own.replace("_", "-")} if isinstance(own, str) else {}
    events = [text for each in declared.events for text in ([each] if isinstance(each, str) else _listed(each))]
    call = {**more, **below, "function": reference, "digest": key} if isinstance(more, dict) else more
    return {**name, "on": events, **keys, "call": call}


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def _plain(value: object) -> object:
    """Return *value* as YAML would have it: lists, not tuples."""
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value


def _name_in(module: ModuleType, function: Callable[..., Any]) -> str | None:
    """Return the name of *function* in *module*, None where it has none."""
    qualified = getattr(function, "__qualname__", "")
    found: Any = module
    for each in qualified.split(".") if qualified else ():
        found = inspect.getattr_static(found, each, None)
    if found is function:
        return str(qualified)
    return next((name for name, value in vars(module).items() if value is function), None)
