"""The commands that follow `clusterbus init`, for people.  Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from .facts_to_ask import Site
from .site_files import CONSUMER, ROUTER, SETTINGS, administrator, is_system, password

_LOCAL = ("localhost", "127.0.0.1")


def steps(folder: Path, site: Site) -> str:
    """Return what to do next with *site* in *folder*: commands, each below a comment."""
    return "\n".join(_steps(folder, site))


def _steps(folder: Path, site: Site) -> Iterator[str]:
    ours = "clusterbus" if is_system(folder) else f"clusterbus --settings {shlex.quote(str(folder / SETTINGS))}"
    if site.management:
        file = shlex.quote(str(administrator(folder)))
        yield f"# Write the password of the management API's administrator into {administrator(folder)}:"
        yield f"install -m 0600 /dev/stdin {file}"
    if site.database:
        yield from _database(folder, site)
    yield "# Create the broker's users, queues and exchanges; without mmlscluster here, name the nodes ('nsd[01-04]'):"
    yield f"{ours} broker users --apply"
    yield f"{ours} broker setup"
    yield from _hubs(folder, site, ours)
    yield "# Install the nodes, and let GPFS run our callbacks:"
    yield f"{ours} nodes deploy"
    yield f"{ours} callbacks plan"
    yield f"{ours} callbacks apply"
    yield "# See whether all is well:"
    yield f"{ours} doctor"


def _database(folder: Path, site: Site) -> Iterator[str]:
    host = urlsplit(site.database).hostname or "localhost"
    yield f"# On {host}, create the users and their databases, with the passwords in these files of this machine:"
    for user in (ROUTER, CONSUMER):
        yield f"createuser --pwprompt {user}  # {password(folder, 'databases', user)}"
        yield f"createdb --owner {user} {user}"


def _hubs(folder: Path, site: Site, ours: str) -> Iterator[str]:
    if not is_system(folder):
        yield "# Start the router and a consumer:"
        yield f"{ours} router"
        yield f"{ours} consume"
        return
    if away := [each for each in site.hub if each not in _LOCAL]:
        names = [SETTINGS, "subscriptions.yaml", *(["ca.pem"] if site.own_ca else [])]
        names += [f"secrets/users/{each}" for each in (ROUTER, CONSUMER)]
        names += ["secrets/databases"] if site.database else []
        yield "# Copy settings and the programs' passwords to each hub, where the package clusterbus is installed:"
        yield f"for hub in {' '.join(away)}; do"
        yield f"    tar -C {folder} -c {' '.join(names)} | ssh $hub sudo tar -C {folder} -x"
        yield "done"
    yield f"# On {' and '.join(site.hub)}:"
    yield "systemctl enable --now clusterbus-router clusterbus-consume"
