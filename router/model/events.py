"""Events: one thing that happened, as CloudEvents 1.0 in structured JSON."""

from datetime import datetime
from typing import Any, Literal

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
Scope = Literal["local", "global"]

_WORD = r"^[A-Za-z0-9_-]{1,100}$"


class Event(BaseModel):
    """One thing that happened; it never changes.

    `time` is RFC 3339 in UTC with nanoseconds; it is text, because `datetime` has no nanoseconds.  `sequence` is the
    number of the record within its node and epoch, padded to twelve digits so that it sorts as text; None if the
    event did not come through a relay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(pattern=f"^{ids.PATTERN}$")
    type: str
    source: str
    subject: str | None = None
    time: str
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str | None = None
    cluster: str = Field(pattern=_WORD)
    node: str = Field(pattern=_WORD)
    category: str = Field(pattern=_WORD)
    severity: Severity
    scope: Scope
    sequence: str | None = None
    epoch: str | None = None
    traceparent: str | None = None
    malformed: str | None = None
    data: dict[str, Value]

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


_OPTIONAL = ("subject", "dataschema", "sequence", "epoch", "traceparent", "malformed")
