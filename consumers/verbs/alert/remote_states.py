"""What other systems say of an alert, and what is taken over from them.  Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...expressions.sanitize import one_line, shortened
from .alert_change import ACKNOWLEDGED, CLOSED, OPEN

State = Literal["open", "acknowledged", "closed"]
Act = Literal["ack", "unack", "close"]

_LONGEST_NAME, _LONGEST_COMMENT = 200, 1000


@dataclass(frozen=True, slots=True)
class RemoteState:
    """The state of *alert* in another system, who set it, and their comment."""

    alert: str
    state: State
    by: str = ""
    comment: str = ""

    def author(self, system: str) -> str:
        """Return who set the state, as it is kept: the name with the *system* before it.

        >>> RemoteState("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "closed", "Anna").author("pagerduty")
        'pagerduty:Anna'
        """
        return f"{system}:{self.by or '-'}"


def act_of(remote: RemoteState, before: State | None, *, state: str, by: str, system: str) -> Act | None:
    """Return what is taken over from *system*, which has the alert in *remote*, and had it in *before* when last asked.

    Here the alert is in *state*, set *by* a person.  Who closes an alert there closes it here.  Of acknowledgements
    only changes count: who takes one back here is not overruled by the one that is still there.  The first answer
    (*before* is None) counts, unless a person has decided otherwise here.

    >>> def act(there, before, here, by=""):
    ...     return act_of(RemoteState("1", there), before, state=here, by=by, system="opsgenie")
    >>> act("acknowledged", "open", "open"), act("closed", "open", "acknowledged", "anna")
    ('ack', 'close')
    >>> act("acknowledged", "acknowledged", "open", "anna"), act("acknowledged", None, "open", "anna")
    (None, None)
    >>> act("open", "acknowledged", "acknowledged", "opsgenie:bob"), act("open", None, "acknowledged", "anna")
    ('unack', None)
    """
    if state == CLOSED:
        return None
    if remote.state == CLOSED:
        return "close"
    if remote.state == before or (before is None and by and not by.startswith(f"{system}:")):
        return None
    if remote.state == ACKNOWLEDGED:
        return "ack" if state == OPEN else None
    return "unack" if state == ACKNOWLEDGED and by.startswith(f"{system}:") else None


def parsed(text: str) -> Mapping[str, Any]:
    """Return the JSON object in *text*; raises ValueError if there is none."""
    found = _parsed(text)
    if not isinstance(found, dict):
        raise ValueError("the answer is not a JSON object")  # noqa: TRY004 - a mistake in the text
    return found


def parsed_list(text: str) -> list[Mapping[str, Any]]:
    """Return the objects of the JSON list in *text*; raises ValueError if there is none."""
    found = _parsed(text)
    if not isinstance(found, list):
        raise ValueError("the answer is not a JSON list")  # noqa: TRY004 - a mistake in the text
    return [each for each in found if isinstance(each, dict)]


def text_at(value: object, *path: str) -> str:
    r"""Return the text in *value* at *path*, on one line and bounded; empty if there is none.

    >>> text_at({"by": {"summary": "Anna\n"}}, "by", "summary"), text_at({"by": 1}, "by", "summary")
    ('Anna', '')
    """
    for each in path:
        value = value.get(each) if isinstance(value, dict) else None
    limit = _LONGEST_COMMENT if path[-1] == "comment" else _LONGEST_NAME
    return shortened(one_line(value).strip(), limit) if isinstance(value, str) else ""


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None
