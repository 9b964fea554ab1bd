"""The command `clusterbus broker users`: show, print or apply the broker's users and their rights.

Without `--apply`, nothing changes at the broker.  Each password has its own file and is never printed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from .. import file_modes
from ..broker import addresses
from ..broker.users.admin_clients import Administrator, Control, Management
from ..broker.users.drift import Change, Grants, commands, nodes_there
from ..broker.users.password_files import Passwords
from ..broker.users.provisioning import Granting, Wanted, programs, unknown
from ..cluster.fleet.errors import InvalidNodeSet
from ..cluster.fleet.node_sets import fold, names_of
from ..cluster.gpfs.cluster_nodes import members
from ..cluster.gpfs.commands import of_settings
from ..cluster.gpfs.errors import GpfsError
from ..errors import BrokerError, SettingsError, Unreachable
from ..model.node_words import words_of
from ..settings.models import Settings
from ..terminal_text import encoded
from .app import Json, current
from .output import block, fail, note, say

_PROGRAMS = "clusterbus"
"""The group of our systemd units."""

_DIFFERENCES = {"password": "password", "limits": "limits", "topics": "its own keys", "rights": "rights"}

_FILES = ("1-exchanges.json", "2-topic-permissions.json", "3-permissions.json")
"""The definitions in the order of their import; RabbitMQ imports the files of a folder in the order of their names."""


class Form(Enum):
    """The formats of `--print`."""

    COMMANDS = "commands"
    DEFINITIONS = "definitions"


Nodes = Annotated[
    list[str] | None,
    typer.Argument(help="Node sets, such as 'nsd[01-04]'; by default the nodes that mmlscluster lists."),
]
Cluster = Annotated[
    str | None, typer.Option(help="The one cluster that nodes may publish for; by default nodes.relay.cluster.")
]
Print = Annotated[Form | None, typer.Option("--print", help="Print rabbitmqctl commands, or definitions for import.")]
To = Annotated[
    Path | None, typer.Option(help="With --print: write the commands to this file, or the definitions to this folder.")
]
Rotate = Annotated[
    list[str] | None, typer.Option(help="Create new passwords for these users: node sets, or users of our programs.")
]
Remove = Annotated[list[str] | None, typer.Option(help="Remove the users and passwords of these nodes.")]


def users(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    nodes: Nodes = None,
    *,
    cluster: Cluster = None,
    form: Print = None,
    to: To = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Change the users at the broker, and check the result.")
    ] = False,
    rotate: Rotate = None,
    remove: Remove = None,
    certificates: Annotated[
        bool, typer.Option("--certificates", help="Nodes log in with certificates and get no passwords.")
    ] = False,
    make_passwords: Annotated[
        bool, typer.Option("--passwords", help="With --print: create missing password files.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Manage the broker's users: each node may publish only its own records; each of our programs has its own user."""
    settings = current(context)
    if form and (apply or rotate or remove):
        fail("--print only prints: omit --apply, --rotate and --remove", 2)
    if not form and (to or make_passwords):
        fail("--to and --passwords work only with --print", 2)
    if rotate and certificates:
        fail("--rotate creates passwords, but with --certificates nodes have no passwords: omit one of the two", 2)
    asked = _Asked(settings, cluster, as_json=as_json)
    if remove:
        asked.remove(_named(remove), apply=apply)
    if nodes or rotate or not remove:
        wanted = _wanted_nodes(nodes, rotate, settings)
        granting = asked.granting(wanted, rotate or (), certificates=certificates, only=bool(rotate and not nodes))
        if form:
            asked.show(granting, form, to, make_passwords=make_passwords)
        elif apply:
            asked.apply(granting)
        else:
            asked.plan(granting, whole=not (nodes or rotate))


class _Asked:
    """What the options ask for, with these settings."""

    def __init__(self, settings: Settings, cluster: str | None, *, as_json: bool) -> None:
        self._settings, self._json = settings, as_json
        self._cluster = cluster or settings.nodes.relay.get("cluster")
        self._vhost = addresses.parse(settings.broker.url[0]).vhost

    def granting(self, nodes: Sequence[str], rotate: Sequence[str], *, certificates: bool, only: bool) -> Granting:
        """Return the granting of the wanted users; with *only*, just the rotated ones of our programs' users."""
        ours = programs(self._settings.broker.prefix)
        renewed = frozenset(_users_in(rotate, [name for name, _ in ours]))
        if only:
            ours = tuple(each for each in ours if each[0] in renewed)
        wanted = Wanted(
            tuple(nodes), ours, self._vhost, self._cluster, renewed, frozenset(nodes if certificates else ())
        )
        if others := unknown(renewed, wanted):
            fail(f"--rotate: {fold(others)} is not one of the named nodes or of our programs' users", 2)
        return self._granting(wanted)

    def plan(self, granting: Granting, *, whole: bool) -> None:
        """Show what `--apply` would change; if the broker is unreachable, show the wanted users."""
        grants = granting.planned()
        grants.definitions()
        self._unbounded(granting)
        try:
            present = self._administrator().definitions()
        except BrokerError as error:
            note(f"not compared with the users at the broker: {error}")
            self._tell([Change(each.name, "add") for each in grants.users])
            return
        changes = grants.changes(present)
        self._exchanges(grants.named(each.user for each in changes if each.does != "keep").lacking(present))
        self._tell(changes)
        self._note(grants.elsewhere(present))
        if whole and (left := nodes_there(present, self._vhost, self._cluster) - set(granting.wanted.nodes)):
            names = fold(left)
            self._note([f"{names}: no longer in the cluster; remove them with --remove '{names}'"])
        if wrong := grants.objections(present):
            fail("\n".join(wrong))
        if not granting.settled(present):
            note("nothing was changed; --apply applies it")

    def apply(self, granting: Granting) -> None:
        """Change the users that differ, and show the changes."""
        self._unbounded(granting)
        done = granting.apply(self._administrator())
        self._exchanges(done.exchanges)
        self._tell(done.changes)
        self._files(granting, done.made, "made")
        self._files(granting, done.renewed, "renewed")
        if new := [each for each in granting.wanted.nodes if each in done.made or each in done.renewed]:
            note(f"now copy the passwords to the nodes: clusterbus nodes deploy '{fold(new)}'")

    def show(self, granting: Granting, form: Form, to: Path | None, *, make_passwords: bool) -> None:
        """Print the commands or the definitions; create missing passwords only with *make_passwords*."""
        self._unbounded(granting)
        if make_passwords:
            self._files(granting, granting.made()[1].made, "made")
        missing = granting.without_password()
        if form is Form.DEFINITIONS:
            if missing:
                fail(f"definitions need passwords, and {fold(missing)} have none: create them with --passwords")
            self._definitions(granting.planned(), to)
            return
        if missing:
            self._note(
                [f"{fold(missing)} have no passwords: create them with --passwords before you run these commands"]
            )
        files = {
            name: granting.passwords(name).holding(name)
            for name, _ in granting.wanted.roles
            if name not in granting.wanted.bare
        }
        lines = commands(granting.planned(), files, self._settings.broker.control)
        text = "\n".join(encoded({"command": each}) if self._json else each for each in lines)
        if to is None:
            block(text)
        else:
            _write(to, text + "\n")

    def _definitions(self, grants: Grants, to: Path | None) -> None:
        """Print the definitions in the order of import, one on each line; or write them to files in folder *to*."""
        steps = dict(zip(_FILES, grants.steps({}), strict=True))
        if to is None:
            block("\n".join(encoded(step) for step in steps.values()))
            return
        for name, step in steps.items():
            _write(to / name, encoded(step, indent=1) + "\n")

    def remove(self, names: Sequence[str], *, apply: bool) -> None:
        """Remove the users of nodes *names*; without *apply*, only show them."""
        granting = self._granting(Wanted((), vhost=self._vhost))
        if apply:
            self._tell(granting.dismiss(names, self._administrator()))
            return
        self._tell([Change(each, "remove") for each in names])
        note("nothing was changed; --apply applies it")

    def _granting(self, wanted: Wanted) -> Granting:
        # Only root reads the nodes' passwords, to deploy them; our programs read their own as their group.
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
                ["no cluster is set, so a node may publish for any cluster: use --cluster, or set nodes.relay.cluster"]
            )

    def _exchanges(self, names: list[str]) -> None:
        if names:
            text = f"{'add':7} {', '.join(names)}  (exchange, for topic permissions)"
            say({"does": "add", "exchanges": names}, as_json=self._json, text=text)

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
                note(encoded({"user": each, "password": path, "file": done}))
        if names and not self._json:
            note(f"password files {done}: {fold(names)}")

    def _note(self, sentences: Iterable[str]) -> None:
        for each in sentences:
            note(f"note: {each}")


def _wanted_nodes(nodes: Sequence[str] | None, rotate: Sequence[str] | None, settings: Settings) -> list[str]:
    if nodes:
        return _named(nodes)
    if rotate:
        ours = {name for name, _ in programs(settings.broker.prefix)}
        return [each for each in _users_in(rotate, ours) if each not in ours]
    try:
        return list(words_of(each.admin_name for each in members(of_settings(settings.gpfs))).values())
    except GpfsError as error:
        raise Unreachable(f"{error}; or name the nodes, as in: clusterbus broker users 'nsd[01-04]'") from error


def _users_in(words: Iterable[str], ours: Iterable[str]) -> list[str]:
    known = set(ours)
    words = list(words)
    return [each for each in words if each in known] + _named([each for each in words if each not in known])


def _named(words: Iterable[str]) -> list[str]:
    """Return the nodes in node sets *words*, by the names that the shim uses; raises SettingsError."""
    try:
        found = [each for word in words for each in names_of(word, is_ours=True)]
    except InvalidNodeSet as error:
        raise SettingsError(str(error)) from error
    return list(words_of(found).values())


def _write(path: Path, text: str) -> None:
    """Write *text* to *path* for all to read: the broker's user imports it, and passwords in it are salted hashes."""
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        file_modes.make_shared_folder(path.parent)
        try:
            with aside.open("xb", buffering=0) as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(text.encode())
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"--to {path}: cannot be written: {error.strerror}") from error
