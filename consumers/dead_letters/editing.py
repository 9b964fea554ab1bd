"""Edits of an event's data: by `--set data.NAME=VALUE`, and in an editor."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from router.errors import did_you_mean
from router.model.catalogue import Catalogues
from router.model.events import Event, Value

from ..errors import LetterError

_NULL = "null"
_SHOWN = 100


def with_settings(event: Event, texts: Iterable[str], catalogues: Catalogues) -> dict[str, Value]:
    """Return the data of *event*, changed by *texts* such as `data.fsName=gpfs2`; the catalogue gives the types.

    Raises LetterError for a variable that the event type cannot have, or a value of the wrong type.
    """
    data = dict(event.data)
    catalogue = catalogues.of(event.origin)
    event_type = catalogue.get(event.name)
    known = {*data, *(each.name for each in catalogue.of(event_type))} if event_type else {*data}
    for each in texts:
        place, equals, text = each.partition("=")
        name = place.removeprefix("data.")
        if not equals or name == place:
            raise LetterError(f"{each!r} is not data.NAME=VALUE: only the data of an event can be edited")
        if name not in known:
            raise LetterError(f"{event.type} cannot have data.{name}{did_you_mean(name, known)}")
        variable = catalogue.variable(name)
        try:
            data[name] = None if text == _NULL else variable.value(text) if variable else text
        except ValueError as error:
            raise LetterError(f"{place}: {error}") from error
    return data


def edited(data: Mapping[str, Value]) -> dict[str, Value]:
    """Open *data* in `$VISUAL`, `$EDITOR` or vi, and return the edited data; raises LetterError."""
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory(prefix="clusterbus-edit-") as folder:
        file = Path(folder) / "data.json"
        file.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        try:
            ended = subprocess.run([*words, str(file)], check=False)
        except OSError as error:
            raise LetterError(f"cannot run editor {words[0] if words else ''!r}: {error.strerror}") from error
        if ended.returncode:
            raise LetterError(f"editor {words[0]!r} ended with exit code {ended.returncode}: nothing was changed")
        text = file.read_text(errors="replace")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise LetterError(f"the edited text is not valid JSON: {error}: nothing was changed") from error
    if not isinstance(found, dict):
        raise LetterError("the edited text is not a JSON object: nothing was changed")
    return found


def as_text(changes: Sequence[Mapping[str, Any]]) -> str:
    """Return *changes* as one line for people.

    >>> as_text([{"name": "data.fsName", "from": "gpfs1", "to": "gpfs2"}, {"name": "data.x", "from": 1}])
    'data.fsName: "gpfs1" → "gpfs2", data.x: 1 → removed'
    """
    return ", ".join(
        f"{each['name']}: {_side(each, 'from', 'new')} → {_side(each, 'to', 'removed')}" for each in changes
    )


def _side(change: Mapping[str, Any], side: str, absent: str) -> str:
    return json.dumps(change[side], ensure_ascii=False)[:_SHOWN] if side in change else absent
