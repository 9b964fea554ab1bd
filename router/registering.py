"""The commands `clusterbus callbacks`: what a source calls us for, as a plan that is shown before it is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Protocol

import typer

from .catalogue import load
from .command import Json, current, fail, say, show_verdicts
from .fleet.node_sets import names_of
from .nodes import lacking
from .nodes.names import word_of
from .sources.gpfs.commands import of_settings
from .sources.gpfs.listing import Standing
from .sources.gpfs.registrar import Registrar
from .sources.qube.registrar import QubeRegistrar

callbacks_app = typer.Typer(
    help="What the cluster calls clusterbus for: planned, shown, applied, checked for drift.", no_args_is_help=True
)

Away = Annotated[
    str, typer.Option("--except", metavar="NODES", help="Nodes that are away, and need not have the shim by now.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the commands, run none.")]


class Source(StrEnum):
    """What callbacks are registered with."""

    GPFS = "gpfs"
    QUBE = "qube"


class Registers(Protocol):
    """What knows a source's registrations; its plans are of its own kind, and have `steps` and `notes`."""

    def plan(self) -> Any:  # noqa: ANN401 - idem
        """Return what is to be done."""

    def removal(self) -> Any:  # noqa: ANN401 - idem
        """Return how to take away all that is ours."""

    def apply(self, wanted: Any, tell: Callable[[Any], object]) -> Any:  # noqa: ANN401 - idem
        """Do what *wanted* says, telling each step; return what came of it: `done`, `good`, `problems`, `notes`."""

    def remove(self, wanted: Any, tell: Callable[[Any], object]) -> Any:  # noqa: ANN401 - idem
        """Do what the removal *wanted* says, as `apply`."""

    def try_again(self) -> None:
        """Plan from now on as if the source had refused nothing."""

    def standings(self) -> Sequence[Any]:
        """Return how what is wanted stands: `part`, `verdict`, `seen`."""

    def facts(self, *, everybody: bool = False) -> Sequence[Mapping[str, object]]:
        """Return what is registered, each with its `identifier`."""


@callbacks_app.callback()
def of_source(
    context: typer.Context,
    source: Annotated[Source, typer.Option("--source", help="What they are registered with.")] = Source.GPFS,
) -> None:
    """Take the source for the command that follows."""
    context.obj = source


@callbacks_app.command()
def plan(context: typer.Context, as_json: Json = False) -> None:
    """Show what would be done, as exact commands in their order; nothing is run that changes anything."""
    found = _registers(context).plan()
    _show(found, as_json=as_json)
    for note in found.notes:
        say({"note": note}, as_json=as_json, text=f"note: {note}")
    if not as_json:
        of = f" --source {source.value}" if (source := _source(context)) is not Source.GPFS else ""
        typer.echo(f"{len(found.steps)} to do: `clusterbus callbacks{of} apply`" if found.steps else "nothing to do")


@callbacks_app.command()
def apply(
    context: typer.Context,
    away: Away = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    again: Annotated[
        bool, typer.Option("--again", help="Try again what the source refused before: after an update of it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring what is registered to what is wanted; refused while a node lacks the shim."""
    registers = _registers(context, away)
    if again:
        registers.try_again()
    _run(registers.plan(), registers.apply, yes=yes, dry_run=dry_run, as_json=as_json)


@callbacks_app.command()
def remove(context: typer.Context, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Take away all callbacks of clusterbus, and no other."""
    registers = _registers(context)
    _run(registers.removal(), registers.remove, yes=yes, dry_run=dry_run, as_json=as_json)


@callbacks_app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """Show how what is wanted stands; exit code 1 where `apply` would do something."""
    found = _registers(context).standings()
    for each in found if as_json else ():
        say({"part": each.part, "verdict": each.verdict, "seen": each.seen}, as_json=True)
    if not as_json:
        show_verdicts((each.verdict, each.part, each.seen, "") for each in found)
    if any(each.verdict == "wrong" for each in found):
        raise typer.Exit(1)


@callbacks_app.command()
def show(
    context: typer.Context,
    identifiers: Annotated[list[str] | None, typer.Argument(help="Only these; without them, all of ours.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Those of others too.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is registered: the command, its events, nodes and variables."""
    found = _registers(context).facts(everybody=everybody or bool(identifiers))
    missing = set(identifiers or ()) - {str(each["identifier"]) for each in found}
    for each in found:
        if not identifiers or each["identifier"] in identifiers:
            say(each, as_json=as_json, text="\n".join(_lines(each)))
    if missing:
        fail(f"not registered: {', '.join(sorted(missing))}")


def _lines(facts: Mapping[str, object]) -> Iterator[str]:
    yield str(facts["identifier"])
    for name, value in facts.items():
        shown = " ".join(map(str, value)) if isinstance(value, list) else value
        if name != "identifier" and shown not in (None, "", False):
            yield f"    {name:<10}{'yes' if shown is True else shown}"


def _run(
    wanted: Any,  # noqa: ANN401 - a plan of the source's own kind
    act: Callable[[Any, Callable[[Any], object]], Any],
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show *wanted*, ask, do it, and say what came of it."""
    _show(wanted, as_json=as_json)
    if dry_run or not wanted.steps:
        if not as_json and not wanted.steps:
            typer.echo("nothing to do")
        return
    if not yes:
        if not sys.stdin.isatty():
            fail("nobody is there to be asked: --yes does it without, --dry-run only shows it", 2)
        typer.confirm(f"Do these {len(wanted.steps)}?", abort=True, err=True)
    applied = act(wanted, lambda step: None if as_json else typer.echo(f"> {step.describe().partition(chr(10))[0]}"))
    for each in applied.problems:
        say({"problem": each}, as_json=as_json, text=each)
    for note in applied.notes:
        say({"note": note}, as_json=as_json, text=f"note: {note}")
    say({"done": len(applied.done), "good": applied.good}, as_json=as_json, text=f"{len(applied.done)} done")
    if not applied.good:
        raise typer.Exit(1)


def _show(wanted: Any, *, as_json: bool) -> None:  # noqa: ANN401 - idem
    for step in wanted.steps:
        say(step.as_dict(), as_json=as_json, text=step.describe())


class _Qube:
    """Qube's registrar in the words of the others."""

    def __init__(self, registrar: QubeRegistrar) -> None:
        self._registrar = registrar
        self.plan, self.removal = registrar.plan, registrar.removal

    def apply(self, wanted: Any, tell: Callable[[Any], object]) -> Any:  # noqa: ANN401 - as Registers
        return self._registrar.apply(wanted, tell)

    remove = apply

    def try_again(self) -> None:
        """Do nothing: a folder refuses nothing."""

    def standings(self) -> Sequence[Standing]:
        found = self._registrar.status()
        files = [
            Standing(each.file, "good" if each.verdict == "good" else "wrong", _seen(each)) for each in found.standings
        ]
        return [*files, *(Standing("supervisor", "wrong", each) for each in found.problems)]

    def facts(self, *, everybody: bool = False) -> Sequence[Mapping[str, object]]:  # noqa: ARG002 - others' are not read
        return [{"identifier": each.file} | dict(each.as_dict()) for each in self._registrar.show()]


def _seen(each: Any) -> str:  # noqa: ANN401 - Qube's standing of one file
    return "; ".join(each.differences) or f"runs on {each.trigger}" if each.trigger else each.verdict


def _source(context: typer.Context) -> Source:
    assert context.parent is not None  # noqa: S101 - for the reader: these are commands below another
    return Source(context.parent.obj)


def _registers(context: typer.Context, away: str = "") -> Registers:
    settings = current(context)
    if _source(context) is Source.QUBE:
        return _Qube(QubeRegistrar(settings.qube, load("qube"), settings.shim.spool))
    commands = of_settings(settings.gpfs)
    absent = frozenset(map(word_of, names_of(away, is_ours=True))) if away else frozenset()
    return Registrar(commands, settings.gpfs, load("gpfs"), partial(lacking, settings.nodes, away=absent))
