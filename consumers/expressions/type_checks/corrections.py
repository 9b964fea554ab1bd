"""What was probably meant by a condition that cannot be.  Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from router.model.catalogue import Variable
from router.model.node_words import whole_word_of, word_of

from ..cel_syntax.tree import Binary, Call, Constant, Index, Name, Node, Select, source
from .domains import NUMBERS, Domain
from .event_domains import IDENTITY, NODE_NAME, Selected

_ARITHMETIC: Final = frozenset("+-*/%")
_LONGEST: Final = 80
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3])(:[0-5][0-9]){1,2}\Z")
_DAY = re.compile(r"[0-9]{4}-[01][0-9]")
_NUMBER = re.compile(r"-?\d+(\.\d+)?\Z", re.ASCII)


class Corrections:
    """Finds what was meant by parts of the filter *text*, for the events *selected*."""

    def __init__(self, text: str, selected: Selected) -> None:
        """Correct parts of *text*."""
        self._text, self._selected = text, selected

    def _of(self, node: Node) -> str:
        if node.span == (0, 0) and isinstance(node, Binary):
            return f"{self._of(node.left)} {node.sign} {self._of(node.right)}"
        text = " ".join(source(node, self._text).split())
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

    def _variable(self, node: Node) -> Variable | None:
        return self._selected.variables.get(node.name) if isinstance(node, Select) and node.of == Name("data") else None

    def _meant(self, node: Node, operands: Sequence[Domain]) -> str:
        match node:
            case Binary(sign, left, right) if len(operands) == 2:  # noqa: PLR2004 - both sides
                return self._meant_binary(sign, (left, operands[0]), (right, operands[1]))
            case Index(of, key) if operands and operands[1].kind == "list":
                return f"{self._of(of)}[{self._of(key)}[0]]"
            case Call(name, target, arguments) if target is not None and operands:
                if operands[0].kind == "list" and name == "contains" and len(arguments) == 1:
                    return self._within((arguments[0], operands[1]), (target, operands[0]))
                return self._meant_call(name, target, operands[0], ", ".join(map(self._of, arguments)))
            case Call(name, None, (first, *others)) if others:
                return f"{self._of(first)}.{name}({', '.join(map(self._of, others))})"
        return ""

    def _meant_call(self, name: str, target: Node, domain: Domain, arguments: str) -> str:
        of = self._of(target)
        if domain.kind == "list" and name in {"startsWith", "endsWith", "matches"}:
            return f"{of}.exists(each, each.{name}({arguments}))"
        if domain.kind in NUMBERS and name in {"startsWith", "endsWith", "matches", "contains"}:
            return f"string({of}).{name}({arguments})"
        if domain.kind == "string" and name.startswith("get"):
            return f"timestamp({of}).{name}({arguments})"
        return ""

    def _meant_binary(self, sign: str, left: tuple[Node, Domain], right: tuple[Node, Domain]) -> str:
        (one, a), (other, b) = left, right
        x, y = self._of(one), self._of(other)
        kinds = a.kind, b.kind
        if sign == "in" or "list" in kinds:
            return self._meant_list(sign, left, right)
        if are_mixed(a, b) and sign in {"==", "!="}:
            return f"{x} {sign} facts.names[{y}]" if is_identity(a) else f"facts.names[{x}] {sign} {y}"
        if "timestamp" in kinds and "string" in kinds:
            return f"{x} {sign} timestamp({y})" if a.kind == "timestamp" else f"timestamp({x}) {sign} {y}"
        if sign in _ARITHMETIC and {*kinds} in ({"int", "double"}, {"int", "uint"}):
            return f"{as_double(one, x)} {sign} {as_double(other, y)}"
        return self._meant_constant(sign, left, right)

    def _meant_list(self, sign: str, left: tuple[Node, Domain], right: tuple[Node, Domain]) -> str:
        (one, a), (other, b) = left, right
        x, y = self._of(one), self._of(other)
        match sign, a.kind, b.kind:
            case (("==" | "!="), "list", "string"):
                found = self._within(right, left)
            case (("==" | "!=" | "in"), "string", "list"):
                found = self._within(left, right)
            case "in", "list", "list":
                return f"{x}.exists(each, each in {y})"
            case "in", "string", "string":
                words = parts(str(other.value)) if isinstance(other, Constant) else []
                return f"{x} in {json.dumps(words)}" if words else f"{y}.contains({x})"
            case _:
                return ""
        return f"!({found})" if found and sign == "!=" else found

    def _within(self, one: tuple[Node, Domain], of: tuple[Node, Domain]) -> str:
        """Return the condition that *one* is an item of the list *of*."""
        (item, a), (many, b) = one, of
        x, y = self._of(item), self._of(many)
        each, texts = "each" if re.search(r"\bn\b", self._text) else "n", b.item and b.item.texts
        if b.item and isinstance(item, Constant) and isinstance(item.value, str) and not b.item.admits(item.value):
            words = [as_identity(item.value)] if is_identity(b.item) else parts(item.value)
            if not (words and texts and all(map(texts.admits, words))):
                return ""
            listed = json.dumps(words)
            return f"{listed}.exists({each}, {each} in {y})" if len(words) > 1 else f"{json.dumps(words[0])} in {y}"
        if b.item and are_mixed(a, b.item):
            return f"{y}.exists({each}, facts.names[{each}] == {x})" if is_identity(a) else f"facts.names[{x}] in {y}"
        return f"{x} in {y}"

    def _meant_constant(self, sign: str, left: tuple[Node, Domain], right: tuple[Node, Domain]) -> str:
        """Return the comparison with a constant that is written as the other side needs it."""
        (one, a), (other, b) = left, right
        for at, (node, domain, needed) in enumerate(((one, a, b), (other, b, a))):
            if not isinstance(node, Constant):
                continue
            written = ""
            if isinstance(value := node.value, str) and needed.kind in NUMBERS and _NUMBER.match(value):
                written = value
            elif isinstance(value, str) and needed.kind == "bool" and value.lower() in {"true", "false"}:
                written = value.lower()
            elif isinstance(value, int | float) and domain.kind in NUMBERS and needed.kind == "string":
                if needed.texts and needed.texts.characters == "[0-9]":
                    return (
                        f"int({self._of(one)}) {sign} {self._of(other)}"
                        if at
                        else f"{self._of(one)} {sign} int({self._of(other)})"
                    )
                written = json.dumps(str(value)) if sign in {"==", "!="} else ""
            if written:
                return f"{self._of(one)} {sign} {written}" if at else f"{written} {sign} {self._of(other)}"
        return ""


def of_clock(term: str, sign: str, word: str) -> str:
    """Return what was meant by the comparison of the moment *term* with *word*, a time of day or a day.

    >>> of_clock("time", "<", "18:00"), of_clock("time", "==", "2026-11-30")
    ('timestamp(time).getHours("Europe/Berlin") < 18', 'time.startsWith("2026-11-30")')
    """
    if found := _CLOCK.match(word):
        hours = {">": ">=", "<=": "<"}.get(sign, sign)
        return f'timestamp({term}).getHours("Europe/Berlin") {hours} {int(found[1])}'
    if sign in {"==", "!="} and _DAY.match(word):
        return f"{'!' if sign == '!=' else ''}{term}.startsWith({json.dumps(word)})"
    return ""


def is_identity(domain: Domain) -> bool:
    """Return whether *domain* has the words of nodes, as in `node`."""
    return domain.texts == IDENTITY


def are_mixed(one: Domain, other: Domain) -> bool:
    """Return whether one of these is the word of a node, and the other a name that may be written in another way."""
    meanings = {each.texts.meaning for each in (one, other) if each.texts}
    return meanings == {IDENTITY.meaning, NODE_NAME.meaning}


def parts(text: str) -> list[str]:
    """Return the names in *text*, a list as a source writes it."""
    return [each for each in re.split(r"[\s,;]+", text) if each]


def as_identity(text: str, *, part: str = "") -> str:
    """Return *text* as the word of a node has it; *part* is the function that looks for it as a part of the word.

    >>> as_identity("NSD_01.example.org"), as_identity("NSD", part="contains"), as_identity(".org", part="endsWith")
    ('nsd-01', 'nsd', '')
    """
    if part in {"", "startsWith"}:
        return word_of(text)
    return "" if "." in text else whole_word_of(text)


def as_double(node: Node, text: str) -> str:
    """Return *text*, the number *node*, as a number with decimals."""
    if isinstance(node, Constant) and isinstance(node.value, int):
        return f"{node.value}.0"
    is_double = isinstance(node, Constant) or (isinstance(node, Call) and node.name == "double")
    return text if is_double else f"double({text})"
