"""The package `clusterbus` for hubs and management hosts: the command and all that it needs, units, pages, examples."""

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from typer._completion_shared import get_completion_script
from typer.main import get_group

from consumers.cli.main import app
from router.cluster.nodes.files import File
from router.cluster.nodes.release import SHIM, Release

from . import environment, manual_pages, move_state
from .nfpm import Format, Package, machine, pack
from .node_package import LICENCE, stage

NAME = "clusterbus"
_ROOT = SHIM.parent
_RECIPE = Path(__file__).with_name("hub")
_MONITORING = (
    "METRICS.md",
    "prometheus/prometheus.yaml",
    "prometheus/clusterbus.rules.yaml",
    "grafana/clusterbus.json",
)
_COMPLETIONS = {
    "bash": "/usr/share/bash-completion/completions/clusterbus",
    "zsh": "/usr/share/zsh/site-functions/_clusterbus",
    "fish": "/usr/share/fish/vendor_completions.d/clusterbus.fish",
}


def stage_all(staged: Path, of: Release, moment: int) -> None:
    """Write everything that the package holds below *staged*.  Raises Unreachable and Refused as `environment` does."""
    environment.build(staged / environment.FOLDER.lstrip("/"), machine(), moment)
    for each in contents(of):
        stage(each, staged)
    shutil.copytree(_ROOT / "examples", staged / "usr/share/doc/clusterbus/examples")


def build(forms: tuple[Format, ...], folder: Path, of: Release, moment: int) -> Iterator[Path]:
    """Write the package of the release *of* in these *forms* into *folder*, and yield the path of each.

    *moment* is the time in them.  Raises Unreachable and Refused as `pack` and `stage_all` do.
    """
    with tempfile.TemporaryDirectory(prefix="clusterbus-package-") as staged:
        stage_all(Path(staged), of, moment)
        yield from pack_each(forms, Path(staged), folder, of, moment)


def pack_each(forms: tuple[Format, ...], staged: Path, folder: Path, of: Release, moment: int) -> Iterator[Path]:
    """Write what is *staged* in these *forms* into *folder*, and yield the path of each.  Raises Refused as `pack`."""
    for form in forms:
        yield pack(Package(NAME, of.version, "hub", machine()), form, staged, folder, moment)


def contents(of: Release) -> Iterator[File]:
    """Yield the files of the package that are not in the environment."""
    for program, folder in (("clusterbus-router", "router"), ("clusterbus-consume", "consumers")):
        units = _ROOT / folder / "units"
        yield File(f"/usr/lib/systemd/system/{program}.service", (units / f"{program}.service").read_bytes())
        yield File(f"/usr/lib/sysusers.d/{program}.conf", (units / f"{program}.sysusers").read_bytes())
    yield File("/usr/lib/tmpfiles.d/clusterbus-hub.conf", (_RECIPE / "clusterbus-hub.tmpfiles").read_bytes())
    yield File("/usr/lib/clusterbus/link-python", (_RECIPE / "link-python").read_bytes(), 0o755)
    first_line = f"#!{environment.FOLDER}/bin/python3 -I\n"
    yield File("/usr/lib/clusterbus/move-state", first_line.encode() + Path(move_state.__file__).read_bytes(), 0o755)
    for shell, path in _COMPLETIONS.items():
        names = {"prog_name": NAME, "complete_var": "_CLUSTERBUS_COMPLETE", "shell": shell}
        yield File(path, f"{get_completion_script(**names)}\n".encode())
    for name, text in manual_pages.pages(get_group(app), of.version).items():
        yield File(f"/usr/share/man/man1/{name}.gz", gzip.compress(text.encode(), mtime=0))
    yield File("/usr/share/doc/clusterbus/copyright", LICENCE.read_bytes())
    for page in _MONITORING:
        yield File(f"/usr/share/doc/clusterbus/monitoring/{page}", (_ROOT / "docker" / page).read_bytes())
