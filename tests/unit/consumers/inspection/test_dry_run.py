"""What a subscription would do with an event, and because of what."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import synthetic_event
from consumers.inspection.dry_run import consider, moments, rehearse, rules
from consumers.inspection.test_runner import planner
from consumers.policies.guards import Ask, AtMost, Guard
from consumers.policies.retry import RetryPolicy
from consumers.policies.throttling import Folding, Limit, OncePer
from consumers.verbs.run.verb import RunVerb
from router.errors import UnknownEvent, UnknownVariable
from router.model.catalogue import Catalogues
from router.model.event_words import named
from router.model.ids import NONE
from router.model.records import Record
from router.pipeline.mapping import event_of
from router.settings.models import Settings
from tests.consuming import make_event, make_subscription

SHIPPED = Catalogues.shipped()
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FILE = """\
version: 1
subscriptions:
  - name: audit
    on: quota
    log: {}
  - name: restart-disk
    on: diskFailure
    where: data.fsName == "gpfs1"
    run: {command: [/bin/echo, "{{ data.fsName }}", start, -d, "{{ data.diskName | join(';') }}"]}
    retry: {attempts: 3, first: 30s}
  - name: asleep
    on: diskFailure
    mode: off
    log: {}
"""


def rehearsed(subscription, event):
    with planner(subscription, Settings()) as plan:
        return rehearse(subscription, event, plan)


def run(tmp_path, *words, stdin=None):
    file = tmp_path / "subscriptions.yaml"
    file.write_text(FILE)
    done = CliRunner().invoke(app, ["route", *words, "--file", str(file)], input=stdin)
    return done.exit_code, done.output


def test_an_event_that_no_pattern_fits_is_told_with_the_patterns():
    subscription = make_subscription("it", on=("disk",), patterns=("gpfs.*.disk.*.*.*",))

    verdict = rehearsed(subscription, make_event()).verdict

    assert verdict.decision == "pattern"
    assert "gpfs.*.disk.*.*.*" in verdict.because


def test_no_handler_is_created_for_an_event_that_does_not_match(monkeypatch):
    created = []
    monkeypatch.setattr(RunVerb, "handler", lambda _, surroundings: created.append(surroundings.name))
    subscription = make_subscription("it", on=("disk",), patterns=("gpfs.*.disk.*.*.*",), verb=RunVerb(command=("ls",)))

    rehearsed(subscription, make_event())

    assert created == []


def test_a_false_filter_is_told_with_the_values_that_it_read():
    verdict = rehearsed(make_subscription("it", where='data.fsName == "gpfs2"'), make_event()).verdict

    assert verdict.decision == "filter"
    assert verdict.because == 'where is false: data.fsName == "gpfs2" (data.fsName is "gpfs1")'


def test_a_filter_that_cannot_be_evaluated_is_told_with_the_reason():
    verdict = rehearsed(make_subscription("it", where="data.blockUsage > data.blockLimit"), make_event()).verdict

    assert verdict.decision == "unclear"
    assert "data.blockLimit is null" in verdict.because


def test_what_is_off_takes_nothing():
    assert rehearsed(make_subscription("it", mode="off"), make_event()).verdict.decision == "off"


def test_without_the_body_only_the_pattern_is_asked():
    event = make_event()

    assert consider(make_subscription("it"), None, event.topic).matched
    assert consider(make_subscription("it", where="true"), None, event.topic).decision == "unclear"


def test_the_effect_is_the_command_as_it_would_be_run():
    found = rehearsed(make_subscription("it", ["/bin/echo", "{{ data.fsName }}"]), make_event(fsName="; rm -rf /"))

    assert found.effect["command"] == ["/bin/echo", "; rm -rf /"]
    assert found.refused == ""


def test_an_effect_that_would_be_refused_is_told_and_has_no_attempts():
    found = rehearsed(make_subscription("it", ["/bin/echo", "{{ data.fsName }}"]), make_event(fsName="-f"))

    assert "like an option" in found.refused
    assert found.attempts == ()


def test_attempts_come_when_the_real_retry_steps_let_them():
    assert moments(RetryPolicy(attempts=3, first=timedelta(seconds=30), growth=2)) == (
        timedelta(),
        timedelta(minutes=1),
        timedelta(minutes=2),
    )


def test_rules_are_told_in_words():
    hour = timedelta(hours=1)
    subscription = make_subscription(
        "it",
        fold=Folding(by=("data.fsName",), wait=timedelta(seconds=30), repeat=hour),
        once_per=OncePer(by=("node",), interval=hour),
        limit=Limit(most=3, per=hour, rest="skip"),
        guard=Guard(at_most=2, ask=Ask(within=hour)),
        order_by=("node",),
    )

    assert list(rules(subscription)) == [
        "grouped by data.fsName: delivered 30s after the first event, then every 1h",
        "once per 1h by node; the others are skipped",
        "at most 3 per 1h; the others are skipped",
        "at most 2 at once, over all consumers; the others wait in the broker",
        "only if approved within 1h",
        "one after another by node",
    ]


def test_the_rule_of_a_guard_names_its_place_and_what_becomes_of_the_rest():
    guard = Guard(at_most=AtMost(count=1, by=("data.fsName", "node"), rest="skip"))

    assert [*rules(make_subscription("act", ["/bin/true"], guard=guard))] == [
        "at most 1 at once by data.fsName, node, over all consumers; the others are skipped"
    ]


def test_an_event_is_made_up_as_the_router_would_make_it():
    variables = {"fsName": "gpfs1", "diskName": ["nsd1", "nsd2"], "myNode": None}

    event = synthetic_event(
        named("diskFailure", SHIPPED), variables, Registrations(SHIPPED), moment=NOON, node="nsd01", cluster="prod"
    )

    arguments = ("--fsName", "gpfs1", "--diskName", "nsd1,nsd2", "--myNode", "")
    fields = {"source": "gpfs", "event": "diskFailure", "cluster": "prod", "node": "nsd01", "boot": ""}
    fields |= {"captured_at": "2026-11-20T12:00:00.000000000Z", "epoch": NONE, "sequence": 1}
    record = Record(id=event.id, arguments=arguments, **fields)
    assert event == event_of(record, named("diskFailure", SHIPPED), SHIPPED.of("gpfs"))
    assert event.data["myNode"] is None


@pytest.mark.parametrize(
    ("name", "variables", "said"),
    [
        ("diskFailur", {}, "did you mean diskFailure?"),
        ("diskFailure", {"fsNam": "x"}, "no variable data.fsNam; did you mean fsName"),
        ("diskFailure", {"blockUsage": "1"}, "diskFailure cannot have data.blockUsage"),
    ],
)
def test_what_cannot_be_made_up_is_told_with_what_is_near(name, variables, said):
    with pytest.raises((UnknownEvent, UnknownVariable)) as error:
        synthetic_event(named(name, SHIPPED), variables, Registrations(SHIPPED), moment=NOON)

    assert said in str(error.value)


def test_variables_that_the_command_is_not_given_are_examples(tmp_path):
    code, output = run(tmp_path, "diskFailure", "DISKNAME=nsd9", "myNode=")

    assert code == 0
    assert 'fsName="gpfs1"' in output
    assert "myNode=null" in output
    assert "nsd9" in output.rpartition("/bin/echo")[2]
    assert "dead letter at once" not in output
    assert "the other variables are those that this site registers, with examples of values" in " ".join(output.split())


def test_the_command_tells_each_subscription_and_ends_with_0(tmp_path):
    code, output = run(tmp_path, "diskFailure", "fsName=gpfs1", "diskName=nsd3,nsd4", "--json")

    rows = [row for line in output.splitlines() if "alert" not in (row := json.loads(line))]
    assert code == 0
    assert [(each["subscription"], each["decision"]) for each in rows] == [
        ("audit", "pattern"),
        ("restart-disk", "matched"),
        ("asleep", "off"),
    ]
    assert rows[1]["effect"]["command"] == ["/bin/echo", "gpfs1", "start", "-d", "nsd3;nsd4"]
    assert rows[1]["attempts"] == ["0s", "1m", "6m"]


def test_an_event_that_no_registration_passes_is_told_in_json_too(tmp_path):
    _, off = run(tmp_path, "tiebreakerCheck", "--json")
    _, on = run(tmp_path, "diskFailure", "--json")
    _, text = run(tmp_path, "tiebreakerCheck")

    (why,) = {json.loads(line)["unregistered"] for line in off.splitlines()}
    assert why.startswith("no such event comes: tiebreakerCheck is not registered: add it to gpfs.events")
    assert {json.loads(line)["unregistered"] for line in on.splitlines()} == {""}
    assert why in " ".join(text.split())


def test_the_command_ends_with_1_where_nobody_takes_it_and_says_why(tmp_path):
    code, output = run(tmp_path, "diskFailure", "fsName=gpfs2")

    assert code == 1
    assert 'where is false: data.fsName == "gpfs1" (data.fsName is "gpfs2")' in output
    assert "its mode is off" in output


def test_an_event_may_be_given_whole(tmp_path):
    event = make_event()
    file = tmp_path / "event.json"
    file.write_bytes(event.to_json())

    from_file = run(tmp_path, str(file), "--json")
    from_stdin = run(tmp_path, "-", "--json", stdin=event.to_json().decode())

    assert from_file == from_stdin
    assert from_file[0] == 0
    assert event.topic in from_file[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["diskFailur"], "did you mean diskFailure?"),
        (["diskFailure", "fsName"], "is not NAME=VALUE"),
        (["diskFailure", "--at", "noon"], "is not a time"),
        (["-", "a=b"], "omit NAME=VALUE"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2(tmp_path, words, said):
    code, output = run(tmp_path, *words, stdin="{}")

    assert code == 2
    assert said in output


@pytest.mark.thorough
def test_schemas_are_printed():
    runner = CliRunner()

    schema = json.loads(runner.invoke(app, ["schema", "subscriptions"]).output)

    assert "tests" in json.dumps(schema)
    assert json.loads(runner.invoke(app, ["schema", "event"]).output)["title"] == "Event"
    assert runner.invoke(app, ["schema", "x"]).exit_code == 2
