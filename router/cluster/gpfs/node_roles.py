"""The roles of a node, from a row of mmlscluster.  Pure.

`designation` says whether it is a quorum or a manager node.  All other roles are letters in `otherNodeRoles`, such as
`X,Z`, and names in `otherNodeRolesAlias`, such as `ces,perfmon`.  The names are used; a row without names is read by
its letters.
"""

from collections.abc import Mapping

from .errors import NotUnderstood
from .tables import Row

_LETTERS: Mapping[str, str] = {
    "G": "gateway",
    "X": "ces",
    "Z": "perfmon",
    "I": "ionode",
    "s": "snmp_collector",
    "t": "teal_collector",
    "C": "cnfs",
    "E": "cnfs",
    "D": "cnfs",
    "M": "cloud_gateway",
}
"""The letters of IBM's tools.  The names are those of `otherNodeRolesAlias`, except `cloud_gateway`, which is ours."""

ROLES = tuple(dict.fromkeys(("quorum", "manager", *_LETTERS.values())))
"""All known roles; newer releases may name others."""


def designated(row: Row) -> list[str]:
    """Return `quorum` and `manager`, as far as the row gives them.

    >>> designated(Row("mmlscluster", "clusterNode", {"designation": "quorumManager"}))
    ['quorum', 'manager']
    """
    designation = row.values.get("designation", "").lower()
    return [each for each in ("quorum", "manager") if each in designation]


def other_roles(row: Row) -> list[str]:
    """Return the other roles of the row by name.  Raises NotUnderstood if it has none of the columns, or other letters.

    >>> other_roles(Row("mmlscluster", "clusterNode", {"otherNodeRoles": "X,Z", "otherNodeRolesAlias": "ces,perfmon"}))
    ['ces', 'perfmon']
    >>> other_roles(Row("mmlscluster", "clusterNode", {"otherNodeRoles": "X,Z"}))
    ['ces', 'perfmon']
    """
    if names := row.words("otherNodeRolesAlias"):
        return names
    if not {"otherNodeRoles", "otherNodeRolesAlias"} & row.values.keys():
        raise NotUnderstood("its table has neither otherNodeRolesAlias nor otherNodeRoles")
    letters = row.words("otherNodeRoles")
    if unknown := [each for each in letters if each not in _LETTERS]:
        raise NotUnderstood(f"otherNodeRoles has {', '.join(unknown)[:80]}, and otherNodeRolesAlias does not name it")
    return list(dict.fromkeys(_LETTERS[each] for each in letters))
