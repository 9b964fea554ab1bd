"""The JSON Schemas accept and refuse what `check` and the settings do: pages, examples, tests, and what is made up."""

import ast
import copy
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import pytest
import regress
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.errors import Mistake
from consumers.subscriptions import validation
from consumers.subscriptions.actions import action_files
from consumers.subscriptions.file_schema import of_subscriptions
from consumers.verbs.action.definitions import ActionFile
from consumers.verbs.interface import installed
from router.errors import SettingsError
from router.model.catalogue import Catalogues
from router.settings import json_schemas, yaml_documents
from router.settings.loading import load
from router.settings.models import Settings
from tests.contract.test_yaml_examples import EXAMPLES
from tests.unit.router.settings.test_site_catalogue import GOOD as ADDITIONS
from tests.unit.router.settings.test_site_catalogue import WRONG

ROOT = Path(__file__).parents[2]
SHIPPED = Catalogues.shipped()
SUBSCRIPTIONS = of_subscriptions(SHIPPED)
OF_SETTINGS = json_schemas.of_settings()
OF_CATALOGUE = json_schemas.of_catalogue()


def ecma(validator, pattern, instance, schema):
    """Match patterns as editors do, which read them as ECMA 262."""
    if isinstance(instance, str) and not regress.Regex(pattern, "u").find(instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": ecma})
VALIDATORS = {
    "subscriptions": Validator(SUBSCRIPTIONS),
    "settings": Validator(OF_SETTINGS),
    "catalogue": Validator(OF_CATALOGUE),
}

# What only `check` can know, by the beginnings of what it says.
ASIDES = {
    "whether names, users, files and functions exist": (
        r"there is no user|no (contact|module|entry point|subscription|event type)|module .* has no"
        r"|leads back to itself|the name .* is already used|the (folder|file|program) .* does not exist"
    ),
    "which topics there are": r"pattern .* (selects no event type|can never match)",
    "CEL and Jinja": r"filter |template |cannot be evaluated|for .*: |no selected event|has a value inside a tag",
    "sums and comparisons": r"is longer than|longest|deadline|is too long|the broker's longest wait|gives more than",
    "the calendar": r"'.*' is not a time",
    "numbers of ports and hosts": r"'?[0-9.:]+'? (is not a port|does not appear to be)|is not an address",
    "secrets in an address": r"contains a secret|the address of a service is a secret",
    "node sets": r"'.*' (is not a host name|is (not a|an empty) node set|names more than)|groups",
    "values deep inside a body": r"the key .* must be a plain text|.* is not allowed in JSON",
    "which variables events have": r"no variable|.* cannot have data\.",
    "rules of alerts together": r"no alert of them|a rule cannot suppress|there is no rule|says which|says how often"
    r"|reads no facts|\S+ is in `opens` too|the owner is who",
    "results that a test expects": r"expect|test [0-9]",
}
ASIDE = re.compile("|".join(ASIDES.values()))


def checked(text: str, tmp_path: Path) -> list[Mistake]:
    file = tmp_path / "subscriptions.yaml"
    file.write_text(text)
    known = {name: {"urls": "mailto://mail.example.com"} for name in ("storage-team", "on-call")}
    wanted = Settings.model_validate({"consumers": {"contacts": known, "callbacks": str(tmp_path / "none")}})
    return list(validation.check([file], SHIPPED, wanted).mistakes)


def refusals(kind: str, value: object) -> list[str]:
    return [f"{each.json_path}: {each.message[:200]}" for each in VALIDATORS[kind].iter_errors(value)]


def agree(text: str, tmp_path: Path) -> None:
    """Assert that `check` and the schema say the same of the subscription file *text*, apart from `ASIDE`."""
    value = yaml_documents.parse(text.encode(), "file").value
    mistakes = [each for each in checked(text, tmp_path) if each.line]
    refused = refusals("subscriptions", value)

    assert not refused or mistakes, (refused, text)
    if not refused:
        assert [str(each) for each in mistakes if not ASIDE.match(each.message)] == [], text


def whole(text: str) -> str:
    return f"version: 1\nsubscriptions:\n{text}" if text.startswith("- name:") else text


def of_tests() -> list[tuple[str, str]]:
    """Return the subscription files that stand as texts in the tests."""
    found = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        source = file.read_text()
        # Every worker does this while it collects: most files are not worth the parsing.
        if "version: " not in source and "- name:" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
                text = whole(node.value.lstrip("\n"))
                if re.match(r"version: \d+\n", text):
                    found.append((f"{file.stem}:{node.lineno}", text))
    return found


OF_TESTS = of_tests()
OF_PAGES = [(name, whole(text.replace("@STAGE@", "/stage"))) for name, text in EXAMPLES]
CATALOGUES = [(name, text) for name, text in OF_PAGES if "\nversion: 1\ngpfs:" in text]
FILES = [
    (name, text)
    for name, text in OF_PAGES
    if text.lstrip("#").find("version: 1") >= 0 and re.search("^(subscriptions|alerts):", text, re.MULTILINE)
]
SETTINGS = [(name, text) for name, text in OF_PAGES if set(yaml.safe_load(text) or {}) <= set(Settings.model_fields)]


def run_check_jsonschema(schema: dict, texts: list[tuple[str, str]], tmp_path: Path) -> subprocess.CompletedProcess:
    """Run the program that people use in their pipelines."""
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    files = []
    for at, (_, text) in enumerate(texts):
        files.append(tmp_path / f"{at}.yaml")
        files[-1].write_text(text)
    words = [sys.executable, "-m", "check_jsonschema", "--schemafile", tmp_path / "schema.json", *files]
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize(
    ("schema", "texts"),
    [(SUBSCRIPTIONS, FILES), (OF_SETTINGS, SETTINGS), (OF_CATALOGUE, CATALOGUES)],
    ids=["files", "settings", "catalogues"],
)
def test_check_jsonschema_accepts_every_yaml_that_is_shown(schema, texts, tmp_path):
    done = run_check_jsonschema(schema, texts, tmp_path)

    assert texts
    assert done.returncode == 0, done.stdout


def test_check_jsonschema_refuses_what_check_refuses(tmp_path):
    wrong = "version: 1\nsubscriptions: [{name: UPPER, on: [], log: {}, run: {command: [/bin/true]}}]\n"

    done = run_check_jsonschema(SUBSCRIPTIONS, [("", wrong)], tmp_path)

    assert done.returncode == 1
    assert checked(wrong, tmp_path)


@pytest.mark.parametrize("text", [text for _, text in OF_TESTS], ids=[name for name, _ in OF_TESTS])
def test_the_schema_and_check_agree_on_the_files_of_the_tests(text, tmp_path):
    agree(text, tmp_path)


ENTRY = {"name": "a", "on": "diskFailure", "log": {}}
RUN = {"name": "a", "on": "diskFailure", "run": {"command": ["/bin/true"]}}


def with_(entry, **keys):
    return {"version": 1, "subscriptions": [{**entry, **keys}]}


STEPS = {"steps": [{"name": "a", "command": ["/bin/true"], "nodes": "nsd01"}]}


def run_with(**keys):
    return with_(RUN, run={"command": ["/bin/true"], **keys})


def guarded(guard, **run):
    return with_(RUN, run={"command": ["/bin/true"], **run}, guard=guard)


def post_with(**keys):
    return {"version": 1, "subscriptions": [{"name": "a", "on": "disk", "post": {"url": "https://a.example", **keys}}]}


@pytest.mark.parametrize(
    "value",
    [
        with_(ENTRY, log=None),
        with_(RUN, fold={"by": "data.fsName"}),
        with_(RUN, order_by="node", once_per={"interval": "1h", "by": ["node"]}),
        with_(ENTRY, on=["disk", "gpfs.prod.#", "#"]),
        with_(RUN, fold=None, guard=None, where=None),
        with_(ENTRY, fold=None, order_by=[]),
        {"version": 1, "subscriptions": []},
        {"version": 1, "subscriptions": [], "defaults": {}},
        run_with(timeout="1h30m", environment={"A": "b"}),
        run_with(nodes="nsd01", fanout=3, deadline="1h"),
        guarded({"blast_radius": {"nodes": 2, "within": "1h"}, "first": 1}, nodes="nsd[01-04]"),
        guarded({"at_most": {"count": 1, "per": "node"}, "acts_on": "{{ node }}"}),
        with_(RUN, run=STEPS, guard={"at_most": [{"count": 1}, {"count": 1, "per": "node"}]}),
        post_with(secret="file:/etc/secret", retry_on=[503, "5xx"], verify="/etc/ca.pem"),
        post_with(body="{{ data.fsName }}", headers={"X-Key-Of": "a b"}, retry_on=500),
        post_with(headers={"Authorization": "env:TOKEN"}, body={"a": [1, None]}),
        {"version": 1, "subscriptions": [{"name": "a", "on": "quota", "notify": {"to": "storage-team"}}]},
        {"version": 1, "subscriptions": [{"name": "a", "on": "quota", "call": "site:f"}]},
        with_(RUN, tests=[{"given": {"event": "diskFailure", "at": "2026-11-20T12:00:00Z"}, "expect": "runs"}]),
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
        with_(ENTRY, name="UPPER"),
        with_(ENTRY, on=[]),
        with_(ENTRY, on="qouta"),
        with_(ENTRY, run={"command": ["/bin/true"]}),
        {"version": 1, "subscriptions": [{"name": "a", "on": "disk"}]},
        {"version": 2, "subscriptions": []},
        {"version": 1},
        with_(ENTRY, limti={}),
        with_(ENTRY, fold={}),
        with_(ENTRY, mode="shadow"),
        with_(RUN, run=None),
        with_(RUN, retry=None),
        with_(RUN, retry={"first": "0s"}),
        with_(RUN, retry={"first": 5}),
        with_(RUN, retry={"never_for": ["exit:256"]}),
        with_(RUN, order_by="data.fs-name"),
        with_(RUN, order_by="id"),
        with_(RUN, concurrency=0),
        with_(RUN, concurrency=True),
        with_(RUN, tests=[{"given": [], "expect": "runs"}]),
        with_(RUN, tests=[{"given": {"event": "diskFailure"}, "expect": {}}]),
        with_(RUN, tests=[{"given": {"event": "diskFailure", "at": "noon"}, "expect": "runs"}]),
        with_(RUN, tests=[{"given": {"event": "diskFailure"}, "expect": "runs", "facts": {"moon": 1}}]),
        with_(RUN, run={"command": []}),
        with_(RUN, run={"command": ["bin/tool"]}),
        with_(RUN, run={"command": ["{{ data.fsName }}"]}),
        with_(RUN, run={"command": ["-x"]}),
        with_(RUN, run={"command": ["a=b"], "nodes": "n1"}),
        guarded({"first": 1}),
        guarded({"first": 1, "acts_on": "{{ node }}"}),
        guarded({"at_most": [{"count": 1, "per": "node"}]}),
        with_(RUN, run=STEPS, guard={"first": 1}),
        run_with(timeout="10"),
        run_with(fanout=3),
        run_with(nodes=""),
        run_with(nodes=" , "),
        run_with(environment={"CLUSTERBUS_X": "a"}),
        run_with(user="a b"),
        with_(ENTRY, log={"store": False}),
        with_(ENTRY, log={"file": "relative"}),
        with_(ENTRY, log={"syslog": {"facility": "moon"}}),
        post_with(url="ftp://a.example"),
        post_with(url="https://user@a.example"),
        post_with(secret="hunter2"),
        post_with(verify=False),
        post_with(retry_on=[200]),
        post_with(body=5),
        post_with(body='{"a": "{{ data.fsName }}"}'),
        post_with(headers={"Host": "a"}),
        post_with(headers={"X-Token": "a"}),
        post_with(headers={"X": "{{ node }}"}),
        {"version": 1, "subscriptions": [{"name": "a", "on": "quota", "notify": {"to": []}}]},
        {"version": 1, "subscriptions": [{"name": "a", "on": "quota", "notify": {"to": ["x", "x"]}}]},
        {"version": 1, "subscriptions": [{"name": "a", "on": "quota", "call": ""}]},
        {
            "version": 1,
            "subscriptions": [{"name": "a", "on": "quota", "call": {"function": "a:b", "memory": "512MiB"}}],
        },
        {
            "version": 1,
            "subscriptions": [
                {"name": "a", "on": "quota", "call": {"function": "a:b", "memory": "255MiB", "isolate": True}}
            ],
        },
        {"version": 1, "subscriptions": [{"name": "a", "on": "quota", "scripts": {"folders": "here"}}]},
        {"version": 1, "subscriptions": [{"name": "a", "on": "disk", "call": "file:/etc/x"}]},
        {"version": 1, "subscriptions": [{"name": "a", "on": "disk", "call": {"function": "no module:f"}}]},
    ],
    ids=str,
)
def test_what_check_refuses_the_schema_refuses(value, tmp_path):
    assert checked(json.dumps(value), tmp_path)
    assert refusals("subscriptions", value)


DURATION = st.sampled_from(
    ["1s", "1h30m", "500ms", "0.5h", "400d", "0s", "1", "", "1 h", "5x", "1s\n", 5, None, ["1s"]]
)
PLACES = st.sampled_from(["node", "data.fsName", ["data.fsName"], [], "id", "data.", "x", None, 1, [1], ["node", 1]])
TEXT = st.sampled_from(["a", "", "x y", "/etc/x", "file:/etc/x", "env:A", None, 1, [], {}, "{{ node }}", "ü", "a\nb"])
NUMBER = st.sampled_from([0, 1, 3, 64, 65, 100, 101, 300, 5000, 10**9, -1, "1", None, True, 1.5])
COMMAND = st.sampled_from(
    [["/bin/true"], ["true", "x"], [], ["bin/x"], ["-x"], "x", None, [1], ["/bin/a", 1], ["a=b"], [""], ["{{ node }}"]]
)
TRUTH = st.sampled_from([True, False, None, "yes", 1])
NAMES = st.sampled_from(
    ["A", "a_1", "CLUSTERBUS_A", "1", "a-b", "", "host", "Cookie", "a b", "{{ node }}", "Webhook-Id"]
)
MAPPING = st.dictionaries(NAMES, TEXT, max_size=2) | TEXT
JSON = st.recursive(
    TEXT | NUMBER, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2)
)
PARTS = {
    "name": st.sampled_from(["a", "a-1", "-a", "A", "", "a" * 63, "a" * 64, None, 1, "a\n", "ü"]),
    "on": st.sampled_from(
        ["quota", "#", "gpfs.prod.quota.#", ["disk", "quota"], [], "nope", None, 1, [1], "a..b", "a b.#"]
    ),
    "where": st.sampled_from(['node == "n1"', None, 1]),
    "concurrency": NUMBER,
    "order_by": PLACES,
    "mode": st.sampled_from(["live", "shadow", "off", "x", None]),
    "unknown": TEXT,
    "fold": st.sampled_from([None, {}, []]),
    "fold.by": PLACES,
    "fold.wait": DURATION,
    "fold.repeat": DURATION,
    "once_per.by": PLACES,
    "once_per.interval": DURATION,
    "limit.most": NUMBER,
    "limit.per": DURATION,
    "limit.by": PLACES,
    "limit.rest": st.sampled_from(["wait", "skip", "x", None]),
    "guard.at_most": NUMBER
    | st.sampled_from(
        [
            {"count": 1},
            {"count": 1, "rest": "skip", "by": "node"},
            {},
            {"count": 0},
            [],
            [2],
            [{"count": 1, "per": "node"}],
        ]
    ),
    "guard.blast_radius": st.sampled_from(
        [
            {"nodes": 2, "within": "1h"},
            {"percent": 10, "of": "storage", "within": "1h", "rest": "skip"},
            {"nodes": 2, "percent": 10, "within": "1h"},
            {"nodes": 2, "of": "storage", "within": "1h"},
            {"within": "1h"},
            {"nodes": 0, "within": "1h"},
            None,
        ]
    ),
    "guard.stop_after": NUMBER | st.sampled_from([{"failures": 1, "within": "10m", "rest": "skip"}, {"within": "1h"}]),
    "guard.first": NUMBER | st.sampled_from([{"nodes": 1, "wait": "10m"}, {"wait": "10m"}, {}]),
    "guard.only_if": COMMAND,
    "guard.timeout": DURATION,
    "guard.ask": st.sampled_from([None, {}, {"within": "1h"}, {"within": 1}, True]),
    "retry": st.none() | st.just({}),
    "retry.attempts": NUMBER,
    "retry.first": DURATION,
    "retry.longest": DURATION,
    "retry.growth": NUMBER,
    "retry.never_for": st.sampled_from([[], ["exit"], ["exit:999"], "exit", ["OSError"], ["ü"], [1], None]),
    "tests.0.given": st.sampled_from([{"event": "diskFailure"}, [{"event": "diskFailure"}], [], {}, "diskFailure"]),
    "tests.0.expect": st.sampled_from(["runs", {"word": "runs"}, {}, {"deliveries": 1}, {"deliveries": -1}, None, 1]),
    "tests.0.given.0.times": NUMBER,
    "tests.0.given.0.every": DURATION,
    "tests.0.given.0.at": st.sampled_from(
        ["2026-11-20T12:00:00Z", "2026-11-20 12:00+01:00", "2026-11-20", "2026-02-30T12:00Z", "noon", None, 1]
    ),
    "log": st.none() | TEXT,
    "log.file": TEXT,
    "log.store": TRUTH,
    "log.syslog": st.sampled_from(
        [None, {}, [], {"facility": "moon"}, {"address": "udp 192.0.2.1:514"}, {"address": "x"}]
    ),
    "run": st.none() | TEXT,
    "run.command": COMMAND,
    "run.nodes": TEXT,
    "run.fanout": NUMBER,
    "run.timeout": DURATION,
    "run.deadline": DURATION,
    "run.environment": MAPPING,
    "run.user": TEXT,
    "run.output": NUMBER,
    "notify": st.none() | TEXT,
    "notify.to": st.sampled_from(["on-call", ["on-call"], [], None, ["on-call", "on-call"], 1, [1]]),
    "notify.title": TEXT,
    "notify.importance": TEXT,
    "post.url": st.sampled_from(
        [
            "https://a.example",
            "http://a/?b=c",
            "ftp://a",
            "https://",
            "",
            None,
            "file:/a",
            "env:",
            "HTTPS://a",
            "https://a b",
        ]
    ),
    "post.secret": TEXT,
    "post.body": JSON,
    "post.retry_on": st.sampled_from([500, "5xx", [503], "200", None, [], [True], "599", 200, 5.5]),
    "post.headers": MAPPING,
    "post.keep": NUMBER,
    "post.verify": st.sampled_from([True, False, "/a", "a", None, 1]),
    "post.method": st.sampled_from(["PUT", "GET", None]),
    "call": st.sampled_from(["", "a:b", None, {}, {"function": "a:b"}, []]),
    "call.function": TEXT,
    "call.isolate": TRUTH,
    "call.timeout": DURATION,
    "call.memory": st.sampled_from(
        ["256MiB", "255MiB", "1GiB", "1", " 512 MiB ", "0GiB", "1234567MiB", "0300MiB", 5, None]
    ),
    "call.with": MAPPING,
    "scripts.folders": st.sampled_from(["/a", ["/a", "/b"], [], "a", ["/a", "/a"], None, {}]),
    "scripts.user": TEXT,
}
GOOD = {
    "log": {},
    "run": {"command": ["/bin/true"]},
    "notify": {"to": "on-call"},
    "post": {"url": "https://hooks.example.com/a"},
    "call": {"function": "site:f", "isolate": True},
    "scripts": {"folders": "/etc/clusterbus/scripts"},
}
BELOW = {
    "once_per": {"interval": "1h"},
    "limit": {"most": 1, "per": "1h"},
    "tests": [{"given": [{"event": "diskFailure"}], "expect": "runs"}],
}


@st.composite
def entries(draw):
    """Return entries that are good but for up to three changes, each of one key."""
    kind = draw(st.sampled_from(sorted(GOOD)))
    entry = {"name": "a", "on": "diskFailure", kind: {**GOOD[kind]}}
    keys = [each for each in PARTS if each.partition(".")[0] not in GOOD or each.partition(".")[0] == kind]
    for key in draw(st.lists(st.sampled_from(keys), max_size=3)):
        changed(entry, key.split("."), draw(PARTS[key]))
    if draw(st.integers(0, 9)) == 0:
        entry[draw(st.sampled_from(sorted(GOOD)))] = None
    if draw(st.integers(0, 9)) == 0:
        entry.pop(draw(st.sampled_from(sorted(entry))))
    return entry


def changed(entry, steps, value):
    """Give *entry* the *value* at *steps*; what is not there on the way is made, good."""
    inner = entry
    for step in steps[:-1]:
        if isinstance(inner, list):
            if not inner:
                return
            inner = inner[int(step)]
            continue
        if not isinstance(inner.get(step), (dict, list)):
            inner[step] = copy.deepcopy(BELOW.get(step, {}))
        inner = inner[step]
    if isinstance(inner, dict):
        inner[steps[-1]] = value


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(st.lists(entries(), max_size=1), st.sampled_from([1, 1, 1, 1, 2, "1", True]))
def test_the_schema_and_check_agree_on_any_entry(found, version):
    with tempfile.TemporaryDirectory() as folder:
        agree(json.dumps({"version": version, "subscriptions": found}), Path(folder))


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"broker": {"url": "amqp://a", "control": "sudo rabbitmqctl"}},
        {"broker": {"url": ["amqp://a", "amqp://b"]}},
        {"router": {"window": "0s", "trusted_users": ["a", "a"]}},
        {"history": {"size": "20"}},
        {"gpfs": {"events": "default quota", "options": {"disk": {"sync": "yes", "timeout": "5s"}}}},
        {"gpfs": {"parameters": {"*": "%myNode"}}},
        {"consumers": {"contacts": {"a": {"urls": "file:/etc/a"}}}},
        {"nodes": {"relay": {"cluster": "prod"}}},
        {"broker": {"url": " "}},
        {"broker": {"url": []}},
        {"broker": {"prefix": "UPPER"}},
        {"broker": {"urls": "amqp://a"}},
        {"router": {"window": 5}},
        {"router": {"trusted_users": "a b"}},
        {"history": {"size": "many"}},
        {"gpfs": {"options": {"disk": {"sync": "maybe"}}}},
        {"gpfs": {"options": {"disk": {"onerror": "stop"}}}},
        {"consumers": {"contacts": {"a b": {"urls": "file:/etc/a"}}}},
        {"consumers": {"contacts": {"a": {"urls": []}}}},
        {"consumers": {"contacts": {"a": {"urls": "https://hooks.example.com/x"}}}},
        {"consumers": {"contacts": {"a": {}}}},
        {"consumers": []},
        {"moon": {}},
        [],
    ],
    ids=str,
)
def test_the_schema_and_the_settings_agree(value, tmp_path):
    (tmp_path / "settings.yaml").write_text(json.dumps(value))
    try:
        load(tmp_path / "settings.yaml", system=tmp_path / "none", environment={})
        wrong = ""
    except SettingsError as error:
        wrong = str(error)

    assert bool(refusals("settings", value)) == bool(wrong), (wrong, refusals("settings", value))


def test_the_schema_of_the_catalogue_file_refuses_what_only_the_rest_of_the_catalogue_does_not_decide():
    decided_by_the_rest = re.compile(
        r"no (category|variable|event) |also a name|is not an integer|trigger|separator|this release knows"
    )

    for text, _, said in WRONG:
        value = yaml_documents.parse(text.encode(), "file").value
        assert refusals("catalogue", value) or decided_by_the_rest.search(said), text
    assert refusals("catalogue", yaml.safe_load(ADDITIONS)) == []


def properties(schema: dict) -> dict[str, dict]:
    """Return every property of every part of *schema*, without those of conditions."""
    parts = {"": schema, **schema["$defs"]}
    parts |= {f"{name}.{at}": each for name, part in parts.items() for at, each in enumerate(part.get("anyOf", ()))}
    full = {name: part["properties"] for name, part in parts.items() if part.get("additionalProperties") is False}
    return {f"{part}.{name}": each for part, inner in full.items() for name, each in inner.items()}


@pytest.mark.parametrize("schema", [SUBSCRIPTIONS, OF_SETTINGS, OF_CATALOGUE], ids=["files", "settings", "catalogues"])
def test_editors_have_a_text_for_every_key(schema):
    described = {name.rpartition(".")[2] for name, each in schema["$defs"].items() if each.get("description")}

    def is_described(each: dict) -> bool:
        refers = [each, *each.get("anyOf", ())]
        return bool(each.get("description")) or any(
            str(one.get("$ref")).rpartition("/")[2] in described for one in refers
        )

    assert [name for name, each in properties(schema).items() if not is_described(each)] == []


@pytest.mark.parametrize("schema", [SUBSCRIPTIONS, OF_SETTINGS, OF_CATALOGUE], ids=["files", "settings", "catalogues"])
def test_the_schemas_are_schemas_and_name_themselves(schema):
    jsonschema.Draft202012Validator.check_schema(schema)

    assert schema["$id"].startswith("urn:clusterbus:schema:")
    assert set(installed()) <= set(SUBSCRIPTIONS["$defs"]["Subscription"]["properties"])


OF_ACTIONS = json_schemas.document(ActionFile, "actions")
SHIPPED_ACTIONS = sorted(action_files.SHIPPED.glob("*.yaml"))
ACTIONS_OF_PAGES = [text for _, text in OF_PAGES if "\nactions:" in text]


def test_the_schema_of_actions_accepts_what_is_shipped_and_shown(tmp_path):
    texts = [(str(each), each.read_text()) for each in SHIPPED_ACTIONS] + [("page", each) for each in ACTIONS_OF_PAGES]

    assert len(texts) > len(SHIPPED_ACTIONS)
    done = run_check_jsonschema(OF_ACTIONS, texts, tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "change",
    [
        ("class: change", "class: chnage"),
        ("purpose: ", "purpsoe: "),
        ("type: names", "type: nmes"),
        ("from: data.fsName", "from: fsName"),
        ("name: start-disk", "name: Start"),
        ("version: 1", "version: 2"),
        ("timeout: 2h", "timeout: 2"),
    ],
)
def test_the_schema_of_actions_refuses_what_check_does(change, tmp_path):
    text = next(each for each in SHIPPED_ACTIONS if each.name == "storage_scale.yaml").read_text().replace(*change)
    (tmp_path / "site.yaml").write_text(text)
    wanted = Settings.model_validate({"consumers": {"actions": [str(tmp_path)]}})

    assert [*Validator(OF_ACTIONS).iter_errors(yaml_documents.parse(text.encode(), "file").value)]
    assert action_files.read(wanted).mistakes
