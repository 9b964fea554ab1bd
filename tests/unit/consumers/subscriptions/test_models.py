"""The values of subscriptions."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from consumers.config.event_samples import Kinds
from consumers.config.field_types import ON_THIS_MACHINE
from consumers.config.registrations import Registrations
from consumers.policies.retry import RetryPolicy
from consumers.subscriptions.models import File, Subscription, Subscriptions
from consumers.verbs.interface import Verb, installed
from consumers.verbs.log.verb import LogVerb
from consumers.verbs.run.verb import RunVerb
from router.model.catalogue import Catalogues
from router.settings.models import Settings


def remarks(verb: Verb) -> list[tuple[str | int, ...]]:
    kinds = Kinds(Registrations(Catalogues.shipped()))
    return [each.place for each in (*verb.remarks(kinds, Settings()), *verb.remarks_here(kinds, Settings()))]


def subscription(name: str = "audit", **fields: Any) -> Subscription:
    return Subscription(**{"name": name, "on": ("#",), "patterns": ("#",), "kind": "log", "verb": LogVerb(), **fields})


def test_what_is_not_said_has_a_value_that_can_be_worked_with() -> None:
    run = RunVerb(command=("true",))

    assert (run.timeout, run.environment, run.user, run.output) == (timedelta(minutes=10), {}, None, 65536)
    assert LogVerb().store
    assert subscription().retry == RetryPolicy()
    assert (subscription().concurrency, subscription().mode) == (1, "live")


def test_the_digest_tells_meanings_apart_and_nothing_else() -> None:
    here = Subscriptions(subscriptions=(subscription("a", line=1, file="x"), subscription("b", line=9, file="x")))
    moved = Subscriptions(subscriptions=(subscription("b", line=2, file="y"), subscription("a", line=8, file="y")))
    changed = Subscriptions(subscriptions=(subscription("a"), subscription("b", where="true")))
    waits = Subscriptions(subscriptions=(subscription("a"), subscription("b", retry=RetryPolicy(attempts=2))))

    assert here.digest == moved.digest
    assert len({here.digest, changed.digest, waits.digest, Subscriptions().digest}) == 4


def test_subscriptions_are_found_by_name() -> None:
    both = Subscriptions(subscriptions=(subscription("a"), subscription("b")))

    assert both.by_name["b"] is both.subscriptions[1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"command": []}, "has no program"),
        ({"command": [""]}, "has no program"),
        ({"command": ["bin/tool"]}, "'bin/tool' is a relative path"),
        ({"command": ["../tool"]}, "'../tool' is a relative path"),
        ({"command": ["-c"]}, "starts with a dash"),
        ({"command": ["{{ data.program }}"]}, "an event must not choose what runs"),
        ({"command": "rm -rf /"}, "tuple"),
        ({"command": ["x", 5]}, "valid string"),
        ({"command": ["x"], "timeout": "8d"}, "longer than 7d"),
        ({"command": ["x"], "timeout": 10}, "write a number and a unit"),
        ({"command": ["x"], "environment": {"A-B": ""}}, "is not the name of a variable"),
        ({"command": ["x"], "environment": {"CLUSTERBUS_X": ""}}, "clusterbus itself sets"),
        ({"command": ["x"], "output": 1}, "1024"),
        ({"command": ["x"], "user": "no-such-user-here"}, "there is no user"),
        ({"command": ["x"], "comand": ["y"]}, "not permitted"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RunVerb.model_validate(fields, context=ON_THIS_MACHINE)

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"store": False}, "nothing to write to"), ({"file": "events.jsonl"}, "is not an absolute path")],
)
def test_a_log_that_writes_nowhere_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        LogVerb.model_validate(fields)

    assert said in str(refused.value)


def test_users_are_looked_up_only_on_the_machine_that_is_to_run_the_command() -> None:
    assert RunVerb(command=("x",), user="no-such-user-here").user == "no-such-user-here"


def test_what_this_machine_lacks_is_remarked(tmp_path: Path) -> None:
    tool = tmp_path / "tool"

    missing = remarks(RunVerb(command=(str(tool),)))
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    there = remarks(RunVerb(command=(str(tool),)))

    assert missing == [("command",)]
    assert there == []
    assert remarks(LogVerb(file=tmp_path / "events.jsonl")) == []
    assert remarks(LogVerb(file=tmp_path / "no" / "events.jsonl")) == [("file",)]


def test_the_schema_has_every_verb_and_no_other_keys() -> None:
    entry = File.model_json_schema()["$defs"]["Subscription"]

    assert set(installed()) < set(entry["properties"])
    assert entry["additionalProperties"] is False
