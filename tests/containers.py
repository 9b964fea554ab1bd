"""Real machines for tests: containers in which systemd is PID 1, and a broker beside them, on a network of their own.

Nothing of them is left when the test run ends, however it ends: a guard removes each container, and networks that a
killed run left behind are removed by a later one.
"""

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from router.local_broker import guard
from router.local_broker.rabbitmq_container import PrivateContainer, docker
from tests.waiting import SLACK, wait_for

LABEL = "clusterbus.tests"
NODE = Path(__file__).with_name("machines") / "node"
DATABASE, BROKER, SINK = (NODE.with_name(name) for name in ("database", "broker", "sink"))
# What systemd needs to be PID 1, to make sandboxes and to have cgroups of its own; see machines/node/boot.
SYSTEMD = (
    *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--cgroupns", "host"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--security-opt", "systempaths=unconfined"),
    *("--tmpfs", "/run:exec", "--tmpfs", "/run/lock"),
)
_BUILD_LIMIT = 300.0
BOOT_LIMIT = 120.0
_LIMIT = 120.0


def call(*words: str, limit: float = _LIMIT, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `docker` with *words* to its end, whatever that is; *limit* is for a quiet machine, as in `wait_for`."""
    command = [docker(), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit * SLACK, check=False, **options)


def run(*words: str, limit: float = _LIMIT, **options: Any) -> str:
    """Return what `docker` prints for *words*; fails where it fails."""
    done = call(*words, limit=limit, **options)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.returncode}: {(done.stdout + done.stderr)[-4000:]}"
    return done.stdout


def image(folder: Path, lock: Path, **arguments: str) -> str:
    """Return the name of the image that *folder* describes, built with *arguments* unless it is here already.

    One process at a time builds, under *lock*.  The machine's own network is used: a build reaches what it reaches.
    """
    digest = hashlib.sha256(repr(sorted(arguments.items())).encode())
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    name = f"clusterbus-tests-{folder.name}:{digest.hexdigest()[:16]}"
    words = [word for argument in arguments.items() for word in ("--build-arg", "=".join(argument))]
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if call("image", "inspect", name).returncode != 0:
            # What earlier sources were built into is of no use any more.
            call("image", "prune", "--all", "--force", "--filter", f"label={LABEL}", "--filter", "until=168h")
            labelled = ("--label", LABEL, "--network", "host", "--tag", name)
            run("build", "--quiet", *labelled, *words, str(folder), limit=_BUILD_LIMIT)
    return name


@contextmanager
def network() -> Iterator[str]:
    """Give the name of a network of the test's own, on which containers find each other by name."""
    call("network", "prune", "--force", "--filter", f"label={LABEL}", "--filter", "until=2h")
    name = f"clusterbus-tests-{uuid4().hex[:8]}"
    run("network", "create", "--label", LABEL, name)
    try:
        yield name
    finally:
        run("network", "rm", name)


@contextmanager
def broker_on(network: str, alias: str = "broker") -> Iterator[PrivateContainer]:
    """Start a RabbitMQ that is called *alias* on *network*, and is reached on the loopback from here."""
    with PrivateContainer(plugins=["rabbitmq_management"]) as broker:
        run("network", "connect", "--alias", alias, network, broker.home.name)
        try:
            yield broker
        finally:
            call("network", "disconnect", "--force", network, broker.home.name)


class Machine:
    """The container of the machine called *host* on *network*."""

    def __init__(self, network: str, host: str) -> None:
        self.network, self.host, self.name = network, host, f"{network}-{host}"

    def call(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run *words* there as root to their end, whatever that is."""
        return call("exec", self.name, *words, **options)

    def run(self, *words: str, **options: Any) -> str:
        """Return what *words* print there, run as root; fails where they fail."""
        return run("exec", self.name, *words, **options)

    def write(self, path: str, text: str, *, mode: str = "0644", owner: str = "root", group: str = "root") -> None:
        """Make the file *path* there, of *owner* and *group*."""
        script = 'install -D -m "$1" -o "$2" -g "$3" /dev/stdin "$4"'
        words = ("sh", "-ec", script, "sh", mode, owner, group, path)
        run("exec", "--interactive", self.name, *words, input=text)

    def copy(self, here: Path, there: str) -> None:
        """Copy the file *here* to the path *there*."""
        run("cp", str(here), f"{self.name}:{there}")

    def state(self, unit: str, *names: str) -> Sequence[str]:
        """Return what systemd says of *unit* under these *names*, such as ActiveState."""
        shown = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names))
        values = dict(line.split("=", 1) for line in shown.splitlines())
        return [values[name] for name in names]

    def journal(self, unit: str) -> str:
        """Return what *unit* has said in its journal so far."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def start(self, image: str, *options: str, files: Mapping[str, Path] | None = None) -> None:
        """Start it from *image*, with these *files*; it has booted a moment later."""
        place = ("--name", self.name, "--hostname", self.host, "--network", self.network, "--network-alias", self.host)
        run("create", "--label", f"{LABEL}={self.network}", "--env", f"MACHINE={self.name}", *place, *options, image)
        for there, here in (files or {}).items():
            self.copy(here, there)
        run("start", self.name)

    def has_booted(self) -> bool:
        """Return whether systemd has started what it starts at boot."""
        asked = self.call("systemctl", "is-system-running")
        assert "is not running" not in asked.stderr, f"{self.name} has ended: {call('logs', self.name).stderr[-2000:]}"
        return asked.stdout.strip() in ("running", "degraded")


class SystemdContainer(Machine):
    """A machine called *host* on *network*, started from *image*; leaving the block removes it."""

    def __init__(self, image: str, network: str, host: str) -> None:
        super().__init__(network, host)
        self._image = image

    def __enter__(self) -> Self:
        """Return when it has booted."""
        # First the guard, then what it is to remove: there is no moment at which nobody would.
        self._guard = subprocess.Popen(
            [sys.executable, "-IS", guard.__file__, "container", "", docker(), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.start(self._image, *SYSTEMD)
            wait_for(self.has_booted, BOOT_LIMIT, f"{self.name} has booted")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self._remove()

    def _remove(self) -> None:
        # Its input is what it waits on; the end of that is its order.
        self._guard.communicate(b"k", timeout=_LIMIT)
