"""The JSON Schema of subscription files and `check` say the same of rules of alerts."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.alerts import shipped_rules
from router.settings import yaml_documents
from tests.contract.test_schemas import ASIDE, DURATION, NUMBER, PLACES, TEXT, TRUTH, agree, changed, checked, refusals

RULE = {"name": "a", "opens": "nodeLeave", "closes": "nodeJoin"}
STEPS = [{"event": "nodeLeave", "expect": "opened"}, {"after": "1h", "expect": ["nothing"]}]


def with_(*entries):
    return {"version": 1, "alerts": [*entries]}


@pytest.mark.parametrize(
    "value",
    [
        with_(),
        {"version": 1, "subscriptions": [], "alerts": []},
        with_(RULE),
        with_({**RULE, "closes": ["nodeJoin", "gpfs.prod.node.#"], "by": "data.eventNode"}),
        with_({"name": "a", "opens": ["space"], "closes_after": "2h", "severity": "error", "flapping": None}),
        with_({"name": "a", "opens": "nodeLeave", "closes_when": "facts.quorum.reached"}),
        with_({"name": "node-down", "enabled": False}, {"name": "disk-down", "remind": None}),
        with_({**RULE, "enabled": False}),
        with_({"name": "deadlock", "closes_after": None, "closes": "nodeJoin"}),
        with_({"name": "disk-down", "ask_every": "10s"}),
        with_({"name": "node-down", "closes": None, "closes_after": "1h", "by": None, "suppresses": None}),
        with_({"name": "soft-quota", "severity_if": None}),
        with_(
            {**RULE, "group": {"over": 5}, "suppresses": "node-silent", "escalate": {"after": "15m", "to": "on-call"}}
        ),
        with_(
            {**RULE, "owner": "storage-team", "severity_if": {"critical": 'node == "n1"'}, "summary": "x {{ node }}"}
        ),
        with_({**RULE, "tests": [{"steps": STEPS}]}),
    ],
    ids=str,
)
def test_what_check_accepts_the_schema_accepts(value, tmp_path):
    mistakes = [each for each in checked(json.dumps(value), tmp_path) if not ASIDE.match(each.message)]

    assert [str(each) for each in mistakes] == []
    assert refusals("subscriptions", value) == []


@pytest.mark.parametrize(
    "value",
    [
        {"version": 1, "alerts": None},
        {"version": 1, "alerts": {}},
        with_("node-down"),
        with_({"name": "a"}),
        with_({"name": "a", "opens": "nodeLeave"}),
        with_({"name": "a", "closes": "nodeJoin"}),
        with_({"name": "a", "enabled": False}),
        with_({"opens": "nodeLeave", "closes": "nodeJoin"}),
        with_({"name": "deadlock", "closes_after": None}),
        with_({"name": "disk-down", "closes_when": None}),
        with_({"name": "node-down", "closes": None}),
        with_({**RULE, "opens": None}),
        with_({**RULE, "name": "UPPER"}),
        with_({**RULE, "opens": []}),
        with_({**RULE, "closes": "nodeJoyn"}),
        with_({**RULE, "opens": "nope", "enabled": False}),
        with_({**RULE, "by": "data.event-node"}),
        with_({**RULE, "severity": "bad"}),
        with_({**RULE, "severity_if": {"bad": "true"}}),
        with_({**RULE, "remind": 5}),
        with_({**RULE, "closes_after": "0s"}),
        with_({"name": "disk-down", "ask_every": "0s"}),
        with_({"name": "disk-down", "ask_every": "soon"}),
        with_({**RULE, "escalate": {"after": "1h"}}),
        with_({**RULE, "group": {"over": 0}}),
        with_({**RULE, "flapping": {"openings": 1}}),
        with_({**RULE, "enabled": "no"}),
        with_({**RULE, "unknown": 1}),
        with_({**RULE, "tests": [{"steps": []}]}),
        with_({**RULE, "tests": [{"steps": [{"expect": "open"}]}]}),
        with_({**RULE, "tests": [{"steps": [{"act": "snooze"}]}]}),
    ],
    ids=str,
)
def test_what_check_refuses_the_schema_refuses(value, tmp_path):
    assert checked(json.dumps(value), tmp_path)
    assert refusals("subscriptions", value)


EVENTS = st.sampled_from(["nodeLeave", ["nodeLeave", "node"], "gpfs.*.node.#", [], "nope", None, 1, [1], "a..b"])
PARTS = {
    "name": st.sampled_from(["a", "node-down", "deadlock", "disk-down", "-a", "", None, 1, "a\n"]),
    "opens": EVENTS,
    "closes": EVENTS,
    "opens_if": st.sampled_from(['node == "n1"', None, 1]),
    "closes_if": st.sampled_from(['node == "n1"', None, 1]),
    "closes_when": st.sampled_from(["facts.quorum.reached", None, 1]),
    "closes_after": DURATION,
    "ask_every": DURATION,
    "by": PLACES,
    "severity": st.sampled_from(["error", "bad", None, 1]),
    "severity_if": st.sampled_from([{}, None, [], {"error": 'node == "n1"'}, {"error": 1}, {"bad": 'node == "n1"'}]),
    "summary": TEXT,
    "remind": DURATION,
    "escalate": st.sampled_from([None, {}, {"after": "1h", "to": "on-call"}, {"after": "1h", "to": None}, []]),
    "suppresses": st.sampled_from([[], "node-silent", ["node-silent", "space"], None, 1, [1]]),
    "flapping": st.none() | st.just([]),
    "flapping.openings": NUMBER,
    "flapping.within": DURATION,
    "group": st.none() | TEXT,
    "group.over": NUMBER,
    "group.quiet": DURATION,
    "owner": st.sampled_from(["storage-team", None, 1]),
    "enabled": TRUTH,
    "unknown": TEXT,
    "tests": st.sampled_from([[], None, {}, [{}], [{"steps": STEPS}]]),
}


@st.composite
def entries(draw):
    """Return rules that are good but for up to three changes, each of one key."""
    entry = {**RULE} if draw(st.booleans()) else {"name": draw(st.sampled_from([*shipped_rules.fields()]))}
    for key in draw(st.lists(st.sampled_from([*PARTS]), max_size=3)):
        changed(entry, key.split("."), draw(PARTS[key]))
    if draw(st.integers(0, 9)) == 0:
        entry.pop(draw(st.sampled_from(sorted(entry))))
    return entry


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(entries())
def test_the_schema_and_check_agree_on_any_rule(found):
    with tempfile.TemporaryDirectory() as folder:
        agree(json.dumps(with_(found)), Path(folder))


def test_the_shipped_rules_are_a_file_that_the_schema_and_check_accept(tmp_path):
    text = shipped_rules.FILE.read_text()

    assert checked(text, tmp_path) == []
    assert refusals("subscriptions", yaml_documents.parse(text.encode(), "shipped.yaml").value) == []
