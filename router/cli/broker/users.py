"""The command `clusterbus broker users`: show, print or apply the broker's users and their rights.

Without `--apply`, nothing changes at the broker.  Each password has its own file and is never printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ...broker.users.provisioning import programs
from ...cluster.fleet.errors import InvalidNodeSet
from ...cluster.fleet.node_sets import names_of
from ...cluster.gpfs.cluster_nodes import members
from ...cluster.gpfs.commands import of_settings
from ...cluster.gpfs.errors import GpfsError
from ...errors import SettingsError, Unreachable
from ...model.node_words import words_of
from ...settings.models import Settings
from ..app import Json, current
from ..output import fail
from .user_changes import Form, UserChanges

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
    asked = UserChanges(settings, cluster, as_json=as_json)
    if remove:
        asked.remove(_named(remove), apply=apply)
    if nodes or rotate or not remove:
        wanted = _wanted_nodes(nodes, rotate, settings)
        renewed = _users_in(rotate or (), _programs(settings))
        granting = asked.granting(wanted, renewed, certificates=certificates, only=bool(rotate and not nodes))
        if form:
            asked.show(granting, form, to, make_passwords=make_passwords)
        elif apply:
            asked.apply(granting)
        else:
            asked.plan(granting, whole=not (nodes or rotate))


def _wanted_nodes(nodes: Sequence[str] | None, rotate: Sequence[str] | None, settings: Settings) -> list[str]:
    if nodes:
        return _named(nodes)
    if rotate:
        ours = _programs(settings)
        return [each for each in _users_in(rotate, ours) if each not in ours]
    try:
        return list(words_of(each.admin_name for each in members(of_settings(settings.gpfs))).values())
    except GpfsError as error:
        raise Unreachable(f"{error}; or name the nodes, as in: clusterbus broker users 'nsd[01-04]'") from error


def _programs(settings: Settings) -> set[str]:
    return {name for name, _ in programs(settings.broker.prefix)}


def _users_in(words: Iterable[str], ours: set[str]) -> list[str]:
    words = list(words)
    return [each for each in words if each in ours] + _named([each for each in words if each not in ours])


def _named(words: Iterable[str]) -> list[str]:
    """Return the nodes in node sets *words*, by the names that the shim uses; raises SettingsError."""
    try:
        found = [each for word in words for each in names_of(word, is_ours=True)]
    except InvalidNodeSet as error:
        raise SettingsError(str(error)) from error
    return list(words_of(found).values())
