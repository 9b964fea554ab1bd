"""The files of a new site, and what to do next.  Pure, except that it reads the site's CA certificates."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from router.settings.loading import SYSTEM_FILE

from .facts_to_ask import Site

SETTINGS, SUBSCRIPTIONS = SYSTEM_FILE.name, "subscriptions.yaml"
VHOST = "clusterbus"
PREFIX = "clusterbus"
OPERATOR, ROUTER, CONSUMER = f"{PREFIX}-operator", f"{PREFIX}-router", f"{PREFIX}-consumer"
TEAM = "storage-team"
_WORD = "password"

_HEAD = """\
# The settings of this site, for all programs and commands; passwords are in files.
# `clusterbus settings` shows all settings with their defaults, `clusterbus check` validates this file.
"""

FIRST_SUBSCRIPTIONS = """\
# The subscriptions: which events you want, and what to do with them.  `clusterbus check` validates this file,
# and consumers read it again when it changes.
version: 1
subscriptions:
  - name: audit
    on: "#"
    log: {}
"""
"""A first file of subscriptions, for who has none."""

_NOTIFY = f"""
  - name: serious-events
    on: "#"
    where: severity >= "error"
    once_per: {{by: [type, node], interval: 1h}}
    notify: {{to: {TEAM}}}
"""


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A file to write, with all of its content.  None of them holds a secret, so all users may read them."""

    path: Path
    content: bytes


def files(folder: Path, site: Site) -> list[SiteFile]:
    """Return the files of *site* in *folder*, the settings last.  Raises ValueError if its CA file is not one."""
    found = []
    if site.own_ca:
        content = authority(Path(site.ca))
        # A deployment gives each node the one in the folder of the nodes' secrets.
        found = [SiteFile(folder / "ca.pem", content), SiteFile(folder / "secrets" / "nodes" / "ca.pem", content)]
    found.append(SiteFile(folder / SUBSCRIPTIONS, (FIRST_SUBSCRIPTIONS + (_NOTIFY if site.mail else "")).encode()))
    return [*found, SiteFile(folder / SETTINGS, (_HEAD + as_yaml(settings(folder, site))).encode())]


def settings(folder: Path, site: Site) -> dict[str, dict[str, Any]]:
    """Return the settings of *site* in *folder*, by section; without those that have their defaults."""
    found: dict[str, dict[str, Any]] = {
        "broker": {
            "url": _urls(folder, site),
            "password_file": str(password(folder, "users", OPERATOR)),
            **_management(folder, site),
        },
        "router": {
            "broker": _login(folder, ROUTER),
            # So that `clusterbus emit` works; the operator may publish events anyway.
            "trusted_users": [OPERATOR],
            **_database(folder, site, "state", ROUTER),
        },
        "consumers": {"broker": _login(folder, CONSUMER), **_database(folder, site, "store", CONSUMER)},
        "nodes": {"relay": _relay(site)},
        "facts": {"cluster": site.cluster},
    }
    if site.mail:
        address = f"mailto://{site.mail_server}?from=clusterbus@{site.mail.partition('@')[2]}&to={site.mail}"
        found["consumers"]["contacts"] = {TEAM: {"urls": address}}
    if site.login != "root":
        found["nodes"] |= {"ssh_options": ["-l", site.login], "become": "sudo -n"}
    for section, places in _elsewhere(folder).items():
        found[section] = {**places, **found.get(section, {})}
    return found


def password(folder: Path, kind: str, user: str) -> Path:
    """Return the password file of *user*, which is of the *kind* "users" (of the broker) or "databases"."""
    return folder / "secrets" / kind / user / _WORD


def administrator(folder: Path) -> Path:
    """Return the file for the password of the administrator of the management API."""
    return folder / "secrets" / "administrator"


def is_system(folder: Path) -> bool:
    """Return whether *folder* is the one where all programs look for settings."""
    return folder == SYSTEM_FILE.parent


def _urls(folder: Path, site: Site) -> list[str]:
    options = f"?cacertfile={quote(str(folder / 'ca.pem'))}" if site.own_ca else ""
    return [f"{_scheme(site)}://{OPERATOR}@{each}/{VHOST}{options}" for each in site.broker]


def _relay(site: Site) -> dict[str, str]:
    return {"cluster": site.cluster, "broker": " ".join(f"{_scheme(site)}://{each}/{VHOST}" for each in site.broker)}


def _scheme(site: Site) -> str:
    return "amqps" if site.tls else "amqp"


def _management(folder: Path, site: Site) -> dict[str, str]:
    if not site.management:
        return {}
    trusted = site.own_ca and site.management.startswith("https:")
    options = f"?cacertfile={quote(str(folder / 'ca.pem'))}" if trusted else ""
    return {"management": site.management + options, "management_password_file": str(administrator(folder))}


def _login(folder: Path, user: str) -> dict[str, str]:
    return {"user": user, "password_file": str(password(folder, "users", user))}


def _database(folder: Path, site: Site, field: str, user: str) -> dict[str, str]:
    if not site.database:
        # The default is in the program's own folder of the system.
        return {} if is_system(folder) else {field: f"sqlite:///{folder / 'state' / f'{user}.db'}"}
    parts = urlsplit(site.database)
    options = [parts.query] if parts.query else []
    if site.own_ca and "ssl" not in parts.query:
        options.append(f"sslmode=verify-full&sslrootcert={quote(str(folder / 'ca.pem'))}")
    options.append(f"password=file:{password(folder, 'databases', user)}")
    return {field: f"postgresql://{user}@{parts.netloc}/{user}?{'&'.join(options)}"}


def _elsewhere(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the settings for what is in *folder* if that is not the system's."""
    if is_system(folder):
        return {}
    state = folder / "state"
    return {
        "broker": {"secrets": str(folder / "secrets" / "users")},
        "consumers": {
            "subscriptions": str(folder / SUBSCRIPTIONS),
            "handlers": [str(folder / "handlers")],
            "jobs": str(state / "jobs"),
            "callbacks": str(state / "callbacks"),
            "recorded": str(state / "recorded.jsonl"),
        },
        "nodes": {"secrets": str(folder / "secrets" / "nodes")},
        "gpfs": {"memory": str(state / "gpfs.json")},
        "facts": {"store": f"sqlite:///{state / 'facts.db'}"},
    }


def authority(file: Path) -> bytes:
    """Return the CA certificates in *file*.  Raises ValueError where it has none."""
    try:
        content = file.read_bytes()
        ssl.create_default_context(cadata=content.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise ValueError(f"--ca {file}: holds no certificates in PEM") from None
    except OSError as error:
        raise ValueError(f"--ca {file}: {error.strerror}") from None
    return content


class _Dumper(yaml.SafeDumper):
    """Indents the items of lists, and quotes texts that YAML 1.2 could read as numbers."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().increase_indent(flow, False)  # noqa: FBT003 - PyYAML's


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if re.match(r"[0-9.+-]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)


def as_yaml(found: object) -> str:
    """Return *found* as YAML, as people write it.

    >>> print(as_yaml({"facts": {"cluster": "12e3"}}), end="")
    facts:
      cluster: "12e3"
    """
    return yaml.dump(found, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
