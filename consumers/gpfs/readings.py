"""The source of one function, and the names that it reads of its module.  Looks, and changes nothing."""

from __future__ import annotations

import ast
import copy
import inspect
import symtable
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from .errors import Unwritable

FUTURE = "from __future__ import annotations"
_POSTPONED = 0x1000000
"""The flag of code under `from __future__ import annotations`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One function: its *source*, as it can stand in a module, and the *names* of its module that it reads.

    *names* gives for each the line in its file; *paths* the dotted ways that begin with it, as `os.path.join`.
    """

    name: str
    file: str
    line: int
    source: str
    names: Mapping[str, int]
    paths: frozenset[tuple[str, ...]]
    postponed: bool

    def at(self, line: int) -> str:
        """Return *line* of it, for people."""
        return f"{self.file}:{line}"


def read(function: FunctionType) -> Reading:
    """Return what can be read of *function*; raises Unwritable that names what keeps it from standing by itself."""
    code = function.__code__
    where = f"{code.co_filename}:{code.co_firstlineno}"
    _check(function, where)
    try:
        lines, _ = inspect.getsourcelines(function)
    except (OSError, TypeError) as error:
        message = f"the source of {function.__name__} ({where}) is not to be had ({error}): write it into a file"
        raise Unwritable(message) from error
    source, tree = _apart("".join(lines), function.__name__, where)
    postponed = bool(code.co_flags & _POSTPONED)
    analysed = ast.unparse(_without_annotations(tree) if postponed else tree)
    first = code.co_firstlineno - 1
    lines_of = {each.id: each.lineno + first for each in reversed(list(_names(tree)))}
    for name in _assigned(analysed):
        at = lines_of.get(name, code.co_firstlineno)
        raise Unwritable(
            f"{function.__name__} sets the global {name} ({code.co_filename}:{at}): it would be set in the consumer "
            "only, and forgotten when that ends; keep it in a file"
        )
    used = {name: lines_of.get(name, code.co_firstlineno) for name in sorted(_read(analysed))}
    return Reading(
        function.__name__, code.co_filename, code.co_firstlineno, source, used, frozenset(_paths(tree)), postponed
    )


def same(one: CodeType, other: CodeType) -> bool:
    """Say whether two functions do the same, their texts aside: indents of documentation may differ."""
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
        raise Unwritable(f"the lambda in {where} has no name to be called by: write a def")
    if hasattr(function, "__wrapped__"):
        raise Unwritable(
            f"{name} ({where}) is wrapped by a decorator: give the function itself, or put it into a module"
        )
    if own.co_freevars:
        raise Unwritable(
            f"{name} ({where}) uses {', '.join(own.co_freevars)} of the function around it, which ends with this"
            " program: give it as a parm, or write it down as a constant of the module"
        )
    if own.co_name != name or not name.isidentifier():
        raise Unwritable(f"{name} ({where}) is written as {own.co_name}: it has to have one name")
    if "." in function.__qualname__.rpartition("<locals>.")[2]:
        raise Unwritable(f"{function.__qualname__} ({where}) belongs to a class: write a function that calls it")


def _apart(text: str, name: str, where: str) -> tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the source of one function so that it stands at the margin, and its tree."""
    source = textwrap.dedent(text)
    indented = text[:1] in (" ", "\t")
    kept = f"if True:  # indented, as it was written\n{text}"
    try:
        if indented and ast.dump(ast.parse(source)) != ast.dump(ast.Module(ast.parse(kept).body[0].body, [])):  # type: ignore[attr-defined]
            # A text over several lines would become another one.
            source = kept
        tree: Any = ast.parse(source).body[0]
    except SyntaxError as error:
        raise Unwritable(f"the source of {name} ({where}) can't be read by itself: {error}") from error
    found = tree.body[0] if isinstance(tree, ast.If) else tree
    if not isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef)) or found.name != name:
        raise Unwritable(f"{name} ({where}) is not written by a def of its own")
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
    """Return the names that the one function in *source* reads of its module, builtin ones among them."""
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
