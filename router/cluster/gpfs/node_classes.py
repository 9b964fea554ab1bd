"""The node classes of the site, from the table of mmlsnodeclass.  Pure.

    mmlsnodeclass:nodeClass:HEADER:version:reserved:reserved:nodeClass:memberClasses:memberNodes:allMembers:

`allMembers` has all nodes of a class.  Without that column, the nodes are those of `memberNodes` and of the classes in
`memberClasses`.
"""

from collections.abc import Mapping, Sequence

from .errors import NotUnderstood
from .tables import Row, has_header, rows

_NAMES = ("nodeclass", "nodeclassname")
_ALL, _NODES, _CLASSES = "allMembers", "memberNodes", "memberClasses"


def node_classes(printed: str) -> tuple[dict[str, list[str]], str]:
    """Return the nodes of each class, and why some classes are left out (empty if none is).

    Output without any table means that there are no classes, if it is blank.  Raises NotUnderstood if the columns are
    not known.

    >>> header = "mmlsnodeclass:nodeClass:HEADER:version:reserved:reserved:nodeClass:memberNodes:allMembers:"
    >>> node_classes(f"{header}{chr(10)}mmlsnodeclass:nodeClass:0:1:::io:n1:n1,n2:")
    ({'io': ['n1', 'n2']}, '')
    """
    if not has_header(printed):
        if output := printed.strip():
            raise NotUnderstood(f"it printed no table: {output[:200]}")
        return {}, ""
    found: dict[str, list[Row]] = {}
    for row in rows(printed):
        if not {_ALL, _NODES} & row.values.keys():
            raise NotUnderstood(f"its table has neither {_ALL} nor {_NODES}; its columns are {_columns(row)}")
        if name := _name(row):
            found.setdefault(name, []).append(row)
    classes: dict[str, list[str]] = {}
    unknown: list[str] = []
    for name, of_class in found.items():
        try:
            is_complete = all(_ALL in row.values and _ALL not in row.lacks for row in of_class)
            classes[name] = _words(of_class, _ALL) if is_complete else _nodes(name, found)
        except NotUnderstood as error:
            unknown.append(str(error))
    return classes, "; ".join(unknown)


def _name(row: Row) -> str:
    column = next((each for each in row.values if each.lower() in _NAMES), None)
    if column is None:
        raise NotUnderstood(f"its table has no column nodeClass; its columns are {_columns(row)}")
    return row.values[column]


def _nodes(name: str, found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return the nodes of the class *name*, and of the classes in it.  Raises NotUnderstood."""
    nodes: dict[str, None] = {}
    classes = [name]
    for each in classes:
        if each not in found:
            raise NotUnderstood(f"class {name} contains class {each}, whose nodes are not listed")
        nodes |= dict.fromkeys(_words(found[each], _NODES))
        classes += [one for one in _words(found[each], _CLASSES) if one not in classes]
    return list(nodes)


def _words(found: Sequence[Row], column: str) -> list[str]:
    return list(dict.fromkeys(each for row in found for each in row.words(column)))


def _columns(row: Row) -> str:
    return ", ".join(row.values)[:300]
