"""The commands `clusterbus facts`: what is known of the cluster itself, what was, and how it changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import durations
from .command import Json, current, fail, say
from .facts import Facts, FactStore, assemble, finding
from .facts.changes import differences
from .facts.readings import WHOLE
from .facts.store import Change
from .sections import Settings

facts_app = typer.Typer(help="What is known of the cluster itself: nodes, quorum, file systems.", no_args_is_help=True)

_SHOWN = 20
Of = Annotated[str | None, typer.Option("--cluster", help="Which cluster, where several are known.")]


@facts_app.command()
def read(context: typer.Context, *, as_json: Json = False) -> None:
    """Ask the cluster now; ends with 1 where a command failed, and says which."""
    settings = current(context)
    with FactStore(settings.facts.store) as store:
        found = finding.find(store, settings, datetime.now(UTC))
    for part, answer in found.answers.items():
        line = {"cluster": found.cluster, "part": part, "read": answer.content is not None, "reason": answer.reason}
        text = f"{'read' if answer.content is not None else 'failed':7} {part}{answer.reason and f'  {answer.reason}'}"
        say(line, as_json=as_json, text=text)
    for part in found.gone:
        line = {"cluster": found.cluster, "part": part, "read": True, "reason": "is no more"}
        say(line, as_json=as_json, text=f"gone    {part}")
    if found.failed:
        raise typer.Exit(1)


@facts_app.command()
def show(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A node, in any spelling, or a file system; else all.")] = None,
    *,
    at: Annotated[str | None, typer.Option(help="What was known then: 2h ago, or 2026-11-20T12:00:00Z.")] = None,
    cluster: Of = None,
    as_json: Json = False,
) -> None:
    """Show what is known, how old it is, and what is missing; ends with 1 where nothing is known."""
    settings, now = current(context), datetime.now(UTC)
    moment = _moment(at, now) if at else None
    with _opened(settings) as store:
        which = _cluster(store, cluster)
        facts = assemble(which, store.known(which, moment), settings.facts.age)
    values = facts.at(moment or now).values or {}
    if not facts.parts:
        fail(f"nothing is known of cluster {which}{f' at {at}' if at else ''}: {_reasons(facts)}")
    if name is not None:
        _show_one(facts, values, name, as_json=as_json)
    elif as_json:
        say(values, as_json=True)
    else:
        _show_all(values)


@facts_app.command()
def history(
    context: typer.Context,
    part: Annotated[str | None, typer.Argument(help="One part, as `states` or `disks/gpfs1`; else all.")] = None,
    *,
    since: Annotated[str | None, typer.Option(help="2h ago, or 2026-11-20T12:00:00Z.")] = None,
    cluster: Of = None,
    as_json: Json = False,
) -> None:
    """Show what changed, from what to what, and when; and when a part could not be read."""
    settings, now = current(context), datetime.now(UTC)
    with _opened(settings) as store:
        which = _cluster(store, cluster)
        known = [each.part for each in store.known(which)]
        changes = store.history(which, part, _moment(since, now) if since else None)
    if part and not changes and part not in known:
        fail(f"{part!r} is no part that is known of {which}: there are {', '.join(known) or ', '.join(WHOLE)}", 2)
    for change in changes:
        _tell(change, as_json=as_json)


def _opened(settings: Settings) -> FactStore:
    store = FactStore.if_there(settings.facts.store)
    if store is None:
        fail(f"nothing is known: {settings.facts.store} is not there; `clusterbus facts read` fills it")
    return store


def _cluster(store: FactStore, wanted: str | None) -> str:
    known = store.clusters()
    if wanted is not None and wanted not in known:
        fail(f"nothing is known of cluster {wanted!r}: there is {', '.join(known) or 'none'}")
    if wanted is None and len(known) != 1:
        several = f"several clusters are known, say --cluster: {', '.join(known)}"
        fail(several if known else "nothing is known: `clusterbus facts read` asks the cluster", 2 if known else 1)
    return wanted or known[0]


def _moment(text: str, now: datetime) -> datetime:
    try:
        return now - durations.parse(text)
    except (ValueError, OverflowError):
        pass
    try:
        # Without a zone it is this machine's, as people read their watch.
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        fail(f"{text!r} is no moment: write how long ago, as 2h, or when, as 2026-11-20T12:00:00Z", 2)


def _reasons(facts: Facts) -> str:
    return "; ".join(f"{part}: {reason}" for part, reason in facts.missing.items())


def _show_one(facts: Facts, values: Mapping[str, Any], name: str, *, as_json: bool) -> None:
    nodes, file_systems = values["nodes"], values["file_systems"]
    found = (nodes.find(name) if nodes is not None else None) or (file_systems or {}).get(name)
    if found is None:
        reason = f"; {_reasons(facts)}" if facts.missing else ""
        fail(f"{facts.cluster} has no node and no file system {name!r}, as far as is known{reason}")
    if as_json:
        say(found, as_json=True)
        return
    console = Console(highlight=False, soft_wrap=True)
    for key, value in found.items():
        if isinstance(value, Mapping) and key != "attributes":
            console.print(Text(f"{key}:"))
            for below in value.values():
                console.print(Text(f"    {_line(below)}"))
        elif key != "attributes":
            console.print(Text(f"{key:14} {_text(value)}"))


def _line(value: Mapping[str, Any]) -> str:
    rest = (f"{key}={_text(each)}" for key, each in value.items() if key != "name" and each is not None)
    return f"{value['name']}  {' '.join(rest)}"


def _text(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _show_all(values: Mapping[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    quorum, nodes = values["quorum"], values["nodes"] or {}
    stale = "  STALE" if values["stale"] else ""
    console.print(Text(f"{values['cluster']}  manager {_text(values['manager'])}  age {values['age']:.0f}s{stale}"))
    reached = {True: "reached", False: "NOT reached", None: "not known"}[quorum["reached"]]
    console.print(Text(f"quorum {reached}: {_text(quorum['present'])} present, {_text(quorum['needed'])} needed"))
    table = Table("node", "address", "roles", "state", box=None)
    for node in list(nodes.values())[:_SHOWN]:
        table.add_row(node["name"], _text(node["address"]), " ".join(node["roles"] or ()), _text(node["state"]))
    console.print(table)
    if len(nodes) > _SHOWN:
        console.print(Text(f"and {len(nodes) - _SHOWN} more nodes: --json has all"))
    table = Table("file system", "mount point", "manager", "disks", "filesets", box=None)
    for each in (values["file_systems"] or {}).values():
        disks = each["disks"]
        up = "-" if disks is None else f"{sum(disk['availability'] == 'up' for disk in disks.values())}/{len(disks)} up"
        filesets = "-" if each["filesets"] is None else str(len(each["filesets"]))
        table.add_row(each["name"], _text(each["mount_point"]), _text(each["manager"]), up, filesets)
    console.print(table)
    for part, reason in values["missing"].items():
        console.print(Text(f"missing {part}: {reason}", "red"))
    for part, known in values["parts"].items():
        if known["reason"]:
            console.print(Text(f"stale {part}, {known['age']:.0f}s old: {known['reason']}", "yellow"))


def _tell(change: Change, *, as_json: bool) -> None:
    until = change.until.isoformat(timespec="seconds")
    line: dict[str, Any] = {"part": change.part, "moment": change.moment.isoformat(timespec="seconds"), "until": until}
    if change.reason:
        say(
            line | {"failed": change.reason},
            as_json=as_json,
            text=f"{_when(change)}  could not be read: {change.reason}",
        )
        return
    if change.before is None or change.content is None:
        word = "known" if change.content is not None else "gone"
        say(line | {"became": word}, as_json=as_json, text=f"{_when(change)}  {word}")
        return
    for each in differences(change.before, change.content):
        text = f"{_when(change)}  {each.place}: {_text(each.before)} -> {_text(each.after)}"
        say(line | {"place": each.place, "before": each.before, "after": each.after}, as_json=as_json, text=text)


def _when(change: Change) -> str:
    return f"{change.moment:%Y-%m-%d %H:%M:%S}  {change.part}"
