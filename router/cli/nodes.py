"""The commands `clusterbus nodes`: the shim on the nodes of the cluster, and records of nodes that are missing."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import typer

from ..cluster.callbacks.gpfs.installed import read
from ..cluster.fleet.errors import InvalidNodeSet
from ..cluster.fleet.node_sets import fold, names_of
from ..cluster.gpfs.cluster_nodes import covered, members
from ..cluster.gpfs.commands import of_settings
from ..cluster.gpfs.errors import CommandMissing, GpfsError
from ..cluster.nodes.deployment import Deployed, Deployment
from ..cluster.nodes.node_status import Finding, by_error, by_reason, by_trouble, by_warning
from ..settings import site_catalogue
from ..settings.models import Settings
from ..terminal_text import counted
from .app import Json, current, who
from .output import Live, fail, note, rows, say, show, verdicts

nodes_app = typer.Typer(
    help="Deploy, check or remove the shim on nodes; list records that are missing.", no_args_is_help=True
)
Nodes = Annotated[
    str,
    typer.Argument(
        metavar="[NODES]", help="A node set, such as `nsd[01-04],cl7`; by default all nodes that mmlscluster lists."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")]


@nodes_app.command("deploy")
def deploy(context: typer.Context, nodes: Nodes = "", *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Install capture, the relay and their settings on nodes; each node is updated completely or left untouched."""
    settings = current(context)
    names = _names(settings, nodes)
    if dry_run:
        with _progress(len(names), as_json=as_json) as progress:
            found = Deployment(settings.nodes, progress).survey(names)
        _tell_plan(found, as_json=as_json)
        return
    with _progress(len(names), as_json=as_json) as progress:
        result = Deployment(settings.nodes, progress).deploy(names)
    _tell(result, "deployed", as_json=as_json)


@nodes_app.command("status")
def status(context: typer.Context, nodes: Nodes = "", *, as_json: Json = False) -> None:
    """Check the shim on nodes: what is missing or different, whether the relay is connected, and what was lost."""
    settings = current(context)
    names = _names(settings, nodes)
    with _progress(len(names), as_json=as_json) as progress:
        found = Deployment(settings.nodes, progress).survey(names)
    good = [each for each in found.values() if each.is_well]
    bad = by_reason(each for each in found.values() if not each.good)
    bad += by_trouble(found.values()) + by_error(found.values())
    warned = by_warning(found.values())
    if as_json:
        say({"ok": fold(each.node for each in good), "error": bad, "warning": warned}, as_json=True)
    else:
        alike: dict[str, list[str]] = {}
        for each in good:
            relay = f"relay {each.relay}{', connected' if each.connection else ''}"
            alike.setdefault(f"release {each.version}, Python {each.python}, {relay}", []).append(each.node)
        verdicts(
            [("ok", fold(those), words, "") for words, those in alike.items()]
            + [("error", each["nodes"], each["reason"], "") for each in bad]
            + [("warning", each["nodes"], each["reason"], "") for each in warned]
        )
    _end(found.values(), is_wrong=bool(bad))


@nodes_app.command("remove")
def remove(
    context: typer.Context,
    nodes: Annotated[
        str, typer.Argument(metavar="NODES", help="A node set, such as `nsd[01-04],cl7`; there is no default.")
    ] = "",
    *,
    dry_run: DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Remove the shim even if callbacks run it.")] = False,
    as_json: Json = False,
) -> None:
    """Remove the shim from nodes; records that are not sent yet are kept."""
    settings = current(context)
    if not nodes:
        fail("no nodes are named: give a node set, as in `clusterbus nodes remove nsd[01-04]`", 2)
    names = _names(settings, nodes)
    if not force and (called := _called(settings, names)):
        fail(
            f"{fold(called)}: GPFS still runs the shim there: run `clusterbus callbacks remove` first, or remove the"
            " nodes from the cluster, or use --force"
        )
    if dry_run:
        say({"remove": fold(names)}, as_json=as_json, text=f"the shim would be removed from {fold(names)}")
        return
    with _progress(len(names), as_json=as_json) as progress:
        result = Deployment(settings.nodes, progress).remove(names)
    _tell(result, "removed", as_json=as_json)
    if not as_json:
        kept: dict[str, list[str]] = {}
        for each in result.done.values():
            for what in each.kept:
                kept.setdefault(what, []).append(each.node)
        for what, those in kept.items():
            show(f"{fold(those)}: kept {what}")
        _name_secrets(settings.nodes.secrets, result.done)


@nodes_app.command("gaps")
def gaps(
    context: typer.Context,
    nodes: Annotated[str, typer.Argument(metavar="[NODES]", help="A node set; by default all nodes.")] = "",
    *,
    accept: Annotated[
        bool, typer.Option("--accept", help="These records will not arrive: report them no longer.")
    ] = False,
    comment: Annotated[str, typer.Option("--comment", help="With --accept: why.")] = "",
    as_json: Json = False,
) -> None:
    """List records that never arrived; those that are accepted are no error for doctor any more."""
    settings = current(context)
    if accept and not (nodes and comment.strip()):
        fail("--accept needs a node set and --comment, as in `nodes gaps nsd01 --accept --comment 'disk replaced'`", 2)
    wanted = {*_names(settings, nodes)} if nodes else None
    # Only this command needs the state, and with it SQLAlchemy.
    from ..pipeline.reports import gap_acceptance  # noqa: PLC0415
    from ..pipeline.state import State  # noqa: PLC0415

    with State(settings.router.state, upgrade=False) as state:
        if accept:
            catalogues, _ = site_catalogue.read(settings.router.catalogue)
            moment = datetime.now(UTC)
            found = gap_acceptance.accept(state, wanted or (), catalogues, moment, by=who(), comment=comment.strip())
        else:
            found = gap_acceptance.missing(state, wanted)
    if accept and not as_json:
        note(f"accepted: {counted(sum(each.count for each in found), 'record')} will not arrive")
    columns = {name: attrgetter(name) for name in ("cluster", "node", "count", "first", "last", "since", "epoch")}
    rows(found, columns, as_json=as_json, empty="no records are missing")
    if not as_json and (those := {each.node for each in found if each.may_forget}):
        note(f"{fold(sorted(those))}: too many gaps to remember all of them, more records may be missing")


def _name_secrets(folder: Path, removed: Iterable[str]) -> None:
    """Name the nodes of *removed* whose secrets are still in *folder* on this machine."""
    if those := [each for each in removed if (folder / each).is_dir()]:
        names = fold(those)
        show(
            f"secrets of {names} are still in {folder}: `clusterbus broker users --remove '{names}' --apply` removes"
            " users and passwords; delete certificates and keys by hand"
        )


def _called(settings: Settings, names: Iterable[str]) -> list[str]:
    """Return those of *names* where registered callbacks run capture; none if GPFS is not installed here.

    Ends the command with exit code 3 if GPFS does not answer.
    """
    commands = of_settings(settings.gpfs)
    try:
        ours = [each for each in read(commands) if each.command == str(settings.gpfs.command)]
        cluster = members(commands) if ours else ()
    except CommandMissing:
        return []
    except GpfsError as error:
        fail(f"cannot check whether GPFS still runs the shim there: {error}; --force removes it without the check", 3)
    everybody = frozenset(each.name for each in cluster)
    meant = (covered(cluster, each.nodes) for each in ours)
    called = frozenset[str]().union(*(everybody if each is None else each for each in meant))
    known = {name: each.name for each in cluster for name in each.names}
    return [name for name in names if known.get(name.lower()) in called]


def _names(settings: Settings, nodes: str) -> tuple[str, ...]:
    """Return the names in *nodes*; if it is empty, all nodes of the cluster."""
    try:
        if nodes:
            return names_of(nodes, is_ours=True)
        known = members(of_settings(settings.gpfs))
        # The names by which administrators reach the nodes.
        return names_of(",".join(each.admin_name for each in known))
    except InvalidNodeSet as error:
        fail(str(error), 2)
    except GpfsError as error:
        fail(f"no nodes are named, and the cluster's nodes are unknown: {error}", 3)


def _tell_plan(found: Mapping[str, Finding], *, as_json: bool) -> None:
    todo = [each for each in found.values() if each.differs]
    failed = [each for each in found.values() if each.failed]
    good, warned = fold(each.node for each in found.values() if each.good), by_warning(found.values())
    if as_json:
        facts = {"deploy": by_reason(todo), "unchanged": good, "failed": by_reason(failed), "warnings": warned}
        say(facts, as_json=True)
    else:
        _tell_each(by_reason(todo))
        if good:
            show(f"{good}: nothing to do")
        _tell_each(by_reason(failed))
        _warn(warned)
    _end(failed, is_wrong=bool(failed))


def _tell(result: Deployed, done: str, *, as_json: bool) -> None:
    if as_json:
        say(result.facts(), as_json=True)
    else:
        for words, found in ((done, result.done), ("nothing to do", result.unchanged)):
            if found:
                show(f"{fold(found)}: {words}")
        for each in by_reason(result.failed.values()):
            show(f"{each['nodes']}: FAILED, left untouched: {each['reason']}")
        for each in result.unconnected():
            show(f"{each['nodes']}: NOT CONNECTED: {each['reason']}")
        _warn(result.warnings())
    _end(result.failed.values(), is_wrong=bool(result.failed or result.unconnected()))


def _end(found: Iterable[Finding], *, is_wrong: bool) -> None:
    """End with exit code 3 if a node of *found* could not be reached, otherwise with 1 if something *is_wrong*."""
    if any(each.unreachable for each in found):
        raise typer.Exit(3)
    if is_wrong:
        raise typer.Exit(1)


def _tell_each(reasons: list[dict[str, str]]) -> None:
    for each in reasons:
        show(f"{each['nodes']}: {each['reason']}")


def _warn(warnings: list[dict[str, str]]) -> None:
    for each in warnings:
        show(f"{each['nodes']}: warning: {each['reason']}")


@contextmanager
def _progress(count: int, *, as_json: bool) -> Iterator[Callable[[Finding], None]]:
    """Yield a function that shows each finding: as JSON, as one changing line on a terminal, or as a line on stderr."""
    if as_json:
        yield lambda each: say(each.facts(), as_json=True)
    elif sys.stderr.isatty():
        live, numbers = Live(err=True), itertools.count(1)
        try:
            yield lambda each: live.replace([[f"{next(numbers)} of {counted(count, 'node')}: {each.node}"]])
        finally:
            live.replace([])
    else:
        yield lambda each: note(f"{each.node}: {_one_line(each)}")


def _one_line(each: Finding) -> str:
    if each.failed or each.differs:
        return each.reason
    done = counted(len(each.did), "change") if each.did else ""
    return "; ".join(filter(None, (done, each.trouble))) or "ok"
