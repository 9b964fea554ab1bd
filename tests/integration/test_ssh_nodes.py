"""Commands on nodes over the real ssh: what is told of logins that are refused, and of connections that are lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.inspection.running_jobs import LiveOutput, states_of
from consumers.policies.retry import attempt
from consumers.processes.attached_runs import of_all_kinds
from consumers.processes.job_files import Jobs
from consumers.processes.job_runner import cancel
from consumers.verbs.interface import Surroundings
from consumers.verbs.run.verb import RunVerb
from router.cluster.fleet.runner import ask
from router.local_broker.rabbitmq_container import engine_answers
from router.settings.models import NodesSettings, Settings
from tests import containers
from tests.conftest import missing
from tests.consuming import QUICK, make_delivery, text_of
from tests.ssh_nodes import SshNodes, make_key, ssh_nodes
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshNodes]:
    """Nodes that the real ssh logs in to."""
    if not engine_answers():
        missing("no Docker engine of this machine answers")
    folder = tmp_path_factory.mktemp("ssh")
    image = containers.image(containers.NODE, folder.parent / "node.lock")
    with ssh_nodes(image, folder) as found:
        yield found


def handler(nodes, code, names="n[1-2]", *, options=None, **fields):
    consumers = {"transport": "ssh", "ssh_options": options or nodes.options()}
    around = Surroundings("a", threading.Event(), Settings.model_validate({"consumers": consumers}))
    verb = RunVerb.model_validate({"command": ["sh", "-c", code], "nodes": names, "timeout": "30s", **fields})
    return verb.handler(around)


def changed_known_hosts(nodes, folder):
    """Return a file in which the node has another key, as before it was reinstalled."""
    other = make_key(folder / "other").with_suffix(".pub").read_text().split()
    (folder / "changed").write_text(f"node {other[0]} {other[1]}\n")
    return folder / "changed"


def test_output_and_errors_of_nodes_are_kept_apart_and_exit_codes_are_those_of_the_command(nodes):
    code = 'echo out; echo "err" >&2; case $CLUSTERBUS_NODE_NAME in n2) exit 3;; n3) exit 255;; n4) kill -9 $$;; esac'

    report = handler(nodes, code, "n[1-4],dead1")(make_delivery())

    assert report.result["exit"] == {"0": "n1", "3": "n2", "137": "n4", "255": "dead1,n3"}
    assert report.result["unreachable"] == "dead1"
    assert report.reason.endswith("exit code 255 on n3, unreachable: dead1")
    assert text_of(report) == "out\n"
    errors = {each["nodes"]: each["text"] for each in report.result["errors"]}
    assert errors["n[1-3]"] == "err\n"
    # What the shell of the node adds.
    assert errors["n4"] == "err\nKilled\n"
    assert "Connection refused" in errors["dead1"]
    assert "remote_may_run" not in report.result


def test_steps_whose_node_dies_while_it_works_are_cleaned_up_after(nodes, tmp_path):
    snapshot, begun = tmp_path / "snapshot", f"/tmp/begun-{tmp_path.name}"
    run = {
        "steps": [
            {"name": "snapshot", "command": ["touch", str(snapshot)]},
            {"name": "work", "command": ["sh", "-c", f"touch {begun}; sleep 48"], "nodes": "n[1-2]", "timeout": "60s"},
        ],
        "always": [{"name": "destroy", "command": ["rm", str(snapshot)]}],
    }
    consumers = {"transport": "ssh", "ssh_options": nodes.options(), "jobs": tmp_path / "jobs"}
    settings = Settings.model_validate({"consumers": consumers})
    function = RunVerb.model_validate(run).handler(Surroundings("a", settings=settings))
    owed, found = make_delivery(), []

    def ended():
        found.append(function(owed))
        return found[-1] is not None and found[-1].again is None

    ended()
    wait_for(lambda: nodes.run("sh", "-c", f"ls {begun} 2>/dev/null || true"), 60, "the work")
    nodes.kill_sessions()
    wait_for(ended, 90, "the end")

    (_, work), (destroy,) = found[-1].result["steps"], found[-1].result["always"]
    assert found[-1].failure == "unreachable"
    assert (work["state"], work["unreachable"], work["remote_may_run"]) == ("failed", "n[1-2]", "n[1-2]")
    assert destroy["state"] == "done"
    assert not snapshot.exists()


@pytest.mark.parametrize(
    ("case", "user", "why"),
    [
        ("another key", None, "Permission denied (publickey"),
        ("no account", "nobody-there", "the account there accepts no key of this user"),
        ("unknown host key", None, "its host key is unknown: compare it, and add it to known_hosts"),
        ("changed host key", None, "its host key has changed"),
        ("nologin", "nologin", "the account's login shell does not run commands: give it a POSIX shell"),
        ("no shell", "false", "the account's login shell does not run commands"),
    ],
)
def test_a_login_that_is_refused_is_a_failure_of_its_own_with_the_way_out(nodes, tmp_path, case, user, why):
    fields: dict[str, Path] = {}
    match case:
        case "another key":
            fields = {"key": make_key(tmp_path / "mine")}
        case "unknown host key":
            fields = {"known_hosts": tmp_path / "empty"}
        case "changed host key":
            fields = {"known_hosts": changed_known_hosts(nodes, tmp_path)}
    function = handler(nodes, "true", options=nodes.options(**fields), **({"user": user} if user else {}))

    report = function(make_delivery())

    assert report.failure == "login", report
    assert why in report.reason
    assert report.result["refused"] == "n[1-2]"
    assert report.result["nodes"] == {"succeeded": "", "failed": "n[1-2]"}
    assert not {"unreachable", "remote_may_run"} & {*report.result}
    assert list(report.blamed) == ["run sh on n[1-2]"]


def test_nodes_that_are_asked_for_clusterbus_nodes_are_told_in_the_same_way(nodes, tmp_path):
    reach = NodesSettings(ssh_options=tuple(nodes.options(key=make_key(tmp_path / "mine"))))
    good = NodesSettings(ssh_options=tuple(nodes.options()), timeout=timedelta(seconds=30))

    refused = ask(["n1"], ["true"], reach)["n1"]
    answers = ask(["n1", "dead1"], ["sh", "-c", "echo here; echo there >&2"], good)

    assert refused.failure.startswith("its login is refused: ")
    assert "the account there accepts no key of this user" in refused.failure
    assert (answers["n1"].output, answers["n1"].failure) == ("here\n", "")
    assert answers["dead1"].failure.startswith("it cannot be reached: ssh: connect to host")


def test_a_connection_that_is_lost_leaves_a_command_that_may_still_run_and_says_so(nodes):
    function = handler(nodes, "echo begun > /tmp/lost; exec sleep 30", "n1")

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(function, make_delivery())
        wait_for(lambda: "lost" in nodes.run("ls", "/tmp"), 60, "the command")
        nodes.kill_sessions()
        report = running.result(120)

    assert report.failure == "unreachable"
    assert report.result["remote_may_run"] == "n1"
    assert report.result["unreachable"] == "n1"
    nodes.run("pkill", "-f", "sleep 30")


def test_row_116_a_cancelled_run_names_the_nodes_where_the_command_may_still_run(nodes, tmp_path):
    jobs = Jobs(tmp_path / "jobs")
    consumers = {"transport": "ssh", "ssh_options": nodes.options(), "jobs": jobs.path}
    around = Surroundings("a", threading.Event(), Settings.model_validate({"consumers": consumers}))
    code = 'echo "on $CLUSTERBUS_NODE_NAME"; test "$CLUSTERBUS_NODE_NAME" = n1 || exec sleep 32'
    verb = RunVerb.model_validate({"command": ["sh", "-c", code], "nodes": "n[1-2]", "timeout": "33s"})
    owed = make_delivery()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(attempt, owed, verb.handler(around), QUICK)
        (job,) = wait_for(lambda: of_all_kinds(jobs), 60, "the run")
        wait_for(lambda: states_of(job) == {"running": "n2", "succeeded": "n1"}, 60, "the states of the nodes")
        with LiveOutput(job) as output:
            said = []
            wait_for(lambda: said.extend(map(str, output.read())) or len(said) == 5, 60, "what the nodes have printed")
            was_cancelled = cancel(job, "somebody")
            outcome = running.result(60)

    assert was_cancelled
    assert outcome.reason == f"cancelled by somebody (job {job.id})"
    assert outcome.result["nodes"] == {"succeeded": "n1", "failed": "n2"}
    assert outcome.result["remote_may_run"] == "n2"
    # The mark at the end of a command is not shown.
    assert sorted(said) == ["--- n1 running", "--- n1 succeeded", "--- n2 running", "n1: on n1", "n2: on n2"]
    nodes.run("pkill", "-f", "sleep 32")


def test_a_deadline_names_the_nodes_where_the_command_may_still_run(nodes):
    report = handler(nodes, "exec sleep 31", "n[1-2]", timeout="3s", deadline="3s", fanout=1)(make_delivery())

    assert report.failure == "timeout"
    assert {report.result["not_begun"], report.result["unfinished"]} == {"n1", "n2"}
    assert report.result["remote_may_run"] == report.result["unfinished"]


def test_a_terminal_on_the_node_changes_nothing_but_where_errors_go(nodes):
    report = handler(nodes, "echo out; echo err >&2; exit 4", "n1", options=[*nodes.options(), "-tt"])(make_delivery())

    assert report.failure == "exit:4"
    assert sorted(text_of(report).split()) == ["err", "out"]
