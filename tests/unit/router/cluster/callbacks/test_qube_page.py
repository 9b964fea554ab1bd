"""What the page on Qube says is what is there."""

import re
from pathlib import Path

import pytest
import yaml

from router.cluster.callbacks.qube import conf, scripts
from router.cluster.callbacks.qube.triggers import trigger_of, wanted_triggers
from router.settings.models import QubeSettings
from tests.qube import CATALOGUE, Farm

PAGE = (Path(scripts.__file__).parent / "README.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under *heading*, without its own head."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_each_event_is_on_the_page_as_it_is():
    assert rows("Events") == [
        [
            each.name,
            trigger_of(each).expression,
            each.severity,
            "yes" if each.default else "",
            each.status["name"],
        ]
        for each in CATALOGUE.events.values()
    ]


def test_each_field_is_on_the_page_as_it_is():
    assert rows("Fields") == [[each.name, each.type, each.meaning] for each in CATALOGUE.variables.values()]
    assert set(scripts.FIELDS) | {"id", "problem"} == set(CATALOGUE.variables)


def test_each_setting_is_on_the_page_and_the_example_can_be_used():
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    settings = QubeSettings.model_validate(yaml.safe_load(example)["qube"])
    named = [name for row in rows("Settings") for name in re.findall(r"\w+", row[0])]

    assert named == list(QubeSettings.model_fields)
    assert "runningJob" not in {each.event for each in wanted_triggers(settings, CATALOGUE)}


def test_callbacks_conf_looks_as_it_does_on_the_page():
    (shown,) = re.findall(r"<!-- conf -->\n```\n(.*?)```", PAGE, re.DOTALL)
    site = shown.partition("# clusterbus begin")[0].encode()

    assert conf.merged(site, wanted_triggers(QubeSettings(), CATALOGUE)).decode() == shown


@pytest.mark.parametrize("number", range(3))
def test_what_is_to_be_done_by_hand_is_what_an_apply_says(tmp_path, number):
    notes = Farm(tmp_path).registrar.plan().notes

    assert re.findall(r"`(supervisor_\w+|qbadmin[^`]*)", notes[number])[0] in PAGE
    assert "125" in notes[0]
