"""The relay's settings for one node: `/etc/clusterbus/relay.conf`.  Pure."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from ..errors import SettingsError

KNOWN = (
    "cluster",
    "broker",
    "password-file",
    "ca",
    "certificate",
    "key",
    "metrics",
    "heartbeat",
    "linger",
    "window",
    "progress-limit",
    "longest-delay",
    "rescan",
)
"""What may be set for all nodes, in the order of the file."""

FIXED = ("node", "spool", "run")
"""What a deployment sets itself: capture, the unit and the folders go by it."""

_NEEDED = ("cluster", "broker")


def checked(relay: Mapping[str, str]) -> dict[str, str]:
    """Return *relay*, of the settings; raises SettingsError that names what can't be in it, or is lacking."""
    for name, value in relay.items():
        if name in FIXED:
            raise SettingsError(
                f"nodes.relay.{name}: is the same on every node that is deployed, or its own: leave it out"
            )
        if name not in KNOWN:
            raise SettingsError(f"nodes.relay.{name}: unknown setting; there are {', '.join(KNOWN)}")
        if not value.isprintable():
            raise SettingsError(f"nodes.relay.{name}: has to be one line of text")
    for name in _NEEDED:
        if not relay.get(name):
            raise SettingsError(f"nodes.relay.{name}: is needed by the relay of every node")
    for url in relay["broker"].split():
        try:
            parts = urlsplit(url)
        except ValueError:
            raise SettingsError("nodes.relay.broker: one of the URLs is none; amqps://HOST/VHOST is the form") from None
        if parts.password is not None:
            raise SettingsError(
                f"nodes.relay.broker: the URL for {parts.hostname} has a password, which would be on every node:"
                " leave it out, and have one for each node in nodes.secrets (clusterbus broker users makes them)"
            )
    return dict(relay)


def text(relay: Mapping[str, str], node: str, places: Mapping[str, str] | None = None) -> str:
    """Return the file for the node *node* with the settings *relay*, which were `checked`, and its own *places*.

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
