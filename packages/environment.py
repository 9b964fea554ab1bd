"""The environment that the package of hubs holds: a virtual environment for several releases of Python at once.

Compiled modules have the release in their names, such as `cel.cpython-313-x86_64-linux-gnu.so`, and all other files are
the same for each.  So one folder of modules serves them all; at installation only the interpreter is linked.
"""

import importlib.metadata
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from router import interpreter
from router.cluster.nodes.release import SHIM
from router.errors import Refused, Unreachable

from . import tools

VERSIONS = ("3.11", "3.12", "3.13")
FOLDER = "/usr/lib/clusterbus/environment"
MODULES = "lib/python3/site-packages"

_PROJECT = SHIM.parent
# The releases of glibc since the one that the oldest supported system has are newer: RHEL 9 has 2.34.
_PLATFORMS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, 35)))
_SETTINGS = "home = /usr/bin\ninclude-system-site-packages = false\n"
_PROGRAM = f"""#!{FOLDER}/bin/python3 -P
import sys

from clusterbus.__main__ import main

sys.exit(main())
"""
# What pip notes about its own work, and programs that name the interpreter of the build.
_LEFT_OUT = frozenset({"RECORD", "WHEEL", "INSTALLER", "REQUESTED", "direct_url.json", "bin", "share"})


def build(folder: Path, machine: str, moment: int) -> None:
    """Make the environment in *folder*, for the kind of *machine*; *moment* is the time in our own wheel.

    Raises Unreachable if pip cannot get a wheel, and Refused if the wheels do not fit together.
    """
    modules = folder / MODULES
    modules.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="clusterbus-wheels-") as scratch:
        first = Path(scratch) / VERSIONS[0]
        wheel = _own_wheel(Path(scratch), moment)
        _install([f"{wheel}[postgresql]"], first, modules, VERSIONS[0], machine)
        for version in VERSIONS[1:]:
            _install(compiled(first), Path(scratch) / version, modules, version, machine)
    shutil.move(modules / "etc", folder / "etc")  # where ClusterShell looks for its settings
    for version in VERSIONS:
        (folder / f"lib/python{version}").symlink_to("python3")
    (folder / "pyvenv.cfg").write_text(_SETTINGS)
    program = folder / "bin/clusterbus"
    program.parent.mkdir()
    program.write_text(_PROGRAM)
    program.chmod(0o755)


def lacking(modules: Path, version: str) -> list[str]:
    """Return what the distributions in *modules* need on Python *version* and is not among them."""
    found = list(importlib.metadata.distributions(path=[str(modules)]))
    here = {canonicalize_name(each.metadata["Name"]) for each in found}
    needed = {str(each) for distribution in found for each in _needs(distribution, version)}
    return sorted(each for each in needed if canonicalize_name(Requirement(each).name) not in here)


def compiled(modules: Path) -> list[str]:
    """Return the distributions in *modules*, as `name==version`, that have a wheel for each release of Python."""
    found = importlib.metadata.distributions(path=[str(modules)])
    return sorted(f"{each.metadata['Name']}=={each.version}" for each in found if not _serves_each(each))


def _serves_each(distribution: importlib.metadata.Distribution) -> bool:
    """Say whether the wheel of *distribution*, which is that of the oldest release, serves the later ones too."""
    tags = re.findall(r"^Tag: *([^-\s]+)-([^-\s]+)-", distribution.read_text("WHEEL") or "", re.MULTILINE)
    return bool(tags) and all(abi == "abi3" or (abi == "none" and python.startswith("py")) for python, abi in tags)


def _needs(distribution: importlib.metadata.Distribution, version: str) -> Iterator[Requirement]:
    environment = {"python_version": version, "python_full_version": f"{version}.0", "extra": ""}
    for text in distribution.requires or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate(environment):
            yield needed


def _own_wheel(folder: Path, moment: int) -> Path:
    words = ("wheel", "--no-deps", f"--wheel-dir={folder}", str(_PROJECT))
    _pip(words, {"SOURCE_DATE_EPOCH": str(moment)})
    (wheel,) = folder.glob("clusterbus-*.whl")
    return wheel


def _install(wanted: Sequence[str], target: Path, modules: Path, version: str, machine: str) -> None:
    """Install what is *wanted*, and what it needs that is not in *modules* yet, into *target* and from there there.

    pip evaluates conditions such as `python_version < "3.12"` for the Python that runs it, so what this leaves out is
    asked for by name.
    """
    platforms = [f"--platform={each}_{machine}" for each in _PLATFORMS]
    place = ("--upgrade", f"--target={target}", f"--python-version={version}", "--implementation=cp")
    pinned = f"--constraint={_PROJECT / 'constraints.txt'}"
    # What it needs is there since the first time.
    alone = ["--no-deps"] if any(modules.iterdir()) else []
    while wanted:
        _pip(("install", "--only-binary=:all:", "--no-compile", *alone, pinned, *place, *platforms, *wanted))
        merge(target, modules)
        before, wanted, alone = wanted, lacking(modules, version), []
        if wanted == before:
            raise Refused(f"the environment for Python {version} lacks {', '.join(wanted)}")


def merge(target: Path, modules: Path) -> None:
    """Add the files in *target* to *modules*.  Raises Refused if another file of this name is there."""
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target)
        if _LEFT_OUT & {name.parts[0], *(name.parts[1:] if ".dist-info" in name.parts[0] else ())} or path.is_dir():
            continue
        there = modules / name
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, there)
        elif ".dist-info" not in name.parts[0] and there.read_bytes() != path.read_bytes():
            raise Refused(f"{name} is not the same file for each of Python {', '.join(VERSIONS)}")


def _pip(words: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
    command = interpreter.module("pip", "--quiet", "--disable-pip-version-check", *words)
    if failed := tools.run(f"pip {words[0]}", command, variables or {}):
        raise Unreachable(failed)
