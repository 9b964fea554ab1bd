"""The machines of a site: mgmt, two hubs, three brokers, a database, four nodes, and a sink for mails and posts.

All tests of a run share them: the first that needs them starts them, in whichever worker, and a lock sees to it that
one test at a time uses them.  They go when the last worker that knows them has ended, however it ends: each holds a
shared lock on a file, and what removes them waits for the file.  They are as machines are before an installation:
PostgreSQL and RabbitMQ as their packages leave them, certificates of the site's own authority, ssh from mgmt.
"""

import fcntl
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from router.local_broker.rabbitmq_container import docker
from tests import containers
from tests.certificates import Certificates
from tests.containers import BOOT_LIMIT, LABEL, SYSTEMD, Machine
from tests.waiting import wait_for

NODES = ("nsd01", "nsd02", "cl01", "cl02")
HUBS = ("hub1", "hub2")
BROKERS = ("mq1", "mq2", "mq3")
MANAGEMENT, DATABASE, SINK = "mgmt", "db1", "sink"
SITE = "/srv/clusterbus"
"""Where an administrator has on mgmt what an installation begins with."""
WITH_RPM = ("hub2", "cl02")
"""Who installs rpms, as on Red Hat's systems; the others install debs."""
WITH_SYSTEMD = (MANAGEMENT, *HUBS, DATABASE, *NODES)
HOSTS = (*WITH_SYSTEMD, *BROKERS, SINK)

ALSO_CALLED = {
    **{node: (f"{node}.prod.example",) for node in NODES},
    SINK: ("mail.example.com", "tickets.example.com"),
}
"""Further names of machines: as GPFS calls the nodes, and what the page calls the site's other servers."""

_CERTIFIED = {**dict.fromkeys(BROKERS, ("/etc/rabbitmq", "rabbitmq")), DATABASE: ("/etc/postgresql", "postgres")}
"""Who has a certificate for its server: where, and of which user."""

_ENVIRONMENT = "/usr/lib/clusterbus/environment"

_DNF = """#!/bin/sh
# In place of dnf: installs and removes packages, the same release again too, and without what they depend on: debs.
set -eu
verb=$1
shift 2
case $verb in
install) exec rpm --upgrade --nodeps --replacepkgs "$@" ;;
remove) exec rpm --erase "$@" ;;
*) exit 1 ;;
esac
"""

_REMOVE = (
    'docker ps --all --quiet --filter "label=$1=$2" | xargs --no-run-if-empty docker rm --force --volumes;'
    'docker network rm "$2"'
)


@dataclass(frozen=True)
class Images:
    """What the machines are started from."""

    node: str
    broker: str
    database: str
    sink: str

    def of(self, host: str) -> str:
        """Return the image of *host*."""
        if host in BROKERS:
            return self.broker
        return {DATABASE: self.database, SINK: self.sink}.get(host, self.node)


class Rig:
    """The machines by their names, and what has been done to them; *folder* has what the workers share about them."""

    def __init__(self, folder: Path, network: str = "", done: Sequence[str] = ()) -> None:
        self.folder, self.network, self.done = folder, network or f"clusterbus-tests-{uuid4().hex[:8]}", list(done)
        self.machines = {host: Machine(self.network, host) for host in HOSTS}

    def __getitem__(self, host: str) -> Machine:
        """Return the machine called *host*."""
        return self.machines[host]

    @classmethod
    def known(cls, folder: Path) -> Self | None:
        """Return the machines that another test of this run has started, if they are all there."""
        try:
            facts = json.loads((folder / "rig.json").read_text())
        except FileNotFoundError:
            return None
        rig = cls(folder, **facts)
        names = containers.run("ps", "--all", "--format={{.Names}}", f"--filter=label={LABEL}={rig.network}").split()
        return rig if len(names) == len(HOSTS) else None

    def save(self) -> None:
        """Let the other tests know of them."""
        (self.folder / "rig.json").write_text(json.dumps({"network": self.network, "done": self.done}))

    def start(self, images: Images, certificates: Certificates, packages: Sequence[Path]) -> None:
        """Start all of them, and prepare them for who installs: mgmt gets the *packages*."""
        containers.run("network", "create", "--label", f"{LABEL}={self.network}", self.network)
        for host in (*_CERTIFIED, SINK):
            certificates.sign(host, host, *ALSO_CALLED.get(host, ()))
        self._each(HOSTS, lambda machine: self._start(machine, images.of(machine.host), certificates))
        self._each(WITH_SYSTEMD, lambda machine: self.wait_booted(machine.host))
        self._each((*_CERTIFIED, MANAGEMENT), lambda machine: self._certify(machine, certificates))
        self._let_in(self[MANAGEMENT])
        self._give(packages)
        for host in WITH_RPM:
            self[host].write("/usr/local/bin/dnf", _DNF, mode="0755")
        self.save()

    def replace_packages(self, packages: Sequence[Path]) -> None:
        """Put *packages* in place of those on mgmt."""
        self[MANAGEMENT].run("sh", "-c", f"rm {SITE}/*.deb {SITE}/*.rpm")
        self._give(packages)

    def _give(self, packages: Sequence[Path]) -> None:
        for package in packages:
            self[MANAGEMENT].copy(package, f"{SITE}/{package.name}")

    def forget(self) -> None:
        """Let the next test have new machines."""
        (self.folder / "rig.json").unlink(missing_ok=True)

    def wait_booted(self, host: str) -> None:
        """Wait until systemd of *host* has started what it starts at boot."""
        wait_for(self[host].has_booted, BOOT_LIMIT, f"{host} has booted")

    def pretend_gpfs(self) -> None:
        """Give mgmt the mm commands, of a simulated cluster of these nodes, as soon as the package is installed."""
        simulator = f"{_ENVIRONMENT}/bin/python3 -P -m router.simulator --state /var/lib/gpfs"
        create = f"create --nodes {len(NODES)} --servers 2 --name prod --file-systems gpfs1"
        # Its nodes are folders on mgmt, and capture is on the real ones.
        elsewhere = "behave missing_program=taken"
        script = f"{simulator} {create} && {simulator} {elsewhere} && {simulator} commands /usr/lpp/mmfs/bin"
        self[MANAGEMENT].run("sh", "-c", f"test -e /usr/lpp/mmfs/bin || {{ {script}; }}")

    def _each(self, hosts: tuple[str, ...], action: Callable[[Machine], object]) -> None:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(action, [self[host] for host in hosts]))

    def _start(self, machine: Machine, image: str, certificates: Certificates) -> None:
        files = {}
        if machine.host == SINK:
            files = {f"/opt/sink/server.{kind}": Path(certificates.path(f"sink.{kind}")) for kind in ("pem", "key")}
        names = [f"--network-alias={name}" for name in ALSO_CALLED.get(machine.host, ())]
        machine.start(image, *names, *(SYSTEMD if machine.host in WITH_SYSTEMD else ()), files=files)
        if machine.host in BROKERS:
            cookie = {"mode": "0400", "owner": "rabbitmq", "group": "rabbitmq"}
            machine.write("/var/lib/rabbitmq/.erlang.cookie", f"{self.network}-cookie", **cookie)

    def _certify(self, machine: Machine, certificates: Certificates) -> None:
        authority = Path(certificates.path("authority.pem")).read_text()
        if machine.host == MANAGEMENT:
            machine.write(f"{SITE}/ca.pem", authority)
            return
        folder, owner = _CERTIFIED[machine.host]
        machine.write(f"{folder}/ca.pem", authority)
        for kind, mode in (("pem", "0644"), ("key", "0400")):
            text = Path(certificates.path(f"{machine.host}.{kind}")).read_text()
            machine.write(f"{folder}/server.{kind}", text, mode=mode, owner=owner, group=owner)

    def _let_in(self, management: Machine) -> None:
        """Let root of mgmt log in as `deploy` on each machine with systemd."""
        management.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/deploy")
        config = "User deploy\nIdentityFile /etc/ssh/deploy\nStrictHostKeyChecking accept-new\nLogLevel ERROR\n"
        management.write("/etc/ssh/ssh_config.d/deploy.conf", config)
        key = management.run("cat", "/etc/ssh/deploy.pub")
        for host in (*WITH_SYSTEMD, *BROKERS):
            self[host].write("/etc/ssh/authorized_keys", key)

    def address(self, host: str) -> str:
        """Return the address of *host* on the network."""
        place = f'{{{{(index .NetworkSettings.Networks "{self.network}").IPAddress}}}}'
        return containers.run("inspect", "--format", place, self[host].name).strip()

    def received(self, name: str) -> list[dict[str, Any]]:
        """Return the `mails` or `posts` that the sink has received so far."""
        return [json.loads(line) for line in self.lines(SINK, f"/opt/sink/{name}.jsonl")]

    def lines(self, host: str, file: str) -> list[str]:
        """Return the lines of *file* on *host*, also while it is frozen or off; none if there is no such file."""
        copy = self.folder / self.network / f"{host}-{file.rpartition('/')[2]}"
        copied = containers.call("cp", f"{self[host].name}:{file}", str(copy))
        return copy.read_text().splitlines() if copied.returncode == 0 else []

    def keep_logs(self, folder: Path) -> None:
        """Write the logs of all machines into *folder*."""
        folder.mkdir(parents=True, exist_ok=True)
        for host, machine in self.machines.items():
            logs = containers.call("logs", machine.name)
            text = logs.stdout + logs.stderr
            if host in WITH_SYSTEMD:
                text += machine.call("journalctl", "--no-pager", "--output=short-precise").stdout
            (folder / f"{host}.log").write_text(text)


@contextmanager
def lifeline(folder: Path) -> Iterator[None]:
    """Keep the machines of *folder* while the block lasts: this is the shared lock of this process."""
    with (folder / "lifeline").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def removing(rig: Rig) -> "subprocess.Popen[bytes]":
    """Return the process that removes the machines of *rig* when nobody holds the lifeline any more.

    Call it while holding the lifeline, before there is anything to remove: so nothing can be forgotten.
    """
    words = [*("flock", str(rig.folder / "lifeline")), "sh", "-c", _REMOVE.replace("docker", docker()), "sh"]
    quiet: Mapping[str, int] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    return subprocess.Popen([*words, LABEL, rig.network], start_new_session=True, **quiet)
