"""What README and docs show is true: commands exist, examples load, pictures are there."""

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from consumers import gpfs
from consumers.cli.main import app
from consumers.subscriptions import validation
from router.cluster.callbacks.gpfs.registrar import Registrar
from router.cluster.gpfs.commands import Commands
from router.cluster.nodes import relay_settings
from router.model.catalogue import Catalogues, load
from router.settings.models import ConsumersSettings, GpfsSettings, Settings
from router.simulator.install import install_capture
from router.simulator.simulated_cluster import Cluster
from tests.mm_commands import answering

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
    words = [sys.executable, "-m", "consumers.cli.main", "relay", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)

    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "usage:")


def test_the_route_of_the_readme_is_what_the_program_prints(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(version: 1.*?)^```", README, re.DOTALL | re.MULTILINE)
    (settings,) = re.findall(r"^```\n(consumers:.*?)^```", README, re.DOTALL | re.MULTILINE)
    (shown,) = re.findall(r"^<!-- route -->\n```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    (line,) = re.findall(r"^    clusterbus (route .*)$", README, re.MULTILINE)
    (tmp_path / "subscriptions.yaml").write_text(example)
    (tmp_path / "settings.yaml").write_text(settings)

    done = subprocess.run(
        [sys.executable, "-m", "consumers.cli.main", "--settings", str(tmp_path / "settings.yaml"), *shlex.split(line)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, shown), done.stderr


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert target.startswith("http") or (ROOT / target).exists(), f"{page}: {target}"


def the_map() -> list[str]:
    """Return the packages in the map of ARCHITECTURE.md, in its order, without the modules of a root."""
    section = (ROOT / "ARCHITECTURE.md").read_text().partition("## 1. The map")[2].partition("## 2.")[0]
    return re.findall(r"^\| `([\w/]+)/` \|", section, re.MULTILINE)


def test_the_map_names_each_package_and_no_other() -> None:
    ours = ("shim", "router", "consumers", "clusterbus")
    there = {each.parent for package in ours for each in (ROOT / package).rglob("__init__.py")}
    named = {ROOT / each for each in the_map()}
    roots = {ROOT / "router", ROOT / "consumers"}
    # A folder for each source, verb or part of its package is named by the sentence of the package.
    below = {each for each in there - named if each.parent in named and each.parent not in roots}
    below |= {each for each in there - named if each.parent in below}

    assert [each for each in named if not each.is_dir()] == []
    assert there - named - below - {ROOT / "router" / "cluster"} == set()


@pytest.mark.parametrize("tree", ["router", "consumers"])
def test_the_map_is_in_the_order_in_which_packages_may_import(tree: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each.get("containers") == [tree]]
    shown = [each.split("/")[1] for each in the_map() if each.startswith(f"{tree}/")]

    assert list(dict.fromkeys(shown)) == [each for each in reversed(layers) if (ROOT / tree / each).is_dir()]


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
    (subscription,) = validation.load([written], Catalogues.shipped(), settings).subscriptions
    assert any("daemon.shutdown" in each for each in subscription.patterns)
