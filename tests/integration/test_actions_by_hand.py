"""`clusterbus actions`: a person lists, shows and runs actions; the guards hold, and the audit has who and what."""

import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumers.manual_runs import waiting_actions
from consumers.processes import job_runner
from consumers.processes.job_files import Jobs
from consumers.store import approvals, attempts, audit
from consumers.store.database import Store
from router.cluster.facts.facts_store import FactStore
from router.cluster.facts.parts import Answer
from tests import forking
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
ACTIONS = """\
version: 1
actions:
  - name: say
    purpose: Say words.
    class: look
    parameters:
      fileSystem: {type: name, from: data.fsName}
      words: {type: text, default: hello}
    run: {command: [/bin/echo, "{{ parameters.fileSystem }}", "{{ parameters.words }}"]}
    limit: {most: 2, per: 1h, by: data.fsName, rest: skip}
  - name: guarded
    purpose: Say words if that is allowed.
    class: change
    parameters:
      fileSystem: {type: name, from: data.fsName}
    run: {command: [/bin/echo, "{{ parameters.fileSystem }}"]}
    guard: {only_if: [/usr/bin/test, "{{ parameters.fileSystem }}", "=", gpfs1]}
  - name: fail
    purpose: Fail.
    class: look
    run: {command: [/bin/sh, -c, "echo bad; exit 7"]}
    retry: {attempts: 5}
  - name: wipe
    purpose: Wipe.
    class: destroy
    parameters:
      fileSystem: {type: name, from: data.fsName}
    run: {command: [/bin/echo, wiped, "{{ parameters.fileSystem }}"]}
  - name: hang
    purpose: Hang.
    class: look
    run: {command: [/bin/sleep, "600"]}
    guard: {at_most: 1}
  - name: lacking
    purpose: Run what is not installed.
    class: look
    run: {command: [/nowhere/program]}
  - name: job
    purpose: Work for long.
    class: look
    run: {command: [/bin/echo, worked], detach: true}
  - name: long
    purpose: Work for very long.
    class: look
    run: {command: [/bin/sleep, "600"], detach: true}
  - name: restart
    purpose: Restart on some nodes, the first alone.
    class: change
    parameters:
      nodes: {type: nodes, from: data.eventNode}
      bad: {type: node, default: none}
    run:
      command:
        - /bin/sh
        - -c
        - echo "$CLUSTERBUS_NODE_NAME" >>@FOLDER@/ran; test "$CLUSTERBUS_NODE_NAME" != "$1"
        - sh
        - "{{ parameters.bad }}"
      nodes: "{{ parameters.nodes | join(',') }}"
    guard: {first: 1}
  - name: slowly
    purpose: Restart the first alone, the others much later.
    class: change
    parameters:
      nodes: {type: nodes, from: data.eventNode}
    run:
      command: [/bin/sh, -c, 'echo "$CLUSTERBUS_NODE_NAME" >>@FOLDER@/ran']
      nodes: "{{ parameters.nodes | join(',') }}"
    guard: {first: {nodes: 1, wait: 1h}}
  - name: hit
    purpose: Act on nodes, on two at most.
    class: change
    parameters:
      nodes: {type: nodes, from: data.eventNode}
    run: {command: [/bin/echo, "{{ parameters.nodes | join(',') }}", "of {{ facts.manager }}"]}
    guard: {blast_radius: {nodes: 2, within: 1h}}
"""


class Site:
    """Settings with the actions above, and a store of its own."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder, self.store = folder, store
        (folder / "actions.yaml").write_text(ACTIONS.replace("@FOLDER@", str(folder)))
        self.allow()

    def allow(self, *destroy: str) -> None:
        consumers = {"actions": [str(self.folder / "actions.yaml")], "store": self.store, "destroy": list(destroy)}
        consumers |= {"jobs": str(self.folder / "jobs"), "transport": "local"}
        facts = {"store": f"sqlite:///{self.folder}/facts.db", "cluster": "prod"}
        (self.folder / "settings.yaml").write_text(json.dumps({"consumers": consumers, "facts": facts}))

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "clusterbus", "--settings", str(self.folder / "settings.yaml"), "actions", *words]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SUDO_USER": "alice"}

    def call(self, *words: str, code: int = 0) -> dict:
        """Return what the command prints as JSON."""
        done = forking.run(self.words(*words, "--json"), self.folder, environment=self.environment)
        assert done.code == code, done.output
        # Notes on why it waits, and the log of jobs, stand beside the result.
        found = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
        return next((each for each in found if "logger" not in each), {"error": done.output})

    def start(self, *words: str) -> forking.Forked:
        log = os.open(self.folder / "started.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            return forking.start(self.words(*words), log, environment=self.environment, cwd=ROOT)
        finally:
            os.close(log)

    def rows(self, **filters: object) -> list[attempts.Row]:
        with Store(self.store) as store, store.reading() as transaction:
            return attempts.find(transaction, **filters)

    def pending(self) -> list[approvals.Approval]:
        with Store(self.store) as store, store.reading() as transaction:
            return approvals.pending(transaction, datetime.now(UTC))

    def audited(self) -> list[dict]:
        """Return the events of the audit, the oldest first; its chain must be whole."""
        with Store(self.store) as store, store.reading() as transaction:
            assert audit.verify(transaction) is None
            return [json.loads(each.body) for each in reversed(audit.find(transaction))]


@pytest.fixture
def site(tmp_path, database):
    return Site(tmp_path, database("store"))


def test_a_run_does_what_the_action_says_and_is_audited_with_who_and_what(site):
    done = site.call("run", "say", "--with", "fileSystem=gpfs1", "--with", "words={{ id }}; $(id)")

    assert (done["outcome"], done["result"]["output"][0]["text"]) == ("done", "gpfs1 {{ id }}; $(id)\n")
    requested, finished = site.audited()
    assert requested["type"] == "clusterbus.actionRequested"
    assert requested["id"] == done["id"]
    assert requested["cluster"] == "prod"
    assert (requested["data"]["by"], requested["data"]["action"]) == ("alice", "say")
    assert json.loads(requested["data"]["parameters"]) == {"fileSystem": "gpfs1", "words": "{{ id }}; $(id)"}
    assert finished["type"] == "clusterbus.runFinished"
    assert finished["data"]["eventId"] == done["id"]
    (row,) = site.rows(subscription="action-say")
    assert row.outcome == "done"


def test_a_dry_run_shows_the_command_and_the_guards_and_writes_nothing(site):
    shown = site.call("run", "say", "--with", "fileSystem=gpfs1", "--dry-run")

    assert shown["effect"]["command"] == ["/bin/echo", "gpfs1", "hello"]
    assert shown["rules"] == ["at most 2 per 1h by data.fsName; the others are skipped"]
    assert site.audited() == []


def test_a_dry_run_names_what_this_machine_lacks(site):
    shown = site.call("run", "lacking", "--dry-run")

    assert shown["effect"]["command"] == ["/nowhere/program"]
    assert shown["missing"] == ["/nowhere/program does not exist on this machine"]


def test_the_guards_of_the_action_hold(site):
    for _ in range(2):
        site.call("run", "say", "--with", "fileSystem=gpfs1")

    limited = site.call("run", "say", "--with", "fileSystem=gpfs1", code=1)
    other = site.call("run", "say", "--with", "fileSystem=gpfs2")
    guarded = site.call("run", "guarded", "--with", "fileSystem=gpfs2", code=1)
    allowed = site.call("run", "guarded", "--with", "fileSystem=gpfs1")

    assert limited["outcome"] == "limited"
    assert other["outcome"] == "done"
    assert guarded["outcome"] == "guarded"
    assert allowed["outcome"] == "done"


def test_a_failure_is_told_at_once_without_a_retry(site):
    failed = site.call("run", "fail", code=1)

    assert (failed["outcome"], [*failed["result"]["exit"]]) == ("failed", ["7"])
    assert site.audited()[-1]["data"]["final"] == "yes"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "sya"), "did you mean say?"),
        (("run", "say"), "needs --with fileSystem=..."),
        (("run", "say", "--with", "fileSystem"), "must have the form NAME=VALUE"),
        (("run", "say", "--with", "fs=a"), "has no parameter fs"),
        (("run", "say", "--with", "fileSystem=--force"), "is not a name"),
        (("run", "say", "--with", "fileSystem=a", "--with", "fileSystem=b"), "given twice"),
        (("run", "say", "--with", "fileSystem=a", "--limit", "5"), "duration"),
        (("show", "sya"), "did you mean say?"),
    ],
)
def test_wrong_usage_is_told_and_writes_nothing(site, words, message):
    assert message in site.call(*words, code=2)["error"]
    assert site.audited() == []


def test_what_destroys_is_refused_and_the_refusal_audited_unless_it_is_listed(site):
    """Row 34 of the seeds: without the entry the action is refused and audited."""
    refused = site.call("run", "wipe", "--with", "fileSystem=gpfs1", code=1)

    assert refused["outcome"] == "failed"
    assert "consumers.destroy does not list it" in refused["reason"]
    requested, failed = site.audited()
    assert requested["data"]["by"] == "alice"
    assert failed["type"] == "clusterbus.runFailed"
    assert "consumers.destroy does not list it" in failed["data"]["reason"]
    assert site.pending() == []


@pytest.mark.parametrize(("answer", "code"), [("approve", 0), ("refuse", 1)])
def test_what_destroys_waits_for_a_person(site, answer, code):
    site.allow("wipe")
    process = site.start("run", "wipe", "--with", "fileSystem=gpfs1")
    (asked,) = wait_for(site.pending, 20, "a request for approval")

    words = [*site.words()[:-1], "jobs", answer, asked.id]
    assert forking.run(words, site.folder, environment=site.environment).code == 0

    assert json.loads(asked.plan)["command"] == ["/bin/echo", "wiped", "gpfs1"]
    assert process.wait(60) == code
    (row,) = site.rows(subscription="action-wipe")
    assert row.outcome == ("done" if code == 0 else "refused")


@pytest.mark.parametrize("how", ["interrupt", "limit"])
def test_a_person_who_does_not_wait_takes_the_question_back(site, how):
    site.allow("wipe")
    more = ("--limit", "1s") if how == "limit" else ()
    process = site.start("run", "wipe", "--with", "fileSystem=gpfs1", *more)
    if how == "interrupt":
        wait_for(site.pending, 20, "a request for approval")
        process.send_signal(signal.SIGINT)

    assert process.wait(60) == 3
    assert site.pending() == []
    (row,) = site.rows(subscription="action-wipe")
    assert row.outcome == "dead"
    assert site.audited()[-1]["type"] == "clusterbus.runFailed"


def test_an_interrupt_kills_what_runs_and_frees_its_place(site):
    process = site.start("run", "hang")
    wait_for(lambda: [each for each in site.rows(subscription="action-hang") if each.outcome is None], 20, "a run")

    waiting = site.call("run", "hang", "--limit", "1s", code=3)
    process.send_signal(signal.SIGINT)

    assert waiting["outcome"] == "unfinished"
    assert "at_most: 1 " in waiting["reason"]
    assert process.wait(60) == 1
    reasons = {each.reason for each in site.rows(subscription="action-hang")}
    assert "stopped by alice" in reasons


def test_a_job_is_waited_for(site):
    done = site.call("run", "job")

    assert done["outcome"] == "done"
    assert done["result"]["output"][0]["text"] == "worked\n"
    assert done["result"]["job"].startswith("action-job-")


def test_an_interrupt_leaves_a_job_to_itself(site):
    process = site.start("run", "long")
    jobs = Jobs(site.folder / "jobs")
    (job,) = wait_for(lambda: [each for each in jobs.all() if each.state() == "running"], 20, "a job that runs")

    process.send_signal(signal.SIGINT)

    try:
        assert process.wait(60) == 3
        assert job.state() == "running"
        (row,) = site.rows(subscription="action-long")
        assert (row.outcome, row.result["job"]) == ("wait", job.id)
    finally:
        job_runner.cancel(job, "the test")


def ran(site):
    return (site.folder / "ran").read_text().split()


def test_the_first_nodes_go_first_and_the_others_follow(site):
    done = site.call("run", "restart", "--with", "nodes=n[1-3]", "--limit", "60s")

    assert (done["outcome"], done["result"]["nodes"]["succeeded"]) == ("done", "n[1-3]")
    assert len(ran(site)) == 3


def test_others_can_cancel_what_waits_after_its_first_nodes(site):
    process = site.start("run", "slowly", "--with", "nodes=n[1-3]")

    def waiting():
        with Store(site.store) as store, store.reading() as transaction:
            return waiting_actions.found(transaction, datetime.now(UTC))

    (action,) = wait_for(waiting, 60, "the first node")
    with Store(site.store) as store, store.writing() as transaction:
        waiting_actions.cancel(transaction, action.id, "bob", datetime.now(UTC))

    assert process.wait(60) == 1
    (row,) = site.rows(subscription="action-slowly")
    assert (row.outcome, row.reason) == ("dead", f"cancelled by bob (job {action.id})")
    assert (ran(site), row.result["not_begun"]) == (["n1"], "n[2-3]")


def test_first_nodes_that_fail_keep_the_others_from_being_touched(site):
    failed = site.call("run", "restart", "--with", "nodes=n[1-3]", "--with", "bad=n1", "--limit", "60s", code=1)

    assert failed["outcome"] == "failed"
    assert ran(site) == ["n1"]


@pytest.fixture
def facts(site):
    """The facts of a cluster of four nodes; the first three are its quorum."""
    names = [f"n{number}" for number in range(1, 5)]
    rows = [{"full_name": each, "number": at, "quorum": at <= 3, "manager": False} for at, each in enumerate(names, 1)]
    states = {str(at): {"name": each, "state": "active"} for at, each in enumerate(names, 1)}
    content = {
        "cluster": {"name": "prod", "nodes": rows},
        "states": {"nodes": states, "needed": 2, "tiebreaker": False},
        "managers": {"cluster": "n1", "file_systems": {}},
        "node_classes": {"racks": names},
    }
    with FactStore(f"sqlite:///{site.folder}/facts.db") as store:
        store.write("prod", {part: Answer(each) for part, each in content.items()}, datetime.now(UTC))


@pytest.mark.long
def test_a_blast_radius_holds_by_hand_with_the_facts_of_the_cluster(site, facts):
    done = site.call("run", "hit", "--with", "nodes=n1", "--limit", "60s")
    refused = site.call("run", "hit", "--with", "nodes=n1,n2,n3", "--limit", "60s", code=1)
    waiting = site.call("run", "hit", "--with", "nodes=n2", "--limit", "1s", code=3)

    assert done["result"]["output"][0]["text"] == "n1 of n1\n"
    assert "this would act on 3" in refused["reason"]
    assert "1 quorum node of 3 may be acted on at once" in waiting["reason"]


def test_facts_that_become_known_while_it_waits_let_it_go_on(site, request):
    process = site.start("run", "hit", "--with", "nodes=n4", "--limit", "2m")
    wait_for(lambda: site.rows(subscription="action-hit"), 60, "a run that waits for facts")

    request.getfixturevalue("facts")

    assert process.wait(100) == 0


def test_a_dry_run_reads_the_facts(site, facts):
    shown = site.call("run", "hit", "--with", "nodes=n1", "--dry-run")

    assert shown["effect"]["command"] == ["/bin/echo", "n1", "of n1"]


def test_actions_are_listed_and_shown_with_where_their_values_come_from(site):
    listed = forking.run(site.words("list", "--json"), site.folder, environment=site.environment)
    names = {json.loads(line)["name"] for line in listed.output.splitlines()}
    shown = site.call("show", "say")

    assert {"say", "wipe", "start-disk"} <= names
    assert (shown["implied"], shown["explicit"]) == (["fileSystem"], ["words"])
    assert shown["parameters"]["fileSystem"]["from"] == "data.fsName"
    assert shown["purpose"] == "Say words."
    assert "consumers.destroy does not list it" in site.call("show", "wipe")["refused"]
