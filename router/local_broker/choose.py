"""Which broker this machine can use.

The address that was given; else a container, if a Docker engine answers and has the image; else the installed
`rabbitmq-server`; else an error that names what to install.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from ..broker.size_limit import SETTING
from ..errors import SettingsError, Unreachable
from .private_broker import PrivateBroker
from .rabbitmq_container import PrivateContainer, engine_answers, image_at_hand
from .rabbitmq_node import PrivateNode, installed_server

Choice = Literal["given", "container", "node"]
URL: Final = "CLUSTERBUS_BROKER"
KIND: Final = "CLUSTERBUS_BROKER_KIND"


class Machine:
    """What this machine has to run a broker with; each look may take a moment."""

    def container(self) -> bool:
        """Say whether a Docker engine answers and has the image, or can pull it."""
        return engine_answers() and image_at_hand()

    def server(self) -> bool:
        """Say whether `rabbitmq-server` is installed."""
        return installed_server() is not None


def choose(url: str | None, kind: str, machine: Machine) -> Choice:
    """Return which broker to use; *kind*, if not empty, forces one.  Raises Unreachable with what to install.

    >>> class Bare(Machine):
    ...     container = server = lambda self: False
    >>> choose("amqp://broker1", "", Bare())
    'given'
    >>> choose(None, "", Bare())
    Traceback (most recent call last):
    router.errors.Unreachable: no broker: install rabbitmq-server or Docker, or set CLUSTERBUS_BROKER to an address
    """
    if kind not in ("", "container", "node"):
        raise SettingsError(f"{KIND}={kind!r}: write container or node, or leave it out")
    if url:
        return "given"
    if kind != "node" and machine.container():
        return "container"
    if kind == "container":
        raise Unreachable(f"{KIND}=container, but no Docker engine with the image answers: run `docker info`")
    if machine.server():
        return "node"
    raise Unreachable(f"no broker: install rabbitmq-server or Docker, or set {URL} to an address")


class GivenBroker:
    """A broker that belongs to somebody else: clusterbus uses it, and never starts, stops or changes it."""

    description: Final = f"the broker of {URL}"

    def __init__(self, url: str) -> None:
        """Use the broker at *url*."""
        self.url = url

    def __enter__(self) -> Self:
        """Do nothing: whoever connects finds out whether it answers."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


def find(
    url: str | None,
    *,
    folder: Path | None = None,
    plugins: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
    machine: Machine | None = None,
) -> PrivateBroker | GivenBroker:
    """Return the broker to use: the one at *url*, or a private one, not yet started, with its data in *folder*.

    A private one has *plugins*.
    A folder with data keeps the kind of broker that wrote them, unless *environment* forces another.  Pulling an image
    may take minutes.  Raises Unreachable with what to install or to set.
    """
    choice = choose(url, environment.get(KIND, "") or _kind_of(folder), machine or Machine())
    if choice == "given" and url:
        return GivenBroker(url)
    private = PrivateContainer if choice == "container" else PrivateNode
    return private(folder, config=[SETTING], plugins=plugins)


def _kind_of(folder: Path | None) -> str:
    if folder is None or not (folder / "identity.json").exists():
        return ""
    return "node" if (folder / "mnesia").exists() else "container"
