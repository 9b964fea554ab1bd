"""Files of actions that change while a consumer runs: their subscriptions follow, and mistakes change nothing."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from consumers.programs.consume import Reader, load
from consumers.subscriptions.diff import compare
from router.settings.models import Settings
from tests.waiting import wait_for

ACTION = """\
version: 1
actions:
  - name: disk-status
    purpose: Say it.
    class: look
    run: {command: [/bin/echo, WORD]}
"""


@pytest.fixture(params=["folder", "file"])
def reader(request, tmp_path):
    """A reader of a subscription with an action, that watches for changes; and what it has found."""
    actions = tmp_path / "actions"
    actions.mkdir()
    (actions / "site.yaml").write_text(ACTION.replace("WORD", "one"))
    file = tmp_path / "subscriptions.yaml"
    file.write_text("version: 1\nsubscriptions:\n  - name: s\n    on: diskFailure\n    action: disk-status\n")
    place = actions if request.param == "folder" else actions / "site.yaml"
    settings = Settings.model_validate({"consumers": {"actions": [str(place)], "callbacks": str(tmp_path / "none")}})
    before, found = load([file], settings), []
    reader = Reader([file], settings, found.append, SimpleNamespace(reloading=nullcontext))
    with reader.reading():
        yield SimpleNamespace(reader=reader, actions=actions / "site.yaml", before=before, found=found)


def changed_until(reader, text, condition, what):
    """Write *text* until *condition* holds: the first change may come before the folder is watched."""

    def seen():
        reader.actions.write_text(text)
        return condition()

    return wait_for(seen, 20, what)


def test_a_changed_action_is_another_meaning_of_its_subscription(reader):
    changed_until(reader, ACTION.replace("WORD", "two"), lambda: reader.found, "a reload")

    after = wait_for(lambda: [each for each in reader.found if each.digest != reader.before.digest], 20, "a change")[-1]
    assert [each.name for each in compare(reader.before, after).changed] == ["s"]
    assert after.by_name["s"].verb.definition.run.command == ("/bin/echo", "two")


def test_a_mistake_in_an_action_keeps_what_was_there(reader):
    changed_until(reader, ACTION.replace("class: look", "class: lok"), lambda: reader.reader.problem, "a problem")

    assert "actions" in reader.reader.problem or "site.yaml" in reader.reader.problem
    assert reader.found == []
