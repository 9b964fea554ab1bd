"""Checks a filter against the types of all that it reads: no condition in it may be the same for every event.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from ...errors import FilterError
from ..cel_syntax.parser import parse
from ..cel_syntax.tree import (
    Binary,
    Call,
    Conditional,
    Constant,
    Junction,
    ListOf,
    Macro,
    Name,
    Node,
    Select,
    Unary,
    walk,
)
from ..fact_paths import FACTS
from ..filters import Filter, computed
from . import wording
from .corrections import are_mixed
from .domains import ANY, TRUTHS, Domain, DomainKind, joined, may_equal
from .evaluation import Evaluation, TooLong
from .event_domains import Selected, present
from .scopes import Scope

_KINDS: Mapping[type, DomainKind] = {
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    datetime: "timestamp",
    timedelta: "duration",
}
_CONDITIONS = frozenset(("==", "!=", "<", "<=", ">", ">=", "in"))


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a filter; a *warning* is about something that may not be intended.

    *is_always*: only that it is true for every event.
    """

    message: str
    warning: bool = False
    is_always: bool = False


@dataclass
class _Seen:
    """What one part of the expression is, for each event type for which it can be evaluated."""

    node: Node
    below: tuple[int, ...]
    domains: dict[str, Domain] = field(default_factory=dict)
    operands: list[list[Domain]] = field(default_factory=list)
    fails: bool = False
    scopes: list[Scope] = field(default_factory=list)

    def joined_operands(self) -> list[Domain]:
        """Return what each operand is for any event type."""
        return [joined([each for each in column if each.is_usable]) for column in zip(*self.operands, strict=True)]


def check(compiled: Filter, selected: Selected) -> Iterator[Finding]:
    """Yield what is wrong with the filter *compiled* for the events *selected*."""
    try:
        seen = _seen(compiled, selected)
    except TooLong:
        return
    yield from _Judge(compiled, selected, seen).findings()


def domains(compiled: Filter, selected: Selected) -> Mapping[int, Mapping[str, Domain]]:
    """Return what each part of the filter *compiled*, by `id`, can be for each event type.  Raises TooLong."""
    return {key: each.domains for key, each in _seen(compiled, selected).items()}


def may_all_match(filters: Iterable[Filter], names: Mapping[str, Domain]) -> bool:
    """Return whether an event whose *names* may have these values can match all *filters*, which are asked in turn.

    Facts may change in between.
    """
    scope = Scope(names)
    with suppress(TooLong):
        for each in filters:
            evaluation = Evaluation(each.text, _fold)
            found = evaluation.of(each.tree, scope)
            if found.wrong or not found.is_usable or (found.values is not None and True not in found.values):
                return False
            scope = evaluation.assuming(each.tree, scope, is_true=True).binding(FACTS, names[FACTS])
    return True


def _seen(compiled: Filter, selected: Selected) -> dict[int, _Seen]:
    evaluation, seen = Evaluation(compiled.text, _fold), dict[int, _Seen]()
    for kinds, names in _distinct(compiled, selected):
        _visit(compiled.tree, (Scope(names), Scope(present(names))), evaluation, kinds, seen)
    return seen


def _distinct(compiled: Filter, selected: Selected) -> Iterable[tuple[list[str], Mapping[str, Domain]]]:
    """Return the event types that do not differ for *compiled*, with what each name may be."""
    attributes = {node.name for node, _ in walk(compiled.tree) if isinstance(node, Name) and node.name != "data"}
    found: dict[object, tuple[list[str], Mapping[str, Domain]]] = {}
    for kind, names in selected.names.items():
        data = names["data"].fields
        read = (*(names.get(each) for each in attributes), *(data.get(each) for each in compiled.variables))
        found.setdefault(kind if compiled.reads_all else read, ([], names))[0].append(kind)
    return found.values()


def _visit(
    node: Node, scopes: tuple[Scope, Scope], evaluation: Evaluation, kinds: Sequence[str], seen: dict[int, _Seen]
) -> None:
    """Add to *seen* what *node* and its parts are in the first of *scopes*; in the second, no variable is missing."""
    here = seen.setdefault(id(node), _Seen(node, tuple(id(each) for each, _ in walk(node))[1:]))
    domain = evaluation.of(node, scopes[0])
    here.domains.update(dict.fromkeys(kinds, domain))
    here.scopes.append(scopes[0])
    if isinstance(node, Junction | Conditional | Unary | Macro):
        # Without a result it is not the same as for other events.
        certain = evaluation.of(node, scopes[1])
        here.fails = here.fails or certain.absent or not certain.is_usable
    else:
        here.operands.append([evaluation.of(each, scopes[0]) for each in node.children])
    for at, each in enumerate(node.children):
        inner = scopes
        if isinstance(node, Macro) and at:
            inner = _bound(node, scopes[0], evaluation), _bound(node, scopes[1], evaluation)
        _visit(each, inner, evaluation, kinds, seen)


def _bound(node: Macro, scope: Scope, evaluation: Evaluation) -> Scope:
    over = evaluation.of(node.over, scope)
    return scope.binding(node.name, Domain("string") if over.kind == "map" else over.item or ANY)


def _is_condition(node: Node) -> bool:
    match node:
        case Binary(sign):
            return sign in _CONDITIONS
        case Macro(macro):
            return macro in {"all", "exists", "exists_one"}
        case Select(_, _, tests):
            return tests
    return isinstance(node, Junction | Unary | Call)


class _Judge:
    def __init__(self, compiled: Filter, selected: Selected, seen: Mapping[int, _Seen]) -> None:
        self._tree, self._seen, self._may_be_all = compiled.tree, seen, selected.may_be_all
        self._text = compiled.text
        self._words = wording.Words(compiled.text, selected, self._is_possible)

    def findings(self) -> Iterator[Finding]:
        faulty = set[int]()
        # From within: what contains a mistake is not a mistake of its own.
        if self._may_be_all and self._tree == Constant("bool", value=True):
            return
        for each in reversed(list(self._seen.values())):
            if faulty.isdisjoint(each.below) and (found := self._finding(each)):
                faulty.add(id(each.node))
                yield found
        for each in self._seen.values():
            if not any(domain.wrong for domain in each.domains.values()):
                yield from self._division(each)
                yield from (found for found in self._unusual(each) if found.warning or id(each.node) not in faulty)
                yield from self._mixed(each)

    def _is_possible(self, node: Node, meant: str) -> bool:
        """Return whether the filter is valid with the text *meant* instead of *node*, and it can be true."""
        start, end = node.span
        # The comparison with one item of a list is itself not in the text.
        at = self._seen.get(id(node)) or self._seen[id(node.children[0])]
        try:
            if end:
                Filter(f"{self._text[:start]}({meant}){self._text[end:]}")
            tree, evaluation = parse(meant), Evaluation(meant, _fold)
            found = [evaluation.of(tree, each) for each in at.scopes]
        except (FilterError, TooLong):
            return False
        sound = [each for each in found if not each.wrong and each.is_usable]
        values = {value for each in sound for value in (TRUTHS if each.values is None else each.values)}
        return bool(sound) and (not _is_condition(node) or True in values)

    def _finding(self, seen: _Seen) -> Finding | None:
        node, is_root = seen.node, seen.node is self._tree
        wrong = {kind: each.wrong for kind, each in seen.domains.items() if each.wrong}
        sound = [each for each in seen.domains.values() if not each.wrong and each.is_usable]
        operands = seen.joined_operands() if seen.operands else []
        if wrong:
            message = self._words.wrong(node, operands, next(iter(wrong.values())))
            can_hold = any(each.kind != "bool" or each.values is None or True in each.values for each in sound)
            return Finding(self._words.of_types(wrong, message) if can_hold else message, warning=can_hold)
        if is_root and sound and all(each.kind not in {"bool", "any"} for each in sound):
            return Finding(self._words.no_condition(node, sound[0]))
        values = {value for each in sound for value in (TRUTHS if each.values is None else each.values)}
        if not sound and (_is_condition(node) or is_root):
            return Finding(self._words.impossible(node))
        is_judged = (_is_condition(node) or is_root) and all(each.kind == "bool" for each in sound)
        if is_judged and (values == {False} or (values == {True} and not seen.fails)):
            is_true = values == {True}
            return Finding(self._words.constant(node, operands, is_true=is_true), is_always=is_true)
        match node:
            case Binary("in", _, ListOf(items)) if useless := self._useless_item(node, items, seen):
                return Finding(useless)
        return None

    def _useless_item(self, node: Binary, items: Sequence[Node], seen: _Seen) -> str:
        """Return what is wrong where *node*, `... in [items]`, has an item that nothing can be; else an empty text."""
        one = joined([each[0] for each in seen.operands if each[0].is_usable])
        for item in items:
            domains = list(self._seen[id(item)].domains.values())
            can = any(may_equal(each[0], d) or (each[0].null and d.null) for each in seen.operands for d in domains)
            if not can and one.is_usable:
                return self._words.constant(Binary("==", node.left, item), [one, joined(domains)], is_true=False)
        return ""

    def _division(self, seen: _Seen) -> Iterator[Finding]:
        match seen.node:
            case Binary("/", left, right) if not (isinstance(left, Constant) and isinstance(right, Constant)):
                kinds = {each.kind for row in seen.operands for each in row if each.is_usable}
                if kinds and kinds <= {"int", "uint"}:
                    yield Finding(self._words.division(left, right), warning=True)

    def _mixed(self, seen: _Seen) -> Iterator[Finding]:
        match seen.node:
            case Binary("==" | "!=" | "in" as sign) as node:
                of = [(one, (other.item or ANY) if sign == "in" else other) for one, other in seen.operands]
                if any(are_mixed(*each) for each in of):
                    yield Finding(self._words.mixed(node, seen.joined_operands()), warning=True)

    def _unusual(self, seen: _Seen) -> Iterator[Finding]:
        """Yield a remark for each word that something is compared with, but is not known to be."""
        node = seen.node
        if not isinstance(node, Binary) or node.sign not in {"==", "!=", "in"}:
            return
        for term, other, at in ((node.left, node.right, 0), (node.right, node.left, 1)):
            domains = [row[at] for row in seen.operands]
            items = [each.item for each in domains if each.item] if node.sign == "in" and at else []
            usual = next((each.usual for each in (*domains, *items) if each.usual), ())
            constants = other.items if isinstance(other, ListOf) else (other,)
            for word in (str(each.value) for each in constants if isinstance(each, Constant) and each.kind == "string"):
                if found := self._words.unusual(node, term, word, usual):
                    yield Finding(found[0], warning=not found[1])


@lru_cache(maxsize=1000)
def _fold(text: str) -> Domain:
    """Return what *text* is, which has no names; each is asked about again for each event type."""
    try:
        value = computed(text)
    except ValueError as error:
        return Domain("nothing", wrong=f"cannot be evaluated: {error}")
    kind = _KINDS.get(type(value))
    return Domain(kind, frozenset((value,))) if kind else ANY
