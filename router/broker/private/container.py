"""RabbitMQ's container image, run as a broker of our own by the Docker engine of this machine."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from ...errors import BrokerError, Refused, Unreachable
from .broker import STOP_LIMIT, PrivateBroker, command, telling
from .ports import LOOPBACK

IMAGE: Final = "rabbitmq:4-management"
# Whose containers and volumes we made, for people and for cleaning up; nothing else is ever touched.
LABEL: Final = "clusterbus.private"
_GUARD_LIMIT: Final = timedelta(seconds=60)


class PrivateContainer(PrivateBroker):
    """A private broker in a container; its ports are published on 127.0.0.1 and stay the same over a restart."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        config: Sequence[str] = (),
        plugins: Sequence[str] = (),
        image: str = IMAGE,
    ) -> None:
        """Take note of what is wanted, of *image*; nothing is made before `start`."""
        super().__init__(folder, config=config, plugins=plugins)
        self.image = image

    @property
    def description(self) -> str:
        """Its image and kind."""
        return f"{self.image} in a private container"

    @property
    def running(self) -> bool:
        """Whether Docker says that it runs."""
        if self._guard is None:
            return False
        try:
            return _docker("container", "inspect", "--format", "{{.State.Running}}", self.home.name).strip() == "true"
        except Refused:
            return False

    def stop(self) -> None:
        """Stop it in order; Docker kills it where that takes longer than *STOP_LIMIT*."""
        if self.running:
            # Asked inside: images whose first process is a shell do not pass Docker's SIGTERM on.
            with suppress(Refused):  # the answer may be cut off by the container's own end
                self.ctl("shutdown")
            _docker("container", "stop", "--time", str(int(STOP_LIMIT.total_seconds())), self.home.name)
        self._closed()

    def close(self, *, keep: bool = False) -> None:
        """Stop it, remove the container and what is temporary; the data of a given folder stay in a volume."""
        if self._home is None:
            return
        if not self._home.temporary:
            self.stop()
        self._end_guard(b"k", _GUARD_LIMIT)
        self._home.close(keep=keep)
        self._home = None

    def ctl(self, *arguments: str) -> str:
        """Return what `rabbitmqctl` in the container says to *arguments*."""
        return _docker("exec", self.home.name, "rabbitmqctl", "--quiet", *arguments)

    def _end(self) -> None:
        if self.running:
            _docker("container", "kill", self.home.name)

    def _move(self) -> None:
        # A container keeps the ports that it was made with.
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
            # First the guard, then what it is to remove: there is no moment at which nobody would.
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
            *data,
            self.image,
        )
        self._hand_over("conf.d/90-clusterbus.conf", (home.path / "rabbitmq.conf").read_text(encoding="utf-8"))
        self._hand_over("advanced.config", (home.path / "advanced.config").read_text(encoding="utf-8"))
        self._hand_over("enabled_plugins", (home.path / "plugins").read_text(encoding="utf-8"))

    def _hand_over(self, name: str, content: str) -> str:
        place = f"/etc/rabbitmq/{name}"
        # Inside, another user than ours reads it; here, the folder keeps others out.
        _docker("cp", str(self.home.write("handed-over", content, 0o644)), f"{self.home.name}:{place}")
        return place

    def _last_words(self) -> str:
        try:
            started = _docker("container", "inspect", "--format", "{{.State.StartedAt}}", self.home.name).strip()
            said = _docker("container", "logs", "--since", started, self.home.name)
        except BrokerError as error:
            said = str(error)
        log = self.home.write("output.log", said)
        return f"see {log}:\n{telling(said.splitlines())}"


def docker() -> str:
    """Return the path of Docker's command."""
    found = shutil.which("docker")
    if found is None:
        raise Unreachable("the command docker is not installed")
    return found


def engine_answers() -> bool:
    """Say whether a Docker engine of *this* machine answers: ports of another one's containers are out of reach."""
    if not os.environ.get("DOCKER_HOST", "unix://").startswith("unix://"):
        return False
    try:
        return bool(_docker("version", "--format", "{{.Server.Version}}").strip())
    except BrokerError:
        return False


def image_at_hand(image: str = IMAGE) -> bool:
    """Say whether *image* is here, after pulling it where it was not."""
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
