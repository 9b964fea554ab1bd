"""Filters of subscriptions that name rules of alerts: a name that no rule has selects nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from router.errors import did_you_mean

from ...alerts import shipped_rules
from ...config.event_samples import Remark
from ...errors import FilterError
from ...expressions.cel_syntax.parser import UnreadableExpression, parse
from ...expressions.cel_syntax.tree import Binary, Constant, ListOf, Name, Node, Select, walk
from ...expressions.values.alert_values import ALERT

_OF_ALERT = (Select(Name("data"), "rule"), Select(Name(ALERT), "rule"))


def remarks(raw: Mapping[str, object], categories: Collection[str], written: Collection[str]) -> Iterator[Remark]:
    """Yield which names in `where` of the entry *raw* are of no rule, shipped or *written* in any file.

    These are warnings, since a rule may be in a file that is not checked.  *categories* are those of its events: only
    in alerts, `data.rule` is the name of a rule.
    """
    where = raw.get("where")
    if not isinstance(where, str) or {*categories} != {ALERT}:
        return
    known = {*shipped_rules.fields(), *written}
    for name in dict.fromkeys(_compared(where)):
        if name not in known:
            yield Remark(("where",), f"there is no rule of alerts {name!r}{did_you_mean(name, known)}", warning=True)


def _compared(where: str) -> Iterator[str]:
    """Yield the texts that *where* compares the name of a rule with.

    >>> [*_compared('data.rule == "a" || alert.rule in ["b", "c"] || data.state == "open"')]
    ['a', 'b', 'c']
    """
    try:
        tree = parse(where)
    except (FilterError, UnreadableExpression):
        return  # that is remarked on elsewhere
    for node, _ in walk(tree):
        if isinstance(node, Binary) and node.sign in ("==", "!=", "in"):
            sides = (node.left, node.right)
            if any(each in _OF_ALERT for each in sides):
                yield from (text for each in sides for text in _texts(each))


def _texts(node: Node) -> Iterator[str]:
    items = node.items if isinstance(node, ListOf) else (node,)
    yield from (each.value for each in items if isinstance(each, Constant) and isinstance(each.value, str))
