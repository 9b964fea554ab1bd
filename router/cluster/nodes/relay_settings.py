"""The relay's settings for one node: `/etc/clusterbus/relay.conf`.  Pure."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from ...broker import addresses
from ...errors import SettingsError

KNOWN = (
    *("cluster", "broker", "password-file", "ca", "certificate", "key", "metrics", "heartbeat", "linger", "window"),
    *("progress-limit", "longest-delay", "log-format", "rescan"),
)
"""The settings that may be set for all nodes, in the order of the file."""

FIXED = ("node", "spool", "run")
"""The settings that a deployment writes itself: capture, the unit and the folders depend on them."""

_NEEDED = ("cluster", "broker")


def checked(relay: Mapping[str, str]) -> dict[str, str]:
    """Return `nodes.relay` as a dict.  Raises SettingsError that names a setting that is invalid or missing."""
    for name, value in relay.items():
        if name in FIXED:
            raise SettingsError(f"nodes.relay.{name}: the deployment sets this itself: remove it from nodes.relay")
        if name not in KNOWN:
            raise SettingsError(f"nodes.relay.{name}: unknown setting; the known settings are {', '.join(KNOWN)}")
        if not value.isprintable():
            raise SettingsError(f"nodes.relay.{name}: must be one line of printable text")
    for name in _NEEDED:
        if not relay.get(name):
            raise SettingsError(f"nodes.relay.{name}: is missing: the relay of every node needs it")
    for url in relay["broker"].split():
        try:
            host = addresses.parse(url).host
        except SettingsError as error:
            raise SettingsError(f"nodes.relay.{error}") from None
        if urlsplit(url).password is not None:
            raise SettingsError(
                f"nodes.relay.broker: the URL for {host} has a password, which every node would get:"
                " remove it, and run `clusterbus broker users --apply`, which puts a password for each node in"
                " nodes.secrets"
            )
    return dict(relay)


def text(relay: Mapping[str, str], node: str, places: Mapping[str, str] | None = None) -> str:
    """Return the file for the node *node* from the settings *relay*, as `checked` returns them, and its own *places*.

    >>> print(text({"broker": "amqps://a/v amqps://b/v", "cluster": "prod"}, "nsd01"), end="")
    # Written by clusterbus nodes deploy, from nodes.relay of the settings.
    [relay]
    node = nsd01
    cluster = prod
    broker =
        amqps://a/v
        amqps://b/v
    """
    lines = ["# Written by clusterbus nodes deploy, from nodes.relay of the settings.", "[relay]", f"node = {node}"]
    lines += [f"{name} = {path}" for name, path in (places or {}).items()]
    for name in KNOWN:
        if name == "broker":
            lines += ["broker =", *(f"    {url}" for url in relay[name].split())]
        elif name in relay:
            lines.append(f"{name} = {relay[name]}")
    return "\n".join(lines) + "\n"
