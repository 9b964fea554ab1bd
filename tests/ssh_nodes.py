"""Nodes that are logged in to by the real ssh: one container with sshd, which stands for any number of nodes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from router.local_broker import guard
from router.local_broker.rabbitmq_container import docker
from tests import containers
from tests.waiting import wait_for

# A key is accepted by each account; the last two have no shell that runs commands.
_ACCOUNTS = """
set -e
mkdir -p /run/sshd
for account in acts:/bin/sh nologin:/usr/sbin/nologin false:/bin/false; do
    useradd --create-home --shell ${account#*:} ${account%:*}
done
cat >/etc/ssh/authorized_keys
echo 'AuthorizedKeysFile /etc/ssh/authorized_keys' >/etc/ssh/sshd_config.d/deploy.conf
# sshd would no longer answer those whose logins it refused a moment ago.
printf 'MaxStartups 200\nPerSourcePenalties no\n' >>/etc/ssh/sshd_config.d/deploy.conf
ssh-keygen -A >/dev/null
/usr/sbin/sshd
"""


class SshNodes:
    """Where nodes are reached, and with which key: `n1`, `n2`, ... are all the same machine."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.name, self.folder, self.key = name, folder, folder / "key"
        self._port = port

    def config(self, name: str = "config", *, key: Path | None = None, known_hosts: Path | None = None) -> Path:
        """Write a configuration for ssh, in which all is as it should be unless *key* or *known_hosts* are others."""
        hosts = known_hosts or self.folder / "known_hosts"
        path = self.folder / name
        path.write_text(
            "Host dead*\n    HostName 127.0.0.1\n    Port 9\n"
            f"Host *\n    HostName 127.0.0.1\n    Port {self._port}\n    HostKeyAlias node\n    User acts\n"
            f"    IdentityFile {key or self.key}\n    IdentitiesOnly yes\n    UserKnownHostsFile {hosts}\n"
            "    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n"
        )
        return path

    def options(self, **fields: Path) -> list[str]:
        """Return the `ssh_options` of the settings."""
        return ["-F", str(self.config(f"config-{uuid4().hex[:8]}", **fields))]

    def run(self, *words: str) -> str:
        """Return what *words* print on the machine, run as root."""
        return containers.run("exec", self.name, *words)

    def kill_sessions(self) -> None:
        """End the sshd of all sessions, as a node that crashes does."""
        self.run("pkill", "-9", "-f", "sshd-session: ")


def make_key(path: Path) -> Path:
    """Make a key without a passphrase in the file *path*."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)
    return path


@contextmanager
def ssh_nodes(image: str, folder: Path) -> Iterator[SshNodes]:
    """Start the container from *image*; leaving the block removes it."""
    folder.mkdir(parents=True, exist_ok=True)
    key = make_key(folder / "key")
    name = f"clusterbus-tests-ssh-{uuid4().hex[:8]}"
    remover = subprocess.Popen(
        [sys.executable, "-IS", guard.__file__, "container", "", docker(), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        labelled = ("--label", containers.LABEL, "--publish", "127.0.0.1::22", "--entrypoint", "sleep")
        containers.run("run", "--detach", "--init", "--name", name, *labelled, image, "infinity")
        public = key.with_suffix(".pub").read_text()
        containers.run("exec", "--interactive", name, "sh", "-c", _ACCOUNTS, input=public)
        port = int(containers.run("port", name, "22/tcp").split()[0].rpartition(":")[2])
        nodes = SshNodes(name, folder, port)
        wait_for(lambda: _answers(port), 60, "sshd")
        (folder / "known_hosts").write_text(
            "".join(f"node {line.partition(' ')[2]}\n" for line in _scanned(port) if not line.startswith("#"))
        )
        yield nodes
    finally:
        remover.communicate(b"k", timeout=120)


def _scanned(port: int) -> list[str]:
    command = ["ssh-keyscan", "-p", str(port), "127.0.0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.splitlines()


def _answers(port: int) -> bool:
    return bool(_scanned(port))
