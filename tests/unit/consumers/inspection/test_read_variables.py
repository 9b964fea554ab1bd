"""Which variables a subscription reads: named in the file, or implied by a function or an action."""

import json

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.inspection.read_variables import read_variables
from consumers.subscriptions.validation import load
from router.model.catalogue import Catalogues
from router.settings.models import Settings

FUNCTIONS = """\
from clusterbus import on


@on("softQuotaExceeded", where="data.blockUsage > 10")
def warn(fsName, filesetName=None, *, event):
    pass
"""
HANDLERS = """\
def tell(quota, fsName):
    pass
"""
FILE = """\
version: 1
subscriptions:
  - name: command
    on: diskFailure
    where: has(data.fsName)
    once_per: {by: [data.fsName, node], interval: 1h}
    guard: {only_if: [/bin/test, "{{ data.fsName }}"]}
    run: {command: [/bin/echo, "{{ data.diskName | join(',') }}"]}
  - name: tell
    on: softQuotaExceeded
    call: {function: "@FOLDER@/handlers.py:tell", parms: ["%blockQuota"]}
  - name: start
    on: diskFailure
    action: {name: start-disk, with: {fileSystem: "{{ data.fsName }}"}}
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "file.yaml").write_text(FILE.replace("@FOLDER@", str(tmp_path)))
    wanted = {"consumers": {"actions": [], "callbacks": str(tmp_path / "none")}}
    (tmp_path / "settings.yaml").write_text(json.dumps(wanted))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "explicit", "implied"),
    [
        ("warn", ("blockUsage",), ("fsName", "filesetName")),
        ("tell", ("blockQuota",), ("fsName",)),
        ("command", ("fsName", "diskName"), ()),
        ("start", ("fsName",), ("diskName",)),
    ],
)
def test_named_and_implied_variables_are_apart(site, name, explicit, implied):
    """Row 15 of the seeds: both lists are right for a function with two parameters."""
    settings = Settings.model_validate(json.loads((site / "settings.yaml").read_text()))
    found = load([site / "functions.py", site / "file.yaml"], Catalogues.shipped(), settings).by_name[name]

    read = read_variables(found, settings)

    assert (read.explicit, read.implied) == (explicit, implied)


def test_show_prints_a_subscription_with_what_its_action_adds(site):
    words = ["--settings", str(site / "settings.yaml"), "subscriptions", "show", "start", "--file"]

    ended = CliRunner().invoke(app, [*words, str(site / "file.yaml"), "--json"])

    shown = json.loads(ended.stdout)
    assert (shown["explicit"], shown["implied"]) == (["fsName"], ["diskName"])
    assert shown["retry"]["attempts"] == 4
    assert shown["verb"] == {"name": "start-disk", "with": {"fileSystem": "{{ data.fsName }}"}}
    assert (shown["file"], shown["line"]) == (str(site / "file.yaml"), 12)


def test_a_name_that_is_not_there_is_told_with_the_nearest(site):
    words = ["--settings", str(site / "settings.yaml"), "subscriptions", "show", "strat", "--file"]

    ended = CliRunner().invoke(app, [*words, str(site / "file.yaml")])

    assert ended.exit_code == 2
    assert "did you mean start?" in ended.output
