"""The commands `clusterbus callbacks plan | apply | remove | status | show`: which callbacks a source runs for us."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Protocol

import typer

from ..cluster.callbacks.gpfs.registrar import Registrar
from ..cluster.callbacks.gpfs.registration_status import Standing
from ..cluster.callbacks.qube.registrar import QubeRegistrar
from ..cluster.fleet.node_sets import names_of
from ..cluster.gpfs.commands import of_settings
from ..cluster.nodes.survey import lacking
from ..model.node_words import word_of
from ..settings.site_catalogue import catalogues
from ..terminal_text import counted
from . import output
from .app import Json, current
from .output import fail, say, verdicts

callbacks_app = typer.Typer(help="Plan, apply and check the registration of callbacks.", no_args_is_help=True)

Away = Annotated[
    str, typer.Option("--except", metavar="NODES", help="Nodes that are down, and may lack the shim for now.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the commands, and run none of them.")]


class Source(StrEnum):
    """The sources that callbacks are registered with."""

    GPFS = "gpfs"
    QUBE = "qube"


class Registers(Protocol):
    """Registers the callbacks of one source; each source has its own type of plan, with `steps` and `notes`."""

    def plan(self) -> Any:  # noqa: ANN401 - idem
        """Return the steps that lead to the wanted registration."""

    def removal(self) -> Any:  # noqa: ANN401 - idem
        """Return the steps that remove all our callbacks."""

    def apply(self, wanted: Any, tell: Callable[[Any], object]) -> Any:  # noqa: ANN401 - idem
        """Run plan *wanted*, calling *tell* with each step; return a result: `done`, `good`, `problems`, `notes`."""

    def remove(self, wanted: Any, tell: Callable[[Any], object]) -> Any:  # noqa: ANN401 - idem
        """Run removal *wanted*, as `apply` does."""

    def try_again(self) -> None:
        """Forget what the source refused before: plan it again."""

    def standings(self) -> Sequence[Any]:
        """Return the state of each wanted part: `part`, `verdict`, `seen`."""

    def facts(self, *, everybody: bool = False) -> Sequence[Mapping[str, object]]:
        """Return our registered callbacks, each with its `identifier`; with *everybody*, all callbacks."""


@callbacks_app.callback()
def of_source(
    context: typer.Context,
    source: Annotated[Source, typer.Option("--source", help="The source of the callbacks.")] = Source.GPFS,
) -> None:
    """Keep the source for the command that follows."""
    context.obj = source


@callbacks_app.command()
def plan(context: typer.Context, as_json: Json = False) -> None:
    """Show the exact commands that `apply` would run, in order; change nothing."""
    found = _registers(context).plan()
    _show(found, as_json=as_json)
    for note in found.notes:
        say({"note": note}, as_json=as_json, text=f"note: {note}")
    if not as_json:
        of = f" --source {source.value}" if (source := _source(context)) is not Source.GPFS else ""
        output.show(f"{len(found.steps)} to do: `clusterbus callbacks{of} apply`" if found.steps else "nothing to do")


@callbacks_app.command()
def apply(
    context: typer.Context,
    away: Away = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Try again what the source refused before, for example after you updated it."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Register callbacks as configured; refused while a node lacks the shim."""
    registers = _registers(context, away)
    if again:
        registers.try_again()
    _run(registers.plan(), registers.apply, yes=yes, dry_run=dry_run, as_json=as_json)


@callbacks_app.command()
def remove(context: typer.Context, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove all callbacks of clusterbus, and no others."""
    registers = _registers(context)
    _run(registers.removal(), registers.remove, yes=yes, dry_run=dry_run, as_json=as_json)


@callbacks_app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """Compare the registered callbacks with the wanted ones; exit code 1 if `apply` would change something."""
    found = _registers(context).standings()
    for each in found if as_json else ():
        say({"part": each.part, "verdict": each.verdict, "seen": each.seen}, as_json=True)
    if not as_json:
        verdicts((each.verdict, each.part, each.seen, "") for each in found)
    if any(each.verdict == "error" for each in found):
        raise typer.Exit(1)


@callbacks_app.command()
def show(
    context: typer.Context,
    identifiers: Annotated[
        list[str] | None, typer.Argument(help="Identifiers of callbacks; by default all of clusterbus.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Also callbacks of others.")] = False,
    as_json: Json = False,
) -> None:
    """Show registered callbacks: the command, its events, nodes and variables."""
    found = _registers(context).facts(everybody=everybody or bool(identifiers))
    missing = set(identifiers or ()) - {str(each["identifier"]) for each in found}
    for each in found:
        if not identifiers or each["identifier"] in identifiers:
            say(each, as_json=as_json, text=_lines(each))
    if missing:
        fail(f"not registered: {', '.join(sorted(missing))}")


def _lines(facts: Mapping[str, object]) -> Iterator[str]:
    yield str(facts["identifier"])
    for name, value in facts.items():
        shown = " ".join(map(str, value)) if isinstance(value, list) else value
        if name != "identifier" and shown not in (None, "", False):
            yield f"    {name:<10}{'yes' if shown is True else shown}"


def _run(
    wanted: Any,  # noqa: ANN401 - each source has its own type of plan
    act: Callable[[Any, Callable[[Any], object]], Any],
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show plan *wanted*, ask for confirmation, run it, and show the result."""
    _show(wanted, as_json=as_json)
    if dry_run or not wanted.steps:
        if not as_json and not wanted.steps:
            output.show("nothing to do")
        return
    if not yes:
        if not sys.stdin.isatty():
            fail(
                "cannot ask for confirmation without a terminal: use --yes to run the steps, --dry-run to show them", 2
            )
        output.confirm(f"Run {counted(len(wanted.steps), 'step')}?")
    applied = act(wanted, lambda step: None if as_json else output.show(f"> {step.describe().partition(chr(10))[0]}"))
    for each in applied.problems:
        say({"problem": each}, as_json=as_json, text=each.split("\n"))
    for note in applied.notes:
        say({"note": note}, as_json=as_json, text=f"note: {note}")
    say({"done": len(applied.done), "ok": applied.good}, as_json=as_json, text=f"{len(applied.done)} done")
    if not applied.good:
        raise typer.Exit(1)


def _show(wanted: Any, *, as_json: bool) -> None:  # noqa: ANN401 - idem
    for step in wanted.steps:
        say(step.as_dict(), as_json=as_json, text=step.describe().split("\n"))


class _Qube:
    """Qube's registrar as a `Registers`."""

    def __init__(self, registrar: QubeRegistrar) -> None:
        self._registrar = registrar
        self.plan, self.removal = registrar.plan, registrar.removal

    def apply(self, wanted: Any, tell: Callable[[Any], object]) -> Any:  # noqa: ANN401 - as Registers
        return self._registrar.apply(wanted, tell)

    remove = apply

    def try_again(self) -> None:
        """Do nothing: Qube's folder never refuses a callback."""

    def standings(self) -> Sequence[Standing]:
        found = self._registrar.status()
        files = [
            Standing(each.file, "ok" if each.verdict == "good" else "error", _seen(each)) for each in found.standings
        ]
        return [*files, *(Standing("supervisor", "error", each) for each in found.problems)]

    def facts(self, *, everybody: bool = False) -> Sequence[Mapping[str, object]]:  # noqa: ARG002 - callbacks of others are not read
        return [{"identifier": each.file} | dict(each.as_dict()) for each in self._registrar.show()]


def _seen(each: Any) -> str:  # noqa: ANN401 - Qube's standing of one file
    return "; ".join(each.differences) or (f"runs on {each.trigger}" if each.trigger else each.verdict)


def _source(context: typer.Context) -> Source:
    assert context.parent is not None  # noqa: S101 - always true: these commands belong to a group
    return Source(context.parent.obj)


def _registers(context: typer.Context, away: str = "") -> Registers:
    settings = current(context)
    if _source(context) is Source.QUBE:
        return _Qube(QubeRegistrar(settings.qube, catalogues(settings)["qube"], settings.shim.spool))
    commands, known = of_settings(settings.gpfs), catalogues(settings)
    absent = frozenset(map(word_of, names_of(away, is_ours=True))) if away else frozenset()
    return Registrar(commands, settings.gpfs, known["gpfs"], partial(lacking, settings.nodes, away=absent))
