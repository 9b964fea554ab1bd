"""Which broker is ours to use on this machine.

The address that was given; else a container, where a Docker engine answers; else the installed `rabbitmq-server`; else
that package, installed through apt where we are root; else one line that says what to install.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self

from ...errors import SettingsError, Unreachable
from .broker import PrivateBroker
from .container import PrivateContainer
from .machine import PACKAGE, Machine
from .node import PrivateNode

Choice = Literal["given", "container", "node", "install"]
URL: Final = "CLUSTERBUS_BROKER"
KIND: Final = "CLUSTERBUS_BROKER_KIND"

log = logging.getLogger(__name__)


class Has(Protocol):
    """What a choice depends on; asked from left to right, and only as far as needed."""

    def container(self) -> bool:
        """Say whether a container of RabbitMQ can be run."""

    def server(self) -> bool:
        """Say whether `rabbitmq-server` is installed."""

    def may_install(self) -> bool:
        """Say whether packages can be installed."""


def choose(url: str | None, kind: str, machine: Has) -> Choice:
    """Return how to come by a broker, or raise Unreachable with what to install; *kind*, if any, forces one.

    >>> class Bare:
    ...     container = server = may_install = lambda self: False
    >>> choose("amqp://broker1", "", Bare())
    'given'
    >>> choose(None, "", Bare())
    Traceback (most recent call last):
    router.errors.Unreachable: no broker: install rabbitmq-server or Docker, or set CLUSTERBUS_BROKER to one's address
    """
    if kind not in ("", "container", "node"):
        raise SettingsError(f"{KIND}={kind!r}: write container or node, or leave it out")
    if url:
        return "given"
    if kind != "node" and machine.container():
        return "container"
    if kind == "container":
        raise Unreachable(f"{KIND}=container, but no Docker engine that has its image answers: see `docker info`")
    if machine.server():
        return "node"
    if machine.may_install():
        return "install"
    raise Unreachable(f"no broker: install rabbitmq-server or Docker, or set {URL} to one's address")


class GivenBroker:
    """A broker that is somebody else's: used as it is, never started, stopped or changed by us."""

    ours: Final = False
    description: Final = f"the broker of {URL}"

    def __init__(self, url: str) -> None:
        """Take note of its *url*."""
        self.url = url

    def __enter__(self) -> Self:
        """Do nothing: whether it answers is found out by who connects."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


def find(
    url: str | None,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    machine: Machine | None = None,
) -> PrivateBroker | GivenBroker:
    """Return the broker to use: that of *url*, or a private one, not yet started, that keeps its data in *folder*.

    A folder with data keeps the kind of broker that they were written by, unless *environment* forces another.  May
    take minutes where an image is pulled or a package installed.  Raises Unreachable with what to install or to set.
    """
    machine = machine or Machine()
    choice = choose(url, environment.get(KIND, "") or _kind_of(folder), machine)
    if choice == "given" and url:
        return GivenBroker(url)
    if choice == "container":
        return PrivateContainer(folder)
    if choice == "install":
        log.info("installing a broker", extra={"package": PACKAGE, "with": "apt-get"})
        machine.install()
    return PrivateNode(folder)


def _kind_of(folder: Path | None) -> str:
    if folder is None or not (folder / "identity.json").exists():
        return ""
    return "node" if (folder / "mnesia").exists() else "container"
