"""Reads a `.qcb` file: actions by their names, one on each line, as Qube has verbs such as `kill-self`.  Pure.

# what to do with the job
kill-self
notify-farm  channel=render  reason="the job failed"
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LARGEST = 65536
"""Most octets in a file."""

_MOST = 20


class Unreadable(ValueError):
    """The file is no list of actions."""


@dataclass(frozen=True, slots=True)
class Call:
    """One action, and the values that are given to it."""

    name: str
    given: Mapping[str, str] = field(default_factory=dict)


def parse(content: bytes) -> Sequence[Call]:
    r"""Return the actions of a file; raises Unreadable with the line of the mistake.

    >>> parse(b"kill-self\n# then\nnotify-farm channel=render\n")
    [Call(name='kill-self', given={}), Call(name='notify-farm', given={'channel': 'render'})]
    """
    if len(content) > LARGEST:
        raise Unreadable(f"has more than {LARGEST} octets")
    calls: list[Call] = []
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8 text") from None
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise Unreadable(f"line {number}: {error}") from error
        if words:
            pairs = [each.partition("=") for each in words[1:]]
            if unpaired := [name for name, sign, _ in pairs if not sign]:
                raise Unreadable(f"line {number}: {unpaired[0][:60]!r} is not NAME=VALUE")
            calls.append(Call(words[0], {name: text for name, _, text in pairs}))
    if not calls:
        raise Unreadable("names no action")
    if len(calls) > _MOST:
        raise Unreadable(f"names more than {_MOST} actions")
    return calls
