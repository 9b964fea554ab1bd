"""The pages of alerts: the rules are those that `clusterbus alerts rules --page` prints; what is shown is right."""

import re
from pathlib import Path

import pytest
import yaml

from consumers.alerts import rules_page, shipped_rules
from consumers.alerts.rules import Flapping, Grouping
from consumers.inspection import rule_tests
from consumers.subscriptions import validation
from consumers.subscriptions.models import RuleEntry
from consumers.subscriptions.test_cases import Step
from router.model.catalogue import Catalogues
from router.settings.models import Settings
from router.settings.sections.owner_row import OwnerRow
from tests.contract.test_pages import BLOCK, alternatives, first_cells, parse, words
from tests.operating import invoke, json_lines

FOLDER = Path(rules_page.__file__).parent
TEXT, RULES = (FOLDER / "README.md").read_text(), (FOLDER / "rules.md").read_text()
CATALOGUES = Catalogues.shipped()


def test_the_page_of_rules_is_up_to_date():
    expected = rules_page.page(shipped_rules.rules().values(), CATALOGUES)

    assert expected == RULES, "run: clusterbus alerts rules --page, without rules of a site"


def test_the_rules_of_the_page_have_no_mistakes_and_pass_their_tests(tmp_path):
    examples = [text for kind, text in BLOCK.findall(TEXT) if kind == "yaml"]
    (shown,) = [yaml.safe_load(text) for kind, text in BLOCK.findall(TEXT) if not kind]
    owners = shown["consumers"]["owners"]
    names = {"on-call", *(each["to"] for each in owners)}
    contacts = {each: {"urls": "file:/etc/x"} for each in names}
    settings = Settings.model_validate({"consumers": {"owners": owners, "contacts": contacts}})

    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(example)
        found = validation.check([file], CATALOGUES, settings, here=False, try_rule_tests=rule_tests.failures)
        assert found.mistakes == found.warnings == ()
    assert len(examples) > 1
    assert {name for row in owners for name in row} == {*OwnerRow.model_fields}


def test_every_key_is_in_a_table():
    listed = first_cells(TEXT)
    below = {*Flapping.model_fields, *Grouping.model_fields}

    assert {*RuleEntry.model_fields, *Step.model_fields} - listed == set()
    assert {each for each in below if f"`{each}" not in TEXT} == set()


def test_every_command_of_the_page_can_be_called():
    for line in re.findall(r"^    clusterbus (.*)$", TEXT, re.MULTILINE):
        parse(words(line))
    for line in re.findall(r"`clusterbus ([^`]+)`", TEXT + RULES):
        for each in alternatives(line):
            parse(each, is_whole=False)


@pytest.mark.parametrize("name", shipped_rules.fields())
def test_every_shipped_rule_is_in_the_table(name):
    assert f"| `{name}` |" in RULES


def test_a_site_sees_what_it_has_changed(tmp_path):
    (tmp_path / "rules.yaml").write_text(
        "version: 1\nalerts:\n"
        "  - {name: space, remind: 1h}\n  - {name: deadlock, enabled: false}\n"
        "  - {name: mine, opens: blockedJob, closes: unblockJob, by: data.id}\n"
    )

    code, said = invoke({}, "alerts", "rules", "--file", str(tmp_path), "--json")
    _, printed = invoke({}, "alerts", "rules", "--file", str(tmp_path), "--page")
    origins = {each["name"]: each["origin"] for each in json_lines(said)}

    assert code == 0
    assert origins.pop("space") == "changed"
    assert origins.pop("deadlock") == "off"
    assert origins.pop("mine") == "own"
    assert set(origins.values()) == {"shipped"}
    assert "| `mine` | blockedJob | unblockJob | id | notice | own |" in printed
