"""Reads a `callbacks.conf` of Qube as it is: each trigger is the event that clusterbus captures for it.  Pure.

    # syntax of this file is: filename = triggers
    logFailuresToDB.py = failed-job-self
    mail-status.qcb    = done-job-self || killed-job-self

Triggers of other jobs, hosts and times have no event, nor has `&&`, which waits for two of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from . import conf_file
from .conf_file import Line, Wrong

FILE = "callbacks.conf"

OURS = "clusterbus_"
"""How the files begin that capture events for us: they run in the supervisor, never here."""

_TRIGGER = re.compile(r"([a-z]+)-(job|subjob|work)-self(?:-(.+))?")
_SEVERAL = re.compile(r"\|\||,")


def parse(content: bytes, events: Collection[str]) -> tuple[Sequence[Line], Sequence[Wrong]]:
    r"""Return the lines of a `callbacks.conf`, and all mistakes in it; *events* are those of the catalogue of Qube.

    >>> parse(b"log.py = failed-job-self\n", {"failedJob"})[0]
    [Line(number=1, name='log.py', patterns=('qube.*.*.failedJob.#',))]
    >>> parse(b"log.py = globaltime-10000\n", set())[1][0].message
    "'globaltime-10000' is no trigger of a job itself, such as failed-job-self: no event comes for it"
    """
    found: dict[str, Line] = {}
    wrong: list[Wrong] = []
    for number, text in conf_file.texts(content, wrong):
        line = _line(number, text, events)
        if isinstance(line, Line) and line.name in found:
            patterns = dict.fromkeys((*found[line.name].patterns, *line.patterns))
            found[line.name] = Line(found[line.name].number, line.name, tuple(patterns))
        elif isinstance(line, Line):
            found[line.name] = line
        elif line:
            wrong.append(line)
    return list(found.values()), sorted(wrong, key=lambda each: each.number)


def _line(number: int, text: str, events: Collection[str]) -> Line | Wrong | None:
    name, equals, rest = (part.strip() for part in text.partition("="))
    if not equals:
        return Wrong(number, f"{text[:60]!r} is not `file = trigger`")
    if message := conf_file.wrong_name(name):
        return Wrong(number, message)
    if name.startswith(OURS):
        return None
    if "&&" in rest:
        return Wrong(number, f"{name}: && waits for two events: write a subscription that looks for the other one")
    triggers = [each.strip(" ()") for each in _SEVERAL.split(rest)]
    if message := next(filter(None, (_problem(each, events) for each in triggers)), ""):
        return Wrong(number, message)
    return Line(number, name, tuple(dict.fromkeys(f"qube.*.*.{_event(each)}.#" for each in triggers)))


def _problem(trigger: str, events: Collection[str]) -> str:
    event = _event(trigger)
    if event is None:
        return f"{trigger[:60]!r} is no trigger of a job itself, such as failed-job-self: no event comes for it"
    return "" if event in events else f"{trigger[:60]!r}: clusterbus captures no {event}"


def _event(trigger: str) -> str | None:
    """Return the name of the event for *trigger*: `failedJob` for `failed-job-self`; None where there is none."""
    match = _TRIGGER.fullmatch(trigger)
    if match is None or (match[3] not in (None, "*") and match[2] != "subjob"):
        return None
    return f"{match[1]}{match[2].capitalize()}"
