"""Write a Python function as a module that a consumer can load and a person can review.  Runs no code of it.

The module includes what the function uses: imports, literal constants, and other functions of its module.  Anything
else, such as an object, is refused with its name and line.  Nothing is pickled.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import sys
from dataclasses import dataclass, field
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from ..errors import Unwritable
from .importable import Importables
from .source_reader import FUTURE, Reading, read, same

_EVERY_MODULE_HAS = frozenset(("__file__", "__name__", "__doc__"))
_LONGEST = 100_000
"""Most characters in the text of a constant."""


@dataclass(frozen=True, slots=True)
class Written:
    """The *text* of a module, and the *name* of the function in it."""

    text: str
    name: str


def write(function: Any, importables: Importables) -> Written:  # noqa: ANN401 - whatever is given as a command
    """Return a module with *function*; raises Unwritable."""
    if isinstance(function, MethodType):
        raise Unwritable(f"{function.__qualname__} belongs to an object of this program: write a function instead")
    if not isinstance(function, FunctionType):
        shown = type(function).__name__
        raise Unwritable(f"{function!r:.100} is a {shown}, not a function with source code: write a def that calls it")
    gathering = _Gathering(importables)
    gathering.add(function)
    text = gathering.text()
    _compare(text, gathering)
    return Written(text, function.__name__)


@dataclass
class _Gathering:
    importables: Importables
    imports: set[str] = field(default_factory=set)
    constants: dict[str, str] = field(default_factory=dict)
    functions: dict[str, FunctionType] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    """In order: a function comes after those that it uses."""

    def add(self, function: FunctionType) -> None:
        """Add *function* and everything that it uses."""
        name = function.__name__
        self.functions[name] = function
        reading = read(function)
        for used, line in reading.names.items():
            if used in _EVERY_MODULE_HAS:
                continue
            if used in function.__globals__:
                self._use(used, function.__globals__[used], reading, line)
            elif not hasattr(builtins, used):
                raise Unwritable(f"{name} uses {used} ({reading.at(line)}), which its module does not define")
        self.readings[name] = reading

    def _use(self, name: str, value: Any, reading: Reading, line: int) -> None:  # noqa: ANN401 - what a module holds
        if isinstance(value, ModuleType):
            self._use_module(name, value, reading, line)
        elif isinstance(value, FunctionType) and self._is_neighbour(value, reading):
            self._use_neighbour(name, value, reading, line)
        elif (found := self._imported(name, value)) or (found := self._import_of(name, reading)):
            self.imports.add(found)
        elif (literal := _literal(value)) is not None:
            self.constants[name] = literal
        else:
            raise Unwritable(
                f"{reading.name} uses {name} ({reading.at(line)}), a {type(value).__name__}, which cannot be "
                f"stored: create it in the function, or move both into a module in {self.importables.where()}"
            )

    def _use_module(self, name: str, value: Any, reading: Reading, line: int) -> None:  # noqa: ANN401 - a module
        full = value.__name__
        if not self.importables.has(full):
            raise Unwritable(
                f"{reading.name} uses the module {full} ({reading.at(line)}), which a consumer does not find: "
                f"move it to {self.importables.where()}, or install it"
            )
        self.imports.add(f"import {full}" if full == name else f"import {full} as {name}")
        for path in reading.paths:
            if path[0] == name:
                self._use_inner(value, path[1:])

    def _use_inner(self, module: Any, path: tuple[str, ...]) -> None:  # noqa: ANN401 - a module
        for part in path:
            inner = getattr(module, part, None)
            if not isinstance(inner, ModuleType) or getattr(inner, "__name__", "") != f"{module.__name__}.{part}":
                return
            module = inner
            self.imports.add(f"import {module.__name__}")

    def _is_neighbour(self, value: FunctionType, reading: Reading) -> bool:
        return value.__globals__ is self.functions[reading.name].__globals__ and not self.importables.reference(value)

    def _use_neighbour(self, name: str, value: FunctionType, reading: Reading, line: int) -> None:
        if value.__name__ != name:
            message = f"{reading.name} uses {value.__name__} under another name, {name} ({reading.at(line)}): use one"
            raise Unwritable(message)
        if self.functions.get(name) is not value:
            self.add(value)

    def _imported(self, name: str, value: Any) -> str | None:  # noqa: ANN401 - what a module holds
        """Return the import statement of a function or class, or None if a consumer cannot import it."""
        if not isinstance(value, (type, FunctionType, BuiltinFunctionType)):
            return None
        reference = self.importables.reference(value)
        module, _, own = (reference or "").partition(":")
        if not own or "." in own:
            return None
        return f"from {module} import {own}" if own == name else f"from {module} import {own} as {name}"

    def _import_of(self, name: str, reading: Reading) -> str | None:
        """Return the import statement that defines *name* in its module, if a consumer can run it too."""
        try:
            lines, _ = inspect.findsource(self.functions[reading.name])
            tree = ast.parse("".join(lines))
        except (OSError, SyntaxError):
            return None
        for node in tree.body:
            if not isinstance(node, ast.ImportFrom) or node.level or not node.module or node.module not in sys.modules:
                continue
            for alias in node.names:
                if (alias.asname or alias.name) == name and self.importables.has(node.module):
                    renamed = f" as {alias.asname}" if alias.asname else ""
                    return f"from {node.module} import {alias.name}{renamed}"
        return None

    def text(self, *, with_imports: bool = True) -> str:
        """Return the text of the module."""
        future = [FUTURE] if any(each.postponed for each in self.readings.values()) else []
        constants = [f"{name} = {literal}" for name, literal in sorted(self.constants.items())]
        imports = sorted(self.imports) if with_imports else []
        head = ["\n".join(each) for each in (future, imports, constants) if each]
        return "\n\n".join([*head, *(f"\n{each.source}" for each in self.readings.values())]).lstrip("\n")


def _compare(text: str, gathering: _Gathering) -> None:
    """Raise Unwritable if *text* differs from the loaded functions, since their file was edited after loading."""
    # Python compiles a call through a module differently where it sees the import, which a prompt has apart.
    forms = [_codes(text), _codes(gathering.text(with_imports=False))]
    for name, function in gathering.functions.items():
        if not any(name in codes and same(codes[name], function.__code__) for codes in forms):
            file = function.__code__.co_filename
            message = f"{name} differs from its source in {file}, which was edited: restart this program"
            raise Unwritable(message)


def _codes(text: str) -> dict[str, CodeType]:
    module = compile(text, "<written>", "exec", dont_inherit=True)
    return {each.co_name: each for each in module.co_consts if isinstance(each, CodeType)}


def _literal(value: Any) -> str | None:  # noqa: ANN401 - what a module holds
    """Return the text of *value* if it consists only of literals, else None."""
    if not _is_literal(value, 0):
        return None
    text = repr(value)
    return text if len(text) <= _LONGEST else None


def _is_literal(value: Any, depth: int) -> bool:  # noqa: ANN401 - idem
    if depth > 20:  # noqa: PLR2004 - a limit that also stops at cycles
        return False
    kind = type(value)
    if value is None or kind in (bool, int, str, bytes):
        return True
    if kind is float:
        return math.isfinite(value)
    if kind in (list, tuple, set, frozenset):
        # An empty set has no literal, but set() works too.
        return all(_is_literal(each, depth + 1) for each in value)
    return kind is dict and all(_is_literal(each, depth + 1) for pair in value.items() for each in pair)
