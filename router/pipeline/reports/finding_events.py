"""Maps the router's own findings to events.  Pure."""

from datetime import datetime
from typing import assert_never

from ...broker.topology import EVENTS
from ...model.catalogue import Catalogues
from ...model.events import Event, Value
from ...model.ids import id_at
from ...model.records import written
from ...model.topics import ABSENT
from ..foreign_refusals import Refusing, RefusingEnded
from ..gap_detection import EpochStarted, GapClosed, GapOpened, NodeBack, NodeSilent
from ..ingress.flood_detection import Flood, FloodEnded
from ..mapping import own_event
from .finding_reports import Found, Report


def finding_event(report: Report, cluster: str, node: str, catalogues: Catalogues, moment: datetime) -> Event:
    """Return the event for *report*, a finding on *node*, and how many findings it stands for if there are several.

    *node* is `ABSENT` for a finding that is on no node.
    """
    name, data = _name_and_data(report.example, moment)
    if report.count > 1:
        data |= {"reports": report.count}
    id_ = id_at(moment, f"{name}/{cluster}/{node}/{sorted(data.items(), key=str)}")
    about: dict[str, Value] = {} if node == ABSENT else {"node": node}
    return own_event(name, about | data, catalogues, cluster=cluster, node=node, id_=id_, moment=moment)


def _name_and_data(finding: Found, moment: datetime) -> tuple[str, dict[str, Value]]:
    data: dict[str, Value]
    match finding:
        case GapOpened(epoch, first, last):
            name, data = "gapOpened", _gap(epoch, first, last)
        case GapClosed(epoch, first, last):
            name, data = "gapClosed", _gap(epoch, first, last)
        case EpochStarted(epoch, previous):
            name, data = "epochStarted", {"epoch": epoch, "previousEpoch": previous}
        case NodeSilent(heard):
            name, data = "nodeSilent", _silence(heard, moment)
        case NodeBack(heard):
            name, data = "nodeBack", _silence(heard, moment)
        case Flood(records, octets):
            name, data = "nodeFlooding", {"count": records, "octets": octets}
        case FloodEnded():
            name, data = "nodeFloodEnded", {}
        case Refusing(count):
            name, data = "queueRefusing", {"exchange": EVENTS, "count": count}
        case RefusingEnded(count):
            name, data = "queueRefusingEnded", {"exchange": EVENTS, "count": count}
        case _:
            assert_never(finding)
    return name, data


def _gap(epoch: str, first: int, last: int) -> dict[str, Value]:
    return {"epoch": epoch, "first": first, "last": last, "count": last - first + 1}


def _silence(heard: datetime, moment: datetime) -> dict[str, Value]:
    return {"lastSeen": written(heard), "silence": (moment - heard).total_seconds()}
