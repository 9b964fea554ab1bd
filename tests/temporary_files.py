"""Where tests keep their files: in memory, if the machine has enough, for most of them wait for a disk otherwise.

No test needs its files after the machine has lost its power.  What ends in a test is a program, and what that wrote is
in memory as well as it would be on a disk.
"""

import fcntl
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_MEMORY = Path("/dev/shm")
_NEEDED = 4 << 30
"""The bytes that have to be free; a whole run keeps about a quarter of it."""


class TemporaryFiles:
    """A folder in memory for the temporary files of this process and its programs.

    Without enough memory, or where TMPDIR says where files are to be, they stay where they would be.
    """

    def __init__(self) -> None:
        """Make the folder; those of runs that have ended are removed."""
        self.folder: Path | None = None
        self.is_kept = False
        """Whether the folder is still there after `close`, to be looked into; the next run removes it."""
        if "TMPDIR" in os.environ or not _is_fit():
            return
        prefix = f"cb{os.getuid()}-"
        for each in _MEMORY.glob(f"{prefix}*"):
            if _is_left(each):
                shutil.rmtree(each, ignore_errors=True)
        # Paths of sockets in it are short.
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY))
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        # As in /tmp, other users reach what a test lets them reach.
        self.folder.chmod(0o1777)
        self._use(str(self.folder))

    def close(self) -> None:
        """Use it no more."""
        if self.folder is None:
            return
        self._use(None)
        if not self.is_kept:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    @staticmethod
    def _use(folder: str | None) -> None:
        os.environ.pop("TMPDIR", None)
        if folder is not None:
            os.environ["TMPDIR"] = folder
        tempfile.tempdir = None


def _is_fit() -> bool:
    """Say whether files in memory may be programs, and have room."""
    try:
        found = os.statvfs(_MEMORY)
    except OSError:
        return False
    available = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = min(found.f_bavail * found.f_frsize, int(available[1]) << 10 if available else 0)
    return not found.f_flag & os.ST_NOEXEC and os.access(_MEMORY, os.W_OK) and free >= _NEEDED


def _is_left(folder: Path) -> bool:
    """Say whether the run that made *folder* has ended."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
        return os.lstat(folder).st_uid == os.getuid()
    return False
