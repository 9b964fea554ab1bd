"""Read node sets with `router.cluster.fleet`; an invalid node set is never retried."""

from __future__ import annotations

from router.cluster.fleet import node_sets
from router.cluster.fleet.errors import GroupsUnknown, InvalidNodeSet
from router.cluster.fleet.node_sets import MOST, fold, unfold

from ...errors import Rejected

__all__ = ["MOST", "GroupsUnknown", "fold", "names_of", "unfold"]


def names_of(text: str, *, is_ours: bool = False) -> tuple[str, ...]:
    """Return the unique names in *text*; groups and operators are allowed only if *is_ours*, as written in the file.

    Raises Rejected if the node set is invalid or empty, GroupsUnknown if groups cannot be resolved.
    """
    try:
        return node_sets.names_of(text, is_ours=is_ours)
    except InvalidNodeSet as error:
        raise Rejected(str(error)) from error
