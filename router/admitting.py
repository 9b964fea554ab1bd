"""`clusterbus broker users`: who may do what at the broker, shown, printed, or made so.

Nothing is changed without `--apply`.  Passwords are in files of their own and are never printed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from .broker import addresses
from .broker.administrators import Administrator, Control, Management
from .broker.granting import Granting, Wanted, programs, unknown
from .broker.grants import Change, commands, nodes_there
from .broker.passwords import Passwords
from .command import Json, current, fail, say
from .errors import BrokerError, SettingsError, Unreachable
from .fleet.errors import InvalidNodeSet
from .fleet.node_sets import fold, names_of
from .nodes.names import words_of
from .sections import Settings
from .sources.gpfs.commands import of_settings
from .sources.gpfs.errors import GpfsError
from .sources.gpfs.membership import members

_PROGRAMS = "clusterbus"
"""The group that our units run in."""

_DIFFERENCES = {"password": "password", "limits": "limits", "topics": "its own keys", "rights": "rights"}


class Form(Enum):
    """What can be printed."""

    COMMANDS = "commands"
    DEFINITIONS = "definitions"


Nodes = Annotated[
    list[str] | None, typer.Argument(help="Node sets, such as 'nsd[01-04]'; by default the cluster's, by mmlscluster.")
]
Cluster = Annotated[
    str | None, typer.Option(help="The one cluster that nodes may speak for; by default that of nodes.relay.")
]
Print = Annotated[Form | None, typer.Option("--print", help="Print rabbitmqctl commands, or definitions to import.")]
To = Annotated[Path | None, typer.Option(help="With --print: into this file.")]
Rotate = Annotated[
    list[str] | None, typer.Option(help="Give these users another password: node sets, or our programs' users.")
]
Remove = Annotated[list[str] | None, typer.Option(help="Take these nodes' users and passwords away.")]


def users(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    nodes: Nodes = None,
    *,
    cluster: Cluster = None,
    form: Print = None,
    to: To = None,
    apply: Annotated[bool, typer.Option("--apply", help="Make it so at the broker, and look that it is.")] = False,
    rotate: Rotate = None,
    remove: Remove = None,
    certificates: Annotated[
        bool, typer.Option("--certificates", help="Nodes log in with certificates, and have no passwords.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give each node a user that may publish its own records and nothing else, and our programs theirs."""
    settings = current(context)
    if form and (apply or rotate or remove):
        fail("--print only prints: it goes without --apply, --rotate and --remove", 2)
    if to and not form:
        fail("--to is for --print", 2)
    if rotate and certificates:
        fail("--rotate is for passwords, and with --certificates nodes have none", 2)
    asked = _Asked(settings, cluster, as_json=as_json)
    if remove:
        asked.remove(_named(remove), apply=apply)
    if nodes or rotate or not remove:
        wanted = _wanted_nodes(nodes, rotate, settings)
        granting = asked.granting(wanted, rotate or (), certificates=certificates, only=bool(rotate and not nodes))
        if form:
            asked.show(granting, form, to)
        elif apply:
            asked.apply(granting)
        else:
            asked.plan(granting, whole=not (nodes or rotate))


class _Asked:
    """What the options mean, with these settings."""

    def __init__(self, settings: Settings, cluster: str | None, *, as_json: bool) -> None:
        self._settings, self._json = settings, as_json
        self._cluster = cluster or settings.nodes.relay.get("cluster")
        self._vhost = addresses.parse(settings.broker.url[0]).vhost

    def granting(self, nodes: Sequence[str], rotate: Sequence[str], *, certificates: bool, only: bool) -> Granting:
        """Return what grants what is wanted: of our programs' users *only* those that are rotated, or all."""
        ours = programs(self._settings.broker.prefix)
        renewed = frozenset(_users_in(rotate, [name for name, _ in ours]))
        if only:
            ours = tuple(each for each in ours if each[0] in renewed)
        wanted = Wanted(
            tuple(nodes), ours, self._vhost, self._cluster, renewed, frozenset(nodes if certificates else ())
        )
        if strangers := unknown(renewed, wanted):
            fail(f"--rotate: {fold(strangers)} is not among those that were named", 2)
        return self._granting(wanted)

    def plan(self, granting: Granting, *, whole: bool) -> None:
        """Show what `--apply` would change; where the broker can't be asked, what is wanted."""
        grants = granting.planned()
        grants.definitions()
        self._unbounded(granting)
        try:
            present = self._administrator().definitions()
        except BrokerError as error:
            typer.echo(f"not compared with what is there: {error}", err=True)
            self._tell([Change(each.name, "add") for each in grants.users])
            return
        changes = grants.changes(present)
        self._tell(changes)
        self._note(grants.elsewhere(present))
        if whole and (left := nodes_there(present, self._vhost, self._cluster) - set(granting.wanted.nodes)):
            names = fold(left)
            self._note([f"{names}: in no cluster any more; take them away with --remove '{names}'"])
        if wrong := grants.objections(present):
            fail("\n".join(wrong))
        if not granting.settled(present):
            typer.echo("nothing was changed; --apply does it", err=True)

    def apply(self, granting: Granting) -> None:
        """Change what differs, and say what was."""
        self._unbounded(granting)
        done = granting.apply(self._administrator())
        self._tell(done.changes)
        self._files(granting, done.made, "made")
        self._files(granting, done.renewed, "renewed")
        if new := [each for each in granting.wanted.nodes if each in done.made or each in done.renewed]:
            typer.echo(f"now give them to the nodes: clusterbus nodes deploy '{fold(new)}'", err=True)

    def show(self, granting: Granting, form: Form, to: Path | None) -> None:
        """Print the commands or the definitions; makes the passwords that they refer to."""
        self._unbounded(granting)
        grants, done = granting.made()
        self._files(granting, done.made, "made")
        if form is Form.DEFINITIONS:
            text = json.dumps(grants.definitions(), indent=None if self._json else 1)
        else:
            files = {
                name: granting.passwords(name).holding(name)
                for name, _ in granting.wanted.roles
                if name not in granting.wanted.bare
            }
            lines = commands(grants, files, self._settings.broker.control)
            text = "\n".join(json.dumps({"command": each}) if self._json else each for each in lines)
        if to is None:
            typer.echo(text)
        else:
            _write(to, text + "\n")

    def remove(self, names: Sequence[str], *, apply: bool) -> None:
        """Take away nodes *names*, or say that they would be."""
        granting = self._granting(Wanted((), vhost=self._vhost))
        if apply:
            self._tell(granting.dismiss(names, self._administrator()))
            return
        self._tell([Change(each, "remove") for each in names])
        typer.echo("nothing was changed; --apply does it", err=True)

    def _granting(self, wanted: Wanted) -> Granting:
        # Nodes' passwords are root's to bring to them; those of our programs are for the user that they run as.
        programs_own = Passwords(self._settings.broker.secrets, group=_PROGRAMS)
        return Granting(wanted, Passwords(self._settings.nodes.secrets), programs_own)

    def _administrator(self) -> Administrator:
        wanted = self._settings.broker
        if wanted.management is None:
            return Control(wanted.control)
        return Management(wanted.management, wanted.management_password_file)

    def _unbounded(self, granting: Granting) -> None:
        if self._cluster is None and granting.wanted.nodes:
            self._note(
                ["no cluster is named, so a node may speak for itself in any: --cluster, or nodes.relay.cluster"]
            )

    def _tell(self, changes: Iterable[Change]) -> None:
        def kind(change: Change) -> tuple[str, tuple[str, ...]]:
            return change.does, change.what

        for (does, what), group in groupby(sorted(changes, key=kind), key=kind):
            names = [each.user for each in group]
            differs = ", ".join(_DIFFERENCES[each] for each in what)
            say(
                {"does": does, "users": names, "what": list(what)},
                as_json=self._json,
                text=f"{does:7} {fold(names)}" + (f"  ({differs})" if differs else ""),
            )

    def _files(self, granting: Granting, names: Sequence[str], done: str) -> None:
        for each in names:
            path = str(granting.passwords(each).file(each))
            if self._json:
                typer.echo(json.dumps({"user": each, "password": path, "file": done}), err=True)
        if names and not self._json:
            typer.echo(f"password files {done}: {fold(names)}", err=True)

    def _note(self, sentences: Iterable[str]) -> None:
        for each in sentences:
            typer.echo(f"note: {each}", err=True)


def _wanted_nodes(nodes: Sequence[str] | None, rotate: Sequence[str] | None, settings: Settings) -> list[str]:
    if nodes:
        return _named(nodes)
    if rotate:
        ours = {name for name, _ in programs(settings.broker.prefix)}
        return [each for each in _users_in(rotate, ours) if each not in ours]
    try:
        return [each.name for each in members(of_settings(settings.gpfs))]
    except GpfsError as error:
        raise Unreachable(f"{error}; or name the nodes: clusterbus broker users 'nsd[01-04]'") from error


def _users_in(words: Iterable[str], ours: Iterable[str]) -> list[str]:
    known = set(ours)
    words = list(words)
    return [each for each in words if each in known] + _named([each for each in words if each not in known])


def _named(words: Iterable[str]) -> list[str]:
    """Return the nodes in node sets *words*, as the shim names them."""
    try:
        found = [each for word in words for each in names_of(word, is_ours=True)]
    except InvalidNodeSet as error:
        raise SettingsError(str(error)) from error
    return list(words_of(found).values())


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        try:
            with aside.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"--to {path}: {error.strerror}") from error
