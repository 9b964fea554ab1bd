"""`clusterbus init`: its questions on a terminal, and the way from an empty folder to the first event."""

import json
import os
import pty
import re
import select
import shlex
import ssl
import stat
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from router.local_broker.private_broker import PrivateBroker
from tests.flow import CLUSTERBUS, Running, up
from tests.processes import environment
from tests.rabbit import SharedBroker
from tests.waiting import SLACK, wait_for

ROLES = ("clusterbus-router", "clusterbus-consumer", "clusterbus-operator")


def init(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [CLUSTERBUS, "init", "--to", str(folder), *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL, env=environment()
    )


SITE = ("--cluster", "prod", "--broker", "mq1", "--ca", "none")


def files(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


class Dialogue:
    """The command on a terminal: wait for what it says, and answer."""

    def __init__(self, words: Sequence[str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, env=environment(), close_fds=True
        )
        os.close(slave)
        self.said = self._fresh = ""

    def answer(self, question: str, text: str) -> None:
        """Answer *question*, which comes after what was said before."""
        self.wait(question)
        os.write(self._master, f"{text}\n".encode())

    def wait(self, words: str) -> None:
        deadline = time.monotonic() + 30 * SLACK
        while words not in self._fresh:
            assert select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0], (words, self.said)
            try:
                text = os.read(self._master, 1 << 16).decode()
            except OSError:
                raise AssertionError((words, self.said)) from None
            self.said += text
            self._fresh += text
        self._fresh = self._fresh.partition(words)[2]

    def end(self) -> int:
        """Return the exit code."""
        try:
            while select.select([self._master], [], [], 30 * SLACK)[0]:
                self.said += os.read(self._master, 1 << 16).decode()
        except OSError:
            pass  # it has closed the terminal
        os.close(self._master)
        return self.process.wait(30 * SLACK)


def test_it_asks_on_a_terminal_shows_each_file_and_writes_what_was_confirmed(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    dialogue = Dialogue([CLUSTERBUS, "init", "--to", str(folder)])

    dialogue.answer("Name of the cluster", "")
    dialogue.answer("Name of the cluster", "prod example")
    dialogue.answer("use only A-Z a-z 0-9 _ -", "prod")
    dialogue.answer("Hosts of RabbitMQ", "mq1 mq2")
    dialogue.answer("CA certificates", "none")
    dialogue.answer("Management API", "")
    dialogue.answer("Hosts of router and consumers", "")
    dialogue.answer("by ssh", "deploy")
    dialogue.answer("PostgreSQL", "")
    dialogue.answer("Mail address", "storage@example.com")
    dialogue.answer("Mail server", "mail.example.com")
    dialogue.answer("subscriptions.yaml? [y/N]:", "y")
    assert not (folder / "clusterbus.yaml").exists()
    dialogue.answer("clusterbus.yaml? [y/N]:", "y")
    dialogue.answer("Create these passwords? [y/N]:", "y")

    assert dialogue.end() == 0
    assert "mailto://mail.example.com?from=clusterbus@example.com&to=storage@example.com" in dialogue.said
    assert "broker users --apply" in dialogue.said
    written = (folder / "clusterbus.yaml").read_text()
    assert "become: sudo -n" in written
    done = subprocess.run([CLUSTERBUS, "--settings", str(folder / "clusterbus.yaml"), "check"], check=False, timeout=60)
    assert done.returncode == 0


def test_an_answer_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    dialogue = Dialogue([CLUSTERBUS, "init", "--to", str(tmp_path / "site"), *SITE[:-2]])

    dialogue.answer("CA certificates", str(tmp_path / "none.pem"))
    dialogue.wait("none.pem: No such file or directory")
    dialogue.answer("CA certificates", "none")
    dialogue.answer("Management API", "")
    dialogue.answer("Hosts of router and consumers", "hub1 hub2")
    dialogue.answer("by ssh", "root")
    dialogue.answer("PostgreSQL", "")
    dialogue.wait("2 hubs need --database postgresql://HOST")
    dialogue.answer("PostgreSQL", "postgresql://db1")
    dialogue.answer("Mail address", "")
    dialogue.answer("subscriptions.yaml? [y/N]:", "n")

    assert dialogue.end() == 1
    assert not (tmp_path / "site").exists()


def test_what_is_not_confirmed_is_not_written_and_the_next_run_goes_on_from_there(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    words = [CLUSTERBUS, "init", "--to", str(folder), *SITE, "--management", "", "--hub", "localhost"]
    words += ["--login", "root", "--database", "", "--mail", ""]
    dialogue = Dialogue(words)

    dialogue.answer("subscriptions.yaml? [y/N]:", "y")
    dialogue.answer("clusterbus.yaml? [y/N]:", "n")

    assert dialogue.end() == 1
    assert set(files(folder)) == {"subscriptions.yaml"}

    dialogue = Dialogue(words)
    dialogue.wait("subscriptions.yaml is as it should be")
    dialogue.answer("clusterbus.yaml? [y/N]:", "y")
    dialogue.answer("Create these passwords? [y/N]:", "y")
    assert dialogue.end() == 0


@pytest.mark.long
def test_a_second_run_changes_nothing_and_another_file_is_replaced_only_if_told(tmp_path: Path) -> None:
    folder = tmp_path / "site"

    assert init(folder, *SITE, "--yes").returncode == 0
    first = files(folder)
    assert init(folder, *SITE, "--yes").returncode == 0
    assert files(folder) == first

    (folder / "clusterbus.yaml").write_text("# mine\n")
    refused = init(folder, *SITE, "--yes", "--broker", "mq2")
    assert refused.returncode == 1
    assert f"{folder / 'clusterbus.yaml'}: exists with another content" in refused.stderr
    assert (folder / "clusterbus.yaml").read_text() == "# mine\n"

    replaced = init(folder, *SITE, "--yes", "--replace")
    assert replaced.returncode == 0
    assert "-# mine" in replaced.stdout
    assert files(folder) == first


def test_files_are_for_all_to_read_and_passwords_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "site"

    init(folder, *SITE, "--yes")

    for path in (folder / "clusterbus.yaml", folder / "subscriptions.yaml"):
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (os.geteuid(), os.getegid(), 0o644)
    for role in ROLES:
        file = folder / "secrets" / "users" / role / "password"
        assert stat.S_IMODE(file.stat().st_mode) in (0o600, 0o640)
        assert file.read_text().strip() not in (folder / "clusterbus.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "--cluster and --broker: needed where no questions can be asked"),
        ((*SITE, "--dry-run"), 0, "nothing was written"),
        (SITE, 2, "no questions can be asked here: --yes writes the files, --dry-run shows them"),
        ((*SITE, "--yes", "--broker", "amqp://x"), 2, "--broker: 'amqp://x' is not a host name"),
        ((*SITE, "--yes", "--hub", "a", "--hub", "b"), 2, "2 hubs need --database"),
        ((*SITE, "--demo", "--yes"), 2, "--demo takes --to FOLDER, and no facts about a site"),
    ],
)
def test_what_cannot_be_done_writes_nothing(tmp_path: Path, words: Sequence[str], code: int, said: str) -> None:
    done = init(tmp_path / "site", *words)

    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("name", ["o,dd", "o dd", "o?x", "o%20x", "o: x", "o{{x", "o'x", "ö"])
@pytest.mark.parametrize("words", [("--demo",), SITE], ids=["demo", "site"])
def test_a_folder_that_files_and_urls_cannot_name_is_refused(tmp_path: Path, words: Sequence[str], name: str) -> None:
    done = init(tmp_path / name, *words, "--yes")

    assert done.returncode == 2
    assert "use a folder whose path has only letters, digits, and / . _ -" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.timeout(240)
def test_from_an_empty_folder_to_the_first_event(tmp_path: Path, make_broker: Callable[..., PrivateBroker]) -> None:
    folder = tmp_path / "site"
    broker = make_broker(plugins=["rabbitmq_management"])
    place = urllib.parse.urlsplit(broker.url)
    api = urllib.parse.urlsplit(broker.http_url)
    ours = [CLUSTERBUS, "--settings", str(folder / "clusterbus.yaml")]
    management = f"http://{api.username or 'guest'}@{api.hostname}:{api.port}"

    facts = ["--cluster", "prod", "--broker", f"{place.hostname}:{place.port}", "--ca", "none"]
    done = init(folder, *facts, "--management", management, "--yes")
    assert done.returncode == 0, done.stderr
    administrator = folder / "secrets" / "administrator"
    administrator.write_text(api.password or place.password or "guest")
    administrator.chmod(0o600)
    for words in (["broker", "users", "nsd01", "--apply"], ["broker", "setup"]):
        assert run([*ours, *words]).returncode == 0
    programs = [Running(name, [*ours, name], {}, tmp_path).start() for name in ("router", "consume")]
    try:
        wait_for(lambda: served(ours), 60, "the subscription is served")
        logged_in = broker.ctl("list_connections", "--silent", "user").split()
        emitted = run([*ours, "emit", "gpfs", "mount", "fsName=gpfs1", "--cluster", "prod"])
        rows = wait_for(lambda: delivered(ours), 20, "the event is delivered")

    finally:
        for each in programs:
            each.kill()

    assert emitted.returncode == 0
    # A healthy start is quiet: with its own rights only, no program warns of what it may not declare.
    logged = [json.loads(line) for each in programs for line in each.log.read_text().splitlines()]
    assert [each for each in logged if each["level"] != "info"] == []
    assert {"clusterbus-router", "clusterbus-consumer"} <= set(logged_in)
    assert rows[0]["event"] == "gpfs.mount"


def run(words: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(words, stdout=subprocess.PIPE, check=False, timeout=60, env=environment())


def served(ours: Sequence[str]) -> bool:
    done = run([*ours, "doctor", "--part", "subscriptions", "--json"])
    found = [json.loads(each) for each in done.stdout.splitlines()]
    return any(each["part"] == "audit" and each["verdict"] == "ok" for each in found)


def delivered(ours: Sequence[str]) -> list[dict[str, str]]:
    done = run([*ours, "deliveries", "--event", "mount", "--json"])
    return [json.loads(each) for each in done.stdout.splitlines()]


PAGE = Path(__file__).parents[2] / "consumers" / "new_site" / "README.md"


def test_the_commands_of_the_page_work_as_they_stand_there(tmp_path: Path) -> None:
    trusted = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not trusted:
        pytest.skip("this machine trusts nobody")
    (tmp_path / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(trusted[0]))
    commands = re.findall(r"^\$ (.+)$", PAGE.read_text(), re.MULTILINE)

    for each in commands:
        words = [CLUSTERBUS if word == "clusterbus" else word for word in shlex.split(each)]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, (each, done.stderr)

    assert len(commands) == 6


def test_the_page_lists_every_option() -> None:
    listed = set(re.findall(r"`(--[a-z-]+)`", PAGE.read_text()))

    done = run([CLUSTERBUS, "init", "--help"])

    assert set(re.findall(r"--[a-z-]+", done.stdout.decode())) - {"--help"} == listed


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_demo_works_at_once(tmp_path: Path, broker: SharedBroker) -> None:
    kind = "node" if broker.kind == "given" else broker.kind
    folder = tmp_path / "demo"
    assert init(folder, "--demo", "--yes").returncode == 0
    here = tmp_path / "here"
    here.mkdir()
    settings = ["--settings", str(folder / "clusterbus.yaml")]

    with up(here, "--folder", str(folder / "up"), before=settings, CLUSTERBUS_BROKER_KIND=kind):
        words = ["raise", "diskFailure", "fsName=gpfs1", "diskName=nsd1"]
        assert run([str(folder / "simulator"), *words]).returncode == 0
        events = wait_for(lambda: finished(folder), 60, "the subscription has started the disk")
        disks = subprocess.run([folder / "commands" / "mmlsdisk", "gpfs1", "-e"], capture_output=True, check=True)

    assert {(each["cluster"], each["node"]) for each in events} == {("prod", "nsd01")}
    assert b"All disks up and ready" in disks.stderr


def finished(folder: Path) -> list[dict[str, str]]:
    log = folder / "events.jsonl"
    events = [json.loads(each) for each in log.read_text().splitlines()] if log.exists() else []
    return [each for each in events if each["type"] == "clusterbus.runFinished"]


def test_a_demo_is_written_into_an_empty_folder_only(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")

    done = init(tmp_path, "--demo", "--yes")

    assert (done.returncode, [each.name for each in tmp_path.iterdir()]) == (2, ["mine"])
    assert f"--to {tmp_path} is not empty" in done.stderr
