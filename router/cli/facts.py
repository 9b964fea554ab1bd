"""The commands `clusterbus facts read | show | history`: facts about the cluster, now and in the past."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ..cluster.facts import gather
from ..cluster.facts.assemble import assemble
from ..cluster.facts.diff import differences
from ..cluster.facts.facts_store import Change, FactStore
from ..cluster.facts.models import Facts
from ..cluster.facts.parts import WHOLE
from ..settings.models import Settings
from ..terminal_text import counted
from . import output
from .app import Json, current, past
from .output import Styled, fail, rows, say

facts_app = typer.Typer(help="Facts about the cluster: nodes, quorum, file systems, disks.", no_args_is_help=True)

_SHOWN = 20
Of = Annotated[str | None, typer.Option("--cluster", help="The cluster; required only if several are known.")]


@facts_app.command()
def read(context: typer.Context, *, as_json: Json = False) -> None:
    """Read facts from the cluster now; exit code 1 if a command failed, with the reason."""
    settings = current(context)
    with FactStore(settings.facts.store) as store:
        found = gather.find(store, settings, datetime.now(UTC))
    answers = [
        ("failed" if answer.content is None else "read", part, answer.reason) for part, answer in found.answers.items()
    ]
    rows(
        [*answers, *(("gone", part, "no longer exists") for part in found.gone)],
        {"result": lambda each: each[0], "part": lambda each: each[1], "reason": lambda each: each[2]},
        as_json=as_json,
        facts=lambda each: {"cluster": found.cluster, "part": each[1], "read": each[0] != "failed", "reason": each[2]},
    )
    if found.failed:
        raise typer.Exit(1)


@facts_app.command()
def show(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A node (by any of its names) or a file system; by default all.")
    ] = None,
    *,
    at: Annotated[
        str | None,
        typer.Option(
            help="Show the facts as they were at this time: 2h ago, 18:00, yesterday 06:00, 2026-11-20T12:00Z."
        ),
    ] = None,
    cluster: Of = None,
    as_json: Json = False,
) -> None:
    """Show facts, their age, and what is missing; exit code 1 if nothing is known."""
    settings, now = current(context), datetime.now(UTC)
    moment = past("--at", at, now) if at else None
    with _opened(settings) as store:
        which = _cluster(store, cluster)
        facts = assemble(which, store.known(which, moment), settings.facts.age)
    values = facts.at(moment or now).values or {}
    if not facts.parts:
        fail(f"no facts about cluster {which}{f' at {at}' if at else ''} are known: {_reasons(facts)}")
    if name is not None:
        _show_one(facts, values, name, as_json=as_json)
    elif as_json:
        say(values, as_json=True)
    else:
        _show_all(values)


@facts_app.command()
def history(
    context: typer.Context,
    part: Annotated[
        str | None, typer.Argument(help="One part, such as `states` or `disks/gpfs1`; by default all.")
    ] = None,
    *,
    since: Annotated[
        str | None, typer.Option(help="Begin at this time: 2h ago, 18:00, yesterday 06:00, 2026-11-20T12:00Z.")
    ] = None,
    cluster: Of = None,
    as_json: Json = False,
) -> None:
    """Show each change with its time, the old and the new value; and when a part could not be read."""
    settings, now = current(context), datetime.now(UTC)
    with _opened(settings) as store:
        which = _cluster(store, cluster)
        known = [each.part for each in store.known(which)]
        changes = store.history(which, part, past("--since", since, now) if since else None)
    if part and not changes and part not in known:
        fail(f"cluster {which} has no part {part!r}: use one of {', '.join(known) or ', '.join(WHOLE)}", 2)
    for change in changes:
        _tell(change, as_json=as_json)


def _opened(settings: Settings) -> FactStore:
    store = FactStore.if_there(settings.facts.store)
    if store is None:
        fail(f"no facts are known: {settings.facts.store} does not exist; `clusterbus facts read` creates it")
    return store


def _cluster(store: FactStore, wanted: str | None) -> str:
    known = store.clusters()
    if wanted is not None and wanted not in known:
        fail(f"no facts about cluster {wanted!r} are known: known clusters are {', '.join(known) or '(none)'}")
    if wanted is None and len(known) != 1:
        several = f"several clusters are known: choose one with --cluster: {', '.join(known)}"
        fail(several if known else "no facts are known: run `clusterbus facts read`", 2 if known else 1)
    return wanted or known[0]


def _reasons(facts: Facts) -> str:
    return "; ".join(f"{part}: {reason}" for part, reason in facts.missing.items())


def _show_one(facts: Facts, values: Mapping[str, Any], name: str, *, as_json: bool) -> None:
    nodes, file_systems = values["nodes"], values["file_systems"]
    found = (nodes.find(name) if nodes is not None else None) or (file_systems or {}).get(name)
    if found is None and (shared := facts.shared_names.get(name.lower())):
        fail(f"{name!r} is the short name of {' and '.join(shared)}: use a full name", 2)
    if found is None:
        reason = f"; {_reasons(facts)}" if facts.missing else ""
        fail(f"cluster {facts.cluster} has no known node or file system {name!r}{reason}")
    if as_json:
        say(found, as_json=True)
        return
    for key, value in found.items():
        if isinstance(value, Mapping) and key != "attributes":
            output.show(f"{key}:")
            for below in value.values():
                output.show(f"    {_line(below)}")
        elif key != "attributes":
            output.show(f"{key:14} {_text(value)}")


def _line(value: Mapping[str, Any]) -> str:
    rest = (f"{key}={_text(each)}" for key, each in value.items() if key != "name" and each is not None)
    return f"{value['name']}  {' '.join(rest)}"


def _text(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _show_all(values: Mapping[str, Any]) -> None:
    quorum, nodes = values["quorum"], values["nodes"] or {}
    stale = "  STALE" if values["stale"] else ""
    output.show(f"{values['cluster']}  manager {_text(values['manager'])}  age {values['age']:.0f}s{stale}")
    reached = {True: "reached", False: "NOT reached", None: "unknown"}[quorum["reached"]]
    output.show(f"quorum {reached}: {_text(quorum['present'])} present, {_text(quorum['needed'])} needed")
    rows(
        list(nodes.values())[:_SHOWN],
        {
            "node": lambda each: each["name"],
            "address": lambda each: _text(each["address"]),
            "roles": lambda each: " ".join(each["roles"] or ()),
            "state": lambda each: _text(each["state"]),
        },
    )
    if len(nodes) > _SHOWN:
        output.show(f"and {counted(len(nodes) - _SHOWN, 'more node')}: --json shows all")
    rows(
        (values["file_systems"] or {}).values(),
        {
            "file system": lambda each: each["name"],
            "mount point": lambda each: _text(each["mount_point"]),
            "manager": lambda each: _text(each["manager"]),
            "disks": lambda each: _up(each["disks"]),
            "filesets": lambda each: "-" if each["filesets"] is None else len(each["filesets"]),
        },
    )
    for part, reason in values["missing"].items():
        output.show(Styled(f"missing {part}: {reason}", "red"))
    for part, known in values["parts"].items():
        if known["reason"]:
            output.show(Styled(f"stale {part}, {known['age']:.0f}s old: {known['reason']}", "yellow"))


def _up(disks: Mapping[str, Any] | None) -> str:
    return "-" if disks is None else f"{sum(disk['availability'] == 'up' for disk in disks.values())}/{len(disks)} up"


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
