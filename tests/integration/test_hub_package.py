"""The package for hubs: what is in it, the same bytes each time, and an environment that runs on each Python."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from packages import environment, hub_package, nfpm
from router.cluster.nodes.release import release
from tests.hub_staging import MOMENT, stage
from tests.interpreters import interpreters

MODULES = f"usr/lib/clusterbus/environment/{environment.MODULES}"
IMPORT_ALL = """
import importlib, pkgutil, sys
import psycopg
for name in ("router", "consumers", "clusterbus"):
    for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
        if not found.name.endswith(("__main__", "migrations.env", "database.env", ".versions", "examples")):
            importlib.import_module(found.name)
from importlib.metadata import entry_points
from router import interpreter
print(psycopg.pq.__impl__, len(entry_points(group="clusterbus.verbs")), interpreter.module("x")[0])
print(sorted(path for path in sys.path if "site-packages" in path or "dist-packages" in path))
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def run(*words: object, **options) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_what_is_packed_is_the_same_each_time(staged_hub: Path, tmp_path: Path):
    assert digests(stage(tmp_path, umask=0o077)) == digests(staged_hub)


def test_the_deb_holds_everything_as_roots_own_and_nothing_that_was_compiled_here(
    staged_hub: Path, tmp_path: Path, require: Callable[[str], str]
):
    require("dpkg-deb")
    package = nfpm.Package(hub_package.NAME, release().version, "hub", nfpm.machine())

    deb = nfpm.pack(package, "deb", staged_hub, tmp_path, MOMENT)

    lines = [line.split(maxsplit=5) for line in run("dpkg-deb", "--contents", deb).splitlines()]
    modes = {words[5].removeprefix("."): (words[0], words[1]) for words in lines}
    assert {owner for _, owner in modes.values()} == {"root/root"}
    kept = {mode for mode, _ in modes.values() if not mode.startswith("l")}
    assert kept == {"drwxr-xr-x", "drwx------", "-rw-r--r--", "-rwxr-xr-x"}
    assert modes["/etc/clusterbus/secrets/nodes/"][0] == "drwx------"
    for path in ("/usr/lib/clusterbus/link-python", "/usr/lib/clusterbus/move-state"):
        assert modes[path][0] == "-rwxr-xr-x"
    for path in (
        "/usr/bin/clusterbus -> ../lib/clusterbus/environment/bin/clusterbus",
        "/usr/lib/systemd/system/clusterbus-router.service",
        "/usr/lib/systemd/system/clusterbus-consume.service",
        "/usr/lib/sysusers.d/clusterbus-router.conf",
        "/usr/lib/sysusers.d/clusterbus-consume.conf",
        "/usr/lib/tmpfiles.d/clusterbus-hub.conf",
        "/usr/share/bash-completion/completions/clusterbus",
        "/usr/share/zsh/vendor-completions/_clusterbus",
        "/usr/share/fish/vendor_completions.d/clusterbus.fish",
        "/usr/share/man/man1/clusterbus.1.gz",
        "/usr/share/man/man1/clusterbus-doctor.1.gz",
        "/usr/share/doc/clusterbus/copyright",
        "/usr/share/doc/clusterbus/examples/README.md",
        "/usr/share/doc/clusterbus/monitoring/METRICS.md",
        "/usr/share/doc/clusterbus/monitoring/prometheus/clusterbus.rules.yaml",
        "/usr/share/doc/clusterbus/monitoring/grafana/clusterbus.json",
    ):
        assert path in modes
    assert not [path for path in modes if "__pycache__" in path or path.endswith(".pyc")]
    assert not run("dpkg-deb", "--info", deb, "control").count("Conffiles")


def test_no_file_names_the_machine_that_built_it(staged_hub: Path):
    names = {str(staged_hub).encode(), sys.prefix.encode(), str(Path(__file__).parents[2]).encode()}

    found = [
        str(path) for path in staged_hub.rglob("*") if path.is_file() and any(n in path.read_bytes() for n in names)
    ]

    assert found == []


@pytest.mark.parametrize("version", environment.VERSIONS)
def test_all_of_the_product_can_be_imported_on(version: str, staged_hub: Path, tmp_path: Path):
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"there is no Python {version}")
    place = tmp_path / "environment"
    run("cp", "-a", staged_hub / environment.FOLDER.lstrip("/"), place)
    settings = place / "pyvenv.cfg"
    settings.write_text(settings.read_text().replace("/usr/bin", str(Path(python).parent)))
    linked = place / "bin/python3"
    linked.symlink_to(python)

    first, second = run(linked, "-P", "-c", IMPORT_ALL, cwd=tmp_path, env={"PATH": "/usr/bin"}).splitlines()

    assert first == f"binary 8 {linked}"
    assert second == f"['{tmp_path}/environment/lib/python{version}/site-packages']"


def test_the_environment_takes_the_systems_python_or_another_that_it_has_modules_for(staged_hub: Path, tmp_path: Path):
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    for version in environment.VERSIONS:
        (root / f"usr/lib/clusterbus/environment/lib/python{version}").mkdir(parents=True)
    (root / "usr/lib/clusterbus/environment/lib/python3").mkdir()
    link = root / "usr/lib/clusterbus/environment/bin/python3"
    link.parent.mkdir()

    def chosen(**pythons: str) -> str:
        for path in (root / "usr/bin").iterdir():
            path.unlink()
        for name, version in pythons.items():
            path = root / "usr/bin" / name.replace("_", ".")
            path.write_text(f'#!/bin/sh\n[ "$2" = -c ] && echo {version}; exit 0\n')
            path.chmod(0o755)
        link.unlink(missing_ok=True)
        done = subprocess.run(
            [staged_hub / "usr/lib/clusterbus/link-python", root],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return str(link.readlink()) if done.returncode == 0 else done.stderr

    assert chosen(python3="3.13") == "/usr/bin/python3"
    assert chosen(python3="3.9", python3_11="3.11", python3_12="3.12") == "/usr/bin/python3.12"
    assert chosen(python3="3.14", python3_13="3.13") == "/usr/bin/python3.13"
    assert "there is no Python 3.11, 3.12 or 3.13 in /usr/bin: install one" in chosen(python3="3.9")
