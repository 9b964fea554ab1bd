"""What README and docs show is true: commands exist, examples load, pictures are there."""

import ast
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from consumers import check, gpfs
from consumers.cli import app
from router.catalogue import Catalogues, load
from router.nodes import relay_settings
from router.sections import ConsumersSettings, GpfsSettings, Settings
from router.sources.gpfs.commands import Commands
from router.sources.gpfs.registrar import Registrar
from router.sources.gpfs.simulator import Cluster, install_capture
from router.sources.gpfs.simulator.answering import answering

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


@pytest.mark.parametrize("command", sorted(commands() - {"relay"}))
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="clusterbus")

    assert done.exit_code == 0, done.output
    assert f"clusterbus {command.split(maxsplit=1)[0]}" in done.output


def test_the_relay_which_takes_the_place_of_its_command_explains_itself() -> None:
    words = [sys.executable, "-m", "consumers.cli", "relay", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "usage:")


def test_the_route_of_the_readme_is_what_the_program_prints(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(version: 1.*?)^```", README, re.DOTALL | re.MULTILINE)
    (settings,) = re.findall(r"^```\n(consumers:.*?)^```", README, re.DOTALL | re.MULTILINE)
    (shown,) = re.findall(r"^<!-- route -->\n```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    (line,) = re.findall(r"^    clusterbus (route .*)$", README, re.MULTILINE)
    (tmp_path / "subscriptions.yaml").write_text(example)
    (tmp_path / "settings.yaml").write_text(settings)

    done = subprocess.run(
        [sys.executable, "-m", "consumers.cli", "--settings", str(tmp_path / "settings.yaml"), *shlex.split(line)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, shown), done.stderr


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert target.startswith("http") or (ROOT / target).exists(), f"{page}: {target}"


def layout() -> dict[str, list[str]]:
    """Return what ARCHITECTURE.md says there is in each folder of Python, in its order."""
    section = (ROOT / "ARCHITECTURE.md").read_text().partition("## 7. Where things are")[2].partition("## 8.")[0]
    rows = re.findall(r"^\| `([\w/]+)/` \| (.*) \|$", section, re.MULTILINE)
    ours = ("shim", "router", "consumers", "tests")
    return {folder: re.findall(r"`([\w/]+)`", row) for folder, row in rows if folder.split("/")[0] in ours}


def test_the_pictures_of_the_layout_name_what_is_there() -> None:
    for folder, names in layout().items():
        for name in names:
            place = ROOT / folder / name.rstrip("/")
            assert place.is_dir() or place.with_suffix(".py").exists(), f"{folder}/ has no {name}"


@pytest.mark.parametrize(
    "folder", ["shim", "router", "router/broker", "consumers", "consumers/store", "consumers/jobs"]
)
def test_the_pictures_of_the_layout_name_all_that_is_there(folder: str) -> None:
    inside = {each.stem for each in (ROOT / folder).glob("*.py")} - {"__init__"}
    folders = {each.parent.name for each in (ROOT / folder).glob("*/__init__.py")}

    assert (inside | folders) - {each.rstrip("/") for each in layout()[folder]} == set()


def test_in_the_picture_of_the_consumers_a_module_stands_behind_what_it_imports() -> None:
    names = [each.rstrip("/") for each in layout()["consumers"]]
    for at, name in enumerate(names):
        file = ROOT / "consumers" / f"{name}.py"
        above = set(names[at + 1 :]) & imported(file) if file.exists() else set()
        assert above == set(), f"{name} imports what is named after it"


def imported(file: Path) -> set[str]:
    """Return which modules of its package *file* imports when it is imported itself."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module.split(".")[0]} if node.module else {each.name for each in node.names}
    return found


def test_the_settings_for_nodes_of_the_readme_can_be_deployed_with() -> None:
    (shown,) = re.findall(r"^```yaml\n(nodes:.*?)^```", README, re.DOTALL | re.MULTILINE)
    wanted = Settings.model_validate(yaml.safe_load(shown)).nodes

    assert relay_settings.checked(wanted.relay)["cluster"] == "prod"


def test_the_function_of_the_readme_becomes_a_subscription_and_capture_is_registered(tmp_path: Path) -> None:
    cluster = Cluster.create(tmp_path / "cluster", nodes=3)
    install_capture(cluster)
    consumers = ConsumersSettings(callbacks=tmp_path / "callbacks")
    settings = Settings(gpfs=GpfsSettings(memory=tmp_path / "gpfs.json"), consumers=consumers)
    commands = Commands(answering(cluster))
    gpfs.use(commands, settings, asker=Registrar(commands, settings.gpfs, load("gpfs")), host="nsd01")
    (shown,) = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    # Its source is looked up, as that of any script is.
    (tmp_path / "mine.py").write_text(shown)

    runpy.run_path(str(tmp_path / "mine.py"))

    assert "clusterbus-daemon" in commands.read("mmlscallback")
    (written,) = (tmp_path / "callbacks").glob("*.yaml")
    (subscription,) = check.load([written], Catalogues.shipped(), settings).subscriptions
    assert any("daemon.shutdown" in each for each in subscription.patterns)
