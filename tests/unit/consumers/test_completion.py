"""The shell completes the names of subscriptions, quickly and whatever the files look like."""

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.store import bindings
from consumers.store.database import Store

FILE = """
version: 1
subscriptions:
  - {name: mail-quota, on: quota, log: {}}
  - {name: mail-disks, on: [, not checked here
"""
GOOD = """
version: 1
subscriptions:
  - {name: mail-quota, on: quota, log: {}}
  - {name: mail-disks, on: nothingSuch}
  - {name: page, on: disk, log: {}}
"""
HANDLERS = """
raise SystemExit("a completion runs no code")
@on("quota")
def mail_operators(event): ...
@on("disk", name="mail-oncall")
def other(event): ...
"""
LINES = [
    "dead list --subscription",
    "deliveries --subscription",
    "jobs list --subscription",
    "silences add --subscription",
]


@pytest.fixture
def complete(tmp_path, monkeypatch):
    """A function that completes a command line in a folder of subscriptions."""
    (tmp_path / "handlers").mkdir()
    settings = tmp_path / "clusterbus.yaml"
    settings.write_text(
        f"consumers: {{subscriptions: {tmp_path}/files, callbacks: {tmp_path}/none, store: 'sqlite:///{tmp_path}/s.db'}}"
    )

    def completed(line, word="ma"):
        words = f"clusterbus --settings {settings} {line} {word}"
        environment = {
            "_CLUSTERBUS_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        done = CliRunner().invoke(app, [], prog_name="clusterbus", env=environment)
        assert "Traceback" not in done.output
        return done.output.split()

    return completed


@pytest.fixture
def files(tmp_path):
    """The folder of subscriptions."""
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("line", LINES)
def test_options_complete_names_of_subscriptions(complete, files, line):
    (files / "a.yaml").write_text(GOOD)
    (files / "b.py").write_text(HANDLERS)

    assert complete(line) == ["mail-disks", "mail-oncall", "mail-operators", "mail-quota"]


def test_commands_on_services_complete_their_names(complete, tmp_path):
    folder = tmp_path / "services"
    folder.mkdir()
    services = "[{name: mail, on: disk}, {name: map, on: quota}, {name: other, on: quota}]"
    (folder / "a.yaml").write_text(f"version: 1\nservices: {services}\n")
    (tmp_path / "clusterbus.yaml").write_text(f"services: {{folder: {folder}}}")

    assert complete("services show") == complete("services replay") == ["mail", "map"]


@pytest.mark.parametrize(
    "content", [None, FILE, "", "version: 1", "- 1", "subscriptions: [1, {name: [2]}, {}]", "a: \x00"]
)
def test_files_that_are_missing_or_invalid_complete_nothing(complete, files, content):
    if content is not None:
        (files / "a.yaml").write_text(content)

    assert complete("dead list --subscription") == []


def test_a_settings_file_that_is_invalid_completes_nothing(complete, files, tmp_path):
    (tmp_path / "clusterbus.yaml").write_text("consumers: [")

    assert complete("dead list --subscription") == []


def test_remove_completes_subscriptions_that_the_files_no_longer_have(complete, files, tmp_path):
    (files / "a.yaml").write_text(GOOD)
    assert complete("subscriptions remove") == []

    with Store(f"sqlite:///{tmp_path}/s.db") as store, store.writing() as transaction:
        for name in ("mail-quota", "mail-gone"):
            bindings.remember(transaction, name, ["#"])

    assert complete("subscriptions remove") == ["mail-gone"]


def test_route_completes_event_types(complete, files):
    assert "diskFailure" in complete("route", "diskF")
