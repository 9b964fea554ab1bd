"""The checks of `clusterbus doctor` on the cluster: registered callbacks, and the shim on its nodes."""

from collections.abc import Collection, Iterator

from router.cluster.callbacks.gpfs.registrar import Registrar
from router.cluster.fleet.node_sets import fold
from router.cluster.gpfs.cluster_nodes import members
from router.cluster.gpfs.commands import of_settings
from router.cluster.nodes.node_status import by_error, by_reason, by_trouble, by_warning
from router.cluster.nodes.survey import survey
from router.errors import RouterError
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from .check_results import Finding
from .part_answers import failure


def examine(settings: Settings, parts: Collection[str]) -> Iterator[Finding]:
    """Check *parts* of the cluster, if this machine is one of its nodes: if it has the mm commands."""
    if (settings.gpfs.commands / "mmlscallback").exists():
        yield from callbacks(settings) if "callbacks" in parts else ()
        yield from nodes(settings) if "nodes" in parts else ()


def callbacks(settings: Settings) -> Iterator[Finding]:
    """Check whether the callbacks registered with GPFS match the settings."""
    try:
        known = catalogues(settings)["gpfs"]
        found = Registrar(of_settings(settings.gpfs), settings.gpfs, known).standings()
    except RouterError as error:
        yield failure("callbacks", error, "check that GPFS runs on this node, and run this as root")
        return
    wrong = [each for each in found if each.verdict == "error"]
    for each in wrong:
        yield Finding("callbacks", "error", f"{each.part}: {each.seen}", "run clusterbus callbacks plan, then apply")
    for each in found:
        if each.verdict == "warning":
            yield Finding("callbacks", "warning", f"{each.part}: {each.seen}", "run clusterbus callbacks apply --again")
    if not wrong:
        yield Finding("callbacks", "ok", "registered as the settings say")


def nodes(settings: Settings) -> Iterator[Finding]:
    """Check whether the nodes have the shim; asks all of them over ssh, if this machine deploys to them."""
    if not settings.nodes.relay:
        yield Finding("nodes", "ok", "not checked: this machine does not deploy the shim (nodes.relay is not set)")
        return
    try:
        names = [each.admin_name for each in members(of_settings(settings.gpfs))]
        found = survey(names, settings.nodes)
    except RouterError as error:
        yield failure("nodes", error, "run clusterbus nodes status for details")
        return
    others_answered = any(not each.unreachable for each in found.values())
    for is_silent in (False, True):
        bad = by_reason(each for each in found.values() if not each.good and each.unreachable is is_silent)
        for each in bad:
            advice = (
                f"run clusterbus nodes deploy '{each['nodes']}'" if not is_silent else "see whether they run, and ssh"
            )
            seen, is_known = f"{each['nodes']}: {each['reason']}", is_silent and others_answered
            yield Finding("nodes", "error", seen, advice, unreachable=is_silent, others_answered=is_known)
    for each in by_trouble(found.values()):
        advice = "see the relay's log there: it names the broker"
        yield Finding("nodes", "error", f"{each['nodes']}: {each['reason']}", advice)
    for each in by_error(found.values()):
        advice = "clusterbus doctor there says what to do"
        yield Finding("nodes", "error", f"{each['nodes']}: {each['reason']}", advice)
    for each in by_warning(found.values()):
        advice = f"correct it there; clusterbus nodes status '{each['nodes']}' checks it again"
        yield Finding("nodes", "warning", f"{each['nodes']}: {each['reason']}", advice)
    if good := [name for name, each in found.items() if each.is_well]:
        connected = " and are connected to the broker" if any(found[name].connection for name in good) else ""
        yield Finding("nodes", "ok", f"{fold(good)} have the shim{connected}")
