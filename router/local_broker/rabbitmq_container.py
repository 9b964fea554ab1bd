"""A private broker from RabbitMQ's container image, run by the Docker engine of this machine."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from ..errors import BrokerError, Refused, Unreachable
from .ports import LOOPBACK
from .private_broker import STOP_LIMIT, PrivateBroker, command, first_errors

IMAGE: Final = "rabbitmq:4-management"
# Marks our containers, for people and for cleanup; no other container is ever touched.
LABEL: Final = "clusterbus.private"
_GUARD_LIMIT: Final = timedelta(seconds=60)


class PrivateContainer(PrivateBroker):
    """A private broker in a container; its ports are published on 127.0.0.1 and stay the same after a restart."""

    def __init__(
        self, folder: Path | None = None, *, config: Sequence[str] = (), plugins: Sequence[str] = (), image: str = IMAGE
    ) -> None:
        """Keep the arguments; *image* is the container image.  Nothing is created before `start`."""
        super().__init__(folder, config=config, plugins=plugins)
        self.image = image

    @property
    def description(self) -> str:
        """The image and kind of the broker."""
        return f"{self.image} in a private container"

    @property
    def running(self) -> bool:
        """Whether Docker reports that the container runs."""
        if self._guard is None:
            return False
        try:
            return _docker("container", "inspect", "--format", "{{.State.Running}}", self.home.name).strip() == "true"
        except Refused:
            return False

    def stop(self) -> None:
        """Stop it in order; Docker kills it if that takes longer than *STOP_LIMIT*."""
        if self.running:
            # Shut down from inside: images whose first process is a shell do not forward Docker's SIGTERM.
            with suppress(Refused):  # the container may end before it answers
                self.ctl("shutdown")
            _docker("container", "stop", "--time", str(int(STOP_LIMIT.total_seconds())), self.home.name)
        self._closed()

    def close(self, *, keep: bool = False) -> None:
        """Stop it, remove the container and temporary files; the data of a given folder stays in a volume."""
        if self._home is None:
            return
        if not self._home.temporary:
            self.stop()
        self._end_guard(b"k", _GUARD_LIMIT)
        self._home.close(keep=keep)
        self._home = None

    def ctl(self, *arguments: str) -> str:
        """Return the output of `rabbitmqctl` in the container with *arguments*."""
        return _docker("exec", self.home.name, "rabbitmqctl", "--quiet", *arguments)

    def _control(self) -> tuple[dict[str, str], Sequence[str]]:
        return {}, [docker(), "exec", "--interactive", self.home.name, "rabbitmqctl"]

    def _end(self) -> None:
        if self.running:
            _docker("container", "kill", self.home.name)

    def _move(self) -> None:
        # A container keeps the ports that it was created with.
        _docker("container", "rm", "--force", "--volumes", self.home.name)
        super()._move()

    def _launch(self) -> None:
        if self._guard is None or not self._exists():
            self._create()
        _docker("container", "start", self.home.name)

    def _exists(self) -> bool:
        try:
            _docker("container", "inspect", self.home.name)
        except Refused:
            return False
        return True

    def _create(self) -> None:
        home = self.home
        if self._guard is None:
            # Start the guard before the container, so that the guard can remove it at any moment.
            folder = str(home.path) if home.temporary else ""
            self._start_guard("container", folder, docker(), home.name, environment=dict(os.environ))
        home.configure(self._plugins, self._config)
        data = [] if home.temporary else ["--volume", f"{home.name}:/var/lib/rabbitmq"]
        _docker(
            "container",
            "create",
            *("--name", home.name, "--hostname", home.name, "--label", f"{LABEL}={home.path}"),
            *("--publish", f"{LOOPBACK}:{home.port('amqp')}:5672"),
            *("--publish", f"{LOOPBACK}:{home.port('http')}:15672"),
            *("--publish", f"{LOOPBACK}:{home.port('prometheus')}:15692"),
            *data,
            self.image,
        )
        self._hand_over("conf.d/90-clusterbus.conf", (home.path / "rabbitmq.conf").read_text(encoding="utf-8"))
        self._hand_over("advanced.config", (home.path / "advanced.config").read_text(encoding="utf-8"))
        self._hand_over("enabled_plugins", (home.path / "plugins").read_text(encoding="utf-8"))

    def _hand_over(self, name: str, content: str) -> str:
        place = f"/etc/rabbitmq/{name}"
        # Inside the container another user reads this file; outside, the folder protects it.
        _docker("cp", str(self.home.write("handed-over", content, 0o644)), f"{self.home.name}:{place}")
        return place

    def _log_excerpt(self) -> str:
        try:
            started = _docker("container", "inspect", "--format", "{{.State.StartedAt}}", self.home.name).strip()
            output = _docker("container", "logs", "--since", started, self.home.name)
        except BrokerError as error:
            output = str(error)
        log = self.home.write("output.log", output)
        return f"see {log}:\n{first_errors(output)}"


def docker() -> str:
    """Return the path of the docker command; raises Unreachable if it is not installed."""
    found = shutil.which("docker")
    if found is None:
        raise Unreachable("the command docker is not installed")
    return found


def engine_answers() -> bool:
    """Return whether a Docker engine on *this* machine answers; container ports on other machines are unreachable."""
    if not os.environ.get("DOCKER_HOST", "unix://").startswith("unix://"):
        return False
    try:
        return bool(_docker("version", "--format", "{{.Server.Version}}").strip())
    except BrokerError:
        return False


def image_at_hand(image: str = IMAGE) -> bool:
    """Return whether *image* is available; pulls it if it is missing."""
    try:
        _docker("image", "inspect", image)
    except BrokerError:
        try:
            _docker("image", "pull", "--quiet", image)
        except BrokerError:
            return False
    return True


def _docker(*arguments: str) -> str:
    return command([docker(), *arguments])
