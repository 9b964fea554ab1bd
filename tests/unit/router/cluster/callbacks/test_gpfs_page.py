"""The page on callbacks: what it shows is what is printed, and its tables are whole."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from router.cli import callbacks as registering
from router.cluster.callbacks.gpfs import risks
from router.cluster.gpfs.commands import Commands
from router.model.catalogue import load
from router.settings import loading
from router.settings.models import GpfsSettings
from router.simulator.install import install_capture
from router.simulator.simulated_cluster import Cluster
from tests.mm_commands import answering

PAGE = (Path(__file__).parents[5] / "router" / "cluster" / "callbacks" / "gpfs" / "README.md").read_text()


@pytest.fixture
def callbacks(tmp_path, monkeypatch):
    """A function that runs `clusterbus callbacks` on a simulated cluster of three nodes that have the shim."""
    cluster = Cluster.create(tmp_path / "cluster", nodes=3)
    install_capture(cluster)
    monkeypatch.setattr(registering, "of_settings", lambda _: Commands(answering(cluster)))
    monkeypatch.setattr(registering, "lacking", lambda *_, **__: {})
    file = tmp_path / "settings.yaml"
    file.write_text(f"gpfs: {{events: [disk, quota], memory: {tmp_path / 'gpfs.json'}}}")
    app = typer.Typer()
    app.add_typer(registering.callbacks_app, name="callbacks")

    @app.callback()
    def root(context: typer.Context) -> None:
        context.obj = loading.load(file, environment={}, system=file)

    def run(*words, code=0):
        ended = CliRunner().invoke(app, ["callbacks", *words])
        assert ended.exit_code == code, (ended.output, ended.exception)
        return ended.output

    return run


def test_the_plan_of_the_page_is_what_is_printed(callbacks):
    (shown,) = re.findall(r"^<!-- plan -->\n```\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

    assert callbacks("plan") == shown


def test_the_commands_of_the_page_do_what_it_says(callbacks):
    lines = re.findall(r"^    clusterbus callbacks (\S+)((?: [a-z-]+)?)", PAGE, re.MULTILINE)
    assert [word for word, _ in lines] == ["plan", "apply", "status", "show", "remove"]

    assert "clusterbus-disk" in callbacks("status", code=1)
    assert "--yes" in callbacks("apply", code=2)
    assert "2 done" in callbacks("apply", "--yes")
    assert callbacks("plan") == "nothing to do\n"
    callbacks("status")
    assert "diskFailure" in callbacks("show", lines[3][1].strip())
    assert "not registered" in callbacks("show", "clusterbus-nothing", code=1)
    assert "2 done" in callbacks("remove", "--yes")
    assert callbacks("show", "--all") == ""


def test_every_setting_is_in_the_table():
    named = set(re.findall(r"`gpfs\.([a-z_]+)`", PAGE))

    assert named >= set(GpfsSettings.model_fields)


def test_every_danger_is_in_the_table():
    table = PAGE.partition("| in `gpfs.accept` |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", table))
    dangerous = {each.name for each in load("gpfs").events.values() if risks.of_event(each)}

    assert named >= {*dangerous, *risks.of_manner(sync=True, onerror="shutdown")}


def test_of_another_source_the_next_command_is_told_with_it(callbacks, tmp_path):
    (tmp_path / "callback").mkdir()
    (tmp_path / "settings.yaml").write_text(f"qube: {{callbacks: {tmp_path / 'callback'}}}")

    assert callbacks("--source", "qube", "plan").endswith("8 to do: `clusterbus callbacks --source qube apply`\n")
    assert "8 done" in callbacks("--source", "qube", "apply", "--yes", "--again")
    assert callbacks("--source", "qube", "plan").endswith("nothing to do\n")
    assert "8 done" in callbacks("--source", "qube", "remove", "--yes")
