"""The page of the catalogue is what `clusterbus catalogue --page` prints; a site's own has what the site adds."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.config.catalogue_page import page
from consumers.config.registrations import Registrations
from router.model.catalogue import Catalogues
from tests.unit.router.settings.test_site_catalogue import GOOD

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "router" / "sources" / "README.md"


@pytest.fixture
def run(tmp_path: Path):
    """A function that runs `clusterbus` for a site with a catalogue file of its own."""
    (tmp_path / "catalogue.yaml").write_text(GOOD)
    (tmp_path / "settings.yaml").write_text(
        f"router: {{catalogue: {tmp_path}/catalogue.yaml}}\ngpfs: {{events: default, memory: {tmp_path}/gpfs.json}}\n"
    )
    (tmp_path / "subscriptions.yaml").write_text(
        "version: 1\nsubscriptions:\n"
        "  - name: tiers\n    on: tiering\n    where: data.movedFiles > 10\n"
        "    run: {command: [/bin/echo, '{{ data.tierName }}', '{{ data.movers | join }}']}\n"
    )

    def run(*words: str, code: int = 0) -> str:
        ended = CliRunner().invoke(app, ["--settings", str(tmp_path / "settings.yaml"), *words])
        assert ended.exit_code == code, (ended.output, ended.exception)
        return ended.output

    return run


def test_the_page_is_up_to_date():
    expected = page(Registrations(Catalogues.shipped()))

    assert PAGE.read_text() == expected, f"run: clusterbus catalogue --page > {PAGE.relative_to(ROOT)}"


def test_the_page_has_every_event_and_variable():
    text = PAGE.read_text()

    for catalogue in Catalogues.shipped().values():
        assert [each for each in catalogue.events if f"\n#### {each}\n" not in text] == []
        used = {name for each in catalogue.events.values() for name in catalogue.variables if name in each.variables}
        assert [each for each in used if f"| `{each}` |" not in text] == []


def test_what_a_site_adds_is_known_to_every_command(run, tmp_path):
    files = str(tmp_path / "subscriptions.yaml")

    assert "ok: 1 subscriptions" in run("check", files)
    assert '"cold", "node1node2"]' in run("route", "tierMoved", "--file", files)
    assert '"n1n2"]' in run("route", "tierMoved", "movedFiles=12", "movers=n1;n2", "tierName=x", "--file", files)
    assert "where is false" in run("route", "tierMoved", "movedFiles=9", "tierName=x", "--file", files, code=1)
    assert "movedFiles" in run("catalogue", "tierChanged")
    assert "#### tierMoved" in run("catalogue", "--page")
    assert '"tierMoved"' in run("schema", "subscriptions")
    assert "unknown schema" not in run("schema", "catalogue")


def test_programs_take_the_catalogue_from_one_place_which_knows_that_of_the_site():
    sources = [path for tree in ("router", "consumers") for path in (ROOT / tree).rglob("*.py")]
    taking = {path.relative_to(ROOT).as_posix() for path in sources if takes_what_is_shipped(path.read_text())}

    assert taking == {
        "router/settings/site_catalogue.py",
        "router/cli/catalogue.py",  # completion, where the site's cannot be read
        "consumers/delivery/outcome_events.py",  # without settings, as in tests
        "consumers/programs/demo/demo_run.py",  # its subscriptions are its own
        "consumers/programs/demo/installation.py",
    }


def takes_what_is_shipped(source: str) -> bool:
    code = (line for line in source.splitlines() if ">>>" not in line)
    return any("Catalogues.shipped()" in line for line in code)


@pytest.mark.long
def test_doctor_reports_a_catalogue_file_that_cannot_be_used(run, tmp_path):
    (tmp_path / "catalogue.yaml").write_text("version: 1\ngpfs: {event: {}}\n")

    said = run("doctor", str(tmp_path / "subscriptions.yaml"), "--part", "spool", "--part", "subscriptions", code=3)

    assert "catalogue.yaml:2: gpfs.event: unknown key" in said


def test_a_page_of_one_event_is_refused(run):
    run("catalogue", "diskFailure", "--page", code=2)


def test_check_warns_of_what_the_release_knows_by_itself(run, tmp_path):
    (tmp_path / "catalogue.yaml").write_text(
        "version: 1\ngpfs:\n  events:\n    diskFailure: {category: disk, meaning: x}\n"
    )
    (tmp_path / "subscriptions.yaml").write_text("version: 1\nsubscriptions: []\n")

    said = run("check", str(tmp_path / "subscriptions.yaml"))

    assert "catalogue.yaml:4: gpfs.events.diskFailure: this release knows it" in said
