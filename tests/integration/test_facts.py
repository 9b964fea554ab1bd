"""Facts from real programs and the simulator, by the commands of `clusterbus`, and in a consumer on a real broker."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumers.inspection.test_runner import try_all
from consumers.subscriptions import validation
from router.cli.facts import facts_app
from router.cluster.facts import gather
from router.cluster.facts.assemble import assemble
from router.cluster.facts.diff import differences
from router.cluster.facts.facts_store import FactStore
from router.cluster.gpfs.commands import Commands
from router.model.catalogue import Catalogues
from router.settings.loading import Loaded
from router.settings.models import FactsSettings, GpfsSettings, Settings
from router.simulator.simulated_cluster import Cluster
from tests.consuming import make_event, publish, text_of
from tests.mm_commands import answering
from tests.operating import Program
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def program(folder, name, text, code=0, before=""):
    """Put a program there that prints *text*."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{before}\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    path.chmod(0o755)


@pytest.fixture
def printed(tmp_path):
    """A folder with programs that print what the simulated cluster `prod` does."""
    run = answering(Cluster.create(tmp_path / "state", nodes=4, name="prod", file_systems=("gpfs1",)))
    folder = tmp_path / "bin"
    for words in (["mmlscluster"], ["mmgetstate", "-a"], ["mmlsmgr"], ["mmlsfs", "all"], ["mmlsnodeclass", "--user"]):
        program(folder, words[0], run([*words, "-Y"]))
    for name in ("mmlsdisk", "mmlsfileset"):
        program(folder, name, run([name, "gpfs1", "-Y"]))
    return folder


class Commanded:
    """`clusterbus facts`, in this process, with settings of the test's own."""

    def __init__(self, folder, commands, limit=timedelta(seconds=5)):
        facts = FactsSettings(store=f"sqlite:///{folder / 'facts.db'}", limit=limit)
        self.loaded = Loaded(Settings(facts=facts, gpfs=GpfsSettings(commands=commands)), {})

    def __call__(self, *words, code=0):
        done = CliRunner().invoke(facts_app, words, obj=self.loaded)
        assert done.exit_code == code, f"{done.exit_code}: {done.output}{done.exception}"
        return done.output


def test_the_simulated_cluster_is_known_and_its_changes_are_history(tmp_path):
    cluster = Cluster.create(tmp_path / "state", nodes=12, name="prod")
    settings = Settings(facts=FactsSettings(store=f"sqlite:///{tmp_path / 'facts.db'}"))
    later = NOW + timedelta(minutes=1)

    with FactStore(settings.facts.store) as store:
        first = gather.find(store, settings, NOW, lambda _: Commands(answering(cluster)))
        known = assemble("prod", store.known("prod"), settings.facts.age)
        disk = next(iter(known.file_systems["gpfs1"].disks))
        cluster.raise_event("diskFailure", {"fsName": "gpfs1", "diskName": disk})
        gather.find(store, settings, later, lambda _: Commands(answering(cluster)))
        change = store.history("prod", "disks/gpfs1")[-1]

    assert (first.cluster, first.failed) == ("prod", {})
    assert known.missing == {}
    assert known.quorum.reached is True
    assert known.file_systems["gpfs1"].manager in known.nodes
    assert {each.state for each in known.nodes.values()} == {"active"}
    assert (change.moment, f"{disk}.availability") == (later, differences(change.before, change.content)[0].place)


def test_the_usage_of_the_simulated_cluster_is_known_if_the_settings_ask_for_it(tmp_path):
    cluster = Cluster.create(tmp_path / "state", nodes=12, name="prod")
    settings = Settings(facts=FactsSettings(store=f"sqlite:///{tmp_path / 'facts.db'}", usage=True))

    with FactStore(settings.facts.store) as store:
        found = gather.find(store, settings, NOW, lambda _: Commands(answering(cluster)))
        known = assemble("prod", store.known("prod"), settings.facts.age).file_systems["gpfs1"]

    assert found.failed == {}
    assert {each.used for each in known.pools.values()} == {75.0}
    assert {each.pool for each in known.disks.values()} == known.pools.keys()
    assert all(each.block_quota or each.files_quota for each in known.quotas.values())
    assert known.quotas.keys() <= known.filesets.keys()


def test_commands_tell_what_is_known_what_was_and_what_changed(tmp_path, printed):
    facts = Commanded(tmp_path, printed)

    assert "no facts are known" in facts("show", code=1)
    assert "disks/gpfs1" in facts("read")
    states = (printed / "mmgetstate").read_text()
    (printed / "mmgetstate").write_text(states.replace(":2:active:", ":2:down:"))
    facts("read")
    names = [each["name"] for each in json.loads(facts("show", "--json"))["nodes"].values()]
    changes = [json.loads(line) for line in facts("history", "states", "--since", "1h", "--json").splitlines()]
    second = json.loads(facts("show", "--json", "10.0.0.2"))

    assert second["state"] == "down"
    assert second["name"] in names
    assert changes[-1]["place"] == f"nodes.{second['name']}.state"
    assert (changes[-1]["before"], changes[-1]["after"]) == ("active", "down")
    assert "mount_point" in facts("show", "gpfs1")
    assert "quorum reached" in facts("show")
    assert "has no known node or file system 'nsd77'" in facts("show", "nsd77", code=1)
    assert "no facts about cluster prod" in facts("show", "--at", "2h", code=1)
    assert "no facts about cluster prod" in facts("show", "--at", "2h ago", code=1)
    assert "no facts about cluster prod" in facts("show", "--at", "yesterday", code=1)
    assert "is not a time" in facts("show", "--at", "soon", code=2)
    assert "has no part" in facts("history", "statse", code=2)


def test_a_node_is_shown_by_its_daemon_name_and_by_its_admin_name(tmp_path, printed):
    listed = (printed / "mmlscluster").read_text()
    (printed / "mmlscluster").write_text(listed.replace("10.0.0.2:cl01.", "10.0.0.2:cl01-adm."))
    facts = Commanded(tmp_path, printed)
    facts("read")

    names = ["cl01.prod.example", "cl01", "cl01-adm.prod.example", "cl01-adm", "CL01-ADM", "10.0.0.2"]
    shown = {facts("show", "--json", each) for each in names}

    assert len(shown) == 1
    assert json.loads(shown.pop())["address"] == "10.0.0.2"
    assert json.loads(facts("show", "--json", "cl02"))["address"] == "10.0.0.3"


def test_what_fails_is_named_and_bounded_and_the_rest_is_known(tmp_path, printed):
    program(printed, "mmgetstate", "", before="sleep 100")
    (printed / "mmlsmgr").unlink()
    (printed / "mmlsdisk").write_text((printed / "mmlsdisk").read_text().replace("availability", "available"))
    program(printed, "mmlsfileset", "", code=1, before="echo 'mmlsfileset: busy' >&2")
    facts = Commanded(tmp_path, printed, timedelta(seconds=3))
    began = time.monotonic()

    said = facts("read", code=1)
    missing = json.loads(facts("show", "--json"))["missing"]

    assert time.monotonic() - began < 80  # less than the hundred seconds of the program that hangs
    assert "mmgetstate -a -Y: did not finish in time" in missing["states"]
    assert "mmlsmgr does not exist" in missing["managers"]
    assert "has no column availability" in missing["disks/gpfs1"]
    assert "mmlsfileset: busy" in missing["filesets/gpfs1"]
    assert all(part in said for part in missing)
    assert set(missing) == {"states", "managers", "disks/gpfs1", "filesets/gpfs1"}


def test_the_pages_example_is_right(tmp_path):
    page = (ROOT / "router" / "cluster" / "facts" / "README.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "page.yaml").write_text(text)

    report = validation.check(tmp_path / "page.yaml", Catalogues.shipped(), try_tests=try_all)

    wrong = [str(each) for each in (*report.mistakes, *report.faults, *report.warnings)]
    assert [each for each in wrong if "mmchdisk does not exist on this machine" not in each] == []
    assert {f"facts.{name}" for name in FactsSettings.model_fields} <= set(re.findall(r"`(facts\.[a-z]+)`", page))


def test_a_consumer_filters_and_guards_by_facts_that_it_finds_out_beside(vhost_url, tmp_path, printed):
    text = """
        version: 1
        subscriptions:
          - name: known
            on: softQuotaExceeded
            where: facts.file_systems[data.fsName].mount_point == "/gpfs/gpfs1" && facts.nodes["nsd01"].quorum
            guard: {only_when: facts.quorum.reached}
            run: {command: [/bin/echo, "{{ facts.file_systems.gpfs1.mount_point }}"]}
          - name: refused
            on: softQuotaExceeded
            where: facts != null
            guard: {only_when: facts.quorum.reached == false}
            run: {command: [/bin/true]}
    """
    settings = f"facts: {{store: 'sqlite:///{tmp_path / 'facts.db'}', age: 2s}}\ngpfs: {{commands: {printed}}}\n"
    with Program(vhost_url, tmp_path, text, settings=settings) as consumer:
        assert consumer.command("facts", "show", code=1) == []
        consumer.start("known", "refused")

        def one_came_through():
            publish(vhost_url, [make_event()])
            return [row for row in consumer.rows(subscription="known") if row.outcome]

        # The first of them meet a store that is not there: they don't match, and have the cluster asked.
        done = wait_for(one_came_through, 30, "an event that is told by facts")
        guarded = consumer.wait_rows(1, subscription="refused")

    assert done[0].outcome == "done"
    assert text_of(done[0]).strip() == "/gpfs/gpfs1"
    assert guarded[0].outcome == "guarded"
    assert "only_when is false" in guarded[0].reason
    assert '"reached": true' in guarded[0].reason
