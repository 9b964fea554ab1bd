"""Handlers files: Python in which functions declare their subscriptions with `@on`.

A file is loaded by its path, not by a name on the import path, and what was loaded stays what is called: the module is
known by the path and a digest of the text, so a file that changed since is another module.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import stat
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from . import files
from .errors import ConsumerError
from .files import Document, Flaw, Place
from .on import DECLARED, Declaration

SUFFIX = ".py"

_OF_THE_CALL = ("isolate", "memory", "timeout", "with")
_SOURCE = "__clusterbus_source__"
_LONGEST = 2000


class Unloadable(ConsumerError):
    """A handlers file cannot be loaded, because of what is in its *line*."""

    def __init__(self, line: int, message: str) -> None:
        """Tell *message*; line 0 is the file as a whole."""
        self.line = line
        super().__init__(message)


def parse(content: bytes, file: str, folders: Iterable[Path] = ()) -> Document:
    """Load the handlers file *file* and return what it declares, as the entries that YAML would have.

    It may import what is installed, and what is in *folders*.
    """
    path = os.path.abspath(file)  # noqa: PTH100 - a text, as documents name files
    if _open_to_all(path):
        return Document(file, flaws=(Flaw(0, (), "anybody may write to it, so it is not loaded: chmod o-w"),))
    try:
        put_on_path(folders)
        module = execute(path, content)
    except Unloadable as error:
        return Document(file, flaws=(Flaw(error.line, (), str(error)),))
    declared: list[Declaration] = sorted(getattr(module, DECLARED), key=lambda each: each.line)
    if not declared:
        message = (
            'declares no subscription: put @on("softQuotaExceeded") above a function; what only helps them belongs '
        )
        return Document(file, flaws=(Flaw(0, (), f"{message}into a folder of consumers.handlers"),))
    return _document(module, file, digest(path, content), declared)


def load(file: str, expected: str | None) -> ModuleType:
    """Return the module of *file*, the one that was loaded before where its digest is *expected*.

    Raises Unloadable where it cannot be loaded, or is not what was expected any more.
    """
    module = sys.modules.get(_module_name(expected)) if expected else None
    if module is not None:
        return module
    content = source(file)
    if expected not in (None, digest(file, content)):
        raise Unloadable(0, f"{file} has changed since it was checked: reload")
    return execute(file, content)


def source(file: str) -> bytes:
    """Return what is in *file*; raises Unloadable."""
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - a text, as documents name files
            content = stream.read(files.LARGEST + 1)
    except OSError as error:
        raise Unloadable(0, f"{file} cannot be read: {error.strerror}") from error
    if len(content) > files.LARGEST:
        raise Unloadable(0, f"{file} has more than {files.LARGEST} octets: split it")
    return content


def execute(file: str, content: bytes) -> ModuleType:
    """Return the module that *content* of *file* makes, made once.  Raises Unloadable.

    What it prints goes to standard error: standard output may be a command's, for another program to read.
    """
    name = _module_name(digest(file, content))
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = file
    module.__dict__[DECLARED] = []
    # As an import does: dataclasses and pickles look their module up.
    sys.modules[name] = module
    try:
        code = compile(content, file, "exec", dont_inherit=True)
        with redirect_stdout(sys.stderr):
            exec(code, module.__dict__)  # noqa: S102 - a handlers file is the operator's own program
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise Unloadable(_line(error, file), f"cannot be loaded: {said(error)}") from error
    module.__dict__[_SOURCE] = content
    return module


def digest(file: str, content: bytes) -> str:
    """Return what a handlers file is known by: where it is, and what is in it."""
    return hashlib.sha256(os.fsencode(file) + b"\0" + content).hexdigest()


def loaded_source(module: ModuleType) -> bytes | None:
    """Return the text that *module* was made from, if it is that of a handlers file."""
    return module.__dict__.get(_SOURCE)


def put_on_path(folders: Iterable[Path]) -> None:
    """Have modules found in *folders*, after all that is installed; a folder that is not there is left out.

    Raises Unloadable where anybody may put modules into one.
    """
    for each in map(str, folders):
        if each not in sys.path and os.path.isdir(each):  # noqa: PTH112 - entries of the path are texts
            if _open_to_all(each):
                raise Unloadable(0, f"anybody may write to {each}, a folder of consumers.handlers: chmod o-w")
            sys.path.append(each)


def said(error: BaseException) -> str:
    """Return one line about *error*, whatever its class does when it is asked.

    >>> said(ValueError("no such disk"))
    'ValueError: no such disk'
    """
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException:  # noqa: BLE001 - its text is somebody else's program
        text = "(has no text)"
    return f"{type(error).__name__}: {' '.join(str(text).split())}"[:_LONGEST].removesuffix(": ")


def _open_to_all(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & stat.S_IWOTH)  # noqa: PTH116 - a text, as documents name files
    except OSError:
        # Gone since it was read: there is nothing that anybody could write to.
        return False


def _module_name(key: str) -> str:
    return f"clusterbus_handlers_{key[:24]}"


def _line(error: BaseException, file: str) -> int:
    """Return the line of *file* that *error* came from: the last that was on the way."""
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
            message = (
                f"{shown} is not to be found in the file by a name: another has taken it, or it is made in a function"
            )
            flaws.append(Flaw(each.line, place, message))
        entries.append(_entry(each, f"{module.__file__}:{name}", key))
    return Document(file, {"version": 1, "subscriptions": entries}, lines, tuple(flaws))


def _entry(declared: Declaration, reference: str, key: str) -> dict[str, Any]:
    """Return the entry as it would be in YAML."""
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
    """Return by which name *function* is in *module*."""
    qualified = getattr(function, "__qualname__", "")
    found: Any = module
    for each in qualified.split(".") if qualified else ():
        found = inspect.getattr_static(found, each, None)
    if found is function:
        return str(qualified)
    return next((name for name, value in vars(module).items() if value is function), None)
