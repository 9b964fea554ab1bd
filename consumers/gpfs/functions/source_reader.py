"""Read the source of one function and the names that it uses from its module.  Changes nothing."""

from __future__ import annotations

import ast
import copy
import inspect
import os
import symtable
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from ..errors import Unwritable

FUTURE = "from __future__ import annotations"
_POSTPONED = 0x1000000
"""The code flag of `from __future__ import annotations`."""


_OF_A_PROMPT = (
    "of what is typed at a prompt, only IPython and the prompt of Python 3.13 keep the source; use one of them, or "
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One function: its *source*, usable at the top of a module, and the *names* that it reads from its module.

    *names* maps each name to its line in the file; *paths* has the dotted names, such as `os.path.join`.
    """

    name: str
    file: str
    line: int
    source: str
    names: Mapping[str, int]
    paths: frozenset[tuple[str, ...]]
    postponed: bool

    def at(self, line: int) -> str:
        """Return *line* with the file, as text."""
        return f"{self.file}:{line}"


def read(function: FunctionType) -> Reading:
    """Return the source and names of *function*; raises Unwritable if it depends on more than its module."""
    code = function.__code__
    where = f"{code.co_filename}:{code.co_firstlineno}"
    _check(function, where)
    try:
        lines, _ = inspect.getsourcelines(function)
    except (OSError, TypeError) as error:
        typed = "" if os.path.isfile(code.co_filename) else _OF_A_PROMPT  # noqa: PTH113 - may be no path at all
        message = f"the source of {function.__name__} ({where}) is not available ({error}): {typed}write it into a file"
        raise Unwritable(f"{message}, and import it from there" if typed else message) from error
    source, tree = _apart("".join(lines), function.__name__, where)
    postponed = bool(code.co_flags & _POSTPONED)
    analysed = ast.unparse(_without_annotations(tree) if postponed else tree)
    first = code.co_firstlineno - 1
    lines_of = {each.id: each.lineno + first for each in reversed(list(_names(tree)))}
    for name in _assigned(analysed):
        at = lines_of.get(name, code.co_firstlineno)
        raise Unwritable(
            f"{function.__name__} sets the global {name} ({code.co_filename}:{at}): it would be set only in the "
            "consumer, and lost when that ends; keep it in a file"
        )
    used = {name: lines_of.get(name, code.co_firstlineno) for name in sorted(_read(analysed))}
    return Reading(
        function.__name__, code.co_filename, code.co_firstlineno, source, used, frozenset(_paths(tree)), postponed
    )


def same(one: CodeType, other: CodeType) -> bool:
    """Return whether two functions have the same code; blanks in texts may differ."""
    if (one.co_code, one.co_names, one.co_varnames, one.co_freevars) != (
        *(other.co_code, other.co_names, other.co_varnames, other.co_freevars),
    ):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(_same_constant(mine, theirs) for mine, theirs in zip(one.co_consts, other.co_consts, strict=True))


def _same_constant(mine: object, theirs: object) -> bool:
    if isinstance(mine, CodeType) and isinstance(theirs, CodeType):
        return same(mine, theirs)
    if isinstance(mine, str) and isinstance(theirs, str):
        return mine.split() == theirs.split()
    return type(mine) is type(theirs) and mine == theirs


def _check(function: FunctionType, where: str) -> None:
    name, own = function.__name__, function.__code__
    if name == "<lambda>":
        raise Unwritable(f"the lambda in {where} has no name: write a def")
    if hasattr(function, "__wrapped__"):
        raise Unwritable(
            f"{name} ({where}) is wrapped by a decorator: pass the plain function, or move it into a module"
        )
    if own.co_freevars:
        raise Unwritable(
            f"{name} ({where}) uses {', '.join(own.co_freevars)} of the enclosing function, which ends with this"
            " program: pass it as a parm, or make it a constant of the module"
        )
    if own.co_name != name or not name.isidentifier():
        raise Unwritable(f"{name} ({where}) is defined as {own.co_name}: use one name")
    if "." in function.__qualname__.rpartition("<locals>.")[2]:
        raise Unwritable(f"{function.__qualname__} ({where}) belongs to a class: write a function that calls it")


def _apart(text: str, name: str, where: str) -> tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the source of one function without indentation, and its syntax tree."""
    source = textwrap.dedent(text)
    indented = text[:1] in (" ", "\t")
    kept = f"if True:  # indented, as it was written\n{text}"
    try:
        if indented and ast.dump(ast.parse(source)) != ast.dump(ast.Module(ast.parse(kept).body[0].body, [])):  # type: ignore[attr-defined]
            # Removing the indentation would change a text of several lines.
            source = kept
        tree: Any = ast.parse(source).body[0]
    except SyntaxError as error:
        raise Unwritable(f"the source of {name} ({where}) cannot be parsed: {error}") from error
    found = tree.body[0] if isinstance(tree, ast.If) else tree
    if not isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef)) or found.name != name:
        raise Unwritable(f"{name} ({where}) is not defined by a def statement")
    ast.increment_lineno(found, -1 if isinstance(tree, ast.If) else 0)
    return source.rstrip("\n") + "\n", found


def _without_annotations(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
    stripped = copy.deepcopy(tree)
    for node in ast.walk(stripped):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return stripped


def _tables(source: str) -> Iterator[symtable.SymbolTable]:
    pending = [symtable.symtable(source, "function", "exec")]
    while pending:
        table = pending.pop()
        pending += table.get_children()
        yield table


def _read(source: str) -> set[str]:
    """Return the names that the function in *source* reads from its module, including builtins."""
    return {
        symbol.get_name()
        for table in _tables(source)
        for symbol in table.get_symbols()
        if symbol.is_referenced()
        and (
            not symbol.is_assigned() and not symbol.is_imported()
            if table.get_type() == "module"
            else symbol.is_global()
        )
    }


def _assigned(source: str) -> list[str]:
    return sorted(
        symbol.get_name()
        for table in _tables(source)
        if table.get_type() != "module"
        for symbol in table.get_symbols()
        if symbol.is_declared_global() and (symbol.is_assigned() or symbol.is_imported())
    )


def _names(tree: ast.AST) -> Iterator[ast.Name]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Name))


def _paths(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(tree):
        parts: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if parts and isinstance(inner, ast.Name):
            yield (inner.id, *reversed(parts))
