"""Facts and words that a subscription adds to its deliveries, as each verb passes them on."""

import json
import sys
from datetime import timedelta

import pytest
from pydantic import ValidationError

from consumers.deliveries import Report
from consumers.expressions.facts_cache import sample
from consumers.inspection.dry_run import rehearse
from consumers.policies.enrichment import enriched
from consumers.subscriptions.models import Entry
from consumers.verbs.call.arguments import Arguments
from consumers.verbs.call.isolated_child import _call
from consumers.verbs.call.references import Target
from consumers.verbs.interface import Surroundings
from consumers.verbs.notify.message_texts import Messages
from consumers.verbs.notify.verb import NotifyVerb
from consumers.verbs.post.verb import PostVerb
from consumers.verbs.run.local import facts as environment
from router.cluster.facts.models import unknown
from router.model.catalogue import Catalogues
from tests.consuming import make_delivery, make_event, make_subscription
from tests.engines import subscription
from tests.unit.consumers.subscriptions.test_validation import one

WANTED = {
    "mount": "facts.file_systems[data.fsName].mount_point",
    "where": 'data.fsName + "/" + node',
    "other": "facts.file_systems[node].mount_point",
}
META = {"team": "storage", "note": "a b"}


def known_delivery(known=None, **fields):
    event = make_event()
    return enriched(make_delivery(event, known=known or sample(event), **fields), WANTED, META)


def test_what_is_known_is_filled_in_and_the_rest_is_null_with_the_reason():
    found = known_delivery().facts

    assert found["values"] == {"mount": "/gpfs1", "where": "gpfs1/nsd01", "other": "/nsd01"}
    assert (found["stale"], found["age"], found["missing"]) == (False, found["age"], {})


def test_without_facts_the_values_are_null_and_marked_and_nothing_fails():
    found = known_delivery(unknown("the facts store does not exist")).facts

    assert found["values"] == {"mount": None, "where": "gpfs1/nsd01", "other": None}
    assert found["stale"] is True
    assert found["missing"]["mount"] == "facts are not known: the facts store does not exist"


def test_stale_facts_are_marked():
    event = make_event()
    old = sample(event)
    values = {**old.values, "stale": True, "age": 900.0}
    delivery = make_delivery(event, known=type(old)(values, old.missing, old.nulls))

    found = enriched(delivery, WANTED, {}).facts

    assert (found["values"]["mount"], found["stale"], found["age"]) == ("/gpfs1", True, 900.0)


def test_standard_input_has_the_facts_and_without_any_it_is_the_event_unchanged():
    event = json.loads(known_delivery().to_json())

    assert event["data"]["facts"]["values"]["mount"] == "/gpfs1"
    plain = make_delivery()
    assert plain.to_json() == plain.event.to_json()


def test_a_command_has_the_words_in_its_environment():
    assert environment(known_delivery())["CLUSTERBUS_META_team"] == "storage"


def test_a_webhook_gets_facts_and_words():
    verb = PostVerb(url="https://hub.example.com/", body={"team": "{{ meta.team }}"})
    assert json.loads(verb.handler(Surroundings("a")).plan(known_delivery())["body"]) == {"team": "storage"}
    whole = PostVerb(url="https://hub.example.com/").handler(Surroundings("a")).plan(known_delivery())["body"]
    assert json.loads(whole)["data"]["facts"]["values"]["where"] == "gpfs1/nsd01"


def told(fsName, facts, meta):  # noqa: N803 - as variables are called
    return {"fs": fsName, "mount": facts["values"]["mount"], "team": meta["team"]}


def test_a_function_gets_facts_and_words_also_in_a_process_of_its_own():
    delivery = known_delivery()
    arguments = Arguments(Target(told, sys.modules[__name__]), {})

    assert told(**arguments(delivery)) == {"fs": "gpfs1", "mount": "/gpfs1", "team": "storage"}
    request = {
        "event": delivery.event.to_json().decode(),
        "subscription": "a",
        "topic": "t",
        "attempt": 1,
        "folded": None,
        "facts": delivery.facts,
        "meta": dict(delivery.meta),
        "folders": [],
        "source": None,
        "function": f"{__name__}:told",
        "fixed": {},
        "parms": [],
        "joined": False,
    }
    assert _call(request).result["value"] == {"fs": "gpfs1", "mount": "/gpfs1", "team": "storage"}


def test_a_notification_ends_with_the_words():
    texts = Messages(NotifyVerb(to="team"), Catalogues.shipped())

    lines = texts.message(known_delivery(), "text").body.splitlines()
    assert [line.split(maxsplit=1) for line in lines[-2:]] == [["team", "storage"], ["note", "a b"]]


def test_words_come_back_with_every_outcome_and_with_the_events_about_it(bench):
    answers = iter([Report("exit:1", "no"), Report(result={"exit": 0})])
    bench.handler = lambda delivery: next(answers) if delivery.meta == META else Report("other")
    bench.start(subscription(meta=META))
    bench.publish(make_event())
    bench.broker.advance(timedelta(minutes=1))

    assert [row.result["meta"] for row in bench.rows()] == [META, META]
    assert bench.rows()[-1].result["exit"] == 0


def test_a_rehearsal_shows_what_a_handler_would_get():
    wanted = make_subscription("a", PostVerb(url="https://hub.example.com/"), facts=WANTED, meta=META)
    event = make_event()

    effect = rehearse(wanted, event, wanted.verb.handler(Surroundings("a")).plan, sample(event)).effect

    assert json.loads(effect["body"])["data"]["facts"]["values"]["mount"] == "/gpfs1"


@pytest.mark.parametrize(
    "fields",
    [{"facts": {"a b": "1"}}, {"facts": {"a": "1 +"}}, {"facts": {"a": ""}}, {"meta": {"a": 1}}, {"meta": {"": "x"}}],
)
def test_what_is_no_name_and_no_expression_is_refused(fields):
    with pytest.raises(ValidationError):
        Entry(name="a", on=("quota",), **fields)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("facts: {a: 'facts.file_systems[data.fsName].manager'}", ""),
        ("facts: {a: data.fsNam}", "facts.a: "),
        ('meta: {team: storage}\nguard: {only_if: [/bin/test, "{{ meta.team }}"]}', ""),
        ('guard: {only_if: [/bin/test, "{{ meta.team }}"]}', "guard.only_if.2: "),
    ],
)
def test_check_knows_both(tmp_path, more, said):
    report = one(tmp_path, f"on: quota\nrun: {{command: [/bin/true]}}\n{more}")

    assert [said in str(each) for each in report.mistakes] == [True] * bool(said), report.mistakes
