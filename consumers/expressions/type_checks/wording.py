"""What is said about a condition that cannot be meant, and the one that probably was.  Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from router.errors import did_you_mean
from router.model.events import SEVERITIES

from ...config.event_samples import named
from ..cel_syntax.tree import MIRRORED, Binary, Call, Constant, Junction, ListOf, Name, Node, Select, walk
from .corrections import Corrections, as_double, as_identity, is_identity, of_clock, parts
from .domains import LARGEST, Domain
from .event_domains import ENUMERATIONS, MOMENT, Selected
from .operators import described

_SHOWN: Final = 6
_WRITTEN: Final = {"duration(": 'duration("36h30m")', "timestamp(": 'timestamp("2026-01-31T18:00:00Z")'}
_DEVICES: Final = "/dev/"
_OF_IDENTITIES: Final = "has only a-z, 0-9 and -"


class Words(Corrections):
    """Writes messages about parts of the filter *text*, for the events *selected*."""

    def __init__(self, text: str, selected: Selected, is_possible: Callable[[Node, str], bool]) -> None:
        """Write about parts of *text*; *is_possible* says whether a part may be replaced by a text."""
        super().__init__(text, selected)
        self._is_possible = is_possible

    def _advice(self, node: Node, meant: str) -> str:
        return f"; write {meant}" if meant and self._is_possible(node, meant) else ""

    def constant(self, node: Node, operands: Sequence[Domain], *, is_true: bool) -> str:
        """Return the message that *node* is the same for every event."""
        how = "true for every event" if is_true else "never true"
        if isinstance(node, Constant):
            return f"the filter is {how}: leave it out" if is_true else "the filter matches no event: use mode: off"
        match node:
            case Binary(_, left, right) if left == right:
                why, meant = "both sides are the same", ""
            case Binary("in", left, ListOf(items)) if is_identity(operands[0]) and (words := _words(items)):
                why = f"{self._of(left)} {_OF_IDENTITIES}"
                meant = f"{self._of(left)} in {json.dumps([as_identity(each) for each in words])}"
            case Binary(_, left, right):
                why, meant = self._compared(node, left, right, operands)
            case Junction(sign):
                why, meant = ("" if is_true else f"its parts, joined by {sign}, exclude each other"), ""
            case Call(name, target, (Constant("string", part),)) if target and is_identity(operands[0]):
                why, suited = f"{self._of(target)} {_OF_IDENTITIES}", as_identity(str(part), part=name)
                meant = f"{self._of(target)}.{name}({json.dumps(suited)})" if suited else ""
            case Call(_, target) if target is not None and operands:
                why, meant = f"{self._of(target)} is {self._what(target, operands[0])}", ""
            case _:
                why, meant = "", ""
        return f"{self._of(node)} is {how}{f': {why}' if why else ''}{self._advice(node, meant)}"

    def wrong(self, node: Node, operands: Sequence[Domain], reason: str) -> str:
        """Return the message that *node* can never be evaluated, because of *reason*."""
        meant = self._meant(node, operands)
        how = next(
            (f": write it as in {each}" for name, each in _WRITTEN.items() if self._of(node).startswith(name)), ""
        )
        if how and isinstance(node, Call):
            return f"{self._of(node)} cannot be read{how}"
        return f"{reason}, which always fails{self._advice(node, meant)}"

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
            f" if that is not intended, write {as_double(left, one)} / {as_double(right, other)}"
        )

    def unusual(self, node: Binary, term: Node, word: str, usual: Sequence[str]) -> tuple[str, bool] | None:
        """Return what is said about *word*, with which *node* compares *term*, and whether it is certainly wrong.

        *usual* are the known words for *term*, or empty.  None means that nothing is said.
        """
        variable = self._variable(term)
        if not usual and variable and word != variable.example and word.lower() == variable.example.lower():
            return f"{self._of(node)}: {self._of(term)} is written {json.dumps(variable.example)}", False
        if variable and word.startswith(_DEVICES) and not variable.example.startswith("/"):
            short = json.dumps(word.removeprefix(_DEVICES))
            return f"{self._of(node)}: {self._of(term)} is written without {_DEVICES}, as in {short}", False
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

    def mixed(self, node: Binary, operands: Sequence[Domain]) -> str:
        """Return the message that *node* compares the word of a node with a name from a source."""
        meant = self._meant(node, operands)
        return (
            f"{self._of(node)} compares the word of a node, such as nsd01, with a name that may be written in another"
            f" way, such as nsd01.example.org{self._advice(node, meant)}"
        )

    def of_types(self, types: Iterable[str], message: str) -> str:
        """Return *message*, which is about *types* only."""
        return f"for {named(types)}: {message}"

    def _what(self, node: Node, domain: Domain) -> str:
        """Return what *node* is, such as `a list, such as ["nsd01","nsd02"]`."""
        kind = "true or false" if domain.kind == "bool" else described(domain.kind)
        if domain.values and domain.kind == "string":
            known = sorted(domain.values, key=lambda each: (_rank(each), each))
            others = f" and {len(known) - _SHOWN} others" if len(known) > _SHOWN else ""
            return f"{'one of ' if len(known) > 1 else 'always '}{', '.join(known[:_SHOWN])}{others}"
        if domain.kind == "int" and max(abs(domain.low[0]), abs(domain.high[0])) < LARGEST:
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
        if node.sign == "in" and domain.item and is_identity(domain.item):
            why = f"each of {self._of(term)} {_OF_IDENTITIES}"
        if isinstance(constant, Constant) and isinstance(constant.value, str) and domain.kind == "string":
            return self._of_text(node, term, domain, constant.value, why)
        return why, self._meant(node, operands)

    def _of_text(  # noqa: PLR0911 - one result for each mistake
        self, node: Binary, term: Node, domain: Domain, word: str, why: str
    ) -> tuple[str, str]:
        """Return why *term*, a text, is never *word*, and what should be written instead."""
        if not word:
            return f"{self._of(term)} is never empty, but may be null", f"{self._of(term)} {node.sign} null"
        if domain.texts and domain.texts == MOMENT and (form := domain.texts.form):
            sign = node.sign if term == node.left else MIRRORED.get(node.sign, node.sign)
            return f"{self._of(term)} is as in {json.dumps(form.sample)}", of_clock(self._of(term), sign, word)
        words = parts(word)
        is_list = len(words) > 1 and not {*",;"}.isdisjoint(word)
        if node.sign == "==" and domain.texts and is_list and all(map(domain.texts.admits, words)):
            return f"{self._of(term)} is one name", f"{self._of(term)} in {json.dumps(words)}"
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
        if domain.values is None and (is_identity(domain) or (term == Name("cluster") and "." in word)):
            short = as_identity(word) if is_identity(domain) else word.partition(".")[0].lower()
            why = f"{self._of(term)} {'is a short name' if '.' in word else _OF_IDENTITIES}"
            return why, f"{self._of(term)} {node.sign} {json.dumps(short)}" if short else ""
        return f"{why}{did_you_mean(word, (*known, *every))}", ""


def _words(items: Sequence[Node]) -> list[str]:
    """Return the texts of *items*, if all are written out."""
    words = [str(each.value) for each in items if isinstance(each, Constant) and each.kind == "string"]
    return words if len(words) == len(items) else []


def _rank(word: str) -> int:
    return SEVERITIES.index(word) if word in SEVERITIES else 0


def _is_spelling(word: str, known: str) -> bool:
    """Return whether *word* means *known*: in another case, or without the source before the dot."""
    return word.lower() in {known.lower(), known.lower().rpartition(".")[2]}
