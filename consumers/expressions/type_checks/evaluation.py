"""Evaluates an expression over domains instead of values: which results it can have.  Pure.

What is known of a part from the conditions before it is taken into account: after `data.fsName == "a" &&`, the same
variable cannot be "b".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from ..cel_syntax.tree import (
    MIRRORED,
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
    source,
    walk,
)
from .assumptions import chosen, equated, limited
from .domains import ANY, NOTHING, NULL, NUMBERS, TRUTHS, Domain, condition, joined, may_equal, truth
from .operators import (
    among,
    arithmetic,
    called,
    comparison,
    constant,
    described,
    entry,
    equality,
    itself,
    minus,
    negation,
    presence,
    quantified,
    ranked,
)
from .scopes import Scope

MOST_STEPS: Final = 100_000
"""Most parts that are evaluated for one filter: then the checks end, and it is accepted."""

_OPPOSITE: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
Fold = Callable[[str], Domain]
"""Evaluates a text without names by the library."""


class TooLong(Exception):
    """The expression has too many possibilities to look at."""


class Evaluation:
    """Evaluates the parts of one expression."""

    def __init__(self, text: str, fold: Fold) -> None:
        """Evaluate parts of *text*, and those without names by *fold*."""
        self._text, self._fold = text, fold
        self._steps = 0

    def of(self, node: Node, scope: Scope) -> Domain:  # noqa: PLR0911 - one result for each kind of node
        """Return what *node* may be in *scope*.  Raises TooLong."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise TooLong
        if node in scope.known:
            return scope.known[node]
        match node:
            case Constant(kind, value):
                return constant(kind, value)
            case Name(name):
                return scope.names.get(name, Domain("type", frozenset((name,))))
            case Select() | Index():
                return self._member(node, scope)
            case Junction(sign, parts):
                return self._junction(parts, scope, until=sign == "&&")
            case Conditional(test, then, other):
                return self._conditional(test, then, other, scope)
            case Macro():
                return self._macro(node, scope)
            case ListOf(items):
                domains = [self.of(each, scope) for each in items]
                item = joined(domains)
                return Domain("list", item=item, shortest=len(items), longest=len(items), absent=item.absent)
            case MapOf(entries):
                return self._map(entries, scope)
        return self._operation(node, scope)

    def _operation(self, node: Node, scope: Scope) -> Domain:
        domains = [self.of(each, scope) for each in node.children]
        if wrong := next((each for each in domains if each.wrong), None):
            return wrong
        if isinstance(node, Binary) and node.left == node.right and (found := itself(node.sign, domains[0])):
            return found
        if isinstance(node, Binary) and node.sign in {"==", "!="}:
            return equality(*domains, is_equal=node.sign == "==")
        if isinstance(node, Binary) and node.sign == "in":
            return self._membership(node, scope)
        # All but (in)equality fails for null.
        absent = any(each.absent or each.null for each in domains)
        if any(each == NULL for each in domains):
            result = Domain("nothing", wrong="is never possible with null")
        elif not all(each.is_usable for each in domains):
            return NOTHING
        elif not any(isinstance(each, Name | Macro) for each, _ in walk(node)):
            result = self._fold(source(node, self._text))
        else:
            result = self._applied(node, domains, scope, absent=absent)
        return self._wrong(node, result.wrong) if result.wrong else result

    def _applied(  # noqa: PLR0911 - idem
        self, node: Node, domains: Sequence[Domain], scope: Scope, *, absent: bool
    ) -> Domain:
        match node:
            case Binary(sign, left, right) if sign in _OPPOSITE:
                if Name("severity") in {left, right} and scope.names["severity"].values is not None:
                    domains = [ranked(each) for each in domains]
                return comparison(sign, *domains, absent=absent)
            case Binary(sign):
                return arithmetic(sign, *domains, absent=absent)
            case Unary("!"):
                return negation(domains[0], absent=absent)
            case Unary():
                return minus(domains[0], absent=absent)
            case Call("matches", _, (Constant() as pattern,)):
                folded = self._fold(f'"".matches({source(pattern, self._text)})')
                return folded if folded.wrong else called(node, domains, absent=absent)
            case Call():
                return called(node, domains, absent=absent)
        return ANY

    def _wrong(self, node: Node, what: str) -> Domain:
        return Domain("nothing", wrong=f"{source(node, self._text)} {what}")

    def _member(self, node: Select | Index, scope: Scope) -> Domain:  # noqa: PLR0911 - one for each type
        of = self.of(node.of, scope)
        key = self.of(node.key, scope) if isinstance(node, Index) else constant("string", node.name)
        if of.wrong or key.wrong:
            return of if of.wrong else key
        if isinstance(node, Select) and node.tests:
            known = scope.known.get(Select(node.of, node.name))
            if known and (known == NOTHING or not known.absent):
                return truth(known != NOTHING)
            found = presence(of, node.name)
            return self._wrong(node.of, found.wrong) if found.wrong else found
        absent = of.null or of.absent or key.null or key.absent
        if not key.is_usable:
            return NOTHING
        match of.kind:
            case "nothing":
                return NOTHING
            case "any":
                return ANY
            case "list" if key.kind in {"int", "uint", "any"}:
                return (of.item or ANY).having(absent=True)
            case "map" if key.kind in {"string", "any"}:
                return entry(of, key, absent=absent)
            case "list":
                return self._wrong(node.of, "is a list, whose items have numbers, from 0")
            case "map":
                return self._wrong(node, f"looks up {described(key.kind)}, where a name is needed")
        return self._wrong(node.of, f"is {described(of.kind)}, which has no parts")

    def _membership(self, node: Binary, scope: Scope) -> Domain:  # noqa: PLR0911 - idem
        one, of = self.of(node.left, scope), self.of(node.right, scope)
        absent = one.absent or of.absent or of.null
        if not of.is_usable or not (one.is_usable or one.null):
            return NOTHING
        if of.kind == "map":
            if one.is_usable and one.kind not in {"string", "any"}:
                return condition(holds=False, fails=True, absent=absent)
            if one.single and isinstance(node.left, Constant):
                return replace(presence(of, str(one.single[0])), absent=absent)
            return Domain("bool", TRUTHS, absent=absent)
        if of.kind not in {"list", "any"}:
            return self._wrong(node.right, f"is {described(of.kind)}, and `in` looks into lists")
        if isinstance(node.right, ListOf):
            return among(one, [self.of(each, scope) for each in node.right.items])
        item = of.item or ANY
        return condition(holds=may_equal(one, item) or (one.null and item.null), fails=True, absent=absent)

    def _junction(self, parts: Sequence[Node], scope: Scope, *, until: bool) -> Domain:
        """Return what *parts* are together: *until* the first that differs, all must be so."""
        found: set[bool] = set()
        absent, here = False, scope
        for at, part in enumerate(parts):
            domain = self.of(part, here)
            if not domain.wrong and domain.kind not in {"bool", "any", "nothing"}:
                return self._wrong(part, f"is {described(domain.kind)}, and && and || join conditions")
            values = domain.values if domain.kind == "bool" and domain.values is not None else TRUTHS
            values = frozenset() if domain.kind == "nothing" else values
            absent = absent or domain.absent or domain.null or bool(domain.wrong)
            if (not until) in values:
                found.add(not until)
            # What comes later decides where this part cannot be evaluated.
            if absent and any(self._may_be(each, scope, value=not until) for each in parts[at + 1 :]):
                found.add(not until)
            if until not in values:
                return truth(*found, absent=absent)
            here = self.assuming(part, here, is_true=until)
        return truth(*found, until, absent=absent)

    def _may_be(self, node: Node, scope: Scope, *, value: bool) -> bool:
        found = self.of(node, scope)
        return not found.wrong and found.kind != "nothing" and (found.values is None or value in found.values)

    def _conditional(self, test: Node, then: Node, other: Node, scope: Scope) -> Domain:
        condition = self.of(test, scope)
        if condition.wrong or condition.kind not in {"bool", "any", "nothing"}:
            return condition if condition.wrong else self._wrong(test, f"is {described(condition.kind)}, no condition")
        branches = [
            self.of(each, self.assuming(test, scope, is_true=value))
            for value, each in ((True, then), (False, other))
            if condition.is_usable and (condition.values is None or value in condition.values)
        ]
        sound = [each for each in branches if not each.wrong]
        if branches and not sound:
            return branches[0]
        result = joined(sound) if sound else NOTHING
        return result.having(absent=result.absent or condition.absent or condition.null or len(sound) < len(branches))

    def _macro(self, node: Macro, scope: Scope) -> Domain:  # noqa: PLR0911 - idem
        over = self.of(node.over, scope)
        if over.wrong or not over.is_usable:
            return over if over.wrong else NOTHING
        if over.kind not in {"list", "map", "any"}:
            return self._wrong(node.over, f"is {described(over.kind)}, and {node.macro}() goes through lists")
        item = Domain("string") if over.kind == "map" else over.item or ANY
        inner = scope.binding(node.name, item)
        bodies = [self.of(each, inner) for each in node.bodies]
        if wrong := next((each for each in bodies if each.wrong), None):
            return wrong
        absent = over.absent or over.null or any(each.absent or each.null for each in bodies)
        body = bodies[-1]
        if node.macro == "map":
            shortest = over.shortest if len(bodies) == 1 else 0
            return Domain("list", item=body, shortest=shortest, absent=absent)
        if body.kind not in {"bool", "any", "nothing"}:
            return self._wrong(node.bodies[-1], f"is {described(body.kind)}, and {node.macro}() takes a condition")
        if node.macro == "filter":
            return Domain("list", item=item, absent=absent)
        return quantified(node.macro, body, over.shortest, absent=absent)

    def _map(self, entries: Sequence[tuple[Node, Node]], scope: Scope) -> Domain:
        fields = {
            str(key.value): self.of(value, scope)
            for key, value in entries
            if isinstance(key, Constant) and key.kind == "string"
        }
        others = [self.of(value, scope) for key, value in entries if not isinstance(key, Constant)]
        return Domain("map", fields=fields, item=joined(others) if others else None)

    def assuming(self, node: Node, scope: Scope, *, is_true: bool) -> Scope:
        """Return *scope* with what is known where the condition *node* is true, or is false."""
        match node:
            case Unary("!", of):
                return self.assuming(of, scope, is_true=not is_true)
            case Junction(sign, parts):
                can = list(dict.fromkeys(each for each in parts if self._may_be(each, scope, value=is_true)))
                for each in parts if is_true is (sign == "&&") else can * (len(can) == 1):
                    scope = self.assuming(each, scope, is_true=is_true)
            case Binary(sign, left, right):
                scope = self._assuming_of(left, sign, right, scope, is_true=is_true)
                scope = self._assuming_of(right, MIRRORED.get(sign, sign), left, scope, is_true=is_true)
                if sign == "in" and not isinstance(right, ListOf):
                    scope = scope.knowing(right, self.of(right, scope).having(null=False, absent=False))
            case Select(of, name, tests=True):
                part = Select(of, name)
                domain = self.of(part, scope)
                scope = scope.knowing(part, domain.having(absent=False) if is_true else NOTHING)
        return scope.knowing(node, truth(is_true))

    def _assuming_of(self, term: Node, sign: str, other: Node, scope: Scope, *, is_true: bool) -> Scope:
        """Return *scope* with what is known of *term* where `term sign other` is true, or is false."""
        if isinstance(term, Constant | ListOf | MapOf):
            return scope
        domain, given = self.of(term, scope), self.of(other, scope)
        if domain.wrong or given.wrong or "any" in {domain.kind, given.kind}:
            return scope
        if sign in {"==", "!="}:
            return scope.knowing(term, equated(domain, given, is_equal=is_true is (sign == "==")))
        if sign in _OPPOSITE and {domain.kind, given.kind} <= NUMBERS:
            return scope.knowing(term, limited(domain, sign if is_true else _OPPOSITE[sign], given))
        if sign == "in" and isinstance(other, ListOf) and term is not other:
            items = [self.of(each, scope) for each in other.items]
            values = [each.values for each in items if each.values is not None and not each.null]
            if len(values) == len(items):
                either = frozenset(value for each in values for value in each)
                return scope.knowing(term, chosen(domain, either, is_in=is_true))
        return scope
