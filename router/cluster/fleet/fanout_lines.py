"""What the fan-out program prints: a line of JSON for each node that ended, and the outcome.  Strict and bounded."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

LONGEST = 8 << 20
"""The most bytes of a line: the outcome of 10,000 nodes names each of them twice."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Names = Annotated[str, StringConstraints(max_length=LONGEST)]
Text = Annotated[str, StringConstraints(max_length=1 << 20)]


class InvalidLine(ValueError):
    """A line that the fan-out program cannot have printed; the message says why."""


class NodeEnded(BaseModel):
    """The command on *node* ended with *code* (None: it was given up) after *seconds*.

    It printed *output*, and *errors* on stderr.  *refusal* says why ssh was not let in, *lost* that it lost the node.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    node: Name
    code: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    output: Text
    errors: Text = ""
    refusal: Text = ""
    lost: bool = False


class Outcome(BaseModel):
    """The end of the fan-out: the node sets by exit code, and those that did not finish."""

    # The program says more, which is not used here.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    codes: dict[str, Names]
    timed_out: Names
    unfinished: Names
    not_begun: Names


def read(line: bytes, names: Collection[str]) -> NodeEnded | Outcome:
    """Return what *line* says about the nodes *names*.  Raises InvalidLine.

    >>> read(b'{"node": "n1", "code": 0, "seconds": 0.1, "output": "7"}', {"n1"}).output
    '7'
    """
    if len(line) > LONGEST:
        raise InvalidLine(f"it has more than {LONGEST:,} bytes")
    kind: type[NodeEnded | Outcome] = NodeEnded if line.startswith(b'{"node"') else Outcome
    try:
        found = kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise InvalidLine(f"{'.'.join(map(str, first['loc']))[:100]!r}: {first['msg'][:300]}") from error
    if isinstance(found, NodeEnded) and found.node not in names:
        raise InvalidLine(f"it names {found.node!r}, which is not one of the nodes")
    return found
