"""Find this node in the node list of the cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from router.cluster.gpfs.cluster_nodes import Member

from .draft import Draft
from .errors import NotThere, SeveralThere
from .site import Site

LOCALHOST = ("localhost", "localhost.localdomain", "127.0.0.1", "::1")


def resolved(site: Site, draft: Draft) -> Draft:
    """Return *draft* with the name of this node instead of `localhost`.  Raises NotThere and GpfsError."""
    if not any(isinstance(each, str) and each.lower() in LOCALHOST for each in draft.nodes):
        return draft
    own = here(site.members(), site.host).name
    return replace(
        draft, nodes=tuple(dict.fromkeys(own if each.lower() in LOCALHOST else each for each in draft.nodes))
    )


def node(site: Site, name: str) -> Member:
    """Return the node of this short or full name, or address; `localhost` is this node.

    Raises NotThere, SeveralThere and GpfsError.
    """
    cluster = site.members()
    if name.lower() in LOCALHOST:
        return here(cluster, site.host)
    found = _called(cluster, name)
    if len(found) > 1:
        raise SeveralThere(name, [each.admin_name for each in found])
    if not found:
        raise NotThere("node", name, [each.name for each in cluster])
    return found[0]


def here(cluster: Sequence[Member], host: str, is_ours: Callable[[str], bool] | None = None) -> Member:
    """Return this node in *cluster*, found by the name *host* or by its addresses.  Raises NotThere, SeveralThere."""
    found: list[Member] = []
    for wanted in (host, host.partition(".")[0]):
        found = _called(cluster, wanted)
        if len(found) == 1:
            return found[0]
    ours = [each for each in cluster if (is_ours or _is_ours)(each.address)]
    if len(ours) == 1:
        return ours[0]
    if several := ours or found:
        raise SeveralThere(host, [each.admin_name for each in several])
    raise NotThere("node of the cluster for this machine: mmlscluster does not list its name or its addresses:", host)


def _called(cluster: Sequence[Member], name: str) -> list[Member]:
    """Return the nodes of this name; a full name counts before a short one: two sites may each have a node1."""
    wanted = name.lower()
    full = [each for each in cluster if wanted in (each.admin_name.lower(), each.daemon_name.lower(), each.address)]
    return full if len(full) == 1 else [each for each in cluster if wanted in each.names]


def _is_ours(address: str) -> bool:
    """Return whether this machine has *address*: only a local address can be bound."""
    if not address:
        return False
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as line:
            line.bind((address, 0))
    except OSError:
        return False
    return True
