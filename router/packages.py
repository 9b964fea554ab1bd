"""The node's files as a deb and an rpm, for sites that bring software to nodes that way.  The same bytes each time.

    python -m router.packages --to dist

What is in them is what `clusterbus nodes deploy` puts there, but for what is each node's own: settings and secrets.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from .command import Json, fail, say
from .errors import Refused, RouterError, SettingsError, Unreachable
from .nodes.files import File
from .nodes.release import SHIM, Release, release
from .sources.gpfs.registrations import COMMAND

NAME = "clusterbus-node"
CONFIGURATION = "/etc/clusterbus/relay.conf"
_LICENCE = f"/usr/share/doc/{NAME}/copyright"
_RECIPES = SHIM / "packages"
_LIMIT = 300
_EARLIEST = 315532800
"""1980 began: what is older than that can't be told by every archive."""


def contents(of: Release, licence: bytes) -> tuple[File, ...]:
    """Return what a package holds: the release *of* the shim, the command of callbacks, and settings as an example."""
    return (
        *of.files,
        File(COMMAND, of.script.encode(), 0o755),
        File(CONFIGURATION, (SHIM / "units" / "relay.conf").read_bytes()),
        File(_LICENCE, licence),
    )


def deb(folder: Path, of: Release, moment: int) -> Path:
    """Write the deb into *folder*, with *moment* (of the epoch) as the time of everything; return its path.

    Raises Unreachable where `dpkg-deb` is not here, and Refused in its words.
    """
    tool = _tool("dpkg-deb", "dpkg")
    with _staged(contents(of, _licence()), moment) as staged:
        control = staged / "DEBIAN"
        control.mkdir()
        control.chmod(0o755)
        _put(control / "control", _filled("control", {"VERSION": of.version}), 0o644)
        _put(control / "conffiles", f"{CONFIGURATION}\n", 0o644)
        _put(control / "preinst", (_RECIPES / "before-install.sh").read_text(), 0o755)
        _put(control / "postinst", (_RECIPES / "after-install.sh").read_text(), 0o755)
        _put(control / "prerm", (_RECIPES / "before-remove.sh").read_text(), 0o755)
        _dated(staged, moment)
        target = folder / f"{NAME}_{of.version}_all.deb"
        _run([tool, "--root-owner-group", "-Zxz", "--build", str(staged), str(target)], moment)
    return target


def rpm(folder: Path, of: Release, moment: int) -> Path:
    """Write the rpm into *folder*, as `deb` does; raises Unreachable where `rpmbuild` is not here."""
    tool = _tool("rpmbuild", "rpm, or rpm-build")
    files = contents(of, _licence())
    with _staged(files, moment) as staged, tempfile.TemporaryDirectory(prefix="clusterbus-rpm-") as work:
        values = {
            "VERSION": of.version,
            "STAGED": str(staged),
            "RECIPES": str(_RECIPES),
            "FILES": "\n".join([*_folders(files), *(_entry(each) for each in files)]),
        }
        spec = Path(work) / f"{NAME}.spec"
        _put(spec, _filled(f"{NAME}.spec", values), 0o644)
        defined = {
            "_topdir": work,
            "_rpmdir": f"{work}/RPMS",
            "_rpmfilename": f"{NAME}-{of.version}-1.noarch.rpm",
            "_buildhost": "localhost",
            "use_source_date_epoch_as_buildtime": "1",
            "clamp_mtime_to_source_date_epoch": "1",
            # Nothing of this machine's is done to the files.
            "__os_install_post": "%{nil}",
            "_build_id_links": "none",
            # What old and new releases of rpm can read.
            "_binary_payload": "w9.gzdio",
            "_dbpath": f"{work}/db",
        }
        options = [word for name, value in defined.items() for word in ("--define", f"{name} {value}")]
        _run([tool, "-bb", "--quiet", "--target", "noarch", *options, str(spec)], moment)
        target = folder / defined["_rpmfilename"]
        shutil.copyfile(f"{defined['_rpmdir']}/{target.name}", target)
    return target


FORMATS: Mapping[str, Callable[[Path, Release, int], Path]] = {"deb": deb, "rpm": rpm}


def moment_of(environment: Mapping[str, str]) -> int:
    """Return what SOURCE_DATE_EPOCH says, else the beginning of 1980.  Raises SettingsError.

    >>> moment_of({}), moment_of({"SOURCE_DATE_EPOCH": "1700000000"})
    (315532800, 1700000000)
    """
    text = environment.get("SOURCE_DATE_EPOCH") or str(_EARLIEST)
    if not text.isascii() or not text.isdigit() or len(text) > 11:  # noqa: PLR2004 - thousands of years
        raise SettingsError(f"SOURCE_DATE_EPOCH is {text!r}: seconds since 1970 are wanted")
    return max(int(text), _EARLIEST)


def package(
    to: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("dist"),
    form: Annotated[list[str] | None, typer.Option("--format", help="deb or rpm; by default both.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Build the packages of the node's files."""
    if strange := set(form or ()) - FORMATS.keys():
        fail(f"--format {min(strange)}: there are {', '.join(FORMATS)}", 2)
    try:
        to.mkdir(parents=True, exist_ok=True)
        moment = moment_of(os.environ)
        for each in form or FORMATS:
            path = FORMATS[each](to, release(), moment)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            say({"package": str(path), "sha256": digest}, as_json=as_json, text=f"{digest}  {path}")
    except SettingsError as error:
        fail(str(error), 2)
    except Unreachable as error:
        fail(str(error), 3)
    except (RouterError, OSError) as error:
        fail(str(error))


def _licence() -> bytes:
    for path in (SHIM.parent / "LICENSE", *SHIM.parent.glob("clusterbus-*.dist-info/**/LICENSE")):
        if path.is_file():
            return path.read_bytes()
    raise Refused("the licence of clusterbus is not beside it, and has to go with it")


class _staged:  # noqa: N801 - used as a function is
    """A folder with *files* as they are to be on a node, for the `with` block."""

    def __init__(self, files: Sequence[File], moment: int) -> None:
        self._files, self._moment = files, moment
        self._folder = tempfile.TemporaryDirectory(prefix="clusterbus-package-")

    def __enter__(self) -> Path:
        root = Path(self._folder.name) / "root"
        for each in self._files:
            path = root / each.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(each.content)
            path.chmod(each.mode)
        for path in (root, *root.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        _dated(root, self._moment)
        return root

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _dated(root: Path, moment: int) -> None:
    for path in (*root.rglob("*"), root):
        os.utime(path, (moment, moment))


def _put(path: Path, text: str, mode: int) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _filled(recipe: str, values: Mapping[str, str]) -> str:
    text = (_RECIPES / recipe).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def _folders(files: Sequence[File]) -> list[str]:
    """Return the folders that are ours alone, which go with the package."""
    found = {str(Path(each.path).parent) for each in files}
    return [
        f"%dir %attr(0755, root, root) {each}" for each in sorted(found) if Path(each).name.startswith("clusterbus")
    ]


def _entry(file: File) -> str:
    config = "%config(noreplace) " if file.path == CONFIGURATION else ""
    return f"{config}%attr({file.mode:04o}, {file.owner}, {file.group}) {file.path}"


def _tool(name: str, of: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unreachable(f"{name} is not installed: install {of}, or leave this format out with --format")
    return found


def _run(words: Sequence[str], moment: int) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(moment), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    try:
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, errors="replace", timeout=_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"{words[0]} could not be run: {error}") from error
    if done.returncode != 0:
        raise Refused(f"{words[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")


if __name__ == "__main__":
    typer.run(package)
