"""Node sets: converts `nsd[01-04],cl7` to host names and back.  Values from events are treated as hostile.

A text that contains a value from an event may hold only host names and ranges.  Groups (`@quorum`) and set operators
(`n[1-9]!n3`) are allowed only in texts that the site wrote literally in its files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ClusterShell.Defaults import config_paths
from ClusterShell.NodeSet import (
    NodeSet,
    NodeSetException,
    NodeSetExternalError,
    NodeSetParseRangeError,
)
from ClusterShell.NodeUtils import GroupResolverConfig, GroupResolverError, GroupSourceError
from ClusterShell.RangeSet import RangeSetException

from . import node_ranges
from .errors import GroupsUnknown, InvalidNodeSet

MOST = 10_000
"""The maximum number of nodes of one command."""

MOST_UNFOLDED = 100_000
"""The maximum number of names that a text of ours may stand for: no text fills the memory."""

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
_RANGE = r"[0-9]{1,9}(?:-[0-9]{1,9}(?:/[0-9]{1,9})?)?"
_BRACKETS = rf"\[{_RANGE}(?:,{_RANGE})*\]"
_WORD = re.compile(rf"(?:[A-Za-z0-9._-]|{_BRACKETS})+")
_PART = re.compile(r"(?:[^,\[]|\[[^\]]*\]?)+")
"""A part between commas; commas in brackets do not count."""

_ONLY_IN_FILES = frozenset("@!&^*")
_SHOWN = 80


def names_of(text: str, *, is_ours: bool = False) -> tuple[str, ...]:
    """Return the host names in *text*, each once.  Groups and operators are allowed only if the text *is_ours*.

    *is_ours* means that the site wrote the text literally in a file.  Raises InvalidNodeSet if the text is not a node
    set or names no node, and GroupsUnknown if its groups cannot be looked up.

    >>> names_of("nsd[01-03],cl7")
    ('cl7', 'nsd01', 'nsd02', 'nsd03')
    >>> names_of("@all")
    Traceback (most recent call last):
    router.cluster.fleet.errors.InvalidNodeSet: nodes: '@all' is not a host name or a range of host names
    """
    text = text.strip(" ")
    words = [each for part in _PART.findall(text) if (each := part.strip(" "))]
    if not words:
        raise InvalidNodeSet("nodes: the node set is empty: name at least one node")
    with_groups = is_ours and not _ONLY_IN_FILES.isdisjoint(text)
    for word in words:
        if not with_groups and not _WORD.fullmatch(word):
            raise InvalidNodeSet(f"nodes: {_shown(word)} is not a host name or a range of host names")
    if node_ranges.size(",".join(words)) > MOST:
        raise InvalidNodeSet(f"nodes: {_shown(text)} names more than {MOST:,} nodes, the maximum")
    return _checked(_resolved(text) if with_groups else _plain(words), text)


def fold(names: Iterable[str]) -> str:
    """Return *names* as one text such as `nsd[01-04]`, or an empty text if there are no names.

    >>> fold(["nsd02", "nsd01", "cl7"])
    'cl7,nsd[01-02]'
    """
    return node_ranges.folded(names)


def unfold(text: str) -> tuple[str, ...]:
    """Return the names in *text*, which `fold` must have written, each once.

    Raises InvalidNodeSet if it stands for more than `MOST_UNFOLDED` names.
    """
    count = node_ranges.size(text)
    if count > MOST_UNFOLDED:
        raise InvalidNodeSet(f"nodes: {_shown(text)} names {count:,} nodes, and the maximum is {MOST_UNFOLDED:,}")
    return tuple(sorted({*node_ranges.unfolded(text)}, key=node_ranges.in_order))


def _plain(words: Sequence[str]) -> Sequence[str]:
    text = ",".join(words)
    try:
        return sorted({*node_ranges.unfolded(text)}, key=node_ranges.in_order)
    except ValueError as error:
        why = "write a range from the lower number to the higher, as in nsd[01-04]"
        raise InvalidNodeSet(f"nodes: {_shown(text)} is not a node set: {why}") from error


def _resolved(text: str) -> NodeSet:
    try:
        # A new resolver each time: a resolver caches its first answers.
        return NodeSet(text, resolver=GroupResolverConfig(config_paths("groups.conf")))
    except (NodeSetException, RangeSetException, GroupResolverError, GroupSourceError) as error:
        asked = (NodeSetExternalError, GroupResolverError, GroupSourceError)
        if isinstance(error, asked) or isinstance(error.__context__, asked):
            raise GroupsUnknown(f"nodes: the groups in {_shown(text)} cannot be looked up: {error}") from error
        raise InvalidNodeSet(f"nodes: {_shown(text)} is not a node set: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    is_range = isinstance(error, NodeSetParseRangeError | RangeSetException)
    return "write a range from the lower number to the higher, as in nsd[01-04]" if is_range else str(error)


def _checked(found: Iterable[str], text: str) -> tuple[str, ...]:
    names = tuple(found)
    if not names:
        raise InvalidNodeSet(f"nodes: {_shown(text)} is an empty node set: name at least one node")
    if len(names) > MOST:
        raise InvalidNodeSet(f"nodes: {_shown(text)} names {len(names):,} nodes, and the maximum is {MOST:,}")
    for name in names:
        if not _HOST.fullmatch(name):
            raise InvalidNodeSet(f"nodes: {_shown(name)} is not a host name")
    return names


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
