"""Severities have their order in templates too: `{% if severity >= 'warning' %}`, which Jinja2 compares as texts."""

from __future__ import annotations

from jinja2 import nodes

from ..errors import FilterError, TemplateError
from .severities import rank
from .template_environment import RANK

_ORDER = frozenset(("lt", "lteq", "le", "gt", "gteq", "ge"))
_KEEPING = frozenset(("default", "lower", "string", "trim"))
"""The filters that leave a severity what it is."""


def order(tree: nodes.Template) -> None:
    """Change *tree* so that it compares severities by their order.

    Raises TemplateError where the severity is compared with a word that is none.
    """
    for each in tree.find_all(nodes.Compare):
        if any(operand.op in _ORDER for operand in each.ops) and any(map(_is_severity, each.iter_child_nodes())):
            each.expr = _ranked(each.expr)
            for operand in each.ops:
                operand.expr = _ranked(operand.expr)
    for test in tree.find_all(nodes.Test):
        if test.name in _ORDER and any(map(_is_severity, (test.node, *test.args))):
            test.node, test.args = _ranked(test.node), [_ranked(each) for each in test.args]


def _is_severity(node: nodes.Node | None) -> bool:
    match node:
        case nodes.Operand(expr=compared):
            return _is_severity(compared)
        case nodes.Filter(node=of, name=name):
            return name in _KEEPING and _is_severity(of)
    return node == nodes.Name("severity", "load")


def _ranked(node: nodes.Expr) -> nodes.Expr:
    if isinstance(node, nodes.Const):
        try:
            rank(node.value)
        except FilterError as error:
            raise TemplateError(str(error)) from error
    return nodes.Filter(node, RANK, [], [], None, None, lineno=node.lineno)
