"""A private broker from the installed rabbitmq-server, separate from the machine's own service."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..errors import Unreachable
from .ports import LOOPBACK
from .private_broker import STOP_LIMIT, PrivateBroker, command, first_errors

# The original scripts: those in /usr/sbin are wrappers that change the user and the folder.
_INSTALLED: Final = "lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"
_LOG: Final = "log/node.log"
_PLUGINS: Final = "linked-plugins"
_NEEDS: Final = re.compile(r"\{applications,\s*\[([^\]]*)\]")
_LISTENERS: Final = {"rabbitmq_management": ("management", "http"), "rabbitmq_prometheus": ("prometheus", "prometheus")}
"""For each plugin that listens, the name of its settings, and of its port in the data folder."""


def installed_server(prefix: Path = Path("/usr")) -> Path | None:
    """Return the start script of the newest RabbitMQ under *prefix*, or None."""
    found = [path for path in prefix.glob(_INSTALLED) if os.access(path, os.X_OK)]
    return max(found, key=_version, default=None)


def _version(script: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", script.parent.parent.name)]


def plugins_needed(installed: Path, wanted: Sequence[str]) -> list[str]:
    """Return the entries of the folder *installed* that hold the plugins *wanted* and those that they need."""
    entries = {path.name.partition("-")[0]: path for path in installed.glob("*-*")}
    needed: dict[str, str] = {}
    waiting = [*wanted]
    while waiting:
        plugin = waiting.pop()
        entry = entries.get(plugin)
        if entry is None or plugin in needed:  # what is not there is a part of Erlang
            continue
        needed[plugin] = entry.name
        description = entry / "ebin" / f"{plugin}.app"
        found = _NEEDS.search(description.read_text(encoding="utf-8")) if description.is_file() else None
        waiting += re.findall(r"\w+", found[1]) if found else []
    return sorted(needed.values())


class PrivateNode(PrivateBroker):
    """A private broker from the installed `rabbitmq-server`, with its own folder, ports, cookie and epmd."""

    _logged = 0  # bytes in its log before the last launch

    @property
    def description(self) -> str:
        """The version and kind of the broker."""
        server = installed_server()
        version = ".".join(map(str, _version(server))) if server else "(not installed)"
        return f"rabbitmq-server {version} as a private node"

    @property
    def running(self) -> bool:
        """Whether its guard lives: the guard ends together with the broker."""
        return self._guard is not None and self._guard.poll() is None

    def stop(self) -> None:
        """Stop it in order; kills it if that takes longer than *STOP_LIMIT*."""
        if not self._end_guard(b"s", STOP_LIMIT):
            self._end()
        self._closed()

    def close(self, *, keep: bool = False) -> None:
        """Stop it, or kill it if it is temporary, and release its folder."""
        if self._home is None:
            return
        if self._home.temporary:
            self._end()
            self._closed()
        else:
            self.stop()
        self._home.close(keep=keep)
        self._home = None

    def ctl(self, *arguments: str) -> str:
        """Return the output of `rabbitmqctl` with *arguments*."""
        environment, words = self._control()
        return command([*words, "--quiet", *arguments], environment=environment, cwd=self.home.path)

    def _control(self) -> tuple[dict[str, str], Sequence[str]]:
        return self._environment(), [str(_server().with_name("rabbitmqctl"))]

    def _end(self) -> None:
        # SIGKILL for the whole process group, including epmd.
        self._end_guard(b"k", STOP_LIMIT)

    def _launch(self) -> None:
        server, epmd = _server(), shutil.which("epmd")
        if epmd is None:
            raise Unreachable("rabbitmq-server is installed, but Erlang's epmd is not on the PATH")
        home = self.home
        listeners = [
            line
            for plugin, (name, use) in _LISTENERS.items()
            if plugin in self._plugins
            for line in (f"{name}.tcp.ip = {LOOPBACK}", f"{name}.tcp.port = {home.port(use)}")
        ]
        home.configure(self._plugins, [*listeners, *self._config])
        home.write(".erlang.cookie", home.cookie, 0o400)
        self._link_plugins(server)
        home.write("env.conf", "")
        log = home.path / _LOG
        log.parent.mkdir(exist_ok=True)
        self._logged = log.stat().st_size if log.exists() else 0
        self._start_guard(
            "node",
            str(home.path) if home.temporary else "",
            *(epmd, "-address", LOOPBACK, "-port", str(home.port("epmd"))),
            "--",
            str(server),
            environment=self._environment(),
        )

    def _link_plugins(self, server: Path) -> None:
        """Link what it runs into its folder: RabbitMQ reads all that there is at each start, which takes a second."""
        folder, installed = self.home.path / _PLUGINS, server.parent.parent / "plugins"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in plugins_needed(installed, ("rabbit", *self._plugins)):
            (folder / name).symlink_to(installed / name)

    def _hand_over(self, name: str, content: str) -> str:
        return str(self.home.write(name, content))

    def _environment(self) -> dict[str, str]:
        home, path = self.home, self.home.path
        files = {
            "MNESIA_BASE": "mnesia",
            "LOG_BASE": "log",
            "LOGS": _LOG,
            "ENABLED_PLUGINS_FILE": "plugins",
            "PLUGINS_DIR": _PLUGINS,
            "CONFIG_FILE": "rabbitmq.conf",
            "ADVANCED_CONFIG_FILE": "advanced.config",
            "CONF_ENV_FILE": "env.conf",
            "GENERATED_CONFIG_DIR": "gen",
            "PID_FILE": "pid",
        }
        return {
            **{f"RABBITMQ_{name}": str(path / file) for name, file in files.items()},
            "RABBITMQ_NODENAME": f"{home.name}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(home.port("amqp")),
            "RABBITMQ_DIST_PORT": str(home.port("distribution")),
            "ERL_EPMD_PORT": str(home.port("epmd")),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            # Without this, the port for other nodes and the tools listens on every interface.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # The default range of the tools has ten ports, too few for calls to several brokers at once.
            "RABBITMQ_CTL_DIST_PORT_MIN": "41000",
            "RABBITMQ_CTL_DIST_PORT_MAX": "41999",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "HOME": str(path),
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
        }

    def _log_excerpt(self) -> str:
        output, log = self.home.path / "output.log", self.home.path / _LOG
        text = output.read_bytes() if output.exists() else b""
        if log.exists():
            with log.open("rb") as file:
                file.seek(self._logged)
                text += b"\n" + file.read()
        return f"see {output} and {log}:\n{first_errors(text.decode(errors='replace'))}"


def _server() -> Path:
    server = installed_server()
    if server is None:
        raise Unreachable("rabbitmq-server is not installed: run apt-get install rabbitmq-server")
    return server
