"""The texts of structural mistakes in subscription files: pydantic's errors in the words of the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel

from router import redaction
from router.errors import did_you_mean
from router.settings import type_mistakes
from router.settings.yaml_documents import Document, Place

from ..errors import Mistake
from ..verbs.interface import installed
from .models import Entry, EntryWithVerb


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
    within = _part(model, inside)
    known = [field.alias or name for name, field in within.model_fields.items()]
    listed = f"; known keys: {', '.join(known)}"
    if within is EntryWithVerb and meant_as_verb(str(name)):
        listed = f"; verbs: {', '.join(installed())}; other keys: {', '.join(Entry.model_fields)}"
    return f"unknown key{did_you_mean(str(name), known) or listed}"


def _part(model: type[BaseModel], place: Sequence[str | int]) -> type[BaseModel]:
    """Return the model of what is at *place* in a *model*; what is no name of a field leads nowhere."""
    for name in place:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        model = next(_models(fields[name].annotation), model) if name in fields else model
    return model


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)


def meant_as_verb(name: str) -> bool:
    """Return whether the unknown key *name* of an entry is probably a verb: it resembles one, or no other key."""
    return bool(did_you_mean(name, installed())) or not did_you_mean(name, Entry.model_fields)


def placed(document: Document, place: Place, message: str, *, line: int | None = None) -> Mistake:
    """Return the mistake at *place*, with the name of its entry."""
    place = _as_written(document.value, place)
    line = document.line(place) if line is None else line
    message = redaction.redact(message)
    match place:
        case ("subscriptions" | "alerts" | "actions" as section, int(at), *rest):
            return Mistake(document.file, line, _entry_name(document, section, at), _dotted(rest), message)
        case _:
            return Mistake(document.file, line, "", _dotted(place), message)


def _as_written(value: Any, place: Place) -> Place:  # noqa: ANN401 - of a file
    """Return *place* in *value* without the numbers of items that are written without their list."""
    written: list[str | int] = []
    for each in place:
        if isinstance(each, int) and isinstance(value, dict):
            continue
        written.append(each)
        if isinstance(value, dict):
            value = value.get(each)
        else:
            value = value[each] if isinstance(value, list) and isinstance(each, int) and each < len(value) else None
    return tuple(written)


def _entry_name(document: Document, section: str, at: int) -> str:
    value = document.value
    entries = value.get(section) if isinstance(value, dict) else None
    entry = entries[at] if isinstance(entries, list) and at < len(entries) else None
    name = entry.get("name") if isinstance(entry, dict) else None
    return name[:63] if isinstance(name, str) and name else f"entry {at + 1}"


def _dotted(place: Sequence[str | int]) -> str:
    # People count from 1.
    return ".".join(str(each + 1) if isinstance(each, int) else redaction.redact(each) for each in place)
