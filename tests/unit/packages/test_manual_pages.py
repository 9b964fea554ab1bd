"""Manual pages: a page for each command, and what `man` makes of them is what `--help` says."""

import re
import shutil
import subprocess

import pytest
from typer.main import get_group

from consumers.cli.main import COMMANDS, app
from packages.manual_pages import pages

PAGES = pages(get_group(app), "1.2.3")


def test_there_is_a_page_for_the_program_and_for_each_command():
    assert set(PAGES) == {"clusterbus.1", *(f"clusterbus-{name}.1" for name in COMMANDS)}


def test_the_first_page_leads_to_all_others_and_names_files_and_exit_codes():
    for name in COMMANDS:
        assert f"clusterbus\\-{name}\\fR(1)" in PAGES["clusterbus.1"]
    assert ".SH EXIT STATUS" in PAGES["clusterbus.1"]
    assert "/etc/clusterbus/clusterbus.yaml" in PAGES["clusterbus.1"]


def test_the_page_of_a_group_has_its_commands_and_their_options():
    page = PAGES["clusterbus-nodes.1"]

    assert re.findall(r"^\.SS (.*)", page, re.MULTILINE) == [
        "clusterbus nodes deploy",
        "clusterbus nodes status",
        "clusterbus nodes remove",
        "clusterbus nodes gaps",
    ]
    assert "\\-\\-dry\\-run" in page


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_has_no_line_that_troff_would_take_for_a_request(name):
    known = r"\.(TH|SH|SS|TP|PP|B|BR|nf|fi)( |$)"
    assert [
        line for line in PAGES[name].splitlines() if line.startswith((".", "'")) and not re.match(known, line)
    ] == []


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_warns_of_nothing():
    for text in PAGES.values():
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z"], input=text, capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stderr == ""
