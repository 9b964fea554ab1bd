"""Events: one thing that happened, as CloudEvents 1.0 in structured JSON."""

import re
from datetime import datetime
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InvalidEvent
from . import ids
from .topics import topic

CONTENT_TYPE = "application/cloudevents+json"
OWN = "clusterbus"
"""The source of events from relays, the router and consumers themselves."""


Scalar = str | int | float | bool | None
Value = Scalar | list[str]
Severity = Literal["info", "notice", "warning", "error", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
"""All severities, the mildest first."""
Scope = Literal["local", "global"]
Wire = Literal["structured", "binary"]
"""The content mode of messages: all of an event in the body, or its data there and each other attribute in a header."""

SEQUENCES = 10**12
"""The number from which on a sequence has more than its twelve digits, and would no longer sort as text."""

PER_EPOCH = "PerEpoch"
"""The `sequencetype` of our sequences: texts that sort within one epoch.

`Integer`, which CloudEvents defines, would promise that no number is left out, and 32 bits.
"""

_WORD = r"^[A-Za-z0-9_-]{1,100}$"
_LAST_TWO = "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
_NOT_IN_ATTRIBUTES = re.compile(f"[\0-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_LAST_TWO}]")


def attribute(text: str) -> str:
    r"""Return *text* as the value of an attribute, where CloudEvents allows no control characters and noncharacters.

    >>> attribute("gpfs1/a b"), attribute("gpfs1/a\nb") == "gpfs1/a\ufffdb"
    ('gpfs1/a b', True)
    """
    return text if text.isascii() and text.isprintable() else _NOT_IN_ATTRIBUTES.sub("\ufffd", text)


class Event(BaseModel):
    """One thing that happened; it never changes.  Attributes of newer releases are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, str | int | bool | None] = Field(init=False)

    specversion: Literal["1.0"] = "1.0"
    """The version of CloudEvents."""
    id: str = Field(pattern=f"^{ids.PATTERN}$")
    """The same in each copy of this event; no other event has it.  A ULID, which begins with the time."""
    type: str
    """The source and the kind of the event, such as `gpfs.softQuotaExceeded`."""
    source: str = Field(json_schema_extra={"format": "uri-reference"})
    """Where it happened: `/<source>/<cluster>/<node>`."""
    subject: str | None = None
    """What it is about, such as a file system and a fileset, with slashes between; absent if about nothing else."""
    time: str = Field(json_schema_extra={"format": "date-time"})
    """When it was captured on its node, in UTC, usually with nanoseconds."""
    datacontenttype: Literal["application/json"] = "application/json"
    """The media type of the data."""
    dataschema: str | None = Field(None, json_schema_extra={"format": "uri"})
    """The schema that the data adheres to; absent if it adheres to none."""
    cluster: str = Field(pattern=_WORD)
    """The cluster that it happened in."""
    node: str = Field(pattern=_WORD)
    """The node that captured it."""
    category: str = Field(pattern=_WORD)
    """The family of its type, such as `quota`; `unknown` if no catalogue has the type."""
    severity: Severity
    """How bad it is."""
    scope: Scope
    """Whether it happened on one node, or once for the cluster, whichever nodes reported it."""
    sequence: str | None = None
    """The number of the record within its node and epoch, in twelve digits; absent if no relay sent it."""
    sequencetype: str | None = None
    """`PerEpoch`: the numbers sort as text, within one epoch of one node."""
    epoch: str | None = None
    """The life of the spool that the sequence counts in."""
    traceparent: str | None = None
    """The W3C trace context that begins with this event; not sampled."""
    malformed: str | None = None
    """The variables and attributes that were cut, replaced, or stayed text, separated by blanks."""
    data: dict[str, Value]
    """The variables of the event; null where one does not apply."""

    @property
    def origin(self) -> str:
        """The source of the event: the first word of `type`, such as `gpfs`."""
        return self.type.partition(".")[0]

    @property
    def name(self) -> str:
        """The name of the event type, such as `softQuotaExceeded`."""
        return self.type.partition(".")[2]

    @property
    def topic(self) -> str:
        """The topic that the event is published on."""
        about = self.subject.partition("/")[0] if self.subject else None
        return topic(self.origin, self.cluster, self.category, self.name, about, self.node)

    @property
    def moment(self) -> datetime:
        """The time of capture, to the microsecond, with time zone."""
        return datetime.fromisoformat(self.time)

    def to_json(self) -> bytes:
        """Return the event as JSON in UTF-8, without absent attributes."""
        # exclude_none would also drop the nulls inside data, which mean "does not apply".
        absent = {name for name in _OPTIONAL if getattr(self, name) is None}
        return self.__pydantic_serializer__.to_json(self, exclude_none=False, exclude=absent)

    @classmethod
    def from_json(cls, body: bytes) -> "Event":
        """Return the event in *body*; raises InvalidEvent with the mistake and its place."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(each) for each in first["loc"]) or "body"
            raise InvalidEvent(f"not an event: {where}: {first['msg']}") from error

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes and data as plain values, for filters and templates."""
        return self.model_dump()


_OPTIONAL = ("subject", "dataschema", "sequence", "sequencetype", "epoch", "traceparent", "malformed")
