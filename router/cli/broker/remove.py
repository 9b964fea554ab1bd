"""The command `clusterbus broker remove`: takes everything of clusterbus off the broker."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from ... import redaction
from ...broker import addresses
from ...broker.session import Session
from ...broker.users.admin_clients import Administrator, administrator
from ...broker.users.password_files import Passwords
from ...broker.users.removal import Removal, removal, waiting
from ...cluster.fleet.node_sets import fold
from ...settings.models import Settings
from ...terminal_text import counted
from ..app import Json, current, open_session
from ..output import fail, note, say

_LOOK = 0.5
_CLOSING = timedelta(seconds=60)


def remove(
    context: typer.Context,
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Remove it; without this, only show what would be.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Delete messages that wait, and cut off queues of other services.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove queues, exchanges and users of clusterbus from the broker, and the passwords of these users."""
    settings = current(context)
    wanted = settings.broker
    vhost = addresses.parse(wanted.url[0]).vhost
    asked = administrator(wanted.control, wanted.management, wanted.management_password_file)
    found = removal(asked.definitions(), vhost, wanted.prefix, settings.nodes.relay.get("cluster"))
    with ExitStack() as stack:
        # The operator's user is the last to go, so a run that was interrupted may find no queues and no operator.
        has_objects = bool(found.queues or found.exchanges)
        session = stack.enter_context(open_session(context, "clusterbus-remove")) if has_objects else None
        counts = _counts(session, found)
        _tell(found, counts, as_json=as_json)
        if objections := _objections(found, counts):
            refused = "\n".join(objections)
            if apply and not force:
                fail(f"{refused}\nnothing was removed; --force removes it all the same")
            note(refused)
        if not apply:
            note("nothing was changed; --apply applies it")
            return
        _remove(found, asked, session, vhost, force=force)
    asked.remove(found.operator)
    _forget(settings, (*found.users, *found.operator))
    for each in _left(settings, vhost):
        note(f"left: {each}")


def _counts(session: Session | None, found: Removal) -> dict[str, int]:
    facts = {name: session.queue_facts(name) for name in found.queues} if session else {}
    return {name: each.messages if each else 0 for name, each in facts.items()}


def _objections(found: Removal, counts: Mapping[str, int]) -> list[str]:
    said = [f"{name}: {counted(count, 'message')} waiting" for name, count in waiting(counts).items()]
    return said + [f"{name}: a queue or exchange of another service gets events until now" for name in found.bound]


def _tell(found: Removal, counts: Mapping[str, int], *, as_json: bool) -> None:
    for kind, names in (("queue", found.queues), ("exchange", found.exchanges)):
        for name in names:
            held = f" ({counts[name]} messages)" if counts.get(name) else ""
            facts = {"does": "remove", kind: name} | ({"messages": counts.get(name, 0)} if kind == "queue" else {})
            say(facts, as_json=as_json, text=f"remove  {kind} {name}{held}")
    if users := [*found.users, *found.operator]:
        say({"does": "remove", "users": users}, as_json=as_json, text=f"remove  users {fold(users)}")
    for each in found.kept:
        say({"does": "keep", "what": each}, as_json=as_json, text=f"keep    {each}")


def _remove(found: Removal, asked: Administrator, session: Session | None, vhost: str, *, force: bool) -> None:
    """Remove users first, so that no program declares or publishes anything again."""
    asked.remove(found.users)
    if session:
        _wait_until_gone(asked, vhost, found.users)
        # What a program had not acknowledged waits in its queue now.
        if not force and (held := waiting(_counts(session, found))):
            names = ", ".join(f"{name}: {count} messages" for name, count in held.items())
            fail(f"{names} came back from programs that were connected: the users are removed, the queues are not")
        for name in found.queues:
            session.delete(name)
        for name in reversed(found.exchanges):
            session.delete_exchange(name)


def _wait_until_gone(asked: Administrator, vhost: str, users: Iterable[str]) -> None:
    """Wait until the broker has closed the connections of *users*, which it does a moment after their removal."""
    until, names = time.monotonic() + _CLOSING.total_seconds(), set(users)
    while left := names & {each.user for each in asked.state(vhost).clients}:
        if time.monotonic() > until:
            fail(f"{fold(left)}: still connected, although removed; run this again when they have gone")
        time.sleep(_LOOK)


def _forget(settings: Settings, names: Iterable[str]) -> None:
    for folder in _secrets(settings):
        passwords = Passwords(folder)
        if gone := [each for each in names if passwords.forget(each)]:
            note(f"passwords of {fold(gone)} removed from {folder}")


def _left(settings: Settings, vhost: str) -> list[str]:
    """Return what a person may delete by hand: clusterbus did not create it, or others may need it."""
    urls = (
        ("router.state", settings.router.state),
        ("consumers.store", settings.consumers.store),
        ("facts.store", settings.facts.store),
    )
    return [
        f"the virtual host {vhost}: rabbitmqctl delete_vhost {vhost}",
        *(f"the database {redaction.url(url)} ({name}), where it was used" for name, url in urls),
        *(f"{path}: a secret of the site" for folder in _secrets(settings) for path in _files(folder)),
        f"the jobs in {settings.consumers.jobs}, where consumers ran",
        "on nodes and hubs: see `clusterbus nodes remove`, and remove the packages",
    ]


def _secrets(settings: Settings) -> tuple[Path, ...]:
    return settings.nodes.secrets, settings.broker.secrets, settings.services.secrets


def _files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file())
