"""The relay's settings.  An option overrides the environment, which overrides the file, which overrides the default.

`--progress-limit 10`, `CLUSTERBUS_RELAY_PROGRESS_LIMIT=10`, and `progress-limit = 10` in the section `[relay]` of
`/etc/clusterbus/relay.conf` set the same thing.  A password belongs in a file of its own; a URL may hold one only for a
broker on this machine.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from . import broker_urls, trust
from .capture import RUN, record_now
from .logs import FORMATS, without_passwords

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .broker_urls import Broker

PREFIX = "CLUSTERBUS_RELAY_"
FILE = Path("/etc/clusterbus/relay.conf")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,63}\Z")
# name: (default, meaning); the order is that of the help
OPTIONS = {
    "spool": ("/var/spool/clusterbus", "folder that capture writes to"),
    "cluster": ("", "name of the cluster, a word of the routing key; required"),
    "node": ("", "name of this node; default: the first label of the host name"),
    "broker": (
        "",
        "amqp[s]://[user@]host[:port][/vhost][?cacertfile=...&certfile=...]; required; several are tried in turn",
    ),
    "password-file": ("", "file whose first line is the broker user's password"),
    "ca": ("", "file of CA certificates that verify the broker if its URL has no cacertfile; default: the system's"),
    "certificate": (
        "",
        "client certificate if the URL has no certfile; without a password the relay logs in with it (EXTERNAL)",
    ),
    "key": ("", "private key of the client certificate"),
    "metrics": ("", "file to write metrics to, for the node exporter's textfile collector"),
    "run": (RUN, "folder where capture counts losses when it cannot reach the spool"),
    "heartbeat": ("60", "seconds between heartbeat records; 0 means no heartbeats"),
    "linger": ("0", "seconds without a record after which the relay drops the connection; 0 means never"),
    "window": ("250", "maximum number of records sent and not yet confirmed"),
    "progress-limit": ("30", "seconds without a confirm after which the relay drops the connection"),
    "longest-delay": ("60", "maximum number of seconds between two attempts"),
    "log-format": ("logfmt", "logfmt or json, as in router and consumers"),
    "rescan": ("60", "seconds between two scans of the whole spool, in case a notice was lost"),
}


class SettingsError(Exception):
    """The settings cannot be used; the message names the setting, its value and the way out."""


@dataclass(frozen=True)
class Settings:
    """The relay's settings, validated."""

    spool: Path
    cluster: str
    node: str
    brokers: tuple[Broker, ...]
    password_file: Path | None
    metrics: Path | None
    run: Path
    heartbeat: timedelta
    linger: timedelta
    window: int
    progress_limit: timedelta
    longest_delay: timedelta
    rescan: timedelta
    log_format: str


def load(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings for *argv* and *environment*.  Raises SettingsError."""
    options = _parser().parse_args(argv)
    if os.geteuid() == 0 and not options.allow_root:
        raise SettingsError("the relay does not run as root: start it as user clusterbus, or with --allow-root")
    given = vars(options)
    values = {name: default for name, (default, _) in OPTIONS.items()}
    values.update(_from_file(given["config"] or environment.get(PREFIX + "CONFIG")))
    for name in OPTIONS:
        variable = PREFIX + name.upper().replace("-", "_")
        if variable in environment:
            values[name] = environment[variable]
        option = given[name.replace("-", "_")]
        if option is not None:
            values[name] = " ".join(option) if isinstance(option, list) else option
    return _settings(values)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line without its passwords; a character that cannot be seen is shown as an escape."""

    def error(self, message: str) -> NoReturn:
        """End with *message* and exit status 2."""
        message = without_passwords(message)
        shown = (each if each.isprintable() else each.encode("unicode_escape").decode() for each in message)
        super().error("".join(shown))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="clusterbus-relay", description="Send records from the spool to the broker.")
    parser.add_argument("--config", metavar="FILE", help=f"settings file; default: {FILE}, if it exists")
    for name, (default, meaning) in OPTIONS.items():
        shown = f"{meaning}; default: {default}" if default else meaning
        if name == "broker":
            parser.add_argument("--broker", action="append", metavar="URL", help=shown)
        else:
            parser.add_argument(f"--{name}", metavar=name.upper(), help=shown)
    parser.add_argument("--allow-root", action="store_true", help="run as root, for tests and demos")
    return parser


def _from_file(path: str | None) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    fault = trust.problem(path or FILE)
    if fault:
        raise SettingsError(f"config {path or FILE}: is not read: {fault}")
    try:
        with Path(path or FILE).open(encoding="utf-8") as stream:
            parser.read_file(stream)
        values = dict(parser["relay"])
    except FileNotFoundError:
        if path:
            raise SettingsError(f"config {path}: no such file") from None
        return {}
    except KeyError:
        raise SettingsError(f"config {path or FILE}: has no section [relay]") from None
    except configparser.Error as error:
        # Without its words: they repeat the line, which may hold a password.
        line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), None)
        where = f"line {line}: " if line else ""
        raise SettingsError(f"config {path or FILE}: {where}not a settings file: {type(error).__name__}") from None
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"config {path or FILE}: {error}") from error
    unknown = values.keys() - OPTIONS.keys()
    if unknown:
        name = min(unknown)
        hint = broker_urls.hint(name, OPTIONS)
        raise SettingsError(f"config {path or FILE}: unknown setting {without_passwords(name)!r}; {hint}")
    return values


def _settings(values: Mapping[str, str]) -> Settings:
    node = _node(values["node"])
    urls = values["broker"].split()
    if not urls:
        raise SettingsError("broker is not set: give --broker amqps://HOST/VHOST")
    if bool(values["certificate"]) != bool(values["key"]):
        raise SettingsError("certificate and key: set both or neither")
    brokers = tuple(_broker(url, node, values) for url in urls)
    if not _WORD.match(values["cluster"]):
        raise SettingsError(
            f"cluster is {values['cluster']!r}: give --cluster NAME, 1 to 63 characters of A-Z a-z 0-9 _ -"
        )
    if values["log-format"] not in FORMATS:
        raise SettingsError(f"log-format is {values['log-format']!r}: use {' or '.join(FORMATS)}")
    path = {name: Path(values[name]) if values[name] else None for name in OPTIONS}
    window = _number(values, "window", 1, 5000)
    return Settings(
        spool=Path(values["spool"]),
        cluster=values["cluster"],
        node=node,
        brokers=brokers,
        password_file=path["password-file"],
        metrics=path["metrics"],
        run=Path(values["run"]),
        heartbeat=timedelta(seconds=_number(values, "heartbeat", 0, 86400)),
        linger=timedelta(seconds=_number(values, "linger", 0, 86400)),
        window=int(window),
        progress_limit=timedelta(seconds=_number(values, "progress-limit", 1, 3600)),
        longest_delay=timedelta(seconds=_number(values, "longest-delay", 0.1, 3600)),
        rescan=timedelta(seconds=_number(values, "rescan", 0.1, 3600)),
        log_format=values["log-format"],
    )


def _broker(url: str, node: str, values: Mapping[str, str]) -> Broker:
    """Return the broker of *url*; what the URL does not say comes from *values*, and the user is *node*."""
    try:
        found = broker_urls.parse(url)
    except ValueError as error:
        raise SettingsError(f"broker {_shown(url)!r} {error}") from None
    if found.password is not None and not found.local:
        raise SettingsError(f"broker {found!r}: a password in the URL is visible to every user: use password-file")
    certificate, key = values["certificate"] or None, values["key"] or None
    if found.certificate:
        certificate, key = found.certificate, found.key
    has_password = found.password is not None or bool(values["password-file"])
    external = found.external or (found.secure and certificate is not None and not has_password)
    if not external and not has_password:
        raise SettingsError(f"broker {found!r}: nothing to log in with: set password-file, or amqps:// and certificate")
    ca = found.ca or values["ca"] or None
    return replace(found, user=found.user or node, ca=ca, certificate=certificate, key=key, external=external)


def _shown(url: str) -> str:
    """Return as much of *url*, which is not a broker's, as cannot be a password."""
    scheme, separator, _ = url.partition("://")
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    return f"{scheme}://{host or '...'}" if separator else "..."


def _node(name: str) -> str:
    """Return the node's name by the rule of capture, so that both ends of the key agree."""
    return record_now("clusterbus", "heartbeat", [], name).node


def _number(values: Mapping[str, str], name: str, least: float, most: float) -> float:
    try:
        seconds = float(values[name])
    except ValueError:
        seconds = float("nan")
    if not least <= seconds <= most:
        raise SettingsError(f"{name} is {values[name]!r}: give a number from {least:g} to {most:g}")
    return seconds
