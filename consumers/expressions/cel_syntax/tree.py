"""Trees of CEL expressions, as immutable values.

Two nodes are equal if they mean the same, wherever they stand.  `span` is the place of a node in the text, without the
parentheses around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

Span = tuple[int, int]
Plain = bool | int | float | str | bytes | None
LiteralKind = Literal["bool", "int", "uint", "double", "string", "bytes", "null"]
MACROS = frozenset(("all", "exists", "exists_one", "map", "filter"))
"""The macros over lists and maps."""

MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
"""What each comparison is when its sides are exchanged."""


@dataclass(frozen=True)
class Node:
    """A part of an expression."""

    span: Span = field(compare=False, kw_only=True, default=(0, 0))

    @property
    def children(self) -> tuple[Node, ...]:
        """The parts directly below, in the order of the text."""
        return ()


@dataclass(frozen=True)
class Constant(Node):
    """A value that is written out."""

    kind: LiteralKind
    value: Plain


@dataclass(frozen=True)
class Name(Node):
    """A name: an attribute, `data`, `facts`, a type, or what a macro binds."""

    name: str


@dataclass(frozen=True)
class Select(Node):
    """`of.name` or `of["name"]`; with *tests*, `has(of.name)`."""

    of: Node
    name: str
    tests: bool = False

    @property
    def children(self) -> tuple[Node, ...]:
        """The part before the dot."""
        return (self.of,)


@dataclass(frozen=True)
class Index(Node):
    """`of[key]`."""

    of: Node
    key: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """The part before the brackets, and the key."""
        return (self.of, self.key)


@dataclass(frozen=True)
class Call(Node):
    """`name(arguments)`, or `target.name(arguments)`."""

    name: str
    target: Node | None
    arguments: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The target, if any, and the arguments."""
        return (*((self.target,) if self.target else ()), *self.arguments)


@dataclass(frozen=True)
class Macro(Node):
    """`over.macro(name, bodies)`: each item of *over* is bound to *name* in turn."""

    macro: str
    over: Node
    name: str
    bodies: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """What is iterated over, and the bodies."""
        return (self.over, *self.bodies)


@dataclass(frozen=True)
class Unary(Node):
    """`!of` or `-of`."""

    sign: str
    of: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """The operand."""
        return (self.of,)


@dataclass(frozen=True)
class Binary(Node):
    """`left sign right`: a comparison, `in` or arithmetic."""

    sign: str
    left: Node
    right: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """Both operands."""
        return (self.left, self.right)


@dataclass(frozen=True)
class Junction(Node):
    """All *parts*, joined by `&&` or by `||`."""

    sign: str
    parts: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The parts."""
        return self.parts


@dataclass(frozen=True)
class Conditional(Node):
    """`test ? then : other`."""

    test: Node
    then: Node
    other: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """The test, and both results."""
        return (self.test, self.then, self.other)


@dataclass(frozen=True)
class ListOf(Node):
    """`[items]`."""

    items: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The items."""
        return self.items


@dataclass(frozen=True)
class MapOf(Node):
    """`{key: value, ...}`."""

    entries: tuple[tuple[Node, Node], ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The keys and values, in turn."""
        return tuple(each for entry in self.entries for each in entry)


Bindings = tuple[Macro, ...]
"""The macros around a node that repeat it, the innermost last."""


def walk(node: Node, bindings: Bindings = ()) -> Iterator[tuple[Node, Bindings]]:
    """Yield *node* and all parts of it, each before its own parts, with the macros whose bodies it is in."""
    waiting = [(node, bindings)]
    while waiting:
        here, around = waiting.pop()
        yield here, around
        repeated = (*around, here) if isinstance(here, Macro) else around
        below = [
            (each, repeated if isinstance(here, Macro) and at else around) for at, each in enumerate(here.children)
        ]
        waiting.extend(reversed(below))


def binding(name: str, bindings: Bindings) -> Macro | None:
    """Return the macro of *bindings* that binds *name*, or None."""
    return next((each for each in reversed(bindings) if each.name == name), None)


def source(node: Node, text: str) -> str:
    """Return the part of *text* that *node* was read from."""
    return text[slice(*node.span)]
