"""The texts of structural mistakes in subscription files: pydantic's errors in the words of the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from router import redaction
from router.errors import did_you_mean
from router.settings import type_mistakes

from ..policies.retry import RetryPolicy
from ..verbs.interface import installed
from ..verbs.log.syslog import SyslogTarget
from .models import Defaults, Entry, EntryWithVerb
from .test_cases import Expectation, Expected, Given


def message(model: type[BaseModel], error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    """Return the text of *error* in a value that is not a *model*."""
    value = error["input"]
    shown = "" if _holds_secrets(error["loc"]) else _plain(value)
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(model, error["loc"])
        case "missing":
            return "is missing"
        case "value_error":
            said = str(error["msg"]).removeprefix("Value error, ")
            # Of what holds others the validators may repeat all.
            return said.replace(str(value), _plain(value)) if isinstance(value, (list, dict)) and value else said
        case kind if kind in type_mistakes.LISTS and isinstance(value, str) and shown:
            return f"must be a list: write {redaction.redact(type_mistakes.as_list(value))}"
        case "string_type" if value is not None and not isinstance(value, (list, dict)):
            return "must be a text: write it in quotes" + (f', "{shown}"' if shown else "")
        case _:
            text = type_mistakes.text(error)
            return text + (f", not {shown}" if shown and text != "is empty" else "")


def _plain(value: object) -> str:
    """Return *value* as it is written in the file, texts in quotes; for lists and mappings, only their kind."""
    return redaction.value(value) if isinstance(value, (str, list, dict)) else json.dumps(value, default=str)[:60]


def _holds_secrets(place: Sequence[str | int]) -> bool:
    """Return whether the value at *place* may contain a secret: a field without `repr`, or a whole verb."""
    names = [each for each in place if isinstance(each, str)]
    verbs = installed()
    fields = (verbs[verb].model_fields.get(name) for verb, name in pairwise(names) if verb in verbs)
    return names[-1:] in [[each] for each in verbs] or any(field and not field.repr for field in fields)


def _unknown_key(model: type[BaseModel], place: Sequence[str | int]) -> str:
    *inside, name = place
    parts: Mapping[str, type[BaseModel]] = {**_OF_ENTRIES, **_OF_TESTS, **_OF_VERBS, **installed()}
    names = [each for each in inside if isinstance(each, str)]
    within = parts.get(names[-1], model) if names else model
    known = [field.alias or name for name, field in within.model_fields.items()]
    listed = f"; known keys: {', '.join(known)}"
    if within is EntryWithVerb and meant_as_verb(str(name)):
        listed = f"; verbs: {', '.join(installed())}; other keys: {', '.join(Entry.model_fields)}"
    return f"unknown key{did_you_mean(str(name), known) or listed}"


_OF_TESTS: Mapping[str, type[BaseModel]] = {"tests": Expectation, "given": Given, "expect": Expected}
_OF_ENTRIES: Mapping[str, type[BaseModel]] = {"retry": RetryPolicy, "defaults": Defaults}
_OF_VERBS: Mapping[str, type[BaseModel]] = {"syslog": SyslogTarget}


def meant_as_verb(name: str) -> bool:
    """Return whether the unknown key *name* of an entry is probably a verb: it resembles one, or no other key."""
    return bool(did_you_mean(name, installed())) or not did_you_mean(name, Entry.model_fields)
