"""What an installer answers: one line of JSON from another machine, which may hold anything.  Strict and bounded."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

LARGEST = 64 * 1024
"""The most characters of a line that is read as an answer; the fan-out keeps less of a node's output."""

_SHOWN = 300
_RESULTS = frozenset({"error", "differs", "kept", "spool"})

Text = Annotated[str, StringConstraints(max_length=16_384)]
Word = Annotated[str, StringConstraints(max_length=256)]
Count = Annotated[int, Field(ge=0, le=10**10)]
Texts = Annotated[tuple[Text, ...], Field(max_length=2000)]


class Unreadable(ValueError):
    """The output of a node is not an installer's answer; the message says why."""


class RelayConnection(BaseModel):
    """What a relay tells of its connection, and what waits in its spool; *since* and *oldest* are seconds ago."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    broker: Word
    problem: Text
    since: Count
    unsent: Count
    oldest: Count


class LostCaptures(BaseModel):
    """How many captures could not be stored since the spool was created, by the letters in `lost`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    f: Count
    """The spool was full."""

    d: Count
    """The disk was full."""

    e: Count
    """Any other error."""


class SpoolFacts(BaseModel):
    """What a spool holds, and what capture could not store in it.

    *octets* is the size of the records that wait, *free* the room of their disk, *unsaved* the size of the file for
    what even syslog did not take.  *oldest* and *full*, the time of the mark of a full spool, are seconds ago.
    *missing* are folders, *bad* files that are no records, *unreadable* why something else is not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    exists: bool
    missing: Texts
    mode: Count
    waiting: Count
    octets: Annotated[int, Field(ge=0, le=10**18)]
    oldest: Count
    full: Count | None
    bad: Count
    lost: LostCaptures
    unsaved: Count
    free: Annotated[int, Field(ge=0, le=10**30)] | None
    unreadable: Texts


class InstallerAnswer(BaseModel):
    """The answer to a survey, an installation, a removal or a look: with *error*, *differs*, *kept* or *spool*."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    node: Word = ""
    error: Text | None = None
    differs: Annotated[tuple[tuple[Text, Text], ...], Field(max_length=2000)] = ()
    did: Texts = ()
    kept: Texts = ()
    python: Word = ""
    version: Word = ""
    relay: Word = ""
    connection: RelayConnection | None = None
    spool: SpoolFacts | None = None
    left_out: Texts = ()
    file_systems: Annotated[dict[Text, Word], Field(max_length=20)] = {}

    @model_validator(mode="after")
    def _has_a_result(self) -> Self:
        if _RESULTS.isdisjoint(self.model_fields_set):
            raise ValueError(f"it has none of {', '.join(sorted(_RESULTS))}")
        return self


def read(output: str) -> InstallerAnswer:
    r"""Return the answer in the last line of *output*; lines before it come from the login.  Raises Unreadable.

    >>> read('Welcome!\n{"differs": [["/usr/a", "is missing"]]}').differs
    (('/usr/a', 'is missing'),)
    """
    before, _, line = output.strip().rpartition("\n")
    if len(line) > LARGEST:
        raise Unreadable(f"it answered with a line of {len(line):,} characters; the limit is {LARGEST:,}")
    try:
        found = json.loads(line)
        # Its own JSON again, so that lists may become tuples, and a name that is not UTF-8 is shown as an escape.
        answer = InstallerAnswer.model_validate_json(json.dumps(_printable(found)))
    except (ValueError, RecursionError) as error:
        shown = repr(output[-_SHOWN:])
        raise Unreadable(f"it answered with output that cannot be read: {_why(error)}{shown}") from error
    if any(_is_answer(each) for each in before.split("\n")):
        raise Unreadable("it answered more than once")
    return answer


def _why(error: Exception) -> str:
    """Return what is wrong with an answer that is JSON, or nothing if it is not JSON."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply: "
    if not isinstance(error, ValidationError):
        return ""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(each) for each in first["loc"])[:_SHOWN]
    return f"{where!r}: {first['msg'][:_SHOWN]}: " if where else f"{first['msg'][:_SHOWN]}: "


def _printable(found: Any) -> Any:  # noqa: ANN401 - any JSON
    r"""Return *found* with each lone surrogate as an escape in its text, such as `\udcff`."""
    if isinstance(found, str):
        return found.encode("utf-8", "backslashreplace").decode()
    if isinstance(found, list):
        return [_printable(each) for each in found]
    if isinstance(found, dict):
        return {_printable(name): _printable(each) for name, each in found.items()}
    return found


def _is_answer(line: str) -> bool:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and not _RESULTS.isdisjoint(found)
