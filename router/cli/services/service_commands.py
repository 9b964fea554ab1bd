"""The commands `clusterbus services`: which programs of other teams get events, and how they are doing.

Without `--apply`, nothing is changed at the broker.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ...broker.service_topology import dead_queue, service_queue
from ...errors import did_you_mean
from ...services.backlog import Backlog
from ...services.plan import Plan, Step
from ...services.service_files import Definition
from ...terminal_text import counted, encoded
from ..ages import age_text
from ..app import Json, open_session
from ..catalogue import event_names
from ..output import fail, fields, note, rows, say
from .lost_events import commands, lost_events
from .replays import missed, replay
from .site import Name, Shown, Site, site

services_app = typer.Typer(
    help="Services: programs of other teams, each with a queue and a broker user of its own.", no_args_is_help=True
)

Apply = Annotated[bool, typer.Option("--apply", help="Do it; without this, only show what would be done.")]


@services_app.command()
def plan(context: typer.Context, *, as_json: Json = False) -> None:
    """Show what `apply` would change at the broker; change nothing."""
    here = site(context)
    _tell(here.registrar.plan(here.registrar.present()), as_json=as_json)


@services_app.command()
def apply(context: typer.Context, *, as_json: Json = False) -> None:
    """Make queues, bindings and users of the services in the files; safe to interrupt, and to run again."""
    _apply(context, site(context), as_json=as_json)


def _apply(context: typer.Context, here: Site, *, as_json: bool) -> None:
    with open_session(context, "clusterbus-services") as session:
        found, done = here.registrar.apply(lambda: session)
    _tell(found, as_json=as_json, is_applied=True)
    for each in (*done.made, *done.renewed):
        note(f"password of {each}: {here.passwords.file(each)}")


@services_app.command("list")
def list_services(context: typer.Context, *, as_json: Json = False) -> None:
    """Show services, what waits for each, what it gave up and what it missed; also those that no file has."""
    here = site(context)
    rows(
        here.shown(),
        {
            "name": lambda each: each.name,
            "on": lambda each: " ".join(each.on) or "-",
            "owner": lambda each: each.owner or "-",
            "state": lambda each: each.state,
            "waiting": lambda each: each.backlog.messages if each.backlog else "-",
            "oldest": lambda each: age_text(each.age),
            "consumers": lambda each: each.backlog.consumers if each.backlog else "-",
            "given up": lambda each: each.backlog.dead if each.backlog else "-",
            "missed": lambda each: _missed_text(each.backlog) if each.backlog else "-",
        },
        as_json=as_json,
        facts=Shown.facts,
        empty="no services",
    )


@services_app.command()
def status(context: typer.Context, *, as_json: Json = False) -> None:
    """Compare the services at the broker with the files, and show what they missed; exit code 1 if they differ."""
    here = site(context)
    found = here.registrar.plan(here.registrar.present())
    _tell(found, as_json=as_json)
    _tell_missed(context, here, as_json=as_json)
    if not found.is_done:
        raise typer.Exit(1)


@services_app.command()
def show(context: typer.Context, name: Name, *, as_json: Json = False) -> None:
    """Show one service: what its program needs to connect, what it gets, and what waits for it."""
    here = site(context)
    known = _known(here, name)
    (found,) = [each for each in here.shown([name]) if each.name == name]
    user = here.registrar.user(name)
    facts: dict[str, object] = {
        "name": name,
        "owner": known.service.owner or None,
        "url": list(here.urls(user, known.service.login)),
        "user": user,
        "password_file": str(here.passwords.file(user)) if known.service.login == "password" else None,
        "queue": service_queue(name),
        "given_up_queue": dead_queue(name),
        "history": "clusterbus.history" if known.service.history else None,
        "publishes": known.service.publishes and f"{known.service.publishes}.CLUSTER.EVENT.{user}",
        "on": list(known.service.on),
        "severity": known.service.severity,
        "clusters": list(known.service.clusters) or None,
        "bindings": list(known.patterns),
        "max_bytes": known.service.max_bytes,
        "state": found.state,
        **found.numbers(),
        **({} if as_json else _in_words(found)),
        "file": f"{known.file}:{known.line}",
    }
    told = {key: each for key, each in facts.items() if each is not None}
    if as_json:
        say(told, as_json=True)
    else:
        fields((key, each if isinstance(each, str) else encoded(each)) for key, each in told.items())


@services_app.command()
def add(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The name: small letters, digits and -.")],
    *,
    on: Annotated[
        list[str] | None,
        typer.Option("--on", help="Event types, categories or patterns; may be repeated.", autocompletion=event_names),
    ] = None,
    publishes: Annotated[str | None, typer.Option(help="The source whose events it publishes, such as slurm.")] = None,
    severity: Annotated[str | None, typer.Option(help="Only events of this severity or above.")] = None,
    cluster: Annotated[list[str] | None, typer.Option(help="Only events of this cluster; may be repeated.")] = None,
    history: Annotated[bool, typer.Option("--history", help="It may read the history of all events.")] = False,
    max_bytes: Annotated[str, typer.Option(help="How much may wait for it, such as 512MiB.")] = "1GiB",
    owner: Annotated[str, typer.Option(help="Who to ask about it.")] = "",
    certificate: Annotated[bool, typer.Option("--certificate", help="It logs in with a client certificate.")] = False,
    apply: Apply = False,
    as_json: Json = False,
) -> None:
    """Write a file for a new service, and show what `apply` would do; with --apply, do it."""
    given = {
        "name": name,
        "on": on or [],
        "publishes": publishes,
        "severity": severity,
        "clusters": cluster or [],
        "history": history,
        "max_bytes": max_bytes,
        "owner": owner,
        "login": "certificate" if certificate else "password",
    }
    here = site(context)
    if other := here.definitions.get(name):
        fail(f"{name} exists already: {other.file}:{other.line}", 2)
    path = here.add(given)
    note(f"wrote {path}")
    here = site(context)
    if apply:
        _apply(context, here, as_json=as_json)
    else:
        _tell(here.registrar.plan(here.registrar.present()), as_json=as_json)


@services_app.command()
def rotate(context: typer.Context, name: Name, *, apply: Apply = False, as_json: Json = False) -> None:
    """Create a new password for a service; its connections stay open, and it needs the new one when it connects."""
    here = site(context)
    if _known(here, name).service.login == "certificate":
        fail(f"{name} logs in with a certificate and has no password", 2)
    user = here.registrar.user(name)
    text = f"change  {name}  (password of user {user})"
    say({"service": name, "does": "change", "what": ["password"]}, as_json=as_json, text=text)
    if not apply:
        _nothing()
        return
    here.registrar.rotate(name)
    note(f"password of {user}: {here.passwords.file(user)}")


@services_app.command()
def pause(context: typer.Context, name: Name, *, apply: Apply = False, as_json: Json = False) -> None:
    """Stop a service from reading: its user loses all rights and its connections are closed.

    Its events go on waiting in its queue, up to its limit.  Beyond that the oldest are dropped, recorded as missed, and
    can be replayed.
    """
    here = site(context)
    _known(here, name)
    say({"service": name, "does": "pause"}, as_json=as_json, text=f"pause   {name}  (its events wait meanwhile)")
    _nothing() if not apply else here.registrar.pause(name)


@services_app.command()
def resume(context: typer.Context, name: Name, *, apply: Apply = False, as_json: Json = False) -> None:
    """Let a paused service read again."""
    here = site(context)
    _known(here, name)
    say({"service": name, "does": "resume"}, as_json=as_json, text=f"resume  {name}")
    _nothing() if not apply else here.registrar.resume(name)


@services_app.command()
def remove(
    context: typer.Context,
    name: Name,
    *,
    apply: Apply = False,
    force: Annotated[bool, typer.Option("--force", help="Delete messages that wait for it.")] = False,
    as_json: Json = False,
) -> None:
    """Remove a service: its file, user, password and queues; refused while messages wait for it, except with --force.

    The file is removed only if the service stands alone in it.
    """
    here = site(context)
    found = here.definitions.get(name)
    if found and found.others:
        fail(f"{name} shares {found.file}:{found.line} with others: delete it there first", 2)
    if not found and name not in here.registrar.present().services:
        fail(f"there is no service {name}{did_you_mean(name, here.definitions)}", 2)
    with open_session(context, "clusterbus-services") as session:
        held = here.registrar.backlog(session, name)
        facts = {"service": name, "does": "remove", "waiting": held.messages if held else 0}
        waits = f"  ({counted(held.messages, 'message')} waiting)" if held and held.messages else ""
        say(facts, as_json=as_json, text=f"remove  {name}{waits}")
        if not apply:
            _nothing()
            return
        here.registrar.check_removal(name, session, force=force)
        if found:
            found.file.unlink(missing_ok=True)
        here.registrar.remove(name, session, force=force)


def _in_words(found: Shown) -> dict[str, object]:
    """Return the numbers of *found* that people read differently."""
    known = found.backlog
    return {
        "oldest": age_text(found.age) if found.age else None,
        "is_older": None,
        "missed": _missed_text(known) if known else None,
        "has_lost": None,
    }


def _missed_text(found: Backlog) -> str:
    return f"{found.missed} and more" if found.has_lost else str(found.missed)


services_app.command("missed")(missed)
services_app.command("replay")(replay)


def _nothing() -> None:
    note("nothing was changed; --apply applies it")


def _known(here: Site, name: str) -> Definition:
    if name not in here.definitions:
        fail(f"there is no service {name}{did_you_mean(name, here.definitions)}", 2)
    return here.definitions[name]


def _tell(found: Plan, *, as_json: bool, is_applied: bool = False) -> None:
    for each in found.steps:
        facts = {"service": each.service, "does": each.does, "what": list(each.what), "paused": each.is_paused}
        say(facts | ({"elsewhere": list(each.elsewhere)} if each.elsewhere else {}), as_json=as_json, text=_line(each))
        for sentence in () if as_json else each.elsewhere:
            note(f"warning: {sentence}")
    if not found.steps:
        note("no services")
    elif not is_applied and any(each.does in ("add", "change") for each in found.steps):
        note("the broker was not changed; `clusterbus services apply` changes it")


def _tell_missed(context: typer.Context, here: Site, *, as_json: bool) -> None:
    """Show what each service missed, with the commands that give it to it again."""
    with open_session(context, "clusterbus-services") as session:
        for name in here.definitions:
            held = here.registrar.backlog(session, name)
            if held is None or not (held.missed or held.has_lost):
                continue
            lost = lost_events(context, session, name) if held.has_lost else None
            ways = commands(name, held, lost)
            facts = {"service": name, "missed": held.missed, "lost_until": lost and lost.newest, "commands": ways}
            missed = f"{counted(held.missed, 'event')}{' and more' if lost else ''}"
            say(facts, as_json=as_json, text=f"missed  {name}  ({missed}; {'; '.join(ways)})")
            for each in lost.lines() if lost and not as_json else ():
                note(each)


def _line(step: Step) -> str:
    what = [*step.what, *(["paused"] if step.is_paused else [])]
    return f"{step.does:7} {step.service}" + (f"  ({'; '.join(what)})" if what else "")
