"""What README and docs show is true: commands exist, examples load, pictures are there."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from consumers.check import check
from consumers.cli import app
from router.catalogue import Catalogues
from router.sources.gpfs.simulator import Cluster, install_capture
from router.sources.gpfs.simulator.commands import mmaddcallback

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def commands() -> set[str]:
    """Return all commands, groups as `group command`."""
    found = set()
    for name, command in get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        found |= {f"{name} {each}" for each in inner} if inner else {name}
    return found


def test_the_readme_names_every_command_and_no_other() -> None:
    table = README.partition("## Commands")[2].partition("\n\nEvery command")[0]
    named = set()
    for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        words = re.findall(r"`(?:clusterbus )?([a-z -]+?)(?: \[.*)?`", cell)
        first, *others = words
        group = first.split()[0] if " " in first else None
        named |= {first, *(f"{group} {each}" if group else each for each in others)}

    assert named == commands()


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_explains_itself(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "consumers.cli", *command.split(), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_the_subscriptions_of_the_readme_are_right(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(version: 1.*?)```", README, re.DOTALL)
    file = tmp_path / "subscriptions.yaml"
    file.write_text(example)

    report = check([file], Catalogues.shipped())

    assert report.mistakes == ()
    assert [each.name for each in report.subscriptions.subscriptions] == ["audit", "quota-ticket"]


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert target.startswith("http") or (ROOT / target).exists(), f"{page}: {target}"


def test_the_pictures_of_the_layout_name_what_is_there() -> None:
    layout = (ROOT / "ARCHITECTURE.md").read_text().partition("## 7. Where things are")[2].partition("## 8.")[0]
    for folder, row in re.findall(r"^\| `(\w+)/` \| (.*) \|$", layout, re.MULTILINE):
        for name in re.findall(r"`([\w/]+)`", row):
            if folder in ("shim", "router", "consumers", "tests"):
                place = ROOT / folder / name.rstrip("/")
                known = place.is_dir() or place.with_suffix(".py").exists() or (ROOT / name).exists()
                assert known, f"{folder}/ has no {name}"


def test_the_registration_of_the_readme_brings_a_callback_into_the_spool(tmp_path: Path) -> None:
    cluster = Cluster.create(tmp_path / "cluster", nodes=3)
    install_capture(cluster)
    (shown,) = re.findall(r"^    mmaddcallback ((?:.*\\\n)*.*)$", README, re.MULTILINE)

    mmaddcallback(cluster, shlex.split(shown.replace("\\\n", " ")), lambda _: None)
    runs = cluster.raise_event("softQuotaExceeded", {"fsName": "gpfs1", "filesetName": "projects", "blockUsage": "7"})

    assert [each.exit_code for each in runs] == [0]
    (file,) = (each for node in cluster.nodes for each in (node.spool / "new").iterdir())
    record = json.loads(file.read_text())
    assert (record["source"], record["event"]) == ("gpfs", "softQuotaExceeded")
    assert record["arguments"] == ["--fsName", "gpfs1", "--filesetName", "projects", "--blockUsage", "7"]
