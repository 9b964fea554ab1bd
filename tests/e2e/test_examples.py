"""Each site of `examples/` does what its page says: from an event on a simulated cluster to the mail, call or command.

All share one cluster, broker, router and relay; each has a consumer of its own, in a folder that stands for the file
system of a machine.
"""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.inspection.test_runner import try_all
from consumers.programs.readiness import wait_served
from consumers.subscriptions import validation
from router.cluster.callbacks.gpfs.registrar import Registrar
from router.cluster.gpfs.commands import Commands
from router.model.catalogue import Catalogues, load
from router.settings import loading
from router.simulator.install import install, install_capture
from router.simulator.simulated_cluster import Cluster
from tests.contract.test_pages import alternatives, parse, words
from tests.flow import CLUSTERBUS, Flow, Running
from tests.mm_commands import answering
from tests.qube import Farm
from tests.rabbit import RabbitAdmin, SharedBroker
from tests.waiting import wait_for
from tests.webhooks import MailServer, Webhook, mail_server, webhook

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(page.parent for page in (ROOT / "examples").glob("*/README.md"))
SCHEMAS = {"subscriptions.yaml": "subscriptions", "clusterbus.yaml": "clusterbus"}
NODE = "nsd01"
# Commands of GPFS that the simulator does not have: each writes down how it was called.
RECORDING = '#!/bin/sh\necho "$(basename "$0") $*" >> "{log}"\n'
MISSING = ("mmapplypolicy", "mmchfs", "mmchfileset", "mmdiag")


class World:
    """A simulated cluster with its capture, one relay and router, a mail server, a webhook, and a render farm."""

    def __init__(self, folder: Path, url: str, mail: MailServer, hook: Webhook) -> None:
        self.folder, self.url, self.mail, self.hook = folder, url, mail, hook
        self.cluster = Cluster.create(folder / "cluster", nodes=3)
        install_capture(self.cluster)
        self.commands = Commands(answering(self.cluster))
        self.calls = folder / "calls"
        install(folder / "usr/lpp/mmfs/bin", self.cluster.folder)
        for name in MISSING:
            (folder / "usr/lpp/mmfs/bin" / name).write_text(RECORDING.format(log=self.calls))
            (folder / "usr/lpp/mmfs/bin" / name).chmod(0o755)
        self.flow = Flow(folder, url, nodes=(NODE, "super01"))
        shutil.rmtree(self.flow.spool(NODE))
        self.flow.spool(NODE).symlink_to(self.cluster.node(NODE).spool)
        (folder / "farm").mkdir()
        self.farm = Farm(folder / "farm", self.flow.spool("super01"))

    def called(self, beginning: str) -> str:
        """Return the call of a command that begins so, once there is one."""
        return wait_for(
            lambda: next((line for line in self._calls() if line.startswith(beginning)), ""),
            60,
            f"{beginning} is called",
        )

    def _calls(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


class Example:
    """One example, copied to where a machine would have it in *root*; a consumer serves it."""

    def __init__(self, name: str, root: Path, world: World) -> None:
        self.name, self.root, self.world = name, root, world
        self.etc = root / "etc/clusterbus"
        shutil.copytree(ROOT / "examples" / name, self.etc)
        for folder in ("var/lib/clusterbus/consumer", "var/log/clusterbus", "etc/clusterbus/secrets", "var/adm"):
            (root / folder).mkdir(parents=True)
        self._replace()
        self._write_secrets()
        file = self.etc / "subscriptions.yaml"
        self.files = file if file.exists() else self.etc / "subscriptions"
        variables = {
            "BROKER": world.url,
            "CONSUMERS_STORE": f"sqlite:///{root}/store.db",
            "CONSUMERS_JOBS": f"{root}/var/lib/clusterbus/consumer/jobs",
            "CONSUMERS_HANDLERS": f"{self.etc}/handlers",
            "CONSUMERS_CALLBACKS": f"{root}/var/lib/clusterbus/callbacks",
            "CONSUMERS_SUBSCRIPTIONS": str(self.files),
            # Nodes of the cluster are all here.
            "CONSUMERS_TRANSPORT": "local",
            "GPFS_MEMORY": f"{root}/var/lib/clusterbus/gpfs.json",
        }
        self.environment = {f"CLUSTERBUS_{key}": value for key, value in variables.items()}
        loaded = loading.load(self.etc / "clusterbus.yaml", environment=self.environment, system=root / "none")
        self.settings = loaded.settings

    def _replace(self) -> None:
        """Have the files name this machine's folders and servers, and wait for seconds where they wait for longer."""
        roots = [f"/{each}" for each in ("etc/clusterbus", "var/lib/clusterbus", "var/log/clusterbus", "var/adm")]
        changes = {each: f"{self.root}{each}" for each in roots} | {
            "/usr/lpp/mmfs/bin": f"{self.world.folder}/usr/lpp/mmfs/bin",
            "https://alertmanager.example.com": f"http://{self.world.hook.address}",
            "https://tickets.example.com": f"http://{self.world.hook.address}",
            "mail.example.com:25": f"127.0.0.1:{self.world.mail.port}",
            "wait: 30s": "wait: 3s",
            "wait: 1m": "wait: 3s",
        }
        for file in self.etc.rglob("*"):
            if file.is_file() and file.suffix != ".md":
                text = file.read_text()
                for before, after in changes.items():
                    text = text.replace(before, after)
                file.write_text(text)

    def _write_secrets(self) -> None:
        secrets = {
            "mail": self.world.mail.url(),
            "pager": f"json://{self.world.hook.address}/page",
            "tickets": "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        }
        for name, text in secrets.items():
            (self.etc / "secrets" / name).write_text(text)
            (self.etc / "secrets" / name).chmod(0o640)

    def check(self) -> list[str]:
        """Return the names of its subscriptions, which have no mistakes, no warnings, and pass their tests."""
        report = validation.check(self.files, Catalogues.shipped(), self.settings, try_tests=try_all)
        found = [str(each) for each in (*report.mistakes, *report.faults, *report.warnings)]
        # Only because the test's webhook has no certificate.
        assert [each for each in found if ": is not encrypted" not in each] == []
        assert report.subscriptions is not None
        return [each.name for each in report.subscriptions.subscriptions]

    @contextmanager
    def served(self) -> Iterator[None]:
        """Register its callbacks, and run a consumer for it."""
        names = self.check()
        registrar = Registrar(self.world.commands, self.settings.gpfs, load("gpfs"))
        assert registrar.apply(registrar.plan()).good
        program = [CLUSTERBUS, "--settings", str(self.etc / "clusterbus.yaml"), "consume"]
        consumer = Running(f"consume-{self.name}", program, self.environment, self.root)
        try:
            consumer.start()
            wait_served(self.world.url, names)
            yield
        except AssertionError as error:
            raise AssertionError(f"{error}\n{consumer.words()}\n{self.world.flow.router.words()}") from error
        finally:
            consumer.stop()

    def raises(self, event: str, node: str | None = None, **values: str) -> None:
        """Have *event* happen on the cluster, on *node* if it has to be one."""
        runs = self.world.cluster.raise_event(event, values, node)
        assert [each.reason for each in runs if each.exit_code != 0] == []
        assert runs, f"nothing is registered for {event}"

    def run(self, *line: str) -> str:
        """Run `clusterbus` with its settings; return what it printed."""
        before = ["--settings", str(self.etc / "clusterbus.yaml")]
        ended = CliRunner().invoke(app, [*before, *line], env=self.environment)
        assert ended.exit_code == 0, (ended.output, ended.exception)
        return ended.output

    def text(self, path: str, part: str = "") -> str:
        """Return what is in the file *path* of its machine, once *part* is in it."""
        file = self.root / path
        return wait_for(lambda: file.exists() and part in (text := file.read_text()) and text, 60, f"{part} in {path}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, broker: SharedBroker, rabbit_admin: RabbitAdmin) -> Iterator[World]:
    name = f"test-{uuid4().hex[:8]}"
    rabbit_admin.add_vhost(name)
    with ExitStack() as stack:
        stack.callback(rabbit_admin.delete_vhost, name)
        mail, hook = stack.enter_context(mail_server()), stack.enter_context(webhook())
        found = World(tmp_path_factory.mktemp("world"), broker.vhost_url(name), mail, hook)
        for program in (found.flow.router, *found.flow.relays.values()):
            stack.callback(program.kill)
            program.start()
        yield found


def migrate_by_policy(site: Example) -> None:
    site.raises("lowDiskSpace", fsName="gpfs1", storagePool="system")
    site.raises("lowDiskSpace", fsName="gpfs1", storagePool="system")

    assert site.world.called("mmapplypolicy gpfs1 -P").endswith("migrate.policy -M POOL=system --single-instance")
    wait_for(lambda: "repeated" in site.run("deliveries"), 60, "the second event is skipped")


QUOTA = {"fsName": "gpfs1", "quotaType": "FILESET", "quotaOwnerName": "projects", "quotaID": "1"}
BLOCKS = {"blockUsage": "11534336", "blockQuota": "10485760", "blockLimit": "20971520"}


def quota_mail_to_owners(site: Example) -> None:
    mails = site.world.mail.mails
    site.raises("softQuotaExceeded", **QUOTA, **BLOCKS, filesetName="projects")

    mail = wait_for(
        lambda: next((one for one in mails if "pi-projects@example.com" in one.recipients), None), 60, "mail"
    )
    assert "The fileset projects on gpfs1 uses 11.0 GiB" in mail.texts["text/plain"]


def quota_ticket_by_webhook(site: Example) -> None:
    site.raises("softQuotaExceeded", **QUOTA, **BLOCKS, filesetName="scratch")

    calls = site.world.hook.received
    call = wait_for(lambda: next((one for one in calls if one.path == "/api/tickets"), None), 60, "a ticket")
    ticket = json.loads(call.body)
    assert (ticket["queue"], ticket["title"]) == ("storage", "Quota of scratch on gpfs1 exceeded")
    assert call.headers["webhook-signature"].startswith("v1,")


def disk_restart_with_approval(site: Example) -> None:
    def is_down() -> bool:
        return ":down:" in site.world.commands.read("mmlsdisk", "gpfs1", "-d", "nsd3", "-Y")

    site.raises("diskFailure", fsName="gpfs1", diskName="nsd3")
    waiting = wait_for(lambda: site.run("jobs", "pending", "--json"), 60, "it waits for an approval")
    assert is_down()

    site.run("jobs", "approve", json.loads(waiting.splitlines()[0])["id"])
    wait_for(lambda: not is_down(), 120, "the disk is up")


def node_down_page(site: Example) -> None:
    def pages(title: str) -> list[str]:
        found = [json.loads(one.body) for one in site.world.hook.received if one.path == "/page"]
        return [one["message"].strip() for one in found if one["title"] == title]

    for node in ("cl01", "cl02"):
        site.raises("nodeLeave", eventNode=node)
    down = wait_for(lambda: pages("prod: nodes down"), 60, "a page")
    site.raises("nodeJoin", eventNode="cl02")
    back = wait_for(lambda: pages("prod: nodes are back"), 60, "a page")

    assert down == ["cl01.prod.example, cl02.prod.example left the cluster"]
    assert back == ["cl02.prod.example joined the cluster"]


def afm_home_lost(site: Example) -> None:
    def mails(subject: str) -> list[str]:
        found = [one for one in site.world.mail.mails if one.headers["subject"] == [subject]]
        return [text for one in found for text in one.texts.values()]

    for fileset in ("cache", "home"):
        site.raises("afmHomeDisconnected", fsName="gpfs1", filesetName=fileset, homeServer="home1")
    (text,) = wait_for(lambda: mails("AFM: home home1 is lost"), 60, "a mail")
    site.raises("afmHomeConnected", fsName="gpfs1", filesetName="cache", homeServer="home1")

    assert "Filesets: cache, home, on gateway nsd01" in text
    assert wait_for(lambda: mails("AFM: home home1 is back"), 60, "a mail")


def snapshot_logging(site: Example) -> None:
    site.world.commands.read("mmcrsnapshot", "gpfs1", "nightly")

    event = json.loads(site.text("var/log/clusterbus/snapshots.jsonl", "nightly"))
    assert event["data"]["fsName"] == "gpfs1"


def more_inodes(site: Example) -> None:
    site.raises("noDiskSpace", fsName="gpfs1", storagePool="system", reason="noInodes", filesetName="root")

    assert site.world.called("mmchfs gpfs1") == "mmchfs gpfs1 --inode-limit 120000000"


def deadlock_data(site: Example) -> None:
    site.raises("deadlockDetected", NODE, waiterLength="301")

    site.world.called("mmdiag --network")
    (file,) = wait_for(lambda: list((site.root / "var/adm/deadlocks").glob(f"{NODE}-*.gz")), 60, "a file")
    assert subprocess.run(["gzip", "-t", str(file)], check=False, timeout=60).returncode == 0


def qube_failures_to_database(site: Example) -> None:
    site.world.farm.set(events=site.settings.qube.events)
    site.world.farm.apply()
    site.world.farm.fire("one:normal:failed-job-self")
    database = site.root / "var/lib/clusterbus/consumer/render.db"

    def stored() -> list[tuple[str, ...]]:
        if not database.exists():
            return []
        with sqlite3.connect(database, timeout=30) as connection:
            is_made = connection.execute("SELECT name FROM sqlite_master WHERE name = 'failures'").fetchall()
            return connection.execute("SELECT job, user, what FROM failures").fetchall() if is_made else []

    assert wait_for(stored, 60, "a row") == [("19294", "ann", "failedJob")]


def moved_callback_scripts(site: Example) -> None:
    site.raises("softQuotaExceeded", **QUOTA, **BLOCKS, filesetName="home")
    site.raises("diskFailure", fsName="gpfs2", diskName="nsd5")

    quota = site.text("var/log/clusterbus/quota-warn.log", "\n")
    disk = site.text("var/log/clusterbus/disk-down.log", "\n")
    assert quota == "softQuotaExceeded: gpfs1/home uses 11534336 KiB\n"
    assert disk == "diskFailure: nsd5 of gpfs2\n"


def python_function(site: Example) -> None:
    site.raises("unmount", NODE, fsName="gpfs1", reason="normal")
    site.raises("unmount", NODE, fsName="gpfs1", reason="forced")

    assert json.loads(site.text("var/lib/clusterbus/consumer/forced-unmounts.json", "}\n}")) == {"gpfs1": {NODE: 1}}


def alerts_to_alertmanager_and_owners(site: Example) -> None:
    def kept() -> dict[str, bool]:
        """Return the alerts that Alertmanager got, by their names: whether their end was before now."""
        calls = [each for each in site.world.hook.received if (each.method, each.path) == ("POST", "/api/v2/alerts")]
        alerts = [alert for each in calls for alert in json.loads(each.body)]
        now = datetime.now(UTC)
        return {each["labels"]["alertname"]: datetime.fromisoformat(each["endsAt"]) <= now for each in alerts}

    def mails(title: str) -> list[str]:
        mails = [each.headers["subject"][0] for each in site.world.mail.mails]
        return [each for each in mails if each.startswith(title)]

    quota = {**QUOTA, **BLOCKS, "filesetName": "projects"}
    site.raises("softQuotaExceeded", **quota)
    wait_for(lambda: kept().get("soft-quota") is False, 60, "an alert in Alertmanager")
    wait_for(lambda: mails("[warning]"), 60, "a mail to the owner")
    listed = json.loads(site.run("alerts", "list", "--rule", "soft-quota", "--json"))
    site.raises("usageUnderSoftQuota", **quota)
    wait_for(lambda: kept()["soft-quota"], 60, "its end in Alertmanager")
    wait_for(lambda: mails("[closed after"), 60, "a mail about the end")

    assert listed["owner"] == "projects-team"
    assert "no alerts" not in site.run("alerts", "list", "--state", "closed")


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", [each.name for each in EXAMPLES])
def test_an_example_does_what_its_page_says(name: str, world: World, tmp_path: Path) -> None:
    example = Example(name, tmp_path, world)

    with example.served():
        globals()[name.replace("-", "_")](example)


def test_the_page_of_examples_names_each_and_no_other() -> None:
    page = (ROOT / "examples" / "README.md").read_text()

    assert len(EXAMPLES) == 13
    services = sorted((ROOT / "examples" / "services").glob("*/README.md"))
    wanted = [*(each.name for each in EXAMPLES), *(f"services/{each.parent.name}" for each in services)]
    assert sorted(re.findall(r"]\(([a-z/-]+)/README\.md\)", page)) == sorted(wanted)


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_says_what_to_change_and_its_files_name_their_schemas(folder: Path) -> None:
    page = (folder / "README.md").read_text()

    assert "\n## What to change\n" in page
    for line in page.splitlines():
        if line.startswith("    clusterbus "):
            parse(words(line)[1:])
    for inline in (each for each in page.split("`")[1::2] if each.startswith("clusterbus ")):
        for each in alternatives(inline.removeprefix("clusterbus ")):
            parse(each, is_whole=False)
    for name, schema in SCHEMAS.items():
        if (folder / name).exists():
            assert (folder / name).read_text().startswith(f"# yaml-language-server: $schema={schema}.schema.json\n")
