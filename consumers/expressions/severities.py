"""Severities have an order in expressions: `severity >= "warning"` includes errors and critical events.

CEL compares texts letter by letter.  So such a comparison is replaced before the library compiles the expression, by
`severity in ["warning", "error", "critical"]`, or where the other side is not a plain word, by a comparison of ranks.
"""

from __future__ import annotations

import json
import operator
from typing import TypeGuard

from router.errors import did_you_mean
from router.model.events import SEVERITIES

from ..errors import FilterError
from .cel_syntax.parser import parse
from .cel_syntax.tree import MIRRORED, Binary, Bindings, Constant, Name, Node, binding, source, walk

_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def with_order(text: str) -> str:
    """Return the expression *text* so that it compares severities by their order.

    Raises FilterError where the severity is compared with a word that is none, and UnreadableExpression where the
    comparison of ranks makes it too deep.

    >>> with_order('severity > "warning"')
    'severity in ["error", "critical"]'
    """
    while found := [node for node, around in walk(parse(text)) if _compares_severity(node, around)]:
        # The last one first: no other is within it.
        start, end = found[-1].span
        text = text[:start] + _replaced(found[-1], text) + text[end:]
    return text


def _compares_severity(node: Node, bindings: Bindings) -> TypeGuard[Binary]:
    compares = isinstance(node, Binary) and node.sign in _ORDER and any(map(_is_severity, node.children))
    return compares and not binding("severity", bindings)


def _is_severity(node: Node) -> bool:
    return node == Name("severity")


def _replaced(node: Binary, text: str) -> str:
    sign, other = (node.sign, node.right) if _is_severity(node.left) else (MIRRORED[node.sign], node.left)
    if isinstance(other, Constant):
        return f"severity in {json.dumps([each for each in SEVERITIES if _ORDER[sign](rank(each), rank(other.value))])}"
    ranks = json.dumps({each: at for at, each in enumerate(SEVERITIES)})
    return f"{ranks}[severity] {sign} {ranks}[({source(other, text)})]"


def rank(word: object) -> int:
    """Return the place of the severity *word* in the order, 0 for the mildest.  Raises FilterError."""
    if word not in SEVERITIES:
        hint = did_you_mean(str(word).lower(), SEVERITIES) or f"; severities are {', '.join(SEVERITIES)}"
        raise FilterError(f"severity is compared with {json.dumps(word, default=str)}, which is no severity{hint}")
    return SEVERITIES.index(str(word))
