"""Machines for tests: nodes with systemd as PID 1, the product put on them as sites do it, and a broker beside them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import yaml

from packages import hub_package, nfpm, node_package
from router.cluster.nodes.release import release
from router.local_broker.rabbitmq_container import IMAGE, PrivateContainer, docker, engine_answers, image_at_hand
from tests import containers
from tests.certificates import Certificates
from tests.conftest import missing
from tests.containers import SystemdContainer
from tests.hub_staging import MOMENT
from tests.machines import rig as machines
from tests.machines.page import Page
from tests.machines.rig import Images, Rig
from tests.rabbit import RabbitAdmin, Tap, wanted_image
from tests.shared import filled_once, used_alone
from tests.shim_relay import ingress

collect_ignore = ["sink/sink.py"]
"""A program of a machine, which pytest would import for its doctests."""

PAGE = Page(Path(__file__).parents[2] / "INSTALL.md")

# What `nodes deploy` calls for a node, in place of ssh: its options are left out, the command is one text as for sshd.
_SSH = """#!/bin/sh
while :; do case $1 in -l|-i|-p|-F) shift 2;; -*) shift;; *) break;; esac; done
node=$1; shift
exec @docker@ exec --interactive @network@-$node sh -c "$*"
"""


class Site:
    """A cluster `prod`, in a virtual host of a broker: its machines are on one network, and deployed to from here."""

    def __init__(self, folder: Path, network: str, broker: PrivateContainer, vhost: str) -> None:
        self.network, self.vhost = network, vhost
        self._address = urlsplit(broker.url).netloc.rpartition("@")[2]
        self._admin, self.secrets, ssh = RabbitAdmin(broker.http_url), folder / "secrets", folder / "ssh"
        ssh.write_text(_SSH.replace("@docker@", docker()).replace("@network@", network))
        ssh.chmod(0o755)
        self.relay = {"cluster": "prod", "broker": f"amqp://broker/{vhost}"}
        self._nodes = {"relay": self.relay, "secrets": str(self.secrets), "ssh": str(ssh)}
        self._settings = folder / "clusterbus.yaml"
        self.add_user("setup")

    def url_of(self, user: str) -> str:
        """The broker's address from here, as *user*."""
        return f"amqp://{user}:{_password(user)}@{self._address}/{self.vhost}"

    def add_user(self, user: str) -> str:
        """Make the broker's *user*, and return the password."""
        self._admin.add_user(user, _password(user), self.vhost)
        return _password(user)

    def add_node(self, node: str) -> str:
        """Make a broker user for *node*, and return its password, which is also where `deploy` looks for it."""
        password = self.add_user(node)
        folder = self.secrets / node
        folder.mkdir(parents=True)
        (folder / "password").write_text(f"{password}\n")
        (folder / "password").chmod(0o600)
        (folder / "password").chmod(0o600)
        return password

    def nodes(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """Run `clusterbus nodes` with *words*; return the lines of JSON that it prints."""
        return [json.loads(line) for line in self.command("nodes", *words, "--json", code=code).splitlines()]

    def command(self, *words: str, code: int = 0) -> str:
        """Run `clusterbus` with *words* here, for this site with its *relay* as it is now; return what it prints."""
        settings = {"nodes": self._nodes, "broker": {"url": self.url_of("setup")}}
        self._settings.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "consumers.cli.main", "--settings", str(self._settings), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout


def _password(user: str) -> str:
    return f"secret-of-{user}"


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine, with the images that machines are made from."""
    if os.environ.get("CLUSTERBUS_NO_MACHINES"):
        pytest.skip("CLUSTERBUS_NO_MACHINES is set: no machines are started")
    if not engine_answers():
        missing("no Docker engine of this machine answers")
    for image in ("debian:trixie-slim", IMAGE):
        if not image_at_hand(image):
            missing(f"the image {image} is not here, and cannot be pulled")


@pytest.fixture(scope="session")
def node_image(engine: None, shared: Path) -> str:
    """The image of a node; the workers of one run build it once."""
    return containers.image(containers.NODE, shared / "node.lock")


@pytest.fixture(scope="session")
def rig_images(node_image: str, shared: Path) -> Images:
    """The images of all machines of a site."""
    if not image_at_hand(release := wanted_image()):
        missing(f"the image {release} is not here, and cannot be pulled")
    rabbitmq = containers.run("image", "inspect", "--format={{.Id}}", release).strip()

    def built(folder: Path, **arguments: str) -> str:
        return containers.image(folder, shared / f"{folder.name}.lock", **arguments)

    return Images(
        node=node_image,
        broker=built(containers.BROKER, RABBITMQ=rabbitmq),
        database=built(containers.DATABASE, NODE=node_image),
        sink=built(containers.SINK, NODE=node_image),
    )


@pytest.fixture(scope="session")
def remover(shared: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """What removes the machines that this worker has started, as soon as no worker uses them any more."""
    waiting: list[subprocess.Popen[bytes]] = []
    with machines.lifeline(shared):
        yield waiting
    for each in waiting:
        each.wait()


@pytest.fixture
def rig(
    request: pytest.FixtureRequest,
    rig_images: Images,
    hub_packages: Mapping[nfpm.Format, Path],
    shared: Path,
    remover: list[subprocess.Popen[bytes]],
    require: Callable[[str], str],
) -> Iterator[Rig]:
    """The machines of a site, which this test has for itself; what earlier tests have done there is in `done`."""
    with used_alone(shared):
        rig, failed = Rig.known(shared), request.session.testsfailed
        try:
            if rig is None:
                rig = Rig(shared)
                remover.append(machines.removing(rig))
                folder = shared / rig.network
                folder.mkdir()
                packages = [node_package.build(form, folder, release(), MOMENT) for form in nfpm.FORMATS]
                certificates = Certificates(require("openssl"), folder)
                rig.start(rig_images, certificates, [*packages, *hub_packages.values()])
            yield rig
        finally:
            if rig is not None and (sys.exc_info()[0] or request.session.testsfailed > failed):
                rig.keep_logs(shared / f"logs-of-{request.node.name}")
                # Whatever the test has left there would fail others.
                rig.forget()


@pytest.fixture
def page() -> Page:
    """The page INSTALL.md."""
    return PAGE


@pytest.fixture
def follow(rig: Rig) -> Callable[[str], None]:
    """A function that does what INSTALL.md says up to a section, where it was not done before."""

    def until(section: str) -> None:
        PAGE.follow(rig, "Install the packages")
        rig.pretend_gpfs()
        PAGE.follow(rig, section)

    return until


@pytest.fixture(scope="session")
def hub_packages(engine: None, staged_hub: Path, shared: Path) -> Mapping[nfpm.Format, Path]:
    """The deb and the rpm for hubs; the workers of one run build them once."""

    def build(folder: Path) -> None:
        list(hub_package.pack_each(nfpm.FORMATS, staged_hub, folder, release(), MOMENT))

    folder = filled_once(shared, "hub-packages", build)
    return {form: next(folder.glob(f"*.{form}")) for form in nfpm.FORMATS}


@pytest.fixture(scope="session")
def broker_and_network(engine: None) -> Iterator[tuple[PrivateContainer, str]]:
    """What all sites of a worker share."""
    with containers.network() as network, containers.broker_on(network) as broker:
        yield broker, network


@pytest.fixture
def site(broker_and_network: tuple[PrivateContainer, str], tmp_path: Path) -> Iterator[Site]:
    """A site of the test's own, on whose broker nothing is declared yet."""
    broker, network = broker_and_network
    admin, vhost = RabbitAdmin(broker.http_url), f"test-{uuid4().hex[:8]}"
    admin.add_vhost(vhost)
    yield Site(tmp_path, network, broker, vhost)
    admin.delete_vhost(vhost)


@pytest.fixture
def tap(site: Site) -> Iterator[Tap]:
    """A connection to the site's broker, where it takes the router's place."""
    with ingress(site.url_of("setup")) as tap:
        yield tap


@pytest.fixture
def boot(site: Site, node_image: str) -> Iterator[Callable[..., SystemdContainer]]:
    """A function that boots a new machine of this name: a node, or from another image."""
    with ExitStack() as stack:

        def started(host: str, image: str = node_image) -> SystemdContainer:
            return stack.enter_context(SystemdContainer(image, site.network, host))

        yield started
