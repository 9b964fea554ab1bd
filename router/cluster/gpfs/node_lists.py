"""Lists of nodes for the option `-N` of mm commands.  Pure.

GPFS takes names of nodes and of node classes, separated by commas, and no ranges: `nsd[01-02]` is expanded here.
"""

import re
from collections.abc import Iterable

from ..fleet.errors import InvalidNodeSet

_PART = re.compile(r"(?:[^,\[]|\[[^\]]*\]?)+")
"""A part between commas; commas in brackets do not count."""

_SET = re.compile(r"[\[\]@!&^*]")


def node_list(words: Iterable[str]) -> tuple[str, ...]:
    """Return the names in *words*, with node sets expanded; names of nodes and of node classes stay as they are.

    Raises InvalidNodeSet for a text that is no node set, and for groups and operators of ClusterShell.

    >>> node_list(["quorumNodes,nsd[01-02]", "cl7"])
    ('quorumNodes', 'nsd01', 'nsd02', 'cl7')
    """
    found: dict[str, None] = {}
    for part in (each.strip() for word in words for each in _PART.findall(word)):
        if part:
            found |= dict.fromkeys(_expanded(part) if _SET.search(part) else (part,))
    return tuple(found)


def _expanded(part: str) -> tuple[str, ...]:
    from ..fleet.node_sets import names_of  # noqa: PLC0415 - ClusterShell, which plain names do not need

    try:
        return names_of(part)
    except InvalidNodeSet as error:
        raise InvalidNodeSet(f"{error}; write names, ranges such as nsd[01-04], or node classes of GPFS") from error
