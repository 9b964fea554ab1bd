"""Whatever lies in the current directory is never run: not by a command, nor by a program that one starts.

Relative paths are still those of the user's directory.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from consumers.cli.main import COMMANDS
from consumers.store import attempts
from consumers.store.database import Store
from tests.consuming import make_event, publish
from tests.flow import CLUSTERBUS, up
from tests.processes import environment
from tests.waiting import wait_for

HOSTILE = (
    "shim",
    "consumers",
    "router",
    "pika",
    "json",
    "logging",
    "typer",
    "sitecustomize",
    "usercustomize",
    "ClusterShell",
)
SUBSCRIPTIONS = """
version: 1
subscriptions:
- {name: isolated, on: "#", call: {function: "consumers.verbs.call.examples:logger", isolate: true}}
- {name: job, on: "#", run: {command: [/bin/echo, x], detach: true}}
- {name: nodes, on: "#", run: {command: [/bin/echo, x], nodes: "nsd[01-02]"}}
- {name: scripts, on: "#", scripts: {folders: "@FOLDER@/scripts"}}
"""


@pytest.fixture(params=["files", "folders"])
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with modules of our names and of others', each of which leaves a mark where it is imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in HOSTILE:
        place = folder / f"{name}.py" if request.param == "files" else folder / name / "__init__.py"
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    return folder


def ran(folder: Path) -> str:
    mark = folder.parent / "ran"
    return mark.read_text() if mark.exists() else ""


def said(folder: Path, *words: str, code: int = 0, **more: str) -> str:
    done = subprocess.run(
        words, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == code, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_the_modules_that_are_planted_would_be_run(hostile: Path) -> None:
    # The control: what `-P` is there for.
    command = [sys.executable, "-m", "shim"]
    subprocess.run(command, cwd=hostile, env=environment(), capture_output=True, timeout=240, check=False)

    assert "shim" in ran(hostile)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_command_runs_what_lies_where_it_is_asked_for_help(hostile: Path) -> None:
    # All commands of a group are in one module, which is imported for any of them.
    every = set(COMMANDS)
    if (hostile / "shim").is_dir():
        # What is found first is the same for all; those that start others are enough.
        every = {"relay", "up", "demo", "consume", "router"}

    for name in sorted(every):
        assert "sage:" in said(hostile, CLUSTERBUS, name, "--help"), name

    assert ran(hostile) == ""


def test_the_relay_runs_as_itself_and_finds_the_files_of_the_users_folder(hostile: Path) -> None:
    (hostile / "relay.conf").write_text("[relay]\nwindow = none\ncluster = prod\nbroker = amqp://u:x@127.0.0.1\n")

    shown = said(hostile, CLUSTERBUS, "relay", "--config", "relay.conf", "--allow-root", code=2)

    assert "window" in shown
    assert ran(hostile) == ""


def test_nodes_are_reached_and_mm_commands_simulated_by_our_own_programs(hostile: Path) -> None:
    simulator = [sys.executable, "-P", "-m", "router.simulator", "--state", "cluster"]
    said(hostile, *simulator, "create", "--nodes", "3")
    said(hostile, *simulator, "commands", "bin")
    settings = '{nodes: {transport: local, root: "@/each/{node}", python: "PYTHON"}}'
    (hostile / "settings.yaml").write_text(settings.replace("@", str(hostile)).replace("PYTHON", sys.executable))

    said(hostile, str(hostile / "bin" / "mmlscluster"))
    subprocess.run(
        [CLUSTERBUS, "--settings", "settings.yaml", "nodes", "status", "nsd01"],
        cwd=hostile,
        env=environment(),
        capture_output=True,
        timeout=240,
        check=False,
    )

    assert ran(hostile) == ""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_everything_that_up_starts_is_ours(hostile: Path, vhost_url: str) -> None:
    scripts = hostile / "scripts"
    scripts.mkdir()
    (scripts / "handlers.conf").write_text('script.py = "#"\n')
    (scripts / "script.py").write_text("import json, sys\nprint(json.__name__)\n")
    (hostile / "subscriptions.yaml").write_text(SUBSCRIPTIONS.replace("@FOLDER@", str(scripts.parent)))
    more = {
        "CLUSTERBUS_BROKER": vhost_url,
        "CLUSTERBUS_CONSUMERS_TRANSPORT": "local",
        "CLUSTERBUS_CONSUMERS_JOBS": "jobs",
        "CLUSTERBUS_SHIM_SPOOL": "spool",
    }
    with up(hostile, "--folder", "everything", "subscriptions.yaml", **more) as running:
        publish(vhost_url, [make_event(name="softQuotaExceeded")])
        rows = wait_for(lambda: outcomes(hostile / "everything" / "store.db"), 90, "all deliveries have ended")
        wait_for(lambda: "broker connected" in running.log.read_text(), 60, "the relay runs")

    assert rows == dict.fromkeys(["isolated", "job", "nodes", "scripts"], "done"), running.words()
    assert (hostile / "spool" / "new").is_dir()
    assert list((hostile / "jobs").iterdir())
    assert ran(hostile) == ""


def outcomes(file: Path) -> dict[str, str | None]:
    """Return the outcome of each subscription's first delivery, nothing until all have one."""
    if not file.exists():
        return {}
    store = Store(f"sqlite:///{file}")
    try:
        with store.reading() as transaction:
            rows = attempts.find(transaction, limit=1000)
    finally:
        store.close()
    found = {row.subscription: row.outcome for row in rows if row.outcome is not None}
    return found if len(found) == SUBSCRIPTIONS.count("name:") else {}
