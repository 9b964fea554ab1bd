"""Maps the router's own findings to events.  Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import assert_never

from ...broker.topology import EVENTS
from ...model.catalogue import Catalogues
from ...model.events import Event, Value
from ...model.ids import derived_id, id_at, new_id
from ...model.records import written
from ...model.topics import ABSENT
from ..foreign_refusals import Refusing, RefusingEnded
from ..gap_detection import EpochStarted, GapAccepted, GapClosed, GapOpened, NodeBack, NodeSilent
from ..ingress.flood_detection import Flood, FloodEnded
from ..mapping import own_event
from .finding_reports import Found, Report

NAMES: Mapping[type[Found], str] = {
    GapOpened: "gapOpened",
    GapClosed: "gapClosed",
    GapAccepted: "gapAccepted",
    EpochStarted: "epochStarted",
    NodeSilent: "nodeSilent",
    NodeBack: "nodeBack",
    Flood: "nodeFlooding",
    FloodEnded: "nodeFloodEnded",
    Refusing: "queueRefusing",
    RefusingEnded: "queueRefusingEnded",
}
"""The event for each kind of finding."""


def finding_event(report: Report, cluster: str, node: str, catalogues: Catalogues, moment: datetime) -> Event:
    """Return the event for *report*, a finding on *node*, and how many findings it stands for if there are several.

    *node* is `ABSENT` for a finding that is on no node.
    """
    name, data = NAMES[type(report.example)], _data(report.example, moment)
    if report.count > 1:
        data |= {"reports": report.count}
    id_ = _id(report, f"{name}/{cluster}/{node}", data, moment)
    about: dict[str, Value] = {} if node == ABSENT else {"node": node}
    return own_event(name, about | data, catalogues, cluster=cluster, node=node, id_=id_, moment=moment)


def _id(report: Report, what: str, data: Mapping[str, Value], moment: datetime) -> str:
    """Return the id of the event: for the start of one epoch the same, whichever router finds it, and whenever.

    Hubs whose routers have states of their own each hear of an epoch for the first time.  The id is of the moment of
    the epoch, but never of one to come, from where nobody would look for it.
    """
    match report:
        case Report(EpochStarted(epoch, _), 1):
            return derived_id(min(epoch[:10], new_id(moment)[:10]), f"{what}/{epoch}")
        case _:
            return id_at(moment, f"{what}/{sorted(data.items(), key=str)}")


def _data(finding: Found, moment: datetime) -> dict[str, Value]:
    match finding:
        case GapOpened() | GapClosed() | GapAccepted():
            return _gap(finding)
        case EpochStarted(epoch, previous):
            return {"epoch": epoch, "previousEpoch": previous}
        case NodeSilent(heard) | NodeBack(heard):
            return _silence(heard, moment)
        case Flood(records, octets):
            return {"count": records, "octets": octets}
        case FloodEnded():
            return {}
        case Refusing(count) | RefusingEnded(count):
            return {"exchange": EVENTS, "count": count}
        case _:
            assert_never(finding)


def _gap(gap: GapOpened | GapClosed | GapAccepted) -> dict[str, Value]:
    accepted: dict[str, Value] = {"by": gap.by, "comment": gap.comment} if isinstance(gap, GapAccepted) else {}
    count = gap.count if isinstance(gap, GapAccepted) else gap.last - gap.first + 1
    return {"epoch": gap.epoch, "first": gap.first, "last": gap.last, "count": count, **accepted}


def _silence(heard: datetime, moment: datetime) -> dict[str, Value]:
    return {"lastSeen": written(heard), "silence": (moment - heard).total_seconds()}
