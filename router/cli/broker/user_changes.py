"""What `clusterbus broker users` shows, prints and applies."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import groupby
from pathlib import Path
from uuid import uuid4

from ... import file_modes
from ...broker import addresses
from ...broker.users.admin_clients import Administrator, administrator
from ...broker.users.drift import Change, Grants, commands, nodes_there
from ...broker.users.file_readers import Readers
from ...broker.users.password_files import Passwords
from ...broker.users.permissions import Role
from ...broker.users.provisioning import Done, Granting, Wanted, programs, unknown
from ...cluster.fleet.node_sets import fold
from ...errors import BrokerError, SettingsError
from ...settings.models import Settings
from ...terminal_text import encoded
from ..output import block, fail, note, say

_DIFFERENCES = {"password": "password", "limits": "limits", "topics": "its own keys", "rights": "rights"}

_FILES = ("1-exchanges.json", "2-topic-permissions.json", "3-permissions.json")
"""The definitions in the order of their import; RabbitMQ imports the files of a folder in the order of their names."""


class Form(Enum):
    """The formats of `--print`."""

    COMMANDS = "commands"
    DEFINITIONS = "definitions"


class UserChanges:
    """What the options ask for, with these settings."""

    def __init__(self, settings: Settings, cluster: str | None, *, as_json: bool) -> None:
        self._settings, self._json = settings, as_json
        self._cluster = cluster or settings.nodes.relay.get("cluster")
        self._vhost = addresses.parse(settings.broker.url[0]).vhost

    def granting(self, nodes: Sequence[str], renewed: Sequence[str], *, certificates: bool, only: bool) -> Granting:
        """Return the granting of the wanted users; with *only*, just the *renewed* ones of our programs' users."""
        ours = programs(self._settings.broker.prefix)
        if only:
            ours = tuple(each for each in ours if each[0] in renewed)
        bare = frozenset(nodes if certificates else ())
        wanted = Wanted(tuple(nodes), ours, self._vhost, self._cluster, frozenset(renewed), bare)
        if others := unknown(renewed, wanted):
            fail(f"--rotate: {fold(others)} is not one of the named nodes or of our programs' users", 2)
        granting = self._granting(wanted)
        # Who mistypes the user of a stolen password must not get one more user.
        if only and (strange := set(granting.without_password()) & set(nodes)):
            fail(f"--rotate: no password of {fold(strange)} is here; name the node too, to make its user a new one", 2)
        return granting

    def plan(self, granting: Granting, *, whole: bool) -> None:
        """Show what `--apply` would change; if the broker is unreachable, show the wanted users."""
        grants = granting.planned()
        grants.definitions()
        self._unbounded(granting)
        self._note(f"{each}; --apply repairs it" for each in granting.misowned())
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
        self._stored(granting, done)
        if new := [each for each in granting.wanted.nodes if each in done.made or each in done.renewed]:
            note(f"now copy the passwords to the nodes: clusterbus nodes deploy '{fold(new)}'")

    def show(self, granting: Granting, form: Form, to: Path | None, *, make_passwords: bool) -> None:
        """Print the commands or the definitions; create missing passwords only with *make_passwords*."""
        self._unbounded(granting)
        if make_passwords:
            self._stored(granting, granting.made()[1])
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
        # Only root reads the nodes' passwords, to deploy them, and the operator's; programs read their own as a group.
        ours = programs(self._settings.broker.prefix)
        readers = Readers.of_system(
            [name for name, role in ours if role is not Role.OPERATOR],
            [name for name, role in ours if role is Role.OPERATOR],
        )
        programs_own = Passwords(self._settings.broker.secrets, readers=readers)
        return Granting(wanted, Passwords(self._settings.nodes.secrets), programs_own)

    def _administrator(self) -> Administrator:
        wanted = self._settings.broker
        return administrator(wanted.control, wanted.management, wanted.management_password_file)

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

    def _stored(self, granting: Granting, done: Done) -> None:
        """Name the password files that were created, renewed and repaired."""
        self._files(granting, done.made, "made")
        self._files(granting, done.renewed, "renewed")
        self._note(f"repaired: {each}" for each in done.repaired)

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
