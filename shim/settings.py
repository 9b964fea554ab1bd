"""The relay's settings: an option goes before the environment, that before the file, that before the default.

`--progress-limit 10` is `CLUSTERBUS_RELAY_PROGRESS_LIMIT=10` is `progress-limit = 10` in the section `[relay]` of
`/etc/clusterbus/relay.conf`.  A password is in a file of its own; in a URL only where it opens nothing but a broker on
this machine.
"""

from __future__ import annotations

import argparse
import configparser
import ipaddress
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from .capture import RUN, record_now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX = "CLUSTERBUS_RELAY_"
FILE = Path("/etc/clusterbus/relay.conf")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,63}\Z")
_SCHEMES = {"amqp": 5672, "amqps": 5671}
# name: (default, meaning); the order is that of the help
OPTIONS = {
    "spool": ("/var/spool/clusterbus", "folder that capture writes to"),
    "cluster": ("", "name of the cluster, a word of the routing key; needed"),
    "node": ("", "name of this node; default: the host name's first label"),
    "broker": ("", "amqp[s]://user@host[:port]/vhost; several are tried in turn; needed"),
    "password-file": ("", "file whose first line is the broker user's password"),
    "ca": ("", "certificates that the broker's is checked against; default: the system's"),
    "certificate": ("", "our own certificate; without a password it is also what we log in with (EXTERNAL)"),
    "key": ("", "the certificate's key"),
    "metrics": ("", "file to write metrics to, for the node exporter's textfile collector"),
    "run": (RUN, "folder where capture counts losses when it cannot reach the spool"),
    "heartbeat": ("60", "seconds between heartbeat records; 0 is off"),
    "linger": ("0", "seconds without a record after which the connection is dropped; 0 is never"),
    "window": ("250", "records sent and not yet confirmed, at most"),
    "progress-limit": ("30", "seconds without a confirm after which the connection is dropped"),
    "longest-delay": ("60", "seconds between two attempts, at most"),
    "rescan": ("60", "seconds between two looks at the whole spool, in case a notice was lost"),
}


class SettingsError(Exception):
    """The settings cannot be used; the message names the setting, its value and the way out."""


@dataclass(frozen=True)
class Broker:
    """One broker to try."""

    host: str
    port: int
    vhost: str
    user: str
    secure: bool
    password: str | None = None

    def __repr__(self) -> str:
        """Return the URL without the password."""
        return f"{'amqps' if self.secure else 'amqp'}://{self.user}@{self.host}:{self.port}/{self.vhost}"

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True)
class Settings:
    """Everything the relay was told, checked."""

    spool: Path
    cluster: str
    node: str
    brokers: tuple[Broker, ...]
    password_file: Path | None
    ca: Path | None
    certificate: Path | None
    key: Path | None
    metrics: Path | None
    run: Path
    heartbeat: timedelta
    linger: timedelta
    window: int
    progress_limit: timedelta
    longest_delay: timedelta
    rescan: timedelta


def load(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings for *argv* and *environment*; raises SettingsError."""
    options = _parser().parse_args(argv)
    if os.geteuid() == 0 and not options.allow_root:
        raise SettingsError("the relay does not run as root: start it as user clusterbus, or with --allow-root")
    told = vars(options)
    values = {name: default for name, (default, _) in OPTIONS.items()}
    values.update(_from_file(told["config"] or environment.get(PREFIX + "CONFIG")))
    for name in OPTIONS:
        variable = PREFIX + name.upper().replace("-", "_")
        if variable in environment:
            values[name] = environment[variable]
        option = told[name.replace("-", "_")]
        if option is not None:
            values[name] = " ".join(option) if isinstance(option, list) else option
    return _settings(values)


def broker(url: str, node: str) -> Broker:
    """Return the broker that *url* names; the user is *node* where it names none.

    >>> broker("amqp://guest:guest@127.0.0.1:5673/", "nsd01")
    amqp://guest@127.0.0.1:5673//
    >>> broker("amqps://broker.example", "nsd01")
    amqps://nsd01@broker.example:5671//
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsError(
            "broker: one of the URLs cannot be parsed; amqps://user@host:port/vhost is the form"
        ) from None
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.query or parts.fragment:
        raise SettingsError(f"broker {_shown(parts)!r}: amqps://user@host:port/vhost is the form")
    found = Broker(
        host=parts.hostname,
        port=port or _SCHEMES[parts.scheme],
        # As everywhere: amqp://host and amqp://host/ are the virtual host "/".
        vhost=unquote(parts.path[1:]) or "/",
        user=unquote(parts.username) if parts.username else node,
        secure=parts.scheme == "amqps",
        password=None if parts.password is None else unquote(parts.password),
    )
    if found.password is not None and not found.local:
        raise SettingsError(f"broker {found!r}: a password in the URL can be seen by everybody; use password-file")
    return found


def _shown(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clusterbus-relay", description="Carry records from the spool to the broker.")
    parser.add_argument("--config", metavar="FILE", help=f"settings file; default: {FILE}, if it is there")
    for name, (default, meaning) in OPTIONS.items():
        shown = f"{meaning}; default: {default}" if default else meaning
        if name == "broker":
            parser.add_argument("--broker", action="append", metavar="URL", help=shown)
        else:
            parser.add_argument(f"--{name}", metavar=name.upper(), help=shown)
    parser.add_argument("--allow-root", action="store_true", help="run as root all the same: for tests and demos")
    return parser


def _from_file(path: str | None) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with Path(path or FILE).open(encoding="utf-8") as stream:
            parser.read_file(stream)
        values = dict(parser["relay"])
    except FileNotFoundError:
        if path:
            raise SettingsError(f"config {path}: there is no such file") from None
        return {}
    except KeyError:
        raise SettingsError(f"config {path or FILE}: it has no section [relay]") from None
    except (OSError, UnicodeError, configparser.Error) as error:
        raise SettingsError(f"config {path or FILE}: {error}") from error
    unknown = values.keys() - OPTIONS.keys()
    if unknown:
        raise SettingsError(f"config {path or FILE}: {min(unknown)!r} is no setting; there are {', '.join(OPTIONS)}")
    return values


def _settings(values: Mapping[str, str]) -> Settings:
    node = _node(values["node"])
    urls = values["broker"].split()
    if not urls:
        raise SettingsError("broker is not set: --broker amqps://user@host/vhost")
    brokers = tuple(broker(url, node) for url in urls)
    if not _WORD.match(values["cluster"]):
        raise SettingsError(f"cluster is {values['cluster']!r}: --cluster NAME, 1 to 63 characters of A-Z a-z 0-9 _ -")
    if bool(values["certificate"]) != bool(values["key"]):
        raise SettingsError("certificate and key: one without the other is of no use")
    path = {name: Path(values[name]) if values[name] else None for name in OPTIONS}
    if not path["password-file"] and not path["certificate"]:
        for each in brokers:
            if each.password is None:
                raise SettingsError(f"broker {each!r}: nothing to log in with; set password-file, or certificate")
    window = _number(values, "window", 1, 5000)
    return Settings(
        spool=Path(values["spool"]),
        cluster=values["cluster"],
        node=node,
        brokers=brokers,
        password_file=path["password-file"],
        ca=path["ca"],
        certificate=path["certificate"],
        key=path["key"],
        metrics=path["metrics"],
        run=Path(values["run"]),
        heartbeat=timedelta(seconds=_number(values, "heartbeat", 0, 86400)),
        linger=timedelta(seconds=_number(values, "linger", 0, 86400)),
        window=int(window),
        progress_limit=timedelta(seconds=_number(values, "progress-limit", 1, 3600)),
        longest_delay=timedelta(seconds=_number(values, "longest-delay", 0.1, 3600)),
        rescan=timedelta(seconds=_number(values, "rescan", 0.1, 3600)),
    )


def _node(name: str) -> str:
    """Return the node's word by capture's own rule, so that both ends of the key agree."""
    return record_now("clusterbus", "heartbeat", [], name).node


def _number(values: Mapping[str, str], name: str, least: float, most: float) -> float:
    try:
        seconds = float(values[name])
    except ValueError:
        seconds = float("nan")
    if not least <= seconds <= most:
        raise SettingsError(f"{name} is {values[name]!r}: a number from {least:g} to {most:g} is wanted")
    return seconds
