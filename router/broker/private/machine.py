"""What this machine has to make a broker of, and how it comes by what it lacks."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from ...errors import Refused, Unreachable
from .container import engine_answers, image_at_hand
from .node import installed_server

PACKAGE: Final = "rabbitmq-server"
_POLICY: Final = Path("/usr/sbin/policy-rc.d")
_UNITS: Final = Path("/lib/systemd/system")
_LONG: Final = timedelta(minutes=15)
_APT: Final = ("apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300")


class Machine:
    """What is here for brokers; a look may take a moment, so only what is needed is asked."""

    def container(self) -> bool:
        """Say whether a Docker engine answers here and has the image, or could pull it."""
        return engine_answers() and image_at_hand()

    def server(self) -> bool:
        """Say whether `rabbitmq-server` is installed."""
        return installed_server() is not None

    def may_install(self) -> bool:
        """Say whether packages can be installed: we are root, and there is apt."""
        return os.geteuid() == 0 and shutil.which("apt-get") is not None

    def install(self) -> None:
        """Install `rabbitmq-server` through apt; none of the machine's services is started, now or at its next boot.

        Raises Refused, with apt's own words.
        """
        install_packages(PACKAGE)


def install_packages(*packages: str) -> None:
    """Install *packages* through apt, with none of their services started; raises Refused, with apt's own words."""
    before = _units()
    with services_held():
        try:
            _run(*_APT, "install", "--no-install-recommends", *packages)
        except Refused:
            # Lists that are missing or old are the common cause.
            _run(*_APT, "update")
            _run(*_APT, "install", "--no-install-recommends", *packages)
    systemctl, new = shutil.which("systemctl"), sorted(_units() - before)
    if systemctl and new:
        # Nor at the next boot.  Units that were there before are somebody's.
        _run(systemctl, "disable", *new)


def _units() -> set[str]:
    return {path.name for path in _UNITS.glob("*.*") if path.suffix in {".service", ".socket", ".timer"}}


@contextlib.contextmanager
def services_held(policy: Path = _POLICY) -> Iterator[None]:
    """Have Debian's packages start no service meanwhile; a *policy* that was there before is put back."""
    aside = policy.with_name(policy.name + ".clusterbus")
    # Left over where an earlier one of us was killed: what stands in the policy's place is then ours.
    if not aside.exists() and policy.exists():
        policy.rename(aside)
    try:
        # 101: "action forbidden by policy", in the words of invoke-rc.d(8).
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink(missing_ok=True)
        if aside.exists():
            aside.rename(policy)


def _run(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            timeout=_LONG.total_seconds(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"{' '.join(arguments)} could not be run: {error}") from error
    if done.returncode != 0:
        raise Refused(f"{' '.join(arguments)} failed: {done.stdout.strip()[-2000:]}")
