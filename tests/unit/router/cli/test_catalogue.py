"""The command `clusterbus catalogue`, and completion of what it shows."""

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from router.model.catalogue import Catalogues
from router.settings import site_catalogue
from tests.unit.router.settings.test_site_catalogue import GOOD


@pytest.fixture
def complete(tmp_path):
    """A function that completes *word* where the site's catalogue file has *text*."""

    def completed(word, text):
        (tmp_path / "catalogue.yaml").write_text(text)
        environment = {
            "_CLUSTERBUS_COMPLETE": "complete_bash",
            "COMP_WORDS": f"clusterbus catalogue {word}",
            "COMP_CWORD": "2",
            "CLUSTERBUS_ROUTER_CATALOGUE": str(tmp_path / "catalogue.yaml"),
        }
        done = CliRunner().invoke(app, [], prog_name="clusterbus", env=environment)
        return done.output.split()

    return completed


def test_it_shows_the_variables_that_all_events_of_a_source_have():
    done = CliRunner().invoke(app, ["catalogue", "failedJob"])

    assert [f"\n{name}\t" in done.output for name in ("id", "user", "problem")] == [True] * 3


def test_events_of_this_site_are_completed(complete):
    assert complete("tierM", GOOD) == ["tierMoved"]


@pytest.mark.parametrize("text", ["version: [\n", "version: 2\n", GOOD.replace("fsName", "fsNam")])
def test_a_catalogue_file_with_mistakes_leaves_the_shipped_events_to_complete(complete, text):
    assert complete("diskF", text) == ["diskFailure"]


def test_a_completion_reads_the_catalogues_once(complete, monkeypatch):
    read = []
    monkeypatch.setattr(site_catalogue, "catalogues", lambda settings: read.append(settings) or Catalogues.shipped())

    assert complete("gpf", GOOD) == ["gpfs"]
    assert len(read) == 1
