"""Reads the text of a CEL expression into a tree, by recursive descent along the grammar of the language.

It gets what the library's own parser has accepted, and refuses only what the library cannot evaluate, such as messages
(`Name{field: value}`), and trees that are too deep.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from .tree import (
    MACROS,
    Binary,
    Call,
    Conditional,
    Constant,
    Index,
    Junction,
    ListOf,
    Macro,
    MapOf,
    Name,
    Node,
    Select,
    Unary,
)

DEEPEST = 100
"""Most levels of a tree; people rarely write five."""

_QUOTED = r"\"{3}.*?\"{3}|'{3}.*?'{3}"
_TOKEN = re.compile(
    rf"""(?P<blank>\s+|//[^\n]*)
      | (?P<raw>(?:[rR][bB]?|[bB][rR])(?:{_QUOTED}|"[^"]*"|'[^']*'))
      | (?P<text>[bB]?(?:{_QUOTED}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
      | (?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<sign>&&|\|\||[=!<>]=|.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE = re.compile(r"\\(?:[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NAMED: Final = {"true": ("bool", True), "false": ("bool", False), "null": ("null", None)}
_LEVELS: Final = (frozenset(("<", "<=", ">", ">=", "==", "!=", "in")), frozenset("+-"), frozenset("*/%"))
_NUMBERS: Final = ("int", "uint", "double")


class UnreadableExpression(Exception):
    """The text is not an expression that can be evaluated; the message says why."""


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def parse(text: str) -> Node:
    """Return the tree of the expression *text*; raises UnreadableExpression.

    >>> parse("!a.b").of.name
    'b'
    """
    try:
        reader = _Reader(text)
        tree = reader.expression()
        reader.end()
    except RecursionError as error:
        raise UnreadableExpression(f"the filter has more than {DEEPEST} levels") from error
    _check_depth(tree)
    return tree


def _check_depth(tree: Node) -> None:
    level: list[Node] = [tree]
    for _ in range(DEEPEST):
        level = [each for node in level for each in node.children]
        if not level:
            return
    raise UnreadableExpression(f"the filter has more than {DEEPEST} levels: use fewer parentheses and operators")


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        if found.lastgroup != "blank":
            yield _Token(found.lastgroup or "", found.group(), found.start(), found.end())
    yield _Token("end", "", len(text), len(text))


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = tuple(_tokens(text))
        self._at = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _skip(self, sign: str) -> bool:
        found = self._next.kind == "sign" and self._next.text == sign
        self._at += found
        return found

    def _expect(self, sign: str) -> None:
        if not self._skip(sign):
            raise UnreadableExpression(f"expected {sign!r} at column {self._next.start + 1}")

    def _span(self, start: int) -> tuple[int, int]:
        return start, self._tokens[self._at - 1].end

    def end(self) -> None:
        """Raise UnreadableExpression if something follows the expression."""
        if self._next.kind != "end":
            raise UnreadableExpression(f"unexpected {self._next.text!r} at column {self._next.start + 1}")

    def expression(self) -> Node:
        """Return the expression that begins here."""
        start = self._next.start
        test = self._joined("||")
        if not self._skip("?"):
            return test
        then = self._joined("||")
        self._expect(":")
        other = self.expression()
        return Conditional(test, then, other, span=self._span(start))

    def _joined(self, sign: str) -> Node:
        start = self._next.start
        parts = [self._joined("&&") if sign == "||" else self._operation(0)]
        while self._skip(sign):
            parts.append(self._joined("&&") if sign == "||" else self._operation(0))
        return parts[0] if len(parts) == 1 else Junction(sign, tuple(parts), span=self._span(start))

    def _operation(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        start = self._next.start
        left = self._operation(level + 1)
        while self._next.kind in {"sign", "name"} and self._next.text in _LEVELS[level]:
            sign = self._take().text
            right = self._operation(level + 1)
            left = Binary(sign, left, right, span=self._span(start))
        return left

    def _unary(self) -> Node:
        start = self._next.start
        if self._skip("!"):
            return Unary("!", self._unary(), span=self._span(start))
        if self._skip("-"):
            of = self._unary()
            if isinstance(of, Constant) and of.kind in _NUMBERS and self._tokens[self._at - 1].kind == "number":
                return Constant(of.kind, -of.value, span=self._span(start))  # type: ignore[operator]  # a number
            return Unary("-", of, span=self._span(start))
        return self._member()

    def _member(self) -> Node:
        start = self._next.start
        node = self._primary()
        while True:
            if self._skip("."):
                name = self._take().text
                if self._skip("("):
                    node = self._called(name, node, self._list(")"), start)
                else:
                    node = Select(node, name, span=self._span(start))
            elif self._skip("["):
                key = self.expression()
                self._expect("]")
                node = _indexed(node, key, self._span(start))
            else:
                return node

    def _called(self, name: str, target: Node | None, arguments: tuple[Node, ...], start: int) -> Node:
        span = self._span(start)
        first = arguments[0] if arguments else None
        if target and name in MACROS and isinstance(first, Name) and len(arguments) > 1:
            return Macro(name, target, first.name, arguments[1:], span=span)
        if target is None and name == "has" and isinstance(first, Select) and len(arguments) == 1:
            return Select(first.of, first.name, tests=True, span=span)
        return Call(name, target, arguments, span=span)

    def _list(self, closing: str) -> tuple[Node, ...]:
        items = []
        while not self._skip(closing):
            items.append(self.expression())
            if not self._skip(","):
                self._expect(closing)
                break
        return tuple(items)

    def _primary(self) -> Node:
        token = self._take()
        span = (token.start, token.end)
        if token.kind == "number":
            return _number(token.text, span)
        if token.kind in {"raw", "text"}:
            return _quoted(token, span)
        if token.kind == "name":
            return self._name(token)
        return self._enclosed(token)

    def _enclosed(self, token: _Token) -> Node:
        if token.text == "(":
            inner = self.expression()
            self._expect(")")
            return inner
        if token.text == "[":
            return ListOf(self._list("]"), span=self._span(token.start))
        if token.text == "{":
            return MapOf(self._entries(), span=self._span(token.start))
        if token.text == "." and self._next.kind == "name":
            return Name(f".{self._take().text}", span=self._span(token.start))
        raise UnreadableExpression(f"unexpected {token.text!r} at column {token.start + 1}")

    def _name(self, token: _Token) -> Node:
        if token.text in _NAMED:
            kind, value = _NAMED[token.text]
            return Constant(kind, value, span=(token.start, token.end))  # type: ignore[arg-type]  # one of these kinds
        if self._skip("("):
            return self._called(token.text, None, self._list(")"), token.start)
        if self._next.text == "{":
            raise UnreadableExpression(f"messages such as {token.text}{{...}} cannot be used")
        return Name(token.text, span=(token.start, token.end))

    def _entries(self) -> tuple[tuple[Node, Node], ...]:
        entries = []
        while not self._skip("}"):
            key = self.expression()
            self._expect(":")
            entries.append((key, self.expression()))
            if not self._skip(","):
                self._expect("}")
                break
        return tuple(entries)


def _indexed(of: Node, key: Node, span: tuple[int, int]) -> Node:
    # `a["b"]` and `a.b` are the same.
    if isinstance(key, Constant) and key.kind == "string":
        return Select(of, str(key.value), span=span)
    return Index(of, key, span=span)


def _number(text: str, span: tuple[int, int]) -> Constant:
    digits = text.rstrip("uU")
    if digits[:2].lower() == "0x":
        return Constant("uint" if digits != text else "int", int(digits, 16), span=span)
    if digits != text or digits.isdigit():
        return Constant("uint" if digits != text else "int", int(digits), span=span)
    return Constant("double", float(digits), span=span)


def _quoted(token: _Token, span: tuple[int, int]) -> Constant:
    prefix = re.match(r"[rRbB]*", token.text)[0].lower()  # type: ignore[index]  # it may be empty
    body = token.text[len(prefix) :]
    inner = body[3:-3] if body[:3] in {'"""', "'''"} else body[1:-1]
    if token.kind == "text":
        inner = _ESCAPE.sub(_unescaped, inner)
    return Constant("bytes" if "b" in prefix else "string", inner, span=span)


def _unescaped(found: re.Match[str]) -> str:
    *codes, octal, simple = found.groups()
    if simple is not None:
        return _SIMPLE.get(simple, simple)
    number = int(octal, 8) if octal else int(next(each for each in codes if each), 16)
    # The library refuses any larger number.
    return chr(min(number, sys.maxunicode))
