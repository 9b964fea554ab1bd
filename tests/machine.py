"""A machine of a test's own: its /dev/log, its /run, its disks, so that what capture does to them can be seen.

It is a mount namespace with one process in it that waits; nothing of it is left when that ends.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.waiting import wait_for

CAPTURE = Path(__file__).parents[1] / "shim" / "capture.py"
# As on a node: the system's interpreter, not the one of the tests, where there is one.
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable

_PREPARE = """
set -e
mount --make-rprivate /
cd "$1"
for device in null urandom; do touch dev/$device; mount --bind /dev/$device dev/$device; done
# The files of the tests may be in it, and with them this machine's.
if [ -d /dev/shm ]; then mkdir dev/shm; mount --bind /dev/shm dev/shm; fi
mount --rbind dev /dev
mount --bind run /run
mount --make-rprivate /
echo ready
read -r _ || true
"""


class Machine:
    """What captures see that are started with `run`: a spool, a syslog that is read here, a /run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.spool = make_spool(folder / "spool")
        for name in ("dev", "run"):
            (folder / name).mkdir()
        self._syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # bind() takes a hundred bytes of path at most, and pytest's are longer.
        here = os.open(folder, os.O_PATH)
        self._syslog.bind(f"/proc/self/fd/{here}/dev/log")
        os.close(here)
        self._lines: list[str] = []
        self._holder: subprocess.Popen[str] | None = None

    def start(self) -> str | None:
        """Begin; return why this machine cannot be had, if so."""
        if os.geteuid() != 0:
            return "a mount namespace needs root"
        for tool in ("unshare", "nsenter", "mount"):
            if shutil.which(tool) is None:
                return f"{tool} is not installed"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _PREPARE, "sh", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            return f"mounting is not permitted: {self._holder.communicate()[1].strip()}"
        threading.Thread(target=self._read, daemon=True).start()
        return None

    def stop(self) -> None:
        """End it, with all that was mounted in it."""
        if self._holder is not None:
            self._holder.communicate()
        with contextlib.suppress(OSError):
            self._syslog.shutdown(socket.SHUT_RDWR)
        self._syslog.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while line := self._syslog.recv(1 << 20):
                self._lines.append(line.decode())

    @property
    def syslog(self) -> list[str]:
        """The lines that reached syslog, up to all that was sent by programs that have ended."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        here = os.open(self._folder, os.O_PATH)
        end.sendto(b"end", f"/proc/self/fd/{here}/dev/log")
        os.close(here)
        end.close()
        wait_for(lambda: "end" in self._lines, 10, "our own line in syslog")
        self._lines.remove("end")
        return list(self._lines)

    @property
    def lost(self) -> tuple[str, str]:
        """The marks in the spool's `lost` and in the one of /run."""
        files = self.inside(self.spool / "lost"), self._folder / "run/clusterbus/lost"
        spool, run = (file.read_text() if file.exists() else "" for file in files)
        return spool, run

    def inside(self, path: Path) -> Path:
        """Return *path* as this machine sees it, mounts and all, for us to look at."""
        assert self._holder is not None
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def enter(self, *words: str) -> list[str]:
        """Return the command that runs *words* on this machine."""
        assert self._holder is not None
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--", *words]

    def mount(self, *words: str) -> None:
        """Mount, as `mount` does with *words*."""
        subprocess.run(self.enter("mount", *words), check=True, timeout=120)

    def run(self, *words: str, before: Sequence[str] = (), **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run capture with *words*, started through the command *before*."""
        command = self.enter(*before, *command_of("--spool", str(self.spool), *words))
        return subprocess.run(command, capture_output=True, check=False, timeout=240, **options)


def command_of(*words: str | bytes, python: str = PYTHON) -> list[Any]:
    """Return the command that a storage daemon would run for capture with *words*."""
    return [python, "-IS", str(CAPTURE), *words]


def make_spool(folder: Path) -> Path:
    """Make a spool as it is installed, with the relay's first mark in `lost`."""
    folder.mkdir(mode=0o770)
    for name in ("tmp", "new", "bad", "kept"):
        (folder / name).mkdir(mode=0o770)
    (folder / "lost").write_text(".")
    return folder


@contextlib.contextmanager
def machine_in(folder: Path) -> Iterator[Machine | str]:
    """A Machine in *folder*, or why there is none."""
    machine = Machine(folder)
    try:
        yield machine.start() or machine
    finally:
        machine.stop()
