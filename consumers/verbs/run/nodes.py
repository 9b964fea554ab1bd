"""Node sets as `router.fleet` reads them; what is none cannot be run, and no other attempt would change that."""

from __future__ import annotations

from router.fleet import node_sets
from router.fleet.errors import GroupsUnknown, InvalidNodeSet
from router.fleet.node_sets import MOST, fold, unfold

from ...errors import Rejected

__all__ = ["MOST", "GroupsUnknown", "fold", "names_of", "unfold"]


def names_of(text: str, *, is_ours: bool = False) -> tuple[str, ...]:
    """Return the names in *text*, each once; groups and operators only where it *is_ours*, as written in the file.

    Raises Rejected where it is no node set or an empty one, and GroupsUnknown.
    """
    try:
        return node_sets.names_of(text, is_ours=is_ours)
    except InvalidNodeSet as error:
        raise Rejected(str(error)) from error
