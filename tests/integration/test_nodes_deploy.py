"""The shim put on 64 nodes, each a folder here: by the command, over ClusterShell, with faults of the machine's own."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import typer
import yaml
from typer.testing import CliRunner

from router.cli import nodes as deploying
from router.cluster.callbacks.gpfs.registrar import Registrar
from router.cluster.gpfs.commands import Commands
from router.cluster.gpfs.errors import NotReady
from router.cluster.nodes import capture_script, deployment, zipapps
from router.cluster.nodes.release import SHIM, release
from router.cluster.nodes.survey import survey
from router.model.catalogue import load
from router.settings import loading
from router.settings.models import Settings
from tests.hung_disk import hanging
from tests.interpreters import interpreters
from tests.processes import bound
from tests.shim_relay import PATIENCE, drained, ingress, waiting
from tests.waiting import wait_for

EMPTY = {"done": "", "unchanged": "", "failed": [], "unconnected": [], "warnings": []}
RELAY_UNIT = SHIM / "units" / "clusterbus-relay.service"
UNITS = [
    RELAY_UNIT,
    SHIM.parent / "router" / "units" / "clusterbus-router.service",
    SHIM.parent / "consumers" / "units" / "clusterbus-consume.service",
]
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable

# The nodes' Python: what is wrong with a node is written in a file of its name.  Faults of disks are mounts that only
# this process sees.
NODE = """#!/bin/sh
fault=
[ -f @faults@/$CLUSTERBUS_NODE_NAME ] && read -r fault < @faults@/$CLUSTERBUS_NODE_NAME
root=@root@/$CLUSTERBUS_NODE_NAME
case $fault in
    "") exec @python@ "$@";;
    gone) exec /nonexistent/python3 "$@";;
    hangs) exec sleep 300;;
    cut) head -c 400000 | @python@ "$@"; exit $?;;
    readonly) mounts='mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"';;
    full) mounts='cd "$0" && mkdir -p usr/lib/clusterbus && mount -t tmpfs -o size=300k,mode=755 x usr/lib/clusterbus';;
esac
exec unshare -m sh -ec "mount --make-rprivate / && $mounts; exec \\"\\$@\\"" "$root" @python@ "$@"
"""
FAULTS = {"n05": "readonly", "n17": "full", "n29": "gone", "n41": "hangs", "n53": "cut"}


@pytest.fixture
def clusters(tmp_path):
    """Makes 64 nodes' folders and secrets, as often as it is asked, and gives what runs `clusterbus nodes` on them."""
    # A script's first line names the interpreter, and is short.
    with tempfile.TemporaryDirectory(prefix="cb") as short:

        def made(name):
            (tmp_path / name).mkdir()
            (Path(short) / name).mkdir()
            return Cluster(tmp_path / name, Path(short) / name)

        yield made


@pytest.fixture
def cluster(clusters):
    """The one cluster of most tests."""
    return clusters("c")


class Cluster:
    def __init__(self, folder, short, count=64):
        self.folder, self.short = folder, short
        self.faults, self.python, self.secrets = folder / "faults", short / "python3", folder / "secrets"
        self.names = [f"n{number:02}" for number in range(1, count + 1)]
        self.faults.mkdir()
        for name in self.names:
            (folder / "nodes" / name / "etc").mkdir(parents=True)
            (self.root(name) / "etc/group").write_text("clusterbus:x:4242:\n")
            (self.secrets / name).mkdir(parents=True)
            (self.secrets / name / "password").write_text(f"secret of {name}\n")
            (self.secrets / name / "password").chmod(0o600)
        words = {"faults": self.faults, "root": folder / "nodes", "python": PYTHON}
        text = NODE
        for word, value in words.items():
            text = text.replace(f"@{word}@", str(value))
        self.python.write_text(text)
        self.python.chmod(0o755)
        self.nodes = {
            "transport": "local",
            "root": f"{folder}/nodes/{{node}}",
            "python": str(self.python),
            "secrets": str(self.secrets),
            "fanout": 8,
            "timeout": "30s",
            "relay": {"cluster": "prod", "broker": "amqps://mq1.example/clusterbus"},
        }

    def root(self, name):
        return self.folder / "nodes" / name

    def run(self, *words, code=0, **nodes):
        """Run `clusterbus nodes`, and return what it printed."""
        file = self.folder / "settings.yaml"
        gpfs = {"commands": str(self.folder / "no-commands")}
        file.write_text(yaml.safe_dump({"nodes": {**self.nodes, **nodes}, "gpfs": gpfs}))
        app = typer.Typer()
        app.add_typer(deploying.nodes_app, name="nodes")

        @app.callback()
        def root(context: typer.Context) -> None:
            context.obj = loading.load(file, environment={}, system=file)

        ended = CliRunner().invoke(app, ["nodes", *words])
        assert ended.exit_code == code, (ended.output, ended.exception)
        return ended.stdout

    def answer(self, *words, **fields):
        """Return the last line of what was printed, as JSON; before it is one for each node."""
        lines = [json.loads(line) for line in self.run(*words, "--json", **fields).splitlines()]
        assert all("node" in each for each in lines[:-1])
        return lines[-1]

    def written(self):
        """Return what is known of each file of all nodes that a write would change."""
        return {
            path: (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            for path in (self.folder / "nodes").rglob("*")
            for status in [path.lstat()]
        }


def may_mount():
    probe = ["unshare", "-m", "mount", "--make-rprivate", "/"]
    return shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def faulty(cluster, timeout):
    """Deploy to 64 nodes of which five have a fault; return the answer, and why each failed."""
    for name, fault in FAULTS.items():
        (cluster.faults / name).write_text(f"{fault}\n")
    first = cluster.answer("deploy", "n[01-64]", code=3, timeout=timeout)
    return first, {each["nodes"]: each["reason"] for each in first["failed"]}


@pytest.mark.long
def test_of_64_nodes_five_fail_in_their_own_ways_and_the_next_run_does_only_those(clusters):
    if not may_mount():
        pytest.skip("disks that are full or cannot be written are mounts of the test's own, and need root")

    # The node that hangs uses up its time, so it is short.  Where the machine has so much else to do that others are
    # late as well, once more with time enough.
    cluster, timeout = clusters("short"), "6s"
    first, reasons = faulty(cluster, timeout)
    if any("did not finish" in reason and nodes != "n41" for nodes, reason in reasons.items()):
        cluster, timeout = clusters("long"), "40s"
        first, reasons = faulty(cluster, timeout)

    assert first["done"] == "n[01-04,06-16,18-28,30-40,42-52,54-64]"
    assert list(reasons) == list(FAULTS)
    assert "Read-only file system" in reasons["n05"]
    assert "No space left on device" in reasons["n17"]
    assert "ended with 127" in reasons["n29"]
    assert f"its command did not finish within {timeout[:-1]} s" in reasons["n41"]
    assert "arrived damaged" in reasons["n53"]

    for name in FAULTS:
        (cluster.faults / name).unlink()
    with pytest.raises(NotReady) as refused:
        registrar(cluster).apply()
    assert str(refused.value).startswith("5 nodes are not ready for callbacks; run `clusterbus nodes deploy` there:")
    assert set(re.findall(r"\bn\d\d\b", str(refused.value))) == set(FAULTS)

    before = cluster.written()
    second = cluster.answer("deploy", "n[01-64]")

    after = cluster.written()
    touched = {path.relative_to(cluster.folder / "nodes").parts[0] for path in after if after[path] != before.get(path)}
    assert second == {**EMPTY, "done": "n[05,17,29,41,53]", "unchanged": first["done"]}
    assert touched == set(FAULTS)


def registrar(cluster):
    """Return who registers callbacks with a GPFS that has the nodes of *cluster*, and asks them for the shim."""
    head = "mmlscluster:clusterNode:HEADER:version:reserved:reserved:daemonNodeName:adminNodeName:designation:\n"
    rows = "".join(f"mmlscluster:clusterNode:0:1:::{name}:{name}::\n" for name in cluster.names)
    wanted = loading.load(cluster.folder / "settings.yaml", environment={}).settings

    def run(words):
        assert words[0].startswith("mmls"), f"{words} was not to be run"
        return head + rows if words[0] == "mmlscluster" else ""

    def lacks(names):
        return {name: found.reason for name, found in survey(names, wanted.nodes).items() if not found.good}

    memory = cluster.folder / "gpfs.json"
    return Registrar(Commands(run), wanted.gpfs.model_copy(update={"memory": memory}), load("gpfs"), lacks)


def test_a_node_whose_deployment_fails_keeps_the_old_shim_and_it_works(cluster):
    cluster.run("deploy", "n01")
    capture = cluster.root("n01") / "usr/libexec/clusterbus/capture-gpfs"
    before = capture.read_bytes()
    (cluster.faults / "n01").write_text("cut\n")

    # Another relay.conf is small, so that all is there; another interpreter sends everything.
    moved = cluster.short / "other"
    shutil.copy(cluster.python, moved)
    (cluster.root("n01") / "usr/lib/clusterbus/clusterbus-relay.pyz").unlink()
    failed = cluster.answer("deploy", "n01", code=1, python=str(moved))
    (cluster.faults / "n01").unlink()
    subprocess.run([str(capture), "mount", "--fsName", "gpfs1"], check=True, timeout=120)

    (record,) = (cluster.root("n01") / "var/spool/clusterbus/new").iterdir()
    assert "arrived damaged" in failed["failed"][0]["reason"]
    assert capture.read_bytes() == before
    assert json.loads(record.read_bytes())["node"] == "n01"


def test_what_would_be_done_is_said_and_not_done(cluster):
    before = cluster.written()

    said = cluster.run("deploy", "n[01-02]", "--dry-run")
    answer = cluster.answer("deploy", "n[01-02]", "--dry-run")

    assert said.startswith("n[01-02]: /usr/lib/clusterbus/clusterbus-relay.pyz is missing")
    assert [each["nodes"] for each in answer["deploy"]] == ["n[01-02]"]
    assert cluster.written() == before


def test_a_status_tells_of_each_difference_and_ends_with_1(cluster):
    cluster.run("deploy", "n[01-03]")
    (cluster.root("n02") / "etc/clusterbus/relay.conf").write_text("[relay]\n")

    said = cluster.run("status", "n[01-03]", code=1)

    assert f"ok\tn[01,03]\trelease 0.1.0, Python {python_version()}, relay left out\t\n" in said
    assert "error\tn02\t/etc/clusterbus/relay.conf has different content\t\n" in said
    assert "secret of" not in said


def test_a_status_says_what_nodes_lose_and_lost(cluster):
    cluster.run("deploy", "n[01-03]")
    (cluster.root("n02") / "var/spool/clusterbus/lost").write_bytes(b".ffd")
    run = cluster.root("n03") / "run/clusterbus"
    run.mkdir(parents=True, exist_ok=True)
    (run / "unsaved").write_bytes(b"x" * 90)

    said = cluster.run("status", "n[01-03]", code=1)
    deployed = cluster.answer("deploy", "n[01-03]")
    answer = cluster.answer("status", "n[01-03]", code=1)

    losing = "neither the spool nor syslog took some callbacks: 90 bytes of them are in /run/clusterbus/unsaved"
    lost = "3 callbacks could not be stored since the spool was created (spool full: 2, disk full: 1)"
    assert "ok\tn[01-02]\t" in said
    assert f"error\tn03\t{losing}\t\n" in said
    assert f"warning\tn02\t{lost}\t\n" in said
    assert deployed["warnings"] == [{"nodes": "n03", "reason": losing}, {"nodes": "n02", "reason": lost}]
    assert answer["error"] == [{"nodes": "n03", "reason": losing}]
    assert answer["warning"] == [{"nodes": "n02", "reason": lost}]


@pytest.mark.long
def test_a_disk_that_hangs_under_one_spool_is_named_and_delays_no_other_node(cluster, tmp_path):
    cluster.run("deploy", "n[01-02]")
    flag, spool = tmp_path / "hung", cluster.root("n02") / "var/spool/clusterbus"
    names = hanging(tmp_path, spool, while_there=flag).items()
    preload = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in names)
    cluster.python.write_text(cluster.python.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{preload}"))
    flag.touch()
    try:
        began = time.monotonic()
        said = cluster.run("status", "n[01-02]", code=1, timeout="2m")
        took = time.monotonic() - began
    finally:
        flag.unlink()

    assert f"error\tn02\tthe disk under {spool} does not answer after 10 s" in said
    assert "ok\tn01\t" in said
    assert took < 60
    assert cluster.run("status", "n[01-02]").startswith("ok\tn[01-02]\t")


def test_a_node_with_the_package_is_good_beside_deployed_ones_and_left_alone(cluster):
    cluster.run("deploy", "n[01-02]")
    root, capture = cluster.root("n02"), "usr/libexec/clusterbus/capture-gpfs"
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    (root / "var/lib/dpkg/info/clusterbus-node.list").write_text("/usr/libexec/clusterbus/capture.py\n")
    (root / "usr/lib/clusterbus/installed.json").unlink()
    (root / "etc/clusterbus/relay.conf").write_text("[relay]\nof = the site\n")
    (root / capture).write_text(capture_script.written(release().script, str(cluster.python), []))

    good = cluster.run("status", "n[01-02]")
    unchanged = cluster.answer("deploy", "n[01-02]")
    (root / "usr/libexec/clusterbus/capture.py").write_text("older")
    failed = cluster.answer("deploy", "n[01-02]", code=1)

    assert good.startswith("ok\tn[01-02]\t")
    assert unchanged["unchanged"] == "n[01-02]"
    assert failed["unchanged"] == "n01"
    assert "the deb clusterbus-node installed the shim on this node" in failed["failed"][0]["reason"]
    assert (root / "usr/libexec/clusterbus/capture.py").read_text() == "older"


def test_a_removal_leaves_what_is_not_ours_and_says_what_it_kept(cluster):
    cluster.run("deploy", "n[01-02]")
    (cluster.root("n02") / "var/spool/clusterbus/new/x").touch()

    said = cluster.run("remove", "n[01-02]")

    assert f"secrets of n[01-02] are still in {cluster.secrets}: `clusterbus broker users --remove" in said
    left = [path.name for path in cluster.root("n01").rglob("*") if path.is_file()]
    assert left == ["group"]
    assert "n[01-02]: removed" in said
    assert "n02: kept /var/spool/clusterbus: it holds 1 files that were not delivered" in said
    assert cluster.answer("remove", "n01") == {**EMPTY, "unchanged": "n01"}


def test_a_spool_on_gpfs_is_warned_of_and_the_deployment_goes_on(cluster, monkeypatch):
    mounts, spool = cluster.folder / "mountinfo", cluster.root("n01") / "var/spool/clusterbus"
    mounts.write_text(f"22 1 259:1 / / rw - ext4 /dev/root rw\n40 22 0:40 / {spool} rw - gpfs fs1 rw\n")
    made = release(python=cluster.python)
    program = made.installer.replace(b"/proc/self/mountinfo", str(mounts).encode())
    monkeypatch.setattr(deployment, "release", lambda **_: replace(made, installer=program))

    planned = cluster.run("deploy", "n[01-02]", "--dry-run")
    said = cluster.run("deploy", "n[01-02]")
    answer = cluster.answer("deploy", "n[01-02]")
    status = cluster.run("status", "n[01-02]")

    warning = f"{spool} is on gpfs, a file system of the network"
    assert f"n01: warning: {warning}" in planned
    assert said.startswith("n[01-02]: deployed\n")
    assert f"n01: warning: {warning}" in said
    assert [each["nodes"] for each in answer["warnings"]] == ["n01"]
    assert f"warning\tn01\t{warning}" in status


@pytest.mark.parametrize(
    ("nodes", "code"),
    [("", 3), (",", 2), ("n[3-1]", 2), ("-oProxyCommand=x", 2), ("n01;id", 2), ("n01.a,n01.b", 2)],
    ids=["none", "comma", "backwards", "option", "shell", "same"],
)
def test_names_are_checked_before_anything_is_done(cluster, nodes, code):
    words = ["deploy", *(["--", nodes] if nodes else [])]
    if nodes == "n01.a,n01.b":
        with pytest.raises(AssertionError, match="would both be 'n01' in records"):
            cluster.run(*words)
        return

    cluster.run(*words, code=code)

    assert not (cluster.root("n01") / "usr").exists()


# What sshd does with what it is sent: a shell gets it as one text.
SSH = """#!/bin/sh
printf '%s\\n' "$*" >> @log@
while :; do case $1 in -l|-i|-p|-F) shift 2;; -*) shift;; *) break;; esac; done
node=$1; shift
case $node in dead*) echo "ssh: connect to host $node port 22: No route to host" >&2; exit 255;; esac
exec env -i PATH="$PATH" sh -c "$*"
"""


def test_over_ssh_nothing_secret_is_in_an_argument_and_a_dead_node_is_unreachable(cluster):
    log, program = cluster.folder / "ssh.log", cluster.short / "ssh"
    program.write_text(SSH.replace("@log@", str(log)))
    program.chmod(0o755)
    for name in ("dead1", "n01"):
        (cluster.secrets / name).mkdir(exist_ok=True)
        (cluster.secrets / name / "password").write_text("very-secret")
        (cluster.secrets / name / "password").chmod(0o600)

    # Only looked at: over ssh the node is this machine itself.
    said = cluster.run("status", "dead1,n01", code=3, transport="ssh", root="", ssh=str(program), python=PYTHON)

    assert "error\tdead1\tit cannot be reached: ssh: connect to host dead1 port 22: No route to host\t\n" in said
    assert "error\tn01\t/usr/lib/clusterbus/clusterbus-relay.pyz is missing, " in said
    assert "very-secret" not in log.read_text()
    assert len(log.read_text().splitlines()) == 2


def test_the_relays_zipapp_runs_on_every_python_from_3_9_on_and_needs_nothing_there(tmp_path):
    archive = tmp_path / "clusterbus-relay.pyz"
    archive.write_bytes(zipapps.relay(SHIM))
    tried = interpreters(oldest=9)

    for version, python in tried.items():
        command = [python, "-ISB", str(archive), "--help"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env={}, cwd="/")
        assert ended.returncode == 0, (version, ended.stderr)
        assert ended.stdout.startswith("usage: clusterbus-relay"), version


def test_on_an_older_python_the_relay_says_what_it_needs_and_is_not_started_again_and_again(tmp_path):
    archive = tmp_path / "clusterbus-relay.pyz"
    archive.write_bytes(zipapps.relay(SHIM))
    tried = {version: path for version, path in interpreters().items() if int(version.partition(".")[2]) < 9}
    if not tried:
        pytest.skip("no Python before 3.9 is here")

    for version, python in tried.items():
        ended = subprocess.run(
            [python, "-IB", str(archive)], capture_output=True, text=True, check=False, timeout=240, env={}, cwd="/"
        )
        wanted = f"the relay needs Python 3.9 or later, and {python} is {version}\n"
        assert (ended.returncode, ended.stderr) == (2, wanted), version


def test_what_was_deployed_carries_a_record_to_the_broker(cluster, vhost_url):
    parts = urlsplit(vhost_url)
    url = urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}"))
    (cluster.secrets / "n01" / "password").write_text(f"{parts.password}\n")
    (cluster.secrets / "n01" / "password").chmod(0o600)
    cluster.run("deploy", "n01", relay={"cluster": "prod", "broker": url})
    root = cluster.root("n01")
    subprocess.run(
        [root / "usr/libexec/clusterbus/capture-gpfs", "mount", "--fsName", "gpfs1"], check=True, timeout=120
    )
    relay = [PYTHON, "-I", str(root / "usr/lib/clusterbus/clusterbus-relay.pyz"), "--allow-root"]

    with ingress(vhost_url) as tap:
        command = bound([*relay, "--config", str(root / "etc/clusterbus/relay.conf")])
        process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL)
        try:
            (taken,) = drained(tap, 1)
            wait_for(lambda: not waiting(root / "var/spool/clusterbus"), PATIENCE, "the record to be confirmed")
        finally:
            process.terminate()
            process.wait(120)

    assert taken.key == "gpfs.prod.mount.n01"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_are_hardened_and_systemd_finds_nothing_wrong_with_them(tmp_path, unit):
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze is not here: python -m router.local_broker systemd installs it")
        pytest.skip("systemd-analyze is not here: make test installs it where it may")
    copy = tmp_path / unit.name
    # It looks for the programs, and ours may be elsewhere on this machine.
    ours = Path(sys.executable).with_name("clusterbus")
    copy.write_text(unit.read_text().replace("ExecStart=/usr/bin/clusterbus", f"ExecStart={ours}"))

    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False, timeout=240
    )
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", copy],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    exposure = float(said.stdout.rpartition("Overall exposure level for")[2].partition(":")[2].split()[0])
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    assert exposure <= 2.0
    # It would hide /proc/sys: the boot id, and from OpenSSL that the machine is in FIPS mode.
    assert "\nProcSubset=" not in unit.read_text()


def python_version():
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    return subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_what_the_page_shows_is_so(cluster):
    page = (SHIM.parent / "router" / "cluster" / "nodes" / "README.md").read_text()
    shown = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])["nodes"]
    commands = [shlex.split(line[2:], comments=True) for line in page.splitlines() if line.startswith("$ ")]
    here = {"become": [], "secrets": str(cluster.secrets), "python": str(cluster.python)}

    Settings.model_validate({"nodes": shown})
    cluster.names = ["nsd01"]
    shutil.copytree(cluster.secrets / "n01", cluster.secrets / "nsd01")
    cluster.root("nsd01").mkdir()
    cluster.nodes |= {**shown, **here, "timeout": "30s"}
    for command in commands:
        assert command[:2] == ["clusterbus", "nodes"]
        cluster.run(*(word.replace("[01-64]", "01").replace("64", "01") for word in command[2:]))
        if command[2:] == ["deploy", "nsd[01-64]"]:
            there = cluster.written()

    put = {
        f"/{path.relative_to(cluster.root('nsd01'))}" for path in there if path.is_relative_to(cluster.root("nsd01"))
    }
    for name in re.findall(r"`(/(?:usr|etc)/[^`]+)`", page.partition("## Installed files")[2].partition("## How")[0]):
        assert name in put, name
