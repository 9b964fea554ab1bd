"""What is said about a condition that cannot be meant, and the one that probably was.  Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

from router.errors import did_you_mean
from router.model.catalogue import Variable

from ...config.event_samples import named
from ..cel_syntax.tree import Binary, Call, Constant, Index, Junction, Name, Node, Select, source, walk
from ..severities import SEVERITIES
from .domains import NUMBERS, Domain
from .event_domains import ENUMERATIONS, Selected
from .operators import described

_ARITHMETIC: Final = frozenset("+-*/%")
_SHOWN: Final = 6
_LONGEST: Final = 80
_WRITTEN: Final = {"duration(": 'duration("36h30m")', "timestamp(": 'timestamp("2026-01-31T18:00:00Z")'}
_NUMBER = re.compile(r"-?\d+(\.\d+)?\Z", re.ASCII)


class Words:
    """Writes messages about parts of the filter *text*, for the events *selected*."""

    def __init__(self, text: str, selected: Selected) -> None:
        """Write about parts of *text*."""
        self._text, self._selected = text, selected

    def constant(self, node: Node, operands: Sequence[Domain], *, is_true: bool) -> str:
        """Return the message that *node* is the same for every event."""
        how = "true for every event" if is_true else "never true"
        if isinstance(node, Constant):
            return f"the filter is {how}: leave it out" if is_true else "the filter matches no event: use mode: off"
        match node:
            case Binary(_, left, right) if left == right:
                why, meant = "both sides are the same", ""
            case Binary(_, left, right):
                why, meant = self._compared(node, left, right, operands)
            case Junction(sign):
                why, meant = ("" if is_true else f"its parts, joined by {sign}, exclude each other"), ""
            case Call(_, target) if target is not None and operands:
                why, meant = f"{self._of(target)} is {self._what(target, operands[0])}", ""
            case _:
                why, meant = "", ""
        return f"{self._of(node)} is {how}{f': {why}' if why else ''}{f'; write {meant}' if meant else ''}"

    def wrong(self, node: Node, operands: Sequence[Domain], reason: str) -> str:
        """Return the message that *node* can never be evaluated, because of *reason*."""
        meant = self._meant(node, operands)
        how = next(
            (f": write it as in {each}" for name, each in _WRITTEN.items() if self._of(node).startswith(name)), ""
        )
        if how and isinstance(node, Call):
            return f"{self._of(node)} cannot be read{how}"
        return f"{reason}, which always fails{f'; write {meant}' if meant else ''}"

    def impossible(self, node: Node) -> str:
        """Return the message that no event has all that *node* reads."""
        names = [f"data.{each.name}" for each, _ in walk(node) if isinstance(each, Select) and each.of == Name("data")]
        read = " and ".join(dict.fromkeys(names)) or "what it reads"
        return f"{self._of(node)} is never true: no selected event can have {read}"

    def no_condition(self, node: Node, domain: Domain) -> str:
        """Return the message that the filter *node* is not true or false."""
        return f"the filter is not true or false: {self._of(node)} is {self._what(node, domain)}"

    def division(self, left: Node, right: Node) -> str:
        """Return the message about the division of two whole numbers."""
        one, other = self._of(left), self._of(right)
        return (
            f"{one} / {other} divides whole numbers and drops the rest: 99 / 100 is 0;"
            f" if that is not intended, write {_double(left, one)} / {_double(right, other)}"
        )

    def unusual(self, node: Binary, term: Node, word: str, usual: Sequence[str]) -> tuple[str, bool] | None:
        """Return what is said about *word*, with which *node* compares *term*, and whether it is certainly wrong.

        *usual* are the known words for *term*, or empty.  None means that nothing is said.
        """
        variable = self._variable(term)
        if not usual and variable and word != variable.example and word.lower() == variable.example.lower():
            return f"{self._of(node)}: {self._of(term)} is written {json.dumps(variable.example)}", False
        if not usual or word in usual:
            return None
        if right := next((each for each in usual if _is_spelling(word, each)), ""):
            return (
                f"{self._of(node)} is the same for every event: {self._of(term)} is written {json.dumps(right)}",
                True,
            )
        known = ", ".join(usual[:_SHOWN]) + (", ..." if len(usual) > _SHOWN else "")
        hint = did_you_mean(word, usual) or f"; known are {known}"
        return f"{self._of(node)}: {json.dumps(word)} is no known value of {self._of(term)}{hint}", False

    def of_types(self, types: Iterable[str], message: str) -> str:
        """Return *message*, which is about *types* only."""
        return f"for {named(types)}: {message}"

    def _of(self, node: Node) -> str:
        if node.span == (0, 0) and isinstance(node, Binary):
            return f"{self._of(node.left)} {node.sign} {self._of(node.right)}"
        text = " ".join(source(node, self._text).split())
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

    def _variable(self, node: Node) -> Variable | None:
        return self._selected.variables.get(node.name) if isinstance(node, Select) and node.of == Name("data") else None

    def _what(self, node: Node, domain: Domain) -> str:
        """Return what *node* is, such as `a list, such as ["nsd01","nsd02"]`."""
        kind = "true or false" if domain.kind == "bool" else described(domain.kind)
        if domain.values and domain.kind == "string":
            known = sorted(domain.values, key=lambda each: (_rank(each), each))
            others = f" and {len(known) - _SHOWN} others" if len(known) > _SHOWN else ""
            return f"{'one of ' if len(known) > 1 else 'always '}{', '.join(known[:_SHOWN])}{others}"
        if domain.kind == "int" and abs(domain.low[0]) < inf and abs(domain.high[0]) < inf:
            return f"from {domain.low[0]:.0f} to {domain.high[0]:.0f}"
        if variable := self._variable(node):
            example = json.dumps(variable.value(variable.example), ensure_ascii=False)
            return f"{kind}, such as {example}"
        return kind

    def _compared(self, node: Binary, left: Node, right: Node, operands: Sequence[Domain]) -> tuple[str, str]:
        """Return why the comparison *node* is always the same, and what should be written instead."""
        term, domain, constant = left, operands[0], right
        if isinstance(left, Constant) and not isinstance(right, Constant):
            term, domain, constant = right, operands[1], left
        why = f"{self._of(term)} is {self._what(term, domain)}"
        if isinstance(constant, Constant) and isinstance(constant.value, str) and domain.kind == "string":
            return self._of_text(node, term, domain, constant.value, why)
        return why, self._meant(node, operands)

    def _of_text(  # noqa: PLR0911 - one result for each mistake
        self, node: Binary, term: Node, domain: Domain, word: str, why: str
    ) -> tuple[str, str]:
        """Return why *term*, a text, is never *word*, and what should be written instead."""
        if not word:
            return f"{self._of(term)} is never empty, but may be null", f"{self._of(term)} {node.sign} null"
        known = domain.values or frozenset[str]()
        every = ENUMERATIONS.get(term, ()) if isinstance(term, Name) else ()
        if term == Name("type"):
            every = tuple(each.type for each in self._selected.catalogues.all())
        if word in known or (word in every and not known):
            return why, ""
        if word in every:
            return f"{why} here", ""
        right = next((each for each in (*sorted(known), *every) if _is_spelling(word, each)), "")
        if right:
            return why, f"{self._of(term)} {node.sign} {json.dumps(right)}"
        if term == Name("source"):
            return why, f"source.startsWith({json.dumps(f'/{word}/')})"
        short = word.partition(".")[0].lower()
        if term in {Name("node"), Name("cluster")} and domain.values is None and "." in word:
            return f"{self._of(term)} is a short name", f"{self._of(term)} {node.sign} {json.dumps(short)}"
        return f"{why}{did_you_mean(word, (*known, *every))}", ""

    def _meant(self, node: Node, operands: Sequence[Domain]) -> str:
        match node:
            case Binary(sign, left, right) if len(operands) == 2:  # noqa: PLR2004 - both sides
                return self._meant_binary(sign, (left, operands[0]), (right, operands[1]))
            case Index(of, key) if operands and operands[1].kind == "list":
                return f"{self._of(of)}[{self._of(key)}[0]]"
            case Call(name, target, arguments) if target is not None and operands:
                return self._meant_call(name, target, operands[0], ", ".join(map(self._of, arguments)))
            case Call(name, None, (first, *others)) if others:
                return f"{self._of(first)}.{name}({', '.join(map(self._of, others))})"
        return ""

    def _meant_call(self, name: str, target: Node, domain: Domain, arguments: str) -> str:
        of = self._of(target)
        if domain.kind == "list" and name == "contains":
            return f"{arguments} in {of}"
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
        if sign in {"==", "!="} and "list" in kinds and "string" in kinds:
            item, of = (y, x) if a.kind == "list" else (x, y)
            return f"{item} in {of}" if sign == "==" else f"!({item} in {of})"
        if sign == "in":
            if kinds == ("list", "list"):
                return f"{x}.exists(each, each in {y})"
            return f"{y}.contains({x})" if kinds == ("string", "string") else ""
        if "timestamp" in kinds and "string" in kinds:
            return f"{x} {sign} timestamp({y})" if a.kind == "timestamp" else f"timestamp({x}) {sign} {y}"
        if sign in _ARITHMETIC and {*kinds} in ({"int", "double"}, {"int", "uint"}):
            return f"{_double(one, x)} {sign} {_double(other, y)}"
        return self._meant_constant(sign, left, right)

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
                written = json.dumps(str(value))
            if written:
                return f"{self._of(one)} {sign} {written}" if at else f"{written} {sign} {self._of(other)}"
        return ""


def _rank(word: str) -> int:
    return SEVERITIES.index(word) if word in SEVERITIES else 0


def _is_spelling(word: str, known: str) -> bool:
    """Return whether *word* means *known*: in another case, or without the source before the dot."""
    return word.lower() in {known.lower(), known.lower().rpartition(".")[2]}


def _double(node: Node, text: str) -> str:
    if isinstance(node, Constant) and isinstance(node.value, int):
        return f"{node.value}.0"
    is_double = isinstance(node, Constant) or (isinstance(node, Call) and node.name == "double")
    return text if is_double else f"double({text})"
