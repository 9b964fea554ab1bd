"""What doctor says of the cluster: whether its callbacks are registered as wanted, and its nodes have the shim."""

from collections.abc import Iterator

from router.catalogue import load
from router.errors import RouterError
from router.fleet.node_sets import fold
from router.nodes import by_reason, survey
from router.sections import Settings
from router.sources.gpfs.commands import of_settings
from router.sources.gpfs.membership import members
from router.sources.gpfs.registrar import Registrar

from .findings import Finding


def is_of_cluster(settings: Settings) -> bool:
    """Say whether this is a node of a cluster that can be asked."""
    return (settings.gpfs.commands / "mmlscallback").exists()


def callbacks(settings: Settings) -> Iterator[Finding]:
    """Look whether what is registered with GPFS is what is wanted."""
    registrar = Registrar(of_settings(settings.gpfs), settings.gpfs, load("gpfs"))
    try:
        found = registrar.standings()
    except RouterError as error:
        yield Finding("callbacks", "wrong", str(error), "is GPFS up here, and is this run as root?")
        return
    wrong = [each for each in found if each.verdict == "wrong"]
    for each in wrong:
        yield Finding("callbacks", "wrong", f"{each.part}: {each.seen}", "clusterbus callbacks plan, then apply")
    for each in found:
        if each.verdict == "look":
            yield Finding("callbacks", "look", f"{each.part}: {each.seen}", "clusterbus callbacks apply --again")
    if not wrong:
        yield Finding("callbacks", "good", "registered as wanted")


def nodes(settings: Settings) -> Iterator[Finding]:
    """Look whether the nodes of the cluster have the shim; asks all of them, where they are deployed from here."""
    if not settings.nodes.relay:
        yield Finding("nodes", "good", "not looked at: their shim is not deployed from here (nodes.relay is not set)")
        return
    try:
        names = [each.admin_name for each in members(of_settings(settings.gpfs))]
        found = survey(names, settings.nodes)
    except RouterError as error:
        yield Finding("nodes", "wrong", str(error), "clusterbus nodes status says more")
        return
    bad = by_reason(each for each in found.values() if not each.good)
    for each in bad:
        yield Finding(
            "nodes", "wrong", f"{each['nodes']}: {each['reason']}", f"clusterbus nodes deploy {each['nodes']}"
        )
    if good := [name for name, each in found.items() if each.good]:
        yield Finding("nodes", "good", f"{fold(good)} have the shim")
