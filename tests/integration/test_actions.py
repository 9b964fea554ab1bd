"""Every shipped action, run as a consumer would, on the simulated cluster and on stand-ins for other programs."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.deliveries import Report
from consumers.errors import Rejected
from consumers.subscriptions.actions import action_files
from consumers.verbs.action.verb import BoundAction
from consumers.verbs.interface import Surroundings
from router.settings.models import Settings
from router.simulator.install import install
from router.simulator.simulated_cluster import Cluster
from tests.consuming import make_delivery, make_event
from tests.waiting import wait_for

PROGRAM = """\
#!/bin/sh
printf '%s\\n' "$CLUSTERBUS_NODE_NAME $(basename "$0") $*" >>LOG
case "$1 $2" in "is-active dead.service") echo inactive; exit 3;; esac
"""
OTHERS = ("systemctl", "scontrol", "qbkill", "qbblock", "qbunblock", "qbretry")
POLICY = "RULE 'old' MIGRATE FROM POOL 'system' TO POOL 'data'\n"


@pytest.fixture
def cluster(tmp_path):
    return Cluster.create(tmp_path / "cluster", nodes=6, name="prod", file_systems=["gpfs1"])


@pytest.fixture
def log(tmp_path):
    """What the stand-ins for systemctl and scontrol were called with, a line for each call."""
    path = tmp_path / "called"
    path.touch()
    return path


@pytest.fixture
def run(cluster, log, tmp_path):
    """Give a function that runs a shipped action with values, for an event with its data."""
    programs, policies = tmp_path / "bin", tmp_path / "policies"
    install(programs, cluster.folder)
    for name in OTHERS:
        (programs / name).write_text(PROGRAM.replace("LOG", str(log)))
        (programs / name).chmod(0o755)
    policies.mkdir()
    (policies / "old.policy").write_text(POLICY)
    site = tmp_path / "actions"
    site.mkdir()
    for each in action_files.SHIPPED.glob("*.yaml"):
        # Only where programs and policies are differs from a real site.
        text = (
            each.read_text()
            .replace("/usr/lpp/mmfs/bin/", f"{programs}/")
            .replace("/etc/clusterbus/policies", str(policies))
        )
        for name in OTHERS:
            text = text.replace(f"[{name},", f"[{programs}/{name},")
        (site / each.name).write_text(text)
    destroy = ["delete-snapshot", "stop-gpfs"]
    wanted = {"actions": [str(site)], "destroy": destroy, "transport": "local", "jobs": str(tmp_path / "jobs")}
    settings = Settings.model_validate({"consumers": wanted})
    known = action_files.read(settings)
    assert list(known.mistakes) == []

    def run(name: str, data: dict | None = None, **given: object) -> Report:
        verb = BoundAction.model_validate({"name": name, "definition": known.definitions[name].action, "with": given})
        handler = verb.handler(Surroundings(name, settings=settings))
        delivery = make_delivery(make_event(data=data or {}), name)
        found: list[Report] = []

        def ended() -> bool:
            # A job is asked for until it ends, and its last answer comes with the next question.
            earlier = found[-1].result if found else {}
            found.append(handler(replace(delivery, earlier=earlier)))
            return found[-1].again is None

        wait_for(ended, 30, f"the end of {name}")
        return found[-1]

    run.policies = policies
    return run


def text_of(report):
    return "".join(each["text"] for each in report.result["output"])


def disk(cluster, name="nsd1"):
    return cluster.state.disks[f"gpfs1/{name}"]


def test_disks_are_shown_started_suspended_and_resumed(run, cluster):
    data = {"fsName": "gpfs1", "diskName": ["nsd1"]}
    cluster.raise_event("diskFailure", {"fsName": "gpfs1", "diskName": "nsd1"})

    shown = run("disk-status", data)
    started = run("start-disk", data)

    assert "nsd1" in text_of(shown)
    assert started.failure is None
    assert disk(cluster).availability == "up"

    assert run("suspend-disk", data).failure is None
    assert disk(cluster).status == "suspended"
    assert run("resume-disk", data).failure is None
    assert disk(cluster).status == "ready"


def test_a_fileset_gets_more_inodes_and_another_quota(run, cluster):
    fileset = next(each.name for each in cluster.state.filesets.values() if each.name != "root")
    data = {"fsName": "gpfs1", "filesetName": fileset}

    more = run("raise-inode-limit", data, inodes=2_000_000)
    quota = run("set-fileset-quota", data, soft="10T", hard="11T")

    assert (more.failure, quota.failure) == (None, None)
    assert cluster.state.filesets[f"gpfs1/{fileset}"].most_inodes == 2_000_000
    (found,) = [each for each in cluster.state.quotas.values() if each.name == fileset and each.type == "FILESET"]
    assert (found.block_quota, found.block_limit) == (10 * 2**30, 11 * 2**30)


def test_a_policy_is_tested_and_run_and_only_one_of_this_site(run):
    policy = str(run.policies / "old.policy")

    for name in ("test-policy", "run-policy"):
        assert "Parsed 1 policy rules" in text_of(run(name, {"fsName": "gpfs1"}, policy=policy))
        with pytest.raises(Rejected, match="is not below"):
            run(name, {"fsName": "gpfs1"}, policy="/tmp/other.policy")


def test_snapshots_are_taken_and_deleted(run, cluster):
    fileset = next(each.name for each in cluster.state.filesets.values() if each.name != "root")

    assert run("create-snapshot", {"fsName": "gpfs1"}, snapshot="before").failure is None
    assert run("create-snapshot", {"fsName": "gpfs1"}, fileset=fileset).failure is None
    names = {(each.fileset, each.name) for each in cluster.state.snapshots.values()}
    assert ("", "before") in names
    (own,) = [name for of, name in names if of == fileset]

    assert run("delete-snapshot", {"fsName": "gpfs1"}, snapshot="before").failure is None
    assert run("delete-snapshot", {"fsName": "gpfs1"}, snapshot=own, fileset=fileset).failure is None
    assert not {("", "before"), (fileset, own)} & {
        (each.fileset, each.name) for each in cluster.state.snapshots.values()
    }


@pytest.mark.parametrize("fails", ["", "mmcrsnapshot", "mmbackup"])
def test_a_backup_leaves_no_snapshot_behind(run, cluster, tmp_path, fails):
    """Row 35 of the seeds: the middle step fails, the clean-up ran, the outcome is failed."""
    taken = cluster.state.snapshots_taken
    if fails:
        (tmp_path / "bin" / fails).write_text("#!/bin/sh\necho broken >&2\nexit 9\n")

    report = run("backup-from-snapshot", {"fsName": "gpfs1"})

    assert report.failure == ("exit:9" if fails else None)
    assert cluster.state.snapshots_taken == taken + (fails != "mmcrsnapshot")
    assert [each.name for each in cluster.state.snapshots.values() if each.name.startswith("clusterbus-")] == []
    states = {each["name"]: each["state"] for part in ("steps", "always") for each in report.result[part]}
    failed = {"mmcrsnapshot": "snapshot", "mmbackup": "backup"}.get(fails)
    assert {name for name, state in states.items() if state == "failed"} == ({failed} if failed else set())
    assert states["delete"] == "done"


def test_diagnostics_of_nodes_are_collected(run, tmp_path):
    report = run("collect-diagnostics", {"eventNode": ["cl01", "cl02"]}, folder=str(tmp_path / "snap"))

    assert "completed" in text_of(report)
    assert [*(tmp_path / "snap").iterdir()]


def test_gpfs_is_stopped_and_started_on_nodes(run, cluster):
    assert run("stop-gpfs", nodes="cl[01-02]").failure is None
    assert [cluster.state.nodes[each].up for each in ("cl01", "cl02")] == [False, False]

    assert run("start-gpfs", {"eventNode": ["cl01", "cl02"]}).failure is None
    assert [cluster.state.nodes[each].up for each in ("cl01", "cl02")] == [True, True]


def test_services_are_started_stopped_restarted_and_shown_on_nodes(run, log):
    """Row 75 of the seeds: four verbs of a service against a transport that runs here."""
    for name in ("start-service", "stop-service", "restart-service", "service-status"):
        report = run(name, service="nfs-ganesha.service", nodes="ces[01-02]")
        assert (report.failure, report.result["nodes"]["succeeded"]) == (None, "ces[01-02]")
    dead = run("service-status", service="dead.service", nodes="ces01")

    assert dead.failure == "exit:3"
    verbs = ("start", "stop", "restart", "is-active")
    wanted = {f"{node} systemctl {verb} nfs-ganesha.service" for node in ("ces01", "ces02") for verb in verbs}
    assert {*log.read_text().splitlines()} == {*wanted, "ces01 systemctl is-active dead.service"}


def test_the_scheduler_leaves_nodes_alone_and_comes_back(run, log):
    assert run("suspend-scheduling", {"eventNode": ["cl01", "cl02"]}, reason="a b; reboot").failure is None
    assert run("resume-scheduling", {"eventNode": ["cl01"]}).failure is None

    assert [line.strip() for line in log.read_text().splitlines()] == [
        "scontrol update NodeName=cl01,cl02 State=DRAIN Reason=a b; reboot",
        "scontrol update NodeName=cl01 State=RESUME",
    ]


@pytest.mark.parametrize(
    ("name", "program"),
    [("kill-self", "qbkill"), ("block-self", "qbblock"), ("unblock-self", "qbunblock"), ("retry-self", "qbretry")],
)
def test_a_job_of_qube_is_acted_on(run, log, name, program):
    assert run(name, {"id": 19294}).failure is None
    with pytest.raises(Rejected, match="parameter job"):
        run(name, {"id": "19294; reboot"})

    assert [line.strip() for line in log.read_text().splitlines()] == [f"{program} 19294"]


@pytest.mark.parametrize("nodes", ["all", "nsdNodes", "@all", "-a", "cl01,all"])
def test_no_action_takes_a_class_of_nodes(run, log, nodes):
    for name, more in (("stop-gpfs", {}), ("restart-service", {"service": "a"}), ("collect-diagnostics", {})):
        with pytest.raises(Rejected, match="parameter nodes"):
            run(name, nodes=nodes, **more)
    assert log.read_text() == ""


def test_every_shipped_action_is_tried_above():
    shipped = action_files.read(Settings.model_validate({"consumers": {"actions": []}})).definitions
    named = set(re.findall(r'"([a-z]+-[a-z-]+)"', Path(__file__).read_text()))

    assert shipped.keys() - named == set()
