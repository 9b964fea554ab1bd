"""The node that we are on, as the cluster's own list has it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from router.sources.gpfs.membership import Member

from .drafts import Draft
from .errors import NotThere
from .site import Site

LOCALHOST = ("localhost", "localhost.localdomain", "127.0.0.1", "::1")


def resolved(site: Site, draft: Draft) -> Draft:
    """Return *draft* with `localhost` among its nodes as the cluster calls it.  Raises NotThere and GpfsError."""
    if not any(isinstance(each, str) and each.lower() in LOCALHOST for each in draft.nodes):
        return draft
    own = here(site.members(), site.host).name
    return replace(
        draft, nodes=tuple(dict.fromkeys(own if each.lower() in LOCALHOST else each for each in draft.nodes))
    )


def node(site: Site, name: str) -> Member:
    """Return the node of that name, short or full, or address; `localhost` is ours.  Raises NotThere and GpfsError."""
    cluster = site.members()
    if name.lower() in LOCALHOST:
        return here(cluster, site.host)
    for each in cluster:
        if name.lower() in each.names:
            return each
    raise NotThere("node", name, [each.name for each in cluster])


def here(cluster: Sequence[Member], host: str, is_ours: Callable[[str], bool] | None = None) -> Member:
    """Return which of *cluster* we are: by the name of this *host*, else by its addresses.  Raises NotThere."""
    names = {host.lower(), host.lower().partition(".")[0]}
    # The whole name first: two sites may each have a node1.
    for wanted in ({host.lower()}, names):
        found = [each for each in cluster if wanted & each.names]
        if len(found) == 1:
            return found[0]
    found = [each for each in cluster if (is_ours or _is_ours)(each.address)]
    if len(found) != 1:
        said = "several nodes have its addresses" if found else "nor its addresses"
        raise NotThere(f"node of the cluster for this machine: mmlscluster does not list its name, {said}:", host)
    return found[0]


def _is_ours(address: str) -> bool:
    """Say whether this machine has *address*: only an address of one's own can be bound to."""
    if not address:
        return False
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as line:
            line.bind((address, 0))
    except OSError:
        return False
    return True
