"""Records as a service publishes them: of its own source, with its broker user as the node.  Pure.

The broker lets a service use these keys only, and the router compares them with the user and the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ..broker.interface import Message
from ..broker.topology import INGRESS
from ..model import ids, records, topics
from ..model.bounds import ARGUMENTS

Given = str | float | Sequence[str] | None
"""What a variable may be given as; None leaves it out."""


def record(
    source: str, event: str, variables: Mapping[str, Given], *, cluster: str, node: str, id_: str = ""
) -> records.Record:
    """Return a record of now; with an *id_*, one that is the same whenever it is made with the same values.

    Raises ValueError where *id_* is no id, and where the values are too large to be kept whole.
    """
    if id_ and not ids.is_id(id_):
        raise ValueError(f"{id_[:40]!r} is not the id of an event: it has 26 characters, such as {ids.new_id()}")
    found = {name: _text(name, value) for name, value in variables.items() if value is not None}
    arguments = tuple(word for name, text in found.items() for word in (f"--{name}", _value(text)))
    if (size := sum(len(each.encode("utf-8", "surrogatepass")) for each in arguments)) > ARGUMENTS:
        raise ValueError(f"the variables have {size} octets; at most {ARGUMENTS} are kept")
    moment = ids.moment_of(id_) if id_ else datetime.now(UTC)
    return records.Record(
        id=id_ or ids.new_id(moment),
        source=topics.word(source),
        event=topics.word(event),
        cluster=topics.word(cluster),
        node=topics.word(node),
        captured_at=records.written(moment),
        boot="",
        arguments=arguments,
    )


def message(found: records.Record) -> Message:
    """Return the message that publishes *found*.  Raises InvalidTopic if a word of it is too long."""
    key = topics.IngressKey.parse(f"{found.source}.{found.cluster}.{found.event}.{found.node}")
    return Message(INGRESS, str(key), records.encode(found), found.id, found.event, "application/json")


def _value(text: str) -> str:
    """Return *text* so that it cannot be taken for the flag of another variable.

    >>> _value("--owner"), _value("gpfs1")
    (' --owner', 'gpfs1')
    """
    return f" {text}" if text.startswith("--") else text


def _text(name: str, value: str | float | Sequence[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    if any("," in each for each in value):
        raise ValueError(f"{name} is {value!r:.100}: no text of a list may have a comma")
    return ",".join(value)
