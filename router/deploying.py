"""The commands of `clusterbus nodes`: the shim on the nodes of the cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .command import Json, current, fail, say
from .fleet.errors import InvalidNodeSet
from .fleet.node_sets import fold, names_of
from .nodes import Deployed, Deployment, Finding, by_reason
from .sections import Settings
from .sources.gpfs.commands import of_settings
from .sources.gpfs.errors import CommandMissing, GpfsError
from .sources.gpfs.membership import covered, members
from .sources.gpfs.registered import read

nodes_app = typer.Typer(help="The shim on the nodes of the cluster.", no_args_is_help=True)
Nodes = Annotated[
    str, typer.Argument(metavar="[NODES]", help="A node set, `nsd[01-04],cl7`; by default all that mmlscluster lists.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]


@nodes_app.command("deploy")
def deploy(context: typer.Context, nodes: Nodes = "", *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Put capture, the relay and their settings on nodes: only what differs, all of it or nothing."""
    settings = current(context)
    names = _names(settings, nodes)
    if dry_run:
        with _progress(len(names), as_json=as_json) as told:
            found = Deployment(settings.nodes, told).survey(names)
        _tell_plan(found, as_json=as_json)
        return
    with _progress(len(names), as_json=as_json) as told:
        result = Deployment(settings.nodes, told).deploy(names)
    _tell(result, "put there", as_json=as_json)


@nodes_app.command("status")
def status(context: typer.Context, nodes: Nodes = "", *, as_json: Json = False) -> None:
    """Say how the shim is on nodes: what is missing or different, and whether the relay runs."""
    settings = current(context)
    names = _names(settings, nodes)
    with _progress(len(names), as_json=as_json) as told:
        found = Deployment(settings.nodes, told).survey(names)
    good = [each for each in found.values() if each.good]
    bad = by_reason(each for each in found.values() if not each.good)
    if as_json:
        say({"good": fold(each.node for each in good), "bad": bad}, as_json=True)
    else:
        alike: dict[str, list[str]] = {}
        for each in good:
            alike.setdefault(f"release {each.version}, Python {each.python}, relay {each.relay}", []).append(each.node)
        for words, those in alike.items():
            typer.echo(f"{fold(those)}: good: {words}")
        _tell_each(bad)
    if bad:
        raise typer.Exit(1)


@nodes_app.command("remove")
def remove(
    context: typer.Context,
    nodes: Nodes = "",
    *,
    dry_run: DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Although callbacks run the shim there.")] = False,
    as_json: Json = False,
) -> None:
    """Take away from nodes what was put there; records that were not sent yet stay."""
    settings = current(context)
    if not nodes:
        fail("no nodes are named: say whose shim is to be removed, `nsd[01-04]`", 2)
    names = _names(settings, nodes)
    if not force and (called := _called(settings, names)):
        fail(
            f"{fold(called)}: GPFS runs the shim there; first `clusterbus callbacks remove`, or take them out of the"
            " cluster; or --force"
        )
    if dry_run:
        say({"remove": fold(names)}, as_json=as_json, text=f"the shim would be removed from {fold(names)}")
        return
    with _progress(len(names), as_json=as_json) as told:
        result = Deployment(settings.nodes, told).remove(names)
    _tell(result, "removed", as_json=as_json)
    if not as_json:
        kept: dict[str, list[str]] = {}
        for each in result.done.values():
            for what in each.kept:
                kept.setdefault(what, []).append(each.node)
        for what, those in kept.items():
            typer.echo(f"{fold(those)}: kept {what}")


def _called(settings: Settings, names: Iterable[str]) -> list[str]:
    """Return those of *names* on which callbacks that are registered run capture; none where GPFS can't be asked."""
    commands = of_settings(settings.gpfs)
    try:
        ours = [each for each in read(commands) if each.command == str(settings.gpfs.command)]
        cluster = members(commands) if ours else ()
    except CommandMissing:
        return []
    except GpfsError as error:
        fail(f"what GPFS runs on them is not known: {error}; --force removes it all the same", 3)
    everybody = frozenset(each.name for each in cluster)
    meant = (covered(cluster, each.nodes) for each in ours)
    called = frozenset[str]().union(*(everybody if each is None else each for each in meant))
    known = {name: each.name for each in cluster for name in each.names}
    return [name for name in names if known.get(name.lower()) in called]


def _names(settings: Settings, nodes: str) -> tuple[str, ...]:
    """Return the names in *nodes*; all of the cluster's where it is empty."""
    try:
        if nodes:
            return names_of(nodes, is_ours=True)
        known = members(of_settings(settings.gpfs))
        # As who administers the cluster reaches them.
        return names_of(",".join(each.admin_name for each in known))
    except InvalidNodeSet as error:
        fail(str(error), 2)
    except GpfsError as error:
        fail(f"no nodes are named, and the cluster's are not known: {error}", 3)


def _tell_plan(found: Mapping[str, Finding], *, as_json: bool) -> None:
    todo = [each for each in found.values() if each.differs]
    failed = [each for each in found.values() if each.failed]
    good = fold(each.node for each in found.values() if each.good)
    if as_json:
        say({"deploy": by_reason(todo), "unchanged": good, "failed": by_reason(failed)}, as_json=True)
    else:
        _tell_each(by_reason(todo))
        if good:
            typer.echo(f"{good}: nothing to do")
        _tell_each(by_reason(failed))
    if failed:
        raise typer.Exit(1)


def _tell(result: Deployed, done: str, *, as_json: bool) -> None:
    if as_json:
        say(result.facts(), as_json=True)
    else:
        for words, found in ((done, result.done), ("nothing to do", result.unchanged)):
            if found:
                typer.echo(f"{fold(found)}: {words}")
        for each in by_reason(result.failed.values()):
            typer.echo(f"{each['nodes']}: FAILED, and is as it was: {each['reason']}")
    if result.failed:
        raise typer.Exit(1)


def _tell_each(reasons: list[dict[str, str]]) -> None:
    for each in reasons:
        typer.echo(f"{each['nodes']}: {each['reason']}")


@contextmanager
def _progress(count: int, *, as_json: bool) -> Iterator[Callable[[Finding], None]]:
    """Give what each finding is told to: a line of JSON, a bar on a terminal, or a line on stderr."""
    if as_json:
        yield lambda each: say(each.facts(), as_json=True)
    elif sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("nodes", total=count)
            yield lambda each: progress.update(task, advance=1, description=each.node)
    else:
        yield lambda each: typer.echo(f"{each.node}: {_one_line(each)}", err=True)


def _one_line(each: Finding) -> str:
    if each.failed or each.differs:
        return each.reason
    return f"did {len(each.did)} things" if each.did else "good"
