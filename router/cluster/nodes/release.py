"""One release of the shim for nodes: capture, the relay, its unit, user and folders."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import zipapps
from .errors import NodesError
from .files import File

SHIM = Path(__file__).resolve().parents[3] / "shim"
"""The shim's folder, in the source tree or in an installed wheel.  Its files are read here, never imported."""

PYTHON = Path("/usr/bin/python3")

BOOT = "import sys;i=sys.stdin.buffer;exec(compile(i.read(int(i.readline())),'installer','exec'))"
"""The program text for a node's Python: it reads the installer, and everything else, from stdin."""

_LIBRARY = "/usr/lib/clusterbus"
_VERSION = re.compile(r'^VERSION = "([^"]+)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Release:
    """The *files* that all nodes get, in the order of installation, with their folders and user.

    *script* is the text of capture_gpfs.py, to be filled in for each node; *installer* is the program that runs there.
    """

    version: str
    files: tuple[File, ...]
    folders: tuple[Mapping[str, object], ...]
    user: Mapping[str, str]
    script: str
    installer: bytes

    def header(self, mode: str) -> dict[str, object]:
        """Return the header for the installer; *mode* is `install`, `remove` or `status`."""
        return {"mode": mode, "version": self.version, "folders": list(self.folders), "user": dict(self.user)}


def release(shim: Path = SHIM, python: Path = PYTHON) -> Release:
    """Return the release in the folder *shim*, run by *python* on the nodes.  Raises NodesError if it is incomplete."""
    try:
        capture = (shim / "capture.py").read_bytes()
        sysusers, tmpfiles = (_unit(shim, name) for name in ("clusterbus.sysusers", "clusterbus.tmpfiles"))
        unit = _unit(shim, "clusterbus-relay.service").decode()
        script, installer = (shim / "capture_gpfs.py").read_text(), (shim / "installer.py").read_bytes()
    except OSError as error:
        raise NodesError(f"the shim's files are incomplete: {error}") from error
    version = _VERSION.search(capture.decode())
    if version is None or f"\nExecStart={PYTHON} " not in unit:
        raise NodesError(f"{shim}: capture.py has no VERSION, or the relay's unit has no ExecStart with {PYTHON}")
    unit = unit.replace(f"\nExecStart={PYTHON} ", f"\nExecStart={python} ")
    return Release(
        version=version[1],
        files=(
            File(f"{_LIBRARY}/clusterbus-relay.pyz", zipapps.relay(shim)),
            File("/usr/lib/sysusers.d/clusterbus.conf", sysusers),
            File("/usr/lib/tmpfiles.d/clusterbus.conf", tmpfiles),
            File("/usr/lib/systemd/system/clusterbus-relay.service", unit.encode()),
            File("/usr/libexec/clusterbus/capture.py", capture, 0o755),
        ),
        folders=tuple(folders(tmpfiles.decode())),
        user=user(sysusers.decode()),
        script=script,
        installer=installer,
    )


def sent_program(installer: bytes) -> bytes:
    """Return the program *installer* as `BOOT` reads it."""
    return b"%d\n" % len(installer) + installer


def folders(tmpfiles: str) -> Iterator[dict[str, object]]:
    r"""Return the folders that a systemd-tmpfiles file declares.

    >>> list(folders("# x\nd /run/a 0755 root root -"))
    [{'path': '/run/a', 'mode': 493, 'owner': 'root', 'group': 'root'}]
    """
    for line in tmpfiles.split("\n"):
        if line.startswith("d "):
            _, path, mode, owner, group = line.split()[:5]
            yield {"path": path, "mode": int(mode, 8), "owner": owner, "group": group}


def user(sysusers: str) -> dict[str, str]:
    """Return the user that a systemd-sysusers file declares.

    >>> user('u clusterbus - "clusterbus relay" /var/spool/clusterbus /usr/sbin/nologin')["comment"]
    'clusterbus relay'
    """
    line = next(each for each in sysusers.split("\n") if each.startswith("u "))
    _, name, _, comment, home, shell = shlex.split(line)
    return {"name": name, "comment": comment, "home": home, "shell": shell}


def _unit(shim: Path, name: str) -> bytes:
    return (shim / "units" / name).read_bytes()
