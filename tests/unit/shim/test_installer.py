"""What puts the shim on a node: in a folder in the node's stead, with real files and real kills."""

import fcntl
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from router.cluster.nodes.files import File, part
from router.cluster.nodes.release import release
from shim import installer
from tests.interpreters import interpreters

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def signals():
    """Gives signals their meaning back: an installer that is about to end is not to be stopped any more."""
    ours = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {each: signal.getsignal(each) for each in ours}
    yield
    for each in ours:
        signal.signal(each, before[each])


CAPTURE = (ROOT / "shim" / "capture.py").read_bytes()
OLD = {
    "/usr/lib/clusterbus/clusterbus-relay.pyz": b"old relay",
    "/usr/libexec/clusterbus/capture.py": CAPTURE + b"# old\n",
    "/usr/libexec/clusterbus/capture-gpfs": b"#!/usr/bin/python3 -IS\n# old\n",
}
NEW = {
    "/usr/lib/clusterbus/clusterbus-relay.pyz": b"new relay",
    "/etc/clusterbus/password": b"secret",
    "/usr/libexec/clusterbus/capture.py": CAPTURE,
    "/usr/libexec/clusterbus/capture-gpfs": b"#!/usr/bin/python3 -IS\n# new\n",
}
NEW_WITHOUT_PASSWORD = {path: content for path, content in NEW.items() if path != "/etc/clusterbus/password"}
SHARED = {
    "version": "0.1.0",
    "user": {"name": "clusterbus", "comment": "x", "home": "/", "shell": "/sbin/nologin"},
    "folders": [
        {"path": f"/var/spool/clusterbus{each}", "mode": 0o2770, "owner": "root", "group": "clusterbus"}
        for each in ("", "/tmp", "/new", "/bad", "/kept")
    ],
}


@pytest.fixture
def root(tmp_path):
    """A folder in the stead of a node, whose group clusterbus has a number of its own."""
    folder = tmp_path / "node"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "group").write_text("root:x:0:\nclusterbus:x:4242:\n")
    return folder


def bundle(files, mode="install", root="", version="0.1.0"):
    shared = part({**SHARED, "mode": mode, "version": version}, _files(files), files)
    return shared + part({"node": "n1", "root": str(root)}, [])


def _files(files):
    return [
        File(path, content, 0o755 if "libexec" in path else 0o640, group="clusterbus" if "/etc/" in path else "root")
        for path, content in files.items()
    ]


def node_of(root, files):
    stream = io.BytesIO(bundle(files))
    shared, own = installer.Part(stream), installer.Part(stream)
    return installer.Node(installer.Target(str(root)), shared.header, shared.files + own.files)


def install(root, files):
    node = node_of(root, files)
    installation = installer.Installation(node)
    installation.run()
    return installation, node


def content_of(root, files):
    return {path: (root / path[1:]).read_bytes() if (root / path[1:]).exists() else None for path in files}


def asides(root):
    return [path.name for path in root.rglob("*") if ".clusterbus-" in path.name]


def test_what_is_put_there_is_there_with_owner_and_mode(root):
    installation, node = install(root, NEW)

    password = (root / "etc/clusterbus/password").stat()
    assert content_of(root, NEW) == NEW
    assert node.differences() == []
    assert set(NEW) < set(installation.did)
    assert password.st_mode & 0o7777 == 0o640
    assert (password.st_uid, password.st_gid) == ((0, 4242) if os.geteuid() == 0 else (os.geteuid(), os.getegid()))
    assert (root / "var/spool/clusterbus/new").stat().st_mode & 0o7777 == 0o2770
    assert (root / "usr/lib/clusterbus/installed.json").stat().st_mode & 0o7777 == 0o600
    assert asides(root) == []


def test_only_what_differs_is_written(root):
    install(root, OLD)
    before = {path: (root / path[1:]).stat().st_ino for path in OLD}
    changed = {**OLD, "/usr/libexec/clusterbus/capture-gpfs": NEW["/usr/libexec/clusterbus/capture-gpfs"]}

    installation, _ = install(root, changed)

    after = {path: (root / path[1:]).stat().st_ino for path in OLD}
    assert [path for path in OLD if before[path] != after[path]] == ["/usr/libexec/clusterbus/capture-gpfs"]
    assert installation.did == ["/usr/libexec/clusterbus/capture-gpfs", installer.RECORD]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.chmod(0o777), "has mode 0777 instead of 0755"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"other"), "has different content"),
        (lambda path: (path.unlink(), path.symlink_to("/bin/true")), "is not a regular file"),
        (lambda path: (path.parent / "capture.py.clusterbus-old").touch(), "an installation was interrupted"),
    ],
    ids=["mode", "missing", "content", "link", "leftover"],
)
def test_what_was_changed_by_hand_is_found_and_mended(root, spoil, why):
    install(root, NEW)
    spoil(root / installer.CAPTURE[1:])

    found = node_of(root, NEW).differences()
    install(root, NEW)

    assert found == [(installer.CAPTURE, why)]
    assert node_of(root, NEW).differences() == []
    assert not (root / installer.CAPTURE[1:]).is_symlink()


def test_a_folder_that_others_may_write_is_no_place_for_what_root_runs(root):
    (root / "usr/libexec/clusterbus").mkdir(parents=True)
    (root / "usr/libexec/clusterbus").chmod(0o777)

    with pytest.raises(installer.Failed, match="others than its owner may write to this folder"):
        install(root, NEW)

    assert content_of(root, NEW) == dict.fromkeys(NEW)


@pytest.mark.parametrize("at", range(1, 6))
def test_where_a_rename_fails_all_is_as_it_was(root, monkeypatch, at):
    install(root, OLD)
    rename, count = os.rename, iter(range(1, 100))

    def failing(source, target):
        if source.endswith(installer.NEW) and next(count) == at:
            raise OSError(5, "Input/output error", target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        install(root, NEW)
    monkeypatch.undo()

    assert content_of(root, OLD) == OLD
    assert not (root / "etc/clusterbus/password").exists()
    assert asides(root) == []
    assert node_of(root, OLD).differences() == []


def test_a_capture_that_stores_nothing_is_not_put_there(root):
    install(root, OLD)
    broken = {**NEW, installer.CAPTURE: b"#!/usr/bin/python3 -IS\n"}

    with pytest.raises(installer.Failed, match="capture stores no record on this node"):
        install(root, broken)

    assert content_of(root, OLD) == OLD
    assert asides(root) == []


def test_two_installations_do_not_meet(root):
    install(root, OLD)
    fd = os.open(root / "usr/libexec/clusterbus", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)

    with pytest.raises(installer.Failed, match="another installation"):
        installer.do("install", node_of(root, NEW), {})

    os.close(fd)
    assert content_of(root, OLD) == OLD


# Counts the calls that change something, and ends itself with the n-th; then does all of it once more.
KILLS = """
import io, json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.unit.shim import test_installer as given
from shim import installer

installer.Installation._try = lambda self: None
CALLS = ("open", "rename", "link", "unlink", "fsync", "fchown", "fchmod", "mkdir", "rmdir")
ORIGINAL = {name: getattr(os, name) for name in CALLS}

def dying(n):
    left = [n]
    for name, call in ORIGINAL.items():
        def counted(*given, call=call, **named):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), 9)
            return call(*given, **named)
        setattr(os, name, counted)

folder, killed, whole = Path(sys.argv[2]), 0, True
for n in range(1, 1000):
    root = folder / str(n)
    (root / "etc").mkdir(parents=True)
    (root / "etc/group").write_text("clusterbus:x:4242:\\n")
    given.install(root, given.OLD)
    child = os.fork()
    if child == 0:
        dying(n)
        given.install(root, given.NEW)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    there = given.content_of(root, given.NEW)
    for path, content in there.items():
        assert content in (given.OLD.get(path), given.NEW[path]), (n, path)
        assert content is not None or path not in given.OLD, (n, path)
    given.install(root, given.NEW)
    assert given.content_of(root, given.NEW) == given.NEW, n
    assert given.node_of(root, given.NEW).differences() == [], n
    assert given.asides(root) == [], n
    killed += ended == -9
    if ended == 0:
        break
print(killed)
"""


@pytest.mark.thorough
def test_killed_at_any_moment_each_file_is_the_old_or_the_new_one_and_the_next_run_finishes(tmp_path):
    command = [sys.executable, "-c", KILLS, str(ROOT), str(tmp_path)]

    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)

    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 50


def test_what_was_killed_is_as_before_when_the_next_run_fails(root):
    install(root, OLD)
    # As a kill leaves it after the first of the renames.
    path = root / installer.CAPTURE[1:]
    os.link(path, f"{path}{installer.OLD}")
    path.with_name("x").write_bytes(NEW[installer.CAPTURE])
    path.with_name("x").rename(path)

    with pytest.raises(installer.Failed, match="capture stores no record"):
        install(root, {**NEW, installer.CAPTURE: b"#!/usr/bin/python3 -IS\n# third\n"})

    assert content_of(root, OLD) == OLD


def test_removed_is_what_was_put_there_and_nothing_else(root):
    install(root, NEW)
    (root / "etc/clusterbus/clusterbus.yaml").write_text("ours: not")
    (root / "usr/libexec/clusterbus/__pycache__").mkdir()
    (root / "usr/libexec/clusterbus/__pycache__/capture.cpython-311.pyc").touch()

    answer = installer.do("remove", node_of(root, NEW), {})

    left = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert left == ["etc/clusterbus/clusterbus.yaml", "etc/group"]
    assert not (root / "usr/libexec/clusterbus").exists()
    assert not (root / "var/spool/clusterbus").exists()
    assert answer["kept"] == []


def test_records_that_nobody_has_and_what_was_changed_stay(root):
    install(root, NEW)
    (root / "var/spool/clusterbus/new/record.json").write_text("{}")
    (root / "usr/libexec/clusterbus/capture-gpfs").write_text("by hand")

    answer = installer.do("remove", node_of(root, NEW), {})

    assert answer["kept"] == [
        "/usr/libexec/clusterbus/capture-gpfs: it changed after the installation",
        "/var/spool/clusterbus: it holds 1 files that were not delivered",
    ]
    assert (root / "var/spool/clusterbus/new/record.json").exists()
    assert not (root / "usr/libexec/clusterbus/capture.py").exists()


def test_the_user_of_the_relay_stays_on_a_node_and_is_named(root):
    node = node_of(root, NEW)
    node.target.is_here, node.user = True, {"name": "root"}
    removal = installer.Removal(node)

    removal._name_user()

    assert removal.kept == ["the user root: `userdel root` deletes it"]


def test_what_an_earlier_release_put_there_is_removed_too(root):
    install(root, {**NEW, "/usr/lib/clusterbus/earlier": b"x"})

    installer.do("remove", node_of(root, NEW), {})

    assert not (root / "usr/lib/clusterbus").exists()


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: {}["disks"], "KeyError: 'disks'"),
        (lambda: {"a": {1}}, "TypeError: Object of type set is not JSON serializable"),
        (lambda: int("x\n" + "y" * 5000), "ValueError: invalid literal for int() with base 10: "),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "its process ended without an answer (status 9)"),
    ],
    ids=["unexpected", "unspeakable", "long", "killed"],
)
def test_whatever_ends_the_look_at_a_spool_is_named_in_one_short_line(tmp_path, end, words):
    with pytest.raises(installer.Failed) as found:
        installer._answered_in_time(str(tmp_path), end)

    text = str(found.value)
    assert text.startswith(f"the look at {tmp_path} failed: {words}")
    assert "\n" not in text
    assert len(text) < len(str(tmp_path)) + 600


def run(python, sent):
    program = (ROOT / "shim" / "installer.py").read_bytes()
    boot = "import sys;i=sys.stdin.buffer;exec(compile(i.read(int(i.readline())),'installer','exec'))"
    return subprocess.run(
        [python, "-IS", "-c", boot],
        input=b"%d\n" % len(program) + program + sent,
        capture_output=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize(
    ("cut", "words"), [(-3, "arrived damaged"), (40, "is incomplete or not valid")], ids=["content", "header"]
)
def test_a_bundle_that_is_cut_off_changes_nothing(root, cut, words):
    shared = part({**SHARED, "mode": "install"}, _files(NEW), NEW)

    ended = run(sys.executable, shared[:cut])

    assert ended.returncode == 1
    assert words in json.loads(ended.stdout)["error"]
    assert content_of(root, NEW) == dict.fromkeys(NEW)


@pytest.mark.thorough
def test_it_does_its_work_on_every_interpreter_that_is_here(root):
    for version, python in interpreters().items():
        capture = CAPTURE + f"# {version}\n".encode()
        ended = run(python, bundle({**NEW, installer.CAPTURE: capture}, root=root))

        answer = json.loads(ended.stdout)
        assert (ended.returncode, ended.stderr, answer["differs"]) == (0, b"", []), version
        assert answer["python"].startswith(f"{version}."), version
        assert (root / installer.CAPTURE[1:]).read_bytes() == capture


def test_nothing_in_it_needs_more_than_python_3_6():
    command = [sys.executable, "-c", "import vermin; vermin.main()", "--no-tips", "-t=3.6-", "--violations"]

    ended = subprocess.run(
        [*command, str(ROOT / "shim" / "installer.py")], capture_output=True, check=False, timeout=240, text=True
    )

    assert ended.returncode == 0, ended.stdout


class Fake(installer.Target):
    """A machine, as it would be: commands are noted, and fail where they are told to."""

    def __init__(self, folder, failing=""):
        super().__init__("")
        self.folder, self.failing, self.commands = folder, failing, []
        self.has_rpm, self.has_users, self.active, self.journal = False, True, "active", ""

    def path(self, path):
        return f"{self.folder}{path}"

    def has_systemd(self):
        return True

    def owner(self, name):
        made = any(each.startswith("useradd") for each in self.commands)
        return os.geteuid() if name == "root" or self.has_users or made else None

    def group(self, name):
        return os.getegid() if name == "root" or any("sysusers" in each for each in self.commands) else None

    def command(self, words):
        line = " ".join(words)
        self.commands.append(line)
        if words[0] == sys.executable:
            return super().command(words)
        if words[0] == "rpm":
            return (0, "clusterbus-node-0.1.0-1.noarch") if self.has_rpm else (1, "it is not installed")
        if words[0] == "journalctl":
            return 0, self.journal
        said = {"is-active": self.active, "is-enabled": "enabled"}.get(words[1], "")
        return (1, "it said no") if self.failing and self.failing in line else (0, said)


@pytest.fixture(scope="module")
def shipped():
    """The files that nodes really get, with the relay that runs."""
    return {each.path: each.content for each in release().files}


def machine(folder, files, failing=""):
    place = Fake(folder, failing)
    stream = io.BytesIO(part({**SHARED, "mode": "install"}, _files(files), files))
    shared = installer.Part(stream)
    return place, installer.Node(place, shared.header, shared.files)


@pytest.mark.thorough
def test_on_a_machine_users_are_made_the_relay_is_tried_and_started(tmp_path, shipped):
    place, node = machine(tmp_path, shipped)

    installer.Installation(node).run()

    tried = next(each for each in place.commands if "clusterbus-relay.pyz" in each)
    began = [each for each in place.commands if each.startswith("systemctl") and "is-" not in each]
    assert any(each.startswith("systemd-sysusers --inline u clusterbus") for each in place.commands)
    assert tried.endswith("--help")
    assert place.commands.index(tried) < place.commands.index("systemctl daemon-reload")
    assert began == [
        "systemctl daemon-reload",
        "systemctl enable clusterbus-relay.service",
        "systemctl restart clusterbus-relay.service",
    ]


def test_where_the_new_relay_does_not_start_the_old_one_is_started_again(tmp_path):
    place, node = machine(tmp_path, {k: v for k, v in OLD.items() if k != installer.RELAY})
    installer.Installation(node).run()
    files = {**NEW, "/usr/lib/systemd/system/clusterbus-relay.service": b"[Unit]\n"}
    del files[installer.RELAY]

    place, node = machine(tmp_path, files, "restart")
    place.commands.append("systemd-sysusers")
    with pytest.raises(installer.Failed, match=r"systemctl restart clusterbus-relay\.service: it said no"):
        installer.Installation(node).run()

    there = content_of(tmp_path, files)
    assert there[installer.CAPTURE] == OLD[installer.CAPTURE]
    assert there["/etc/clusterbus/password"] is None
    assert place.commands[-3:] == [
        "systemctl disable --now clusterbus-relay.service",
        "systemctl daemon-reload",
        "systemctl reset-failed clusterbus-relay.service",
    ]


def test_why_the_relay_does_not_start_is_told_in_the_journals_words_alike_on_all_nodes(tmp_path):
    place, node = machine(tmp_path, {k: v for k, v in OLD.items() if k != installer.RELAY}, "restart")
    place.journal = """timestamp=2026-11-20T15:22:07.980Z level=critical event="spool is not usable"
clusterbus-relay.service: Failed with result 'exit-code'.
clusterbus-relay.service: Consumed 1.1s CPU time.
clusterbus-relay.service: Scheduled restart job, restart counter is at 1.
timestamp=2026-11-20T15:22:12.980Z level=critical event="spool is not usable"
"""

    with pytest.raises(installer.Failed) as failed:
        installer.Installation(node).run()

    assert str(failed.value) == (
        "systemctl restart clusterbus-relay.service: it said no;"
        " level=critical event=\"spool is not usable\"; clusterbus-relay.service: Failed with result 'exit-code'."
    )


def test_a_relay_that_this_python_cannot_run_is_not_put_there(tmp_path):
    _, node = machine(tmp_path, {installer.RELAY: b"no archive"})

    with pytest.raises(installer.Failed, match="the relay does not run on this node"):
        installer.Installation(node).run()

    assert not (tmp_path / installer.RELAY[1:]).exists()


def test_what_is_wanted_no_more_goes_as_a_password_does_where_there_are_certificates(root):
    password, by_hand = "/etc/clusterbus/password", "/etc/clusterbus/ca.pem"
    install(root, {**OLD, password: b"secret", by_hand: b"one"})
    (root / by_hand[1:]).write_bytes(b"another")

    installation, node = install(root, NEW_WITHOUT_PASSWORD)

    assert f"removed {password}" in installation.did
    assert not (root / password[1:]).exists()
    assert (root / by_hand[1:]).read_bytes() == b"another"
    assert (node.differences(), asides(root)) == ([], [])


def test_a_run_that_fails_keeps_what_was_wanted_before(root):
    password = "/etc/clusterbus/password"
    install(root, {**OLD, password: b"secret"})

    with pytest.raises(installer.Failed, match="capture stores no record"):
        install(root, {**NEW_WITHOUT_PASSWORD, installer.CAPTURE: b"#!/usr/bin/python3 -IS\n"})

    assert (root / password[1:]).read_bytes() == b"secret"


@pytest.mark.parametrize("form", ["deb", "rpm"])
@pytest.mark.parametrize("mode", ["install", "remove"])
def test_what_a_package_has_put_there_is_the_packages(tmp_path, form, mode):
    place, node = machine(tmp_path, {k: v for k, v in NEW.items() if k != installer.RELAY})
    for path, content in OLD.items():
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_bytes(content)
    place.has_rpm = form == "rpm"
    if form == "deb":
        (tmp_path / "var/lib/dpkg/info").mkdir(parents=True)
        (tmp_path / "var/lib/dpkg/info/clusterbus-node.list").write_text(f"/usr\n{installer.CAPTURE}\n")
    place.commands.append("systemd-sysusers")

    with pytest.raises(installer.Failed, match=f"the {form} clusterbus-node installed the shim on this node"):
        {"install": installer.Installation, "remove": installer.Removal}[mode](node).run()

    assert content_of(tmp_path, OLD) == OLD


def test_a_deb_that_was_removed_and_not_purged_is_no_package(root):
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    (root / "var/lib/dpkg/info/clusterbus-node.list").write_text("/etc/clusterbus/relay.conf\n")

    _, node = install(root, NEW)

    assert node.differences() == []


def test_a_run_that_was_killed_before_it_started_the_relay_is_finished_by_whichever_comes_so_far(tmp_path):
    files = {k: v for k, v in NEW.items() if k != installer.RELAY}
    place, node = machine(tmp_path, files)
    installer.Installation(node).run()
    # As a kill leaves it when all is renamed.
    os.link(tmp_path / installer.CAPTURE[1:], tmp_path / f"{installer.CAPTURE[1:]}{installer.OLD}")

    place, node = machine(tmp_path, files, "restart")
    place.commands.append("systemd-sysusers")
    with pytest.raises(installer.Failed, match="it said no"):
        installer.Installation(node).run()
    again = node.differences()
    place.failing, place.commands = "", ["systemd-sysusers"]
    installer.Installation(node).run()

    assert again == [(installer.CAPTURE, "an installation was interrupted")]
    assert "systemctl restart clusterbus-relay.service" in place.commands
    assert (node.differences(), asides(tmp_path)) == ([], [])


def test_a_group_without_its_user_is_no_user(tmp_path):
    place, node = machine(tmp_path, {k: v for k, v in NEW.items() if k != installer.RELAY}, "systemd-sysusers")
    place.has_users = False
    place.commands.append("systemd-sysusers")  # as if the group were there

    missing = [path for path, _ in node.differences() if path.startswith("user ")]
    installer.Installation(node).run()

    (added,) = [each for each in place.commands if each.startswith("useradd")]
    assert missing == ["user clusterbus"]
    assert "--gid clusterbus" in added
    assert "--user-group" not in added


def test_a_relay_that_is_enabled_and_does_not_run_is_disabled_before_its_unit_goes(tmp_path):
    place, node = machine(tmp_path, {k: v for k, v in NEW.items() if k != installer.RELAY})
    place.active = "inactive"

    installer.Removal(node).run()

    assert "systemctl disable --now clusterbus-relay.service" in place.commands


def test_checksums_in_the_record_are_those_of_the_files(root):
    install(root, NEW)

    record = json.loads((root / installer.RECORD[1:]).read_bytes())

    assert record["files"] == {path: hashlib.sha256(content).hexdigest() for path, content in NEW.items()}


def told(root, **facts):
    """Write what a relay tells of its connection, and return what the installer makes of it."""
    _, node = install(root, NEW)
    now = time.time()
    facts = {"broker": "amqp://n1@mq1", "problem": "", "since": now - 90, "until": now + 60, **facts}
    (root / "var/spool/clusterbus/connection").write_text(json.dumps(facts))
    return node


def test_what_the_relay_tells_is_answered_with_what_waits_in_the_spool(root):
    node = told(root, problem="broker unreachable: Connection refused")
    captured = time.time_ns() - 600 * 10**9
    for name in (f"{captured}.01KAG2V0M3Y8ZT6Q4XJ5W9E7RB.json", f"{captured + 10}.x.json", "rubbish"):
        (root / "var/spool/clusterbus/new" / name).touch()

    found = node.connection(node.spool.facts())

    assert 90 <= found.pop("since") < 180
    assert 600 <= found.pop("oldest") < 690
    assert found == {"broker": "amqp://n1@mq1", "problem": "broker unreachable: Connection refused", "unsent": 3}


def test_what_a_relay_told_long_ago_is_not_believed(root):
    node = told(root, until=time.time() - 1)

    assert node.connection(node.spool.facts())["problem"] == "the relay has said nothing of its connection lately"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"broker": 1, "problem": 2, "since": "x", "until": []}'])
def test_rubbish_in_its_place_is_nothing(root, text):
    node = told(root)
    (root / "var/spool/clusterbus/connection").write_text(text)

    assert node.connection(node.spool.facts()) == {}


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_whatever_stands_in_its_place_does_not_hold_root_up(root, make):
    node = told(root)
    (root / "var/spool/clusterbus/connection").unlink()
    make(root / "var/spool/clusterbus/connection")

    assert node.connection(node.spool.facts()) == {}


@pytest.mark.thorough
def test_a_relay_that_was_started_is_waited_for_until_it_is_connected_or_a_moment_has_passed(root, monkeypatch):
    monkeypatch.setattr(installer, "CONNECTING", 0.5)
    node = told(root, problem="broker unreachable")
    assert node.connection(node.spool.facts(), time.time() + 3600) == {}  # of the relay before
    assert node.connection(node.spool.facts(), time.time() - 3600)["problem"] == "broker unreachable"

    node = told(root)
    assert node.connection(node.spool.facts(), time.time() - 3600)["problem"] == ""


def test_a_spool_is_counted_as_it_is_and_what_is_unreadable_is_named(root):
    _, node = install(root, NEW)
    spool, run = root / "var/spool/clusterbus", root / "run/clusterbus"
    run.mkdir(parents=True)
    (run / "unsaved").write_bytes(b"x" * 90)
    (run / "lost").symlink_to("/dev/zero")
    (spool / "lost").write_bytes(b".ffd")
    (spool / "full").touch()
    (spool / "new" / f"{time.time_ns() - 600 * 10**9}.x.json").write_bytes(b"12345")
    for name in ("a", "a.reason"):
        (spool / "bad" / name).touch()

    found = node.spool.facts()

    assert 600 <= found.pop("oldest") < 690
    assert 0 <= found.pop("full") < 90
    assert found.pop("free") > 0
    assert found == {
        "exists": True,
        "missing": [],
        "mode": 0o2770,
        "waiting": 1,
        "octets": 5,
        "bad": 1,
        "lost": {"f": 2, "d": 1, "e": 0},
        "unsaved": 90,
        "unreadable": [f"{run}/lost: Too many levels of symbolic links"],
    }


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_whatever_stands_in_place_of_the_losses_does_not_hold_root_up(root, make):
    _, node = install(root, NEW)
    make(root / "var/spool/clusterbus/lost")

    assert node.spool.facts()["lost"] == {"f": 0, "d": 0, "e": 0}


@pytest.mark.thorough
def test_a_disk_that_hangs_is_waited_for_only_so_long_and_only_so_many_looks_are_left_behind(
    root, tmp_path, monkeypatch
):
    _, node = install(root, NEW)
    monkeypatch.setattr(installer, "ANSWERING", 0.2)
    monkeypatch.setattr(node.spool, "_facts", lambda: signal.pause() or {})
    # A disk that hangs keeps a process from ending, whatever signal it gets.
    left = []
    monkeypatch.setattr(installer.os, "kill", lambda process, _: left.append(process))
    try:
        for _ in range(installer.MOST_LOOKING):
            with pytest.raises(installer.Failed, match="does not answer after 0 s"):
                node.spool.facts()
        with pytest.raises(installer.Failed, match="4 earlier looks at it have not ended yet"):
            node.spool.facts()
        other = tmp_path / "other"
        assert not installer.Spool(installer.Target(str(other))).facts()["exists"], "another disk is looked at"
    finally:
        monkeypatch.undo()
        for process in left:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    assert len(left) == installer.MOST_LOOKING
    assert node.spool.facts()["exists"]
