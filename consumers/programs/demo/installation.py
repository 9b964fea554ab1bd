"""The demo's installation: a broker, a simulated cluster, and our programs as on a real site, in one folder."""

import os
import secrets
import shlex
import subprocess
import urllib.parse
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Self

from router import interpreter
from router.broker import addresses
from router.broker.users.permissions import Role, User, definitions
from router.local_broker.choose import GivenBroker
from router.local_broker.private_broker import PrivateBroker
from router.model.catalogue import Catalogues
from router.simulator.install import install, install_capture, register_all
from router.simulator.simulated_cluster import Cluster

from ...subscriptions.validation import load
from ..readiness import wait_served
from ..supervisor import Supervisor, command, relay_environment

CLUSTER = "prod"
_FACTS_AGE = "15s"
"""Facts are read again when an alert asks for older ones; on a real site after minutes."""


class Installation:
    """Everything that the demo runs; entering the context starts it, leaving the context stops it."""

    def __init__(
        self,
        folder: Path,
        broker: PrivateBroker | GivenBroker,
        nodes: int,
        handlers: Mapping[str, Callable[[str], str]],
    ) -> None:
        """Prepare in the empty *folder* a cluster of *nodes* nodes on *broker*, with the commands *handlers*."""
        self.folder, self.broker = folder, broker
        self._handlers = handlers
        self._supervisor = Supervisor(folder / "logs")
        self.cluster = Cluster.create(folder / "cluster", nodes=nodes, name=CLUSTER)
        self.nodes = tuple(node.name for node in self.cluster.nodes)
        self.state = f"sqlite:///{folder / 'router.db'}"
        self.store = f"sqlite:///{folder / 'store.db'}"
        self.subscriptions = folder / "subscriptions.yaml"

    @property
    def is_private(self) -> bool:
        """Whether the broker is private: only then can the demo create users and restart it."""
        return isinstance(self.broker, PrivateBroker)

    def __enter__(self) -> Self:
        """Start everything."""
        (self.folder / "logs").mkdir()
        self._write_handlers()
        install_capture(self.cluster)
        install(self.folder / "mm", self.cluster.folder)
        register_all(self.cluster, everywhere=True)
        if isinstance(self.broker, PrivateBroker):
            self.broker.start()
        self._set_up()
        self._start(self._users())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything; the broker last, because the programs return unfinished work to it."""
        self._supervisor.close()
        if isinstance(self.broker, PrivateBroker):
            self.broker.close()

    def tend(self) -> None:
        """Restart programs that exited."""
        self._supervisor.tend()

    def _write_handlers(self) -> None:
        for name, script in self._handlers.items():
            program = self.folder / name
            program.write_text(script(shlex.quote(str(self.folder))))
            program.chmod(0o755)
        text = resources.files(__package__).joinpath("subscriptions.yaml").read_text()
        self.subscriptions.write_text(text.replace("@STAGE@", str(self.folder)))

    def _users(self) -> dict[str, str]:
        """Return the broker URL of each program and node; on a private broker each has a user with minimal rights."""
        if not isinstance(self.broker, PrivateBroker):
            return dict.fromkeys([*self.nodes, "router", "consumers"], self.broker.url)
        roles = dict.fromkeys(self.nodes, Role.NODE) | {"router": Role.ROUTER, "consumers": Role.CONSUMER}
        users = [User(name, role, secrets.token_urlsafe(16)) for name, role in roles.items()]
        self.broker.import_definitions(definitions(users, cluster=CLUSTER))
        return {each.name: addresses.with_user(self.broker.url, each.name, str(each.password)) for each in users}

    def _set_up(self) -> None:
        """Declare the topology as the broker's administrator: the users of the programs have no right to."""
        environment = {**os.environ, "CLUSTERBUS_BROKER": self.broker.url}
        with (self.folder / "logs" / "setup.log").open("wb") as output:
            words = command("broker", "setup")
            subprocess.run(words, env=environment, stdout=output, stderr=output, check=True, timeout=60)

    def _start(self, urls: Mapping[str, str]) -> None:
        user = urllib.parse.urlsplit(self.broker.url).username or "guest"
        settings = {
            "CLUSTERBUS_ROUTER_STATE": self.state,
            "CLUSTERBUS_CONSUMERS_STORE": self.store,
            "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(self.subscriptions),
            "CLUSTERBUS_GPFS_COMMANDS": str(self.folder / "mm"),
            "CLUSTERBUS_FACTS_STORE": f"sqlite:///{self.folder / 'facts.db'}",
            "CLUSTERBUS_FACTS_CLUSTER": CLUSTER,
            "CLUSTERBUS_FACTS_AGE": _FACTS_AGE,
        }
        if not self.is_private:
            settings["CLUSTERBUS_ROUTER_TRUSTED_USERS"] = user
        names = [each.name for each in load([self.subscriptions], Catalogues.shipped()).subscriptions]
        self._supervisor.start("consume", command("consume"), settings | {"CLUSTERBUS_BROKER": urls["consumers"]})
        wait_served(self.broker.url, names, tend=self.tend)
        self._supervisor.start("router", command("router"), settings | {"CLUSTERBUS_BROKER": urls["router"]})
        for node in self.cluster.nodes:
            words = interpreter.module("shim.relay", "--spool", str(node.spool), "--node", node.name)
            words += ["--cluster", CLUSTER, "--longest-delay", "2", "--run", str(self.folder)]
            environment = relay_environment([urls[node.name]], self.folder / f"{node.name}.password")
            root = ["--allow-root"] if os.geteuid() == 0 else []
            self._supervisor.start(f"relay-{node.name}", [*words, *root], environment)
